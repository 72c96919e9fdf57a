"""Control groups: what a lab runs is in one group of its own, so that ending the lab is ending the group.

No process is ever looked for by its name.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from pathlib import Path

from lab.layout import LabError, Layout

_REMOVAL_SECONDS = 5.0


def prepare(lab: Layout) -> Path:
    """Makes the lab's control group and notes its path in the state directory, for whoever has to clean up.

    Where systemd runs, this process must be in a scope delegated to it (see `delegation`), and the lab's group
    is made inside. Where no cgroup2 file system is mounted, one is mounted under the state directory.
    """
    root = mounted() or _mount(lab)
    inside = _own_group(root) if systemd_is_running() else root
    group = inside / lab.cgroup_name
    try:
        group.mkdir(exist_ok=True)
    except OSError as error:
        raise LabError(
            f"The control group {group} cannot be made ({error.strerror}): run the lab as root, in a container with a "
            "writable /sys/fs/cgroup."
        ) from error
    lab.cgroup_file.write_text(str(group))
    return group


def systemd_is_running() -> bool:
    """Whether systemd is the machine's init and owns the control group tree."""
    return Path("/run/systemd/system").is_dir()


def delegation(lab: Layout) -> list[str]:
    """What to put before the controller's command line so that systemd leaves its control groups to it; nothing where
    systemd does not run."""
    if not systemd_is_running():
        return []
    unit = f"--unit={lab.cgroup_name}-{os.getpid()}"
    return ["systemd-run", "--quiet", "--scope", "--collect", "--property=Delegate=yes", unit, "--"]


def is_delegated(lab: Layout) -> bool:
    """Whether this process is in the scope that `delegation` asks for."""
    return f"/{lab.cgroup_name}-" in Path("/proc/self/cgroup").read_text()


def remove(group: Path) -> None:
    """Kills everything in the group and below, and removes the group. Nothing happens when there is none."""
    deadline = time.monotonic() + _REMOVAL_SECONDS
    while group.is_dir():
        kill(group)
        for directory in sorted(_below(group), key=lambda path: len(path.parts), reverse=True):
            with contextlib.suppress(OSError):
                directory.rmdir()
        if not group.is_dir():
            return
        if time.monotonic() > deadline:
            raise LabError(f"The processes in {group} do not end: {processes(group)}; look at them with ps.")
        time.sleep(0.02)


def kill(group: Path) -> None:
    """SIGKILL to every process in the group and below, also frozen ones."""
    with contextlib.suppress(OSError):
        (group / "cgroup.kill").write_text("1")


def freeze(group: Path, frozen: bool) -> None:
    """Stops or continues every process in the group and below; returns when the kernel has done it."""
    (group / "cgroup.freeze").write_text("1" if frozen else "0")
    deadline = time.monotonic() + _REMOVAL_SECONDS
    while f"frozen {int(frozen)}" not in (group / "cgroup.events").read_text():
        if time.monotonic() > deadline:
            raise LabError(f"{group.name} does not {'freeze' if frozen else 'thaw'}.")
        time.sleep(0.01)


def processes(group: Path) -> list[int]:
    """The ids of all processes in the group and below."""
    found: list[int] = []
    for directory in _below(group):
        with contextlib.suppress(OSError):
            found += [int(line) for line in (directory / "cgroup.procs").read_text().split()]
    return found


def _below(group: Path) -> list[Path]:
    return [Path(directory) for directory, _, _ in os.walk(group)]


def mounted() -> Path | None:
    """Where the machine's writable cgroup2 file system is mounted, if it is."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup2" and "rw" in options.split(","):
            return Path(where)
    return None


def _mount(lab: Layout) -> Path:
    where = lab.state / "cgroup2"
    where.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "cgroup2", "cgroup2", str(where)], capture_output=True, text=True)
    if done.returncode:
        raise LabError(
            f"No writable cgroup2 file system is mounted and none can be mounted ({done.stderr.strip()}): run the lab "
            "as root, in a container with --privileged --cgroupns=private."
        )
    return where


def _own_group(root: Path) -> Path:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        hierarchy, _, path = line.split(":", 2)
        if hierarchy == "0":
            return root / path.lstrip("/")
    return root
