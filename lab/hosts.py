"""Hosts: one systemd-nspawn machine per EC2 instance, on a disk of its own over a shared read-only image.

A host boots as the instance would: systemd, then cloud-init, which asks the metadata service who it is. The lab
writes into its disk only what firmware and DHCP give on EC2: a name, a resolver, an empty machine id.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab import cgroups, layout, network, volumes
from lab.authority import Authority
from lab.layout import LabError, Layout

_NSPAWN = Path("/run/systemd/nspawn")


@dataclass
class Host:
    """One instance's host. `image` is the root tree of its image, `subnet` its subnet's CIDR."""

    lab: Layout
    instance_id: str
    address: str
    subnet: str
    image: Path
    cgroup: Path
    trusted: Authority | None = None
    """Whose certificates the host trusts besides those of its image."""
    devices: tuple[volumes.Device, ...] = ()
    """The volumes that it finds when it is powered on."""
    process: subprocess.Popen[bytes] | None = None
    started_at: float = field(default=0.0)
    """Seconds since the epoch."""

    @property
    def directory(self) -> Path:
        return self.lab.hosts / self.instance_id

    @property
    def root(self) -> Path:
        return self.directory / "root"

    @property
    def console(self) -> Path:
        return self.directory / "console.log"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Powers the host on; it keeps the disk of an earlier run. Returns at once, the host boots by itself."""
        new_disk = not (self.directory / "upper").exists()
        for part in ("upper", "work", "root"):
            (self.directory / part).mkdir(parents=True, exist_ok=True)
        self._mount_disk()
        if new_disk:
            self._write_firmware_settings()
        network.make_host(self.lab, self.instance_id, self.address, self.subnet)
        self.cgroup.mkdir(exist_ok=True)
        self.process = self._boot()
        self.started_at = time.time()

    def stop(self) -> None:
        """Powers the host off hard; the disk stays."""
        power_off(self.lab, self.instance_id, self.cgroup)
        if self.process:
            self.process.wait()
            self.process = None

    def restart(self) -> None:
        """Powers the host on again with the disk it has."""
        self.stop()
        self.start()

    def destroy(self) -> None:
        """Powers the host off and drops its disk."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _mount_disk(self) -> None:
        parts = {"lowerdir": self.image, "upperdir": self.directory / "upper", "workdir": self.directory / "work"}
        options = ",".join(f"{name}={_overlay_path(path)}" for name, path in parts.items())
        done = subprocess.run(
            ["mount", "-t", "overlay", "overlay", "-o", options, str(self.root)], capture_output=True, text=True
        )
        if done.returncode:
            raise LabError(
                f"The disk of {self.instance_id} cannot be mounted ({done.stderr.strip()}): the lab's state must be on "
                "ext4, xfs or tmpfs; choose a directory with ANTMEDIA_LAB_STATE."
            )

    def _write_firmware_settings(self) -> None:
        name = "ip-" + self.address.replace(".", "-")
        write(self.root / "etc/hostname", f"{name}\n")
        write(self.root / "etc/hosts", f"127.0.0.1 localhost\n{self.address} {name}.ec2.internal {name}\n")
        write(self.root / "etc/resolv.conf", f"nameserver {layout.DNS_ADDRESS}\noptions timeout:1 attempts:3\n")
        write(self.root / "etc/machine-id", os.urandom(16).hex() + "\n", 0o444)
        if self.trusted:
            self._trust(self.trusted)

    def _trust(self, authority: Authority) -> None:
        """What update-ca-certificates would do, and what it finds when a package makes it run again."""
        installed = "usr/local/share/ca-certificates/lab.crt"
        write(self.root / installed, authority.pem)
        certificates = self.root / "etc/ssl/certs"
        bundle = certificates / "ca-certificates.crt"
        if bundle.exists():
            write(bundle, bundle.read_text() + authority.pem)
            (certificates / "lab.pem").symlink_to(f"/{installed}")
            (certificates / authority.hash_link).symlink_to("lab.pem")

    def _boot(self) -> subprocess.Popen[bytes]:
        command = [
            "systemd-nspawn",
            "--quiet",
            f"--directory={self.root}",
            f"--machine={machine_name(self.lab, self.instance_id)}",
            "--keep-unit",
            "--register=no",
            "--capability=CAP_NET_ADMIN",
            f"--network-namespace-path=/run/netns/{self.lab.host_namespace(self.instance_id)}",
            "--resolv-conf=off",
            "--timezone=off",
            "--link-journal=no",
            "--console=read-only",
            *(f"--bind={device.path}:{volumes.device_path(device.volume_id)}" for device in self.devices),
            "--boot",
            "systemd.show_status=1",
            "systemd.condition_needs_update=no",  # ldconfig and catalogs were run when the image was built
        ]
        environment = {
            **os.environ,
            "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
            "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
        }
        # The shell enters the host's control group before anything of the host exists, so nothing can be outside it.
        enter = ["/bin/sh", "-c", 'echo 0 >"$0/cgroup.procs" && exec "$@"', str(self.cgroup), *command]
        with self.console.open("ab") as console:
            return subprocess.Popen(
                enter,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment,
            )


def machine_name(lab: Layout, instance_id: str) -> str:
    """nspawn's name of the host; unlike the instance id it cannot belong to another lab."""
    return lab.host_namespace(instance_id)


