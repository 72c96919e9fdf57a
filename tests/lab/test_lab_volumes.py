"""EBS volumes: block devices under EBS's names, which outlive hosts and are nobody else's while they are mounted."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab import volumes
from tests.lab import labs
from tests.lab.labs import Instance, Network, eventually


def make_volume(lab: labs.Lab, size_gb: int = 1) -> str:
    made: dict[str, Any] = lab.ec2().create_volume(AvailabilityZone="us-east-1a", Size=size_gb, VolumeType="gp3")
    return str(made["VolumeId"])


def attach(instance: Instance, volume: str) -> str:
    """Attaches a volume and waits for its device; where that is."""
    instance.lab.ec2().attach_volume(VolumeId=volume, InstanceId=instance.id, Device="/dev/sdf")
    eventually(lambda: has(instance, volume), True, 20)
    return volumes.device_path(volume)


def has(instance: Instance, volume: str) -> bool:
    return instance.run("test", "-b", volumes.device_path(volume), check=False).returncode == 0


def booted(instance: Instance) -> str:
    """When the host booted last; nothing while it is off."""
    return instance.run("stat", "-c", "%Z", "/proc/1", check=False).stdout.strip()


def backing_files() -> list[str]:
    return [file.read_text() for file in Path("/sys/block").glob("loop*/loop/backing_file")]


def test_a_volume_is_plugged_in_keeps_its_content_and_moves_to_another_host(network: Network) -> None:
    ec2 = network.lab.ec2()
    first, second = network.launch("first-holder"), network.launch("second-holder")
    volume = make_volume(network.lab)
    device = attach(first.ready(), volume)
    assert first.run("blockdev", "--getsize64", device).stdout.strip() == str(1 << 30)
    first.run("sh", "-c", f"echo what is kept | dd of={device} conv=fsync status=none")
    ec2.detach_volume(VolumeId=volume, InstanceId=first.id)
    eventually(lambda: has(first, volume), False, 20)
    device = attach(second.ready(), volume)
    assert second.run("head", "-c", "12", device).stdout == "what is kept"
    assert not has(first, volume)

    before = booted(second)
    second.run("systemctl", "reboot", check=False)
    eventually(lambda: booted(second) not in ("", before), True, 60)
    eventually(lambda: has(second, volume), True, 60)
    assert second.run("head", "-c", "12", device).stdout == "what is kept"

    ec2.modify_volume(VolumeId=volume, Size=2)
    eventually(lambda: second.run("blockdev", "--getsize64", device).stdout.strip(), str(2 << 30), 20)

    file = network.lab.layout.volumes / f"{volume}.img"
    assert file.stat().st_blocks * 512 < 1 << 20, "it takes no more of the disk than was written"
    ec2.terminate_instances(InstanceIds=[first.id, second.id])
    ec2.delete_volume(VolumeId=volume)
    eventually(file.exists, False, 20)
    assert not [text for text in backing_files() if volume in text]


def test_a_mounted_volume_is_nobody_elses_before_its_host_is_off(network: Network) -> None:
    ec2 = network.lab.ec2()
    holder, waiting = network.launch("holder").ready(), network.launch("waiting").ready()
    volume = make_volume(network.lab)
    device = attach(holder, volume)
    holder.run("sh", "-c", "apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y install e2fsprogs")
    holder.run("sh", "-c", f"mkfs.ext4 -q {device} && mount {device} /mnt && echo kept >/mnt/file")
    ec2.detach_volume(VolumeId=volume, InstanceId=holder.id)
    ec2.attach_volume(VolumeId=volume, InstanceId=waiting.id, Device="/dev/sdf")
    waiting.run("sleep", "3")
    assert has(holder, volume)
    assert not has(waiting, volume)
    ec2.terminate_instances(InstanceIds=[holder.id])
    eventually(lambda: has(waiting, volume), True, 20)
    assert waiting.run("sh", "-c", f"mount {device} /mnt && cat /mnt/file").stdout == "kept\n"
    ec2.terminate_instances(InstanceIds=[waiting.id])
    ec2.delete_volume(VolumeId=volume)


def test_a_lab_that_is_killed_leaves_no_block_device(new_lab: Callable[[], labs.Lab]) -> None:
    lab = new_lab()
    network = labs.make_network(lab, "10.69")
    instance = network.launch("killed-holder").ready()
    attach(instance, make_volume(lab))
    state = str(lab.layout.state)
    assert [text for text in backing_files() if state in text]
    os.kill(lab.controller(), signal.SIGKILL)
    lab.down()
    assert not [text for text in backing_files() if state in text]
    assert labs.remains(lab.layout) == []
