"""A lab under test, used as a person uses it: through its commands and its AWS API."""

from __future__ import annotations

import functools
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest

from lab.forward import Relay
from lab.layout import Layout, layout
from tests.engine import permissions
from tests.patience import BUSY, PATIENCE

CHECKOUT = Path(__file__).resolve().parents[2]
DEBIAN_13 = "ami-0ccc0000000001302"
COMMAND_SECONDS = 2 * PATIENCE

_MAKING_CLIENTS = threading.Lock()
"""Clients may be used by several threads; a session, which makes them, may not."""


@functools.cache
def _session() -> boto3.session.Session:
    """One for all clients: it reads what it knows of EC2, a third of a second's work, once."""
    return boto3.session.Session()


@dataclass
class Lab:
    """A running lab, used through its commands as a person would, and through its AWS API."""

    name: str
    _relays: dict[int, Relay] = field(default_factory=dict)

    @property
    def layout(self) -> Layout:
        return layout(self.name)

    def command(
        self, *arguments: str, stdin: str | None = None, check: bool = True, seconds: float = COMMAND_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """`lab/lab ARGUMENTS` for this lab. With `check`, a failure fails the test and shows what was said."""
        done = subprocess.run(
            [sys.executable, "-m", "lab", "--lab", self.name, *arguments],
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            cwd=CHECKOUT,
            timeout=seconds,
        )
        if check and done.returncode:
            pytest.fail(f"lab/lab {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def client(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """A command from 192.0.2.10, a viewer on the internet."""
        return self.command("client", "--", *command, **options)

    def admin(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """A command from 192.0.2.20, an admin on the internet."""
        return self.command("admin", "--", *command, **options)

    def host(self, name: str, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """A command as root on the host with this Name tag or instance id."""
        return self.command("host", name, "--", *command, **options)

    def status(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.command("status", "--json").stdout)
        return found

    def objects(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = json.loads(self.command("objects").stdout)
        return found

    def api(self, service: str) -> Any:
        """A boto3 client of this lab's AWS API."""
        if 5000 not in self._relays:
            self._relays[5000] = Relay(self.layout.router_namespace, ("127.0.0.1", 5000))
        with _MAKING_CLIENTS:
            return _session().client(
                service,
                endpoint_url=f"http://127.0.0.1:{self._relays[5000].port}",
                region_name="us-east-1",
                aws_access_key_id="test",
                aws_secret_access_key="test",
            )

    def ec2(self) -> Any:
        return self.api("ec2")

    def controller(self) -> int:
        """The process id of the controller."""
        return int(self.layout.pid_file.read_text())

    def wait_for_host(self, name: str, seconds: float = PATIENCE) -> None:
        """Waits until the host has booted and cloud-init is done."""
        deadline = time.monotonic() + seconds
        said = ""
        while time.monotonic() < deadline:
            done = self.host(name, "cloud-init", "status", "--wait", check=False)
            if "status: done" in done.stdout:
                return
            said = done.stdout + done.stderr
            time.sleep(0.2)
        console = self.command("console", name, check=False).stdout
        said += self.command("status", check=False).stdout + self.command("logs", check=False).stdout[-3000:]
        pytest.fail(f"{name} has not booted in {seconds:.0f} s: {said}\nIts console says:\n{console[-3000:]}")

    def down(self) -> None:
        """Ends the lab. Fails the test if a deployment has asked AWS for what its policy does not allow."""
        self._relays.clear()
        asked = self.layout.calls.read_text() if self.layout.calls.exists() else ""
        self.command("down")
        if lacking := permissions.complaint(asked):
            pytest.fail(lacking, pytrace=False)


def start(name: str, *images: str) -> Lab:
    """Starts a lab, or fails the test with what the lab says is missing. Only these images are built beforehand."""
    made = Lab(name)
    done = made.command("up", *(f"--image={image}" for image in images), check=False, seconds=1200.0)
    if done.returncode:
        pytest.fail(f"The lab does not start: {done.stdout}{done.stderr}")
    return made


@dataclass
class Network:
    """A VPC with an internet gateway and one public subnet, and instances in it, all taken away at the end."""

    lab: Lab
    prefix: str
    vpc: str
    subnet: str
    table: str
    gateway: str
    _addresses: Iterator[int] = field(default_factory=lambda: itertools.count(10))

    def group(self, name: str, ingress: tuple[Any, ...] = (), egress: tuple[Any, ...] | None = None) -> str:
        """A security group. `egress` None keeps EC2's default, which lets everything out."""
        ec2 = self.lab.ec2()
        group: str = ec2.create_security_group(GroupName=name, Description=name, VpcId=self.vpc)["GroupId"]
        if egress is not None:
            everything = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
            ec2.revoke_security_group_egress(GroupId=group, IpPermissions=everything)
        if ingress:
            ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=list(ingress))
        if egress:
            ec2.authorize_security_group_egress(GroupId=group, IpPermissions=list(egress))
        return group

    def launch(self, name: str, *groups: str, public: bool = True, subnet: str = "", **options: Any) -> Instance:
        """Runs an instance and returns at once; `options` go to RunInstances."""
        interface = {
            "DeviceIndex": 0,
            "SubnetId": subnet or self.subnet,
            "AssociatePublicIpAddress": public,
            **({"Groups": list(groups)} if groups else {}),
        }
        if not subnet:
            interface["PrivateIpAddress"] = f"{self.prefix}.0.{next(self._addresses)}"
        run = self.lab.ec2().run_instances(
            InstanceType="t3.small",
            MinCount=1,
            MaxCount=1,
            NetworkInterfaces=[interface],
            TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}],
            **{"ImageId": DEBIAN_13, **options},
        )
        return Instance(self.lab, name, run["Instances"][0]["InstanceId"])

    def remove(self) -> None:
        ec2 = self.lab.ec2()
        filters = [{"Name": "vpc-id", "Values": [self.vpc]}]
        found = ec2.describe_instances(Filters=filters)["Reservations"]
        instances = [instance["InstanceId"] for each in found for instance in each["Instances"]]
        if instances:
            ec2.terminate_instances(InstanceIds=instances)
        for address in ec2.describe_addresses()["Addresses"]:
            if address.get("InstanceId") in instances or "InstanceId" not in address:
                if "AssociationId" in address:
                    ec2.disassociate_address(AssociationId=address["AssociationId"])
                ec2.release_address(AllocationId=address["AllocationId"])
        ec2.detach_internet_gateway(InternetGatewayId=self.gateway, VpcId=self.vpc)
        ec2.delete_internet_gateway(InternetGatewayId=self.gateway)
        for subnet in ec2.describe_subnets(Filters=filters)["Subnets"]:
            ec2.delete_subnet(SubnetId=subnet["SubnetId"])
        for association in ec2.describe_route_tables(RouteTableIds=[self.table])["RouteTables"][0]["Associations"]:
            ec2.disassociate_route_table(AssociationId=association["RouteTableAssociationId"])
        ec2.delete_route_table(RouteTableId=self.table)
        groups = ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
        own = [group for group in groups if group["GroupName"] != "default"]
        for group in own:  # groups may name each other
            if group["IpPermissions"]:
                ec2.revoke_security_group_ingress(GroupId=group["GroupId"], IpPermissions=group["IpPermissions"])
            if group["IpPermissionsEgress"]:
                ec2.revoke_security_group_egress(GroupId=group["GroupId"], IpPermissions=group["IpPermissionsEgress"])
        for group in own:
            ec2.delete_security_group(GroupId=group["GroupId"])
        ec2.delete_vpc(VpcId=self.vpc)


