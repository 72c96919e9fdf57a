"""EBS volumes: a file each, that a host sees as a block device under the name that udev gives to EBS volumes.

A file is sparse: it takes as much of this machine's disk as was written. It exists from the first time that the volume
is attached until the volume is deleted. Root volumes are none of these: a host's disk is a directory.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.layout import LabError, Layout

_FOLDER_IN_HOST = "/dev/disk/by-id"


def device_path(volume_id: str) -> str:
    """Where a host finds the volume; Source: EC2's manual, how NVMe volumes are named by udev's rules."""
    return f"{_FOLDER_IN_HOST}/nvme-Amazon_Elastic_Block_Store_{volume_id.replace('-', '')}"


@dataclass(frozen=True)
class Device:
    """A volume as a block device of this machine."""

    volume_id: str
    path: Path
    size_gb: int


def attach(lab: Layout, volume_id: str, size_gb: int) -> Device:
    """The volume's block device, made if there is none; one that has become larger is grown.

    Raises:
        LabError: this machine cannot make one.
    """
    lab.volumes.mkdir(mode=0o700, exist_ok=True)
    file = _file(lab, volume_id)
    wanted = size_gb << 30
    if not file.exists():
        file.touch(mode=0o600)
    if file.stat().st_size < wanted:
        os.truncate(file, wanted)
    held = _devices(file)
    if held:
        _run("losetup", "--set-capacity", str(held[0]))
        return Device(volume_id, held[0], size_gb)
    # Of two labs that take a device at the same moment, one has to try again.
    made = _run("losetup", "--find", "--show", "--nooverlap", str(file))
    return Device(volume_id, Path(made), size_gb)


def delete(lab: Layout, volume_id: str) -> None:
    """The block device and the file go. No host may have it any more."""
    file = _file(lab, volume_id)
    for device in _devices(file):
        _run("losetup", "--detach", str(device))
    file.unlink(missing_ok=True)


def known(lab: Layout) -> list[str]:
    """The ids of the volumes that have a file."""
    return sorted(file.stem for file in lab.volumes.glob("vol-*.img")) if lab.volumes.is_dir() else []


def plug(device: Device, leader: int) -> None:
    """Plugs the device into a running host, whose init has this process id."""
    path = device_path(device.volume_id)
    node = f"mknod -m 660 {path} b {' '.join(map(str, _numbers(device)))}"
    _inside(leader, f"mkdir -p {_FOLDER_IN_HOST} && rm -f {path} && {node}")


def unplug(device: Device, leader: int) -> bool:
    """Unplugs it from a running host; False, and nothing is changed, while the host has it mounted, as on EC2."""
    mounted = Path(f"/proc/{leader}/mountinfo").read_text().splitlines()
    if any(line.split()[2] == "{}:{}".format(*_numbers(device)) for line in mounted):
        return False
    path = device_path(device.volume_id)
    _inside(leader, f"umount {path} 2>/dev/null; rm -f {path}")  # mounted where it was there at the host's start
    return True


def _numbers(device: Device) -> tuple[int, int]:
    number = device.path.stat().st_rdev
    return os.major(number), os.minor(number)


def _inside(leader: int, script: str) -> None:
    _run("nsenter", f"--target={leader}", "--mount", "--", "/bin/sh", "-c", script)


def detach_all(lab: Layout) -> list[str]:
    """Frees every block device over a file of this lab, also over one that is gone; which they were."""
    freed = []
    for backing in sorted(Path("/sys/block").glob("loop*/loop/backing_file")):
        with contextlib.suppress(OSError):
            if Path(backing.read_text().strip().removesuffix(" (deleted)")).is_relative_to(lab.volumes):
                device = f"/dev/{backing.parents[1].name}"
                subprocess.run(["losetup", "--detach", device], capture_output=True, check=False)
                freed.append(f"block device {device}")
    return freed


def _file(lab: Layout, volume_id: str) -> Path:
    if not re.fullmatch(r"vol-[0-9a-f]+", volume_id):
        raise LabError(f"{volume_id!r} is not the id of a volume.")
    return lab.volumes / f"{volume_id}.img"


def _devices(file: Path) -> list[Path]:
    if not file.exists():
        return []
    found = json.loads(_run("losetup", "--json", "--list", "--associated", str(file)) or '{"loopdevices": []}')
    return [Path(device["name"]) for device in found["loopdevices"]]


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"A volume cannot be attached: {' '.join(command[:2])}: {done.stderr.strip()}")
    return done.stdout.strip()
