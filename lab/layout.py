"""The names of everything that belongs to one lab: directories, namespaces, control group, addresses.

Two labs never share a name: every name is made from the lab's own, with a separator that a lab's name cannot hold
or with more characters than a lab's name can have.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

REGION = "us-east-1"
ACCOUNT = "123456789012"
API_ADDRESS = ("127.0.0.1", 5000)
METADATA_ADDRESS = "169.254.169.254"
DNS_ADDRESS = "169.254.169.253"

# The documentation networks of RFC 5737 stand for the internet: a mistake in the lab never names somebody's machine.
INTERNET = "192.0.2.0/24"
ROUTER_ADDRESS = "192.0.2.1"
CLIENT_ADDRESS = "192.0.2.10"
ADMIN_ADDRESS = "192.0.2.20"
ARCHIVE_ADDRESS = "192.0.2.80"
ARCHIVE_PROXY_PORT = 3142
PACKAGES_NAME = "packages.lab.test"
"""The lab's own package repository, at the archive's address."""
ACME_ADDRESS = "192.0.2.90"
ACME_NAME = "acme.lab.test"
ACME_GROUP_ID = 65534
"""Debian's nogroup: the ACME server runs with it, which is how the packet filter tells its packets."""
AWS_ADDRESS = "192.0.2.91"
PUBLIC_ADDRESSES = "198.51.100.0/24"

NAME_PATTERN = re.compile(r"[a-z][a-z0-9-]{0,11}")
INSTANCE_TAIL = 12
"""Hexadecimal digits: more than any lab's name has, so a host's namespace is never another lab's router."""


class LabError(Exception):
    """A foreseeable failure; the text is one sentence for the person that says what to do."""


@dataclass(frozen=True)
class Layout:
    """Where one lab keeps what. `name` must match NAME_PATTERN; `base` is the directory of all labs' state."""

    name: str
    base: Path

    @property
    def state(self) -> Path:
        """The lab's state directory: it exists exactly as long as the lab, and goes as a whole."""
        return self.base / self.name

    @property
    def lock(self) -> Path:
        """Held by the controller while it lives; beside the state so that dropping the state does not drop the lock."""
        return self.base / f"{self.name}.lock"

    @property
    def certificate(self) -> Path:
        """What `forward` writes for people to trust; outside of the state, which is for root's eyes only."""
        return self.base / f"{self.name}-certificate.pem"

    @property
    def log(self) -> Path:
        return self.state / "controller.log"

    @property
    def calls(self) -> Path:
        """Which operations of the AWS API were asked for, and by whom: see lab/ec2/calls.py."""
        return self.state / "calls.log"

    @property
    def pid_file(self) -> Path:
        return self.state / "controller.pid"

    @property
    def control_socket(self) -> Path:
        return self.state / "control.sock"

    @property
    def cgroup_file(self) -> Path:
        """Holds the path of the lab's control group, for whoever cleans up after a controller that was killed."""
        return self.state / "cgroup"

    @property
    def hosts(self) -> Path:
        return self.state / "hosts"

    @property
    def authority(self) -> Path:
        """The lab's certificate authority: certificate.pem and key.pem."""
        return self.state / "authority"

    @property
    def packages_key(self) -> Path:
        """The public key of the package repository that the lab serves; not there when it serves none."""
        return self.state / "packages.asc"

    @property
    def volumes(self) -> Path:
        """A file for each EBS volume that has ever been attached."""
        return self.state / "volumes"

    @property
    def acme(self) -> Path:
        """The ACME server's settings and log."""
        return self.state / "acme"

    @property
    def cgroup_name(self) -> str:
        return f"antmedia-{self.name}"

    @property
    def router_namespace(self) -> str:
        return self.name

    @property
    def client_namespace(self) -> str:
        return f"{self.name}.client"  # a lab's name has no dot

    @property
    def admin_namespace(self) -> str:
        return f"{self.name}.admin"

    def host_namespace(self, instance_id: str) -> str:
        return f"{self.name}-{instance_tail(instance_id)}"

    def owns_namespace(self, namespace: str) -> bool:
        """Whether the network namespace belongs to this lab, judged by its name alone."""
        if namespace in (self.router_namespace, self.client_namespace, self.admin_namespace):
            return True
        return re.fullmatch(rf"{re.escape(self.name)}-[0-9a-f]{{{INSTANCE_TAIL}}}", namespace) is not None


def instance_tail(instance_id: str) -> str:
    """The last digits of an instance id: short enough for an interface name, long enough not to collide."""
    return instance_id[-INSTANCE_TAIL:]


def host_interface(instance_id: str) -> str:
    """The router's interface towards an instance (at most 15 characters)."""
    return f"v{instance_tail(instance_id)}"


def layout(name: str | None = None) -> Layout:
    """The layout of the lab called `name`, or of ANTMEDIA_LAB, or of `lab`. Raises LabError for a bad name."""
    chosen = name or os.environ.get("ANTMEDIA_LAB") or "lab"
    if not NAME_PATTERN.fullmatch(chosen):
        raise LabError(
            f"{chosen!r} is not a lab's name: use at most 12 lower-case letters, digits and dashes, a letter first."
        )
    return Layout(chosen, Path(os.environ.get("ANTMEDIA_LAB_STATE") or "/var/lib/antmedia").absolute())
