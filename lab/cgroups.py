"""Control groups: what a lab runs is in one group of its own, so that ending the lab is ending the group.

No process is ever looked for by its name.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from lab.layout import LabError, Layout

_MOUNT_POINTS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
_REMOVAL_SECONDS = 5.0


def prepare(lab: Layout) -> Path:
    """Makes the lab's control group and notes its path in the state directory, for whoever has to clean up.

    Where systemd runs, this process must be in a scope delegated to it (see `delegation`), and the lab's group
    is made inside.
    """
    root = mounted()
    if root is None:
        # One of the lab's own elsewhere would not do: nspawn would put its hosts outside of the lab's group.
        raise LabError(
            "No writable cgroup2 file system is mounted: mount one with mount -t cgroup2 cgroup2 "
            "/sys/fs/cgroup/unified (or on /sys/fs/cgroup when that is empty); a container needs --privileged."
        )
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
        _remove_directories(group)
        if not group.is_dir():
            break
        if time.monotonic() > deadline:
            raise LabError(f"The processes in {group} do not end: {processes(group)}; look at them with ps.")
        time.sleep(0.02)
    for copy in copies(group):
        _remove_directories(copy)


def copies(group: Path) -> list[Path]:
    """The groups of the same name that systemd-nspawn makes in systemd's own hierarchy where cgroup v1 is in use."""
    root = mounted()
    if root is None or not group.is_relative_to(root):
        return []
    found = []
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup" and "name=systemd" in options.split(","):
            found.append(Path(where) / group.relative_to(root))
    return [copy for copy in found if copy.is_dir()]


def _remove_directories(group: Path) -> None:
    for directory in sorted(_below(group), key=lambda path: len(path.parts), reverse=True):
        with contextlib.suppress(OSError):
            directory.rmdir()


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
    """Where the machine's writable cgroup2 file system is mounted, if it is where systemd-nspawn looks for it."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup2" and where in _MOUNT_POINTS and "rw" in options.split(","):
            return Path(where)
    return None


def _own_group(root: Path) -> Path:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        hierarchy, _, path = line.split(":", 2)
        if hierarchy == "0":
            return root / path.lstrip("/")
    return root