@dataclass(frozen=True)
class Instance:
    """A launched instance."""

    lab: Lab
    name: str
    id: str

    def _described(self) -> dict[str, Any]:
        found: dict[str, Any] = self.lab.ec2().describe_instances(InstanceIds=[self.id])["Reservations"][0]
        instance: dict[str, Any] = found["Instances"][0]
        return instance

    @property
    def private(self) -> str:
        return str(self._described()["PrivateIpAddress"])

    @property
    def public(self) -> str:
        return str(self._described()["PublicIpAddress"])

    def run(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.lab.host(self.id, *command, **options)

    def ready(self) -> Instance:
        """Waits until it has booted."""
        self.lab.wait_for_host(self.id)
        return self

    def serve(self, *ports: int) -> None:
        """Answers every TCP connection and UDP datagram on these ports with the address it comes from."""
        program = (CHECKOUT / "tests/lab/say_who.py").read_text()
        self.run("sh", "-c", "cat > /usr/local/bin/say_who.py", stdin=program)
        self.run("systemd-run", "--quiet", "python3", "/usr/local/bin/say_who.py", *map(str, ports))
        self.run("sh", "-c", f"until ss -Hltn sport = :{ports[-1]} | grep -q .; do sleep 0.05; done")


def make_network(lab: Lab, prefix: str) -> Network:
    """A VPC PREFIX.0.0/16 with the public subnet PREFIX.0.0/24."""
    ec2 = lab.ec2()
    vpc = ec2.create_vpc(CidrBlock=f"{prefix}.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock=f"{prefix}.0.0/24")["Subnet"]["SubnetId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    association = ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    assert association["AssociationId"]
    return Network(lab, prefix, vpc, subnet, table, gateway)


def from_anywhere(protocol: str, first: int, last: int | None = None, cidr: str = "0.0.0.0/0") -> dict[str, Any]:
    """A permission for a CIDR as the API takes it."""
    return {
        "IpProtocol": protocol,
        "FromPort": first,
        "ToPort": first if last is None else last,
        "IpRanges": [{"CidrIp": cidr}],
    }


def from_group(protocol: str, port: int, group: str) -> dict[str, Any]:
    """A permission for a group as the API takes it."""
    return {"IpProtocol": protocol, "FromPort": port, "ToPort": port, "UserIdGroupPairs": [{"GroupId": group}]}


def remains(made: Layout) -> list[str]:
    """What exists on this machine that belongs to the lab: namespaces, mounts, processes, groups, files."""
    found = [str(path) for path in (made.state, made.lock, made.certificate) if path.exists()]
    for directory in ("/run/netns", "/etc/netns"):
        if Path(directory).is_dir():
            found += [str(entry) for entry in Path(directory).iterdir() if made.owns_namespace(entry.name)]
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if str(made.state) + "/" in line]
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if f"/{made.name}-" in line]
    for line in Path("/proc/mounts").read_text().splitlines():
        if line.split()[2].startswith("cgroup") and (group := Path(line.split()[1]) / made.cgroup_name).exists():
            found.append(str(group))
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if f"--lab {made.name} " in command or str(made.state) + "/" in command:
                found.append(f"process {entry.name} {command}")
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        if f"{made.state}/" in backing.read_text():
            found.append(f"block device {backing.parents[1].name}")
    nspawn = Path("/run/systemd/nspawn")
    for directory in ("propagate", "unix-export"):
        if (nspawn / directory).is_dir():
            found += [str(entry) for entry in (nspawn / directory).iterdir() if entry.name.startswith(f"{made.name}-")]
    return found


