"""Removing what a lab left behind, however its controller ended, and knowing whether it still runs.

Only names of the lab itself are used: its control group, the mounts and volumes below its state directory, its
namespaces.
"""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import cgroups, hosts, network, volumes
from lab.layout import LabError, Layout

STOP_SECONDS = 30.0
_LOCK_SECONDS = 0.5
"""`holder` takes the lock for a moment to find out whether it is free."""


@contextmanager
def hold(lab: Layout) -> Iterator[bool]:
    """Holds the lab's lock if it is free; gives whether it was. The controller holds it as long as it lives."""
    lab.base.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lab.lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _lock_within(descriptor, _LOCK_SECONDS):
            yield False
            return
        if not _is_same_file(descriptor, lab.lock):  # removed by who held it before
            yield False
            return
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        try:
            yield True
        finally:
            if not lab.state.exists():
                lab.lock.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def holder(lab: Layout) -> int | None:
    """The process id of the controller; None when none runs."""
    try:
        descriptor = os.open(lab.lock, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.read(descriptor, 32) or b"0") or None
    else:
        return None
    finally:
        os.close(descriptor)


def stop_controller(lab: Layout) -> None:
    """Asks the controller to end and waits; one that does not is killed. Nothing happens when none runs."""
    process = holder(lab)
    if process is None:
        return
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return
    try:
        if holder(lab) != process:  # it ended meanwhile, and its number may be another's
            return
        for number, patience in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, 5.0)):
            signal.pidfd_send_signal(descriptor, number)
            if select.select([descriptor], [], [], patience)[0]:
                return
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise LabError("The lab belongs to root: run the command as root.") from error
    finally:
        os.close(descriptor)
    raise LabError(f"The controller of {lab.name!r} does not end; look at process {process}.")


def remove_leftovers(lab: Layout) -> list[str]:
    """Removes everything of a lab whose controller is gone; what it was. The caller holds the lab's lock."""
    removed = []
    for group in _groups(lab):
        removed += [f"process {process}" for process in cgroups.processes(group)]
        cgroups.remove(group)
    if lab.hosts.is_dir():
        for directory in lab.hosts.iterdir():
            hosts.power_off(lab, directory.name, Path("/nonexistent"))
    for mount in reversed(mounts(lab)):
        removed.append(f"mount {mount}")
        subprocess.run(["umount", "--lazy", str(mount)], capture_output=True)
    removed += volumes.detach_all(lab)
    for namespace in network.namespaces(lab):
        removed.append(f"namespace {namespace}")
        network.remove_namespace(namespace)
    lab.certificate.unlink(missing_ok=True)
    if lab.state.exists():
        removed.append(str(lab.state))
        shutil.rmtree(lab.state, ignore_errors=True)
        if lab.state.exists():
            raise LabError(f"{lab.state} cannot be removed: see what holds it with fuser -vm {lab.state}.")
    return removed


def mounts(lab: Layout) -> list[Path]:
    """What is mounted below the lab's state directory, in the order in which it was mounted."""
    found = [Path(line.split()[1]) for line in Path("/proc/mounts").read_text().splitlines()]
    return [path for path in found if path.is_relative_to(lab.state)]


def _groups(lab: Layout) -> list[Path]:
    try:
        noted = Path(lab.cgroup_file.read_text())
    except FileNotFoundError:  # the state was removed by hand
        noted = (cgroups.mounted() or Path("/nonexistent")) / lab.cgroup_name
    ours = noted.name == lab.cgroup_name
    return [noted] if ours and (noted.is_dir() or cgroups.copies(noted)) else []


def _lock_within(descriptor: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        else:
            return True


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