def power_off(lab: Layout, instance_id: str, cgroup: Path) -> None:
    """Ends a host and removes its namespace and mounts; the disk stays. Works without the process that started it."""
    cgroups.remove(cgroup)
    with contextlib.suppress(OSError):
        # Killed, it could not remove its lock, which is named after the root directory.
        root = (lab.hosts / instance_id / "root").stat()
        (_NSPAWN / "locks" / f"inode-{root.st_dev}:{root.st_ino}").unlink()
    for mount in (lab.hosts / instance_id / "root", _NSPAWN / "unix-export" / machine_name(lab, instance_id)):
        if is_mounted(mount):
            subprocess.run(["umount", "--lazy", str(mount)], capture_output=True)
    for left in ("unix-export", "propagate"):
        with contextlib.suppress(OSError):
            (_NSPAWN / left / machine_name(lab, instance_id)).rmdir()
    network.remove_namespace(lab.host_namespace(instance_id))


def leader(cgroup: Path) -> int | None:
    """The process id, on this machine, of the host's init; None while it has none."""
    for process in cgroups.processes(cgroup):
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{process}/status").read_text()
            numbers = next(line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:"))
            if len(numbers) == 2 and numbers[1] == "1":
                return process
    return None


def enter_command(leader_process: int, command: list[str]) -> list[str]:
    """The command line that runs a command as root inside the host, with a login's environment."""
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "USER": "root",
        "LANG": "C.UTF-8",
        "TERM": os.environ.get("TERM", "dumb"),
    }
    namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
    assignments = [f"{name}={value}" for name, value in environment.items()]
    return [
        "nsenter",
        f"--target={leader_process}",
        *namespaces,
        "--",
        "/usr/bin/env",
        "-i",
        "--chdir=/root",
        *assignments,
        *command,
    ]


def memory_bytes(cgroup: Path) -> int | None:
    """Proportional memory (PSS) of a host's processes; None while it is off."""
    total = 0
    found = cgroups.processes(cgroup)
    for process in found:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total if found else None


def is_mounted(path: Path) -> bool:
    """Whether something is mounted at exactly this path."""
    return any(line.split()[1] == str(path) for line in Path("/proc/mounts").read_text().splitlines())


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Replaces a file on a host's disk, whatever was there (a link to outside of the disk, too)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _overlay_path(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def missing_programs(needed: Mapping[str, str]) -> dict[str, str]:
    """Of `program: Debian package`, those that are not installed."""
    return {program: package for program, package in needed.items() if shutil.which(program) is None}