PROBE = (CHECKOUT / "tests/lab/probe.py").read_text()


Run = Callable[..., subprocess.CompletedProcess[str]]


def probe(run: Run, address: str, port: int, protocol: str = "tcp", seconds: float = 1.5) -> str:
    """Who somebody is at `address:port`, as seen from there, or how it failed: `silent`, `refused`, an errno's name.

    `run` runs a command as that somebody: `lab.client`, `lab.admin` or `instance.run`.
    """
    answer = run("python3", "-", protocol, address, str(port), str(seconds), stdin=PROBE).stdout.strip()
    return answer.split()[0] if answer else "closed"


def eventually(what: Callable[[], object], expected: object, seconds: float, pause: float = 0.05) -> None:
    """Asks until the answer is as expected; fails with the last answer.

    `seconds`: what it may take on a machine that does nothing else. `pause`: seconds between questions, or more.
    Most questions start programs: asked without rest they would take a processor from what is waited for.
    """
    asked = time.monotonic()
    deadline = asked + BUSY * seconds
    while (found := what()) != expected:
        now = time.monotonic()
        if now > deadline:
            pytest.fail(f"after {BUSY * seconds} s still {found!r}, not {expected!r}")
        time.sleep(max(pause, min(0.5, now - asked)))
        asked = time.monotonic()
