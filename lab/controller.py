"""The controller: one process per lab that serves the account's APIs and keeps the hosts as the account says.

Every change of the account wakes the loop, which compares instances with hosts. Work on one host runs in a thread of
its own, so that a slow boot does not delay a security group or a public address.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import ipaddress
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import (
    acme,
    apt_proxy,
    aws_endpoints,
    cgroups,
    cleanup,
    control,
    dns,
    faults,
    hosts,
    images,
    layout,
    limits,
    metadata,
    network,
    packages,
    packet_filter,
    volumes,
)
from lab.authority import Authority
from lab.ec2 import backend, model, roles
from lab.ec2 import server as ec2_server
from lab.ec2.calls import Calls
from lab.layout import LabError, Layout

_LOG = logging.getLogger("lab")
_TICK_SECONDS = 1.0
_PARALLEL = 4
_ACTIVE = ("pending", "running")
_OFF = ("stopping", "stopped")
_REBOOT_STATUS = 133  # systemd-nspawn: the host wants to be started again
_FREE_BYTES = 500_000_000


@dataclass(frozen=True)
class Account:
    """A consistent copy of what the lab must make true."""

    instances: tuple[model.Instance, ...]
    groups: tuple[model.SecurityGroup, ...]
    vpcs: tuple[model.Vpc, ...]
    subnets: tuple[model.Subnet, ...]
    public: dict[str, str]
    elastic: tuple[str, ...]
    volumes: tuple[model.Volume, ...]

    @classmethod
    def read(cls) -> Account:
        with backend.LOCK:
            return cls(
                tuple(model.instances()),
                tuple(model.security_groups()),
                tuple(model.vpcs()),
                tuple(model.subnets()),
                model.public_addresses(),
                tuple(sorted(e.public_ip for e in backend.service("ec2").addresses if e.eni is not None)),
                tuple(model.volumes()),
            )


class Controller:
    """Runs one lab. `announce` is told each step, for who waits for the lab to be ready; with `log_to_file` this
    process's output goes to the lab's log from the moment there is one."""

    def __init__(self, lab: Layout, announce: Callable[[str], None], log_to_file: bool) -> None:
        self._lab, self._announce, self._log_to_file = lab, announce, log_to_file
        self._hosts: dict[str, hosts.Host] = {}
        self._busy: set[str] = set()
        self._failed: dict[str, str] = {}
        self._plugged: dict[str, tuple[str, volumes.Device]] = {}
        """By volume: the instance whose host has it, and as what. A host that is off has none."""
        self._faults = faults.Faults()
        self._names: dict[str, str | None] = {}
        self._ruleset = ""
        self._wake = threading.Event()
        self._stopping = False
        self._cgroup = Path()
        self._archive_hosts: set[str] = set()
        self._images: dict[str, Path] = {}
        self._pool = concurrent.futures.ThreadPoolExecutor(_PARALLEL, thread_name_prefix="host")

    # ---- life

    def run(self, ready: Callable[[], None]) -> None:
        """Serves until SIGTERM or SIGINT, then removes everything. Raises LabError when the lab cannot be made."""
        with cleanup.hold(self._lab) as free:
            if not free:
                raise LabError(f"The lab {self._lab.name!r} is running already: stop it with lab/lab down.")
            left = cleanup.remove_leftovers(self._lab)
            if left:
                self._announce(f"removed what an earlier lab left: {len(left)} things")
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: self._stop())
            try:
                self._make()
                ready()
                self._serve()
            finally:
                self._remove()

    def _stop(self) -> None:
        self._stopping = True
        self._wake.set()

    def _make(self) -> None:
        lab = self._lab
        lab.state.mkdir(parents=True, mode=0o700)
        lab.hosts.mkdir()
        lab.pid_file.write_text(f"{os.getpid()}\n")
        if shutil.disk_usage(lab.state).free < _FREE_BYTES:
            raise LabError(
                f"{lab.state} has less than 500 MB free: make room, or set ANTMEDIA_LAB_STATE to a larger disk."
            )
        if self._log_to_file:
            self._redirect_output()
        limits.raise_limits()
        self._cgroup = cgroups.prepare(lab)
        network.make_router(lab)
        network.load_packet_filter(lab.router_namespace, packet_filter.ruleset([], []))
        router = lab.router_namespace
        self._authority = Authority.make(lab.authority)
        api = ec2_server.serve(network.listen(router, layout.API_ADDRESS), self._wake.set, calls=Calls(lab.calls))
        aws_endpoints.serve(network.listen(router, (layout.AWS_ADDRESS, 443)), api.app, self._authority)
        credentials = roles.RoleCredentials().give
        listening = network.listen(router, (layout.METADATA_ADDRESS, 80))
        metadata.serve(listening, self._caller, model.security_groups, credentials)
        self._acme = acme.Acme(lab, self._authority, self._cgroup / "acme")
        self._acme.start()
        # A lab keeps the images it started with, whatever becomes of the recipes in the checkout meanwhile.
        for recipe in map(images.recipe, images.names()):
            if images.path(recipe.name).is_dir():
                self._images.update(dict.fromkeys(recipe.amis, images.path(recipe.name)))
        self._archive_hosts = apt_proxy.archive_hosts()
        archive = apt_proxy.Archive(images.cache_root() / "apt", self._archive_hosts, self._own_packages())
        for port in (80, layout.ARCHIVE_PROXY_PORT):
            apt_proxy.serve(network.listen(router, (layout.ARCHIVE_ADDRESS, port)), archive)
        dns.serve(*network.listen_both(router, (layout.DNS_ADDRESS, 53)), self._resolve)
        control.serve(lab, self._handle)

    def _own_packages(self) -> dict[str, Path]:
        """The lab's own repository by its name, as it is when the lab starts. Stacks are told the key that signs it."""
        repository = packages.path()
        if not repository.is_dir():
            return {}
        shutil.copyfile(repository / packages.PUBLIC_KEY, self._lab.packages_key)
        return {layout.PACKAGES_NAME: repository}

    def _redirect_output(self) -> None:
        log = os.open(self._lab.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for descriptor in (1, 2):
            os.dup2(log, descriptor)
        os.close(log)

    def _serve(self) -> None:
        while not self._stopping:
            self._wake.wait(_TICK_SECONDS)
            self._wake.clear()
            if self._stopping:
                return
            try:
                self._reconcile(Account.read())
            except Exception:
                _LOG.exception("the hosts could not be brought in line with the account")
                time.sleep(_TICK_SECONDS)

    def _remove(self) -> None:
        started = time.monotonic()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for host in self._hosts.values():
            if host.process:
                host.process.kill()
        cleanup.remove_leftovers(self._lab)
        self._announce(f"stopped, nothing left, {time.monotonic() - started:.1f} s")

    # ---- hosts

    def _reconcile(self, account: Account) -> None:
        # The filter first: a host never runs without it.
        self._load_filter(account)
        wanted = {instance.id: instance for instance in account.instances}
        for instance_id in [held for held in self._hosts if held not in wanted and held not in self._busy]:
            self._work(instance_id, "terminated", self._off(instance_id, self._hosts.pop(instance_id).destroy))
        for instance in account.instances:
            if instance.id not in self._busy:
                self._reconcile_one(instance, [v for v in account.volumes if v.instance_id == instance.id])
        self._free_volumes(account)
        for gone in set(volumes.known(self._lab)) - {volume.id for volume in account.volumes} - set(self._plugged):
            volumes.delete(self._lab, gone)

    def _reconcile_one(self, instance: model.Instance, attached: list[model.Volume]) -> None:
        host = self._hosts.get(instance.id)
        label = f"{instance.name} ({instance.id}, {instance.private_ip})"
        if instance.state in _ACTIVE:
            if host is None and instance.id not in self._failed:
                self._work(instance.id, f"{label} powered on", lambda: self._launch(instance, attached))
            elif host and not host.running and instance.id not in self._faults.killed:
                status = host.process.returncode if host.process else None
                if status is None or status == _REBOOT_STATUS:
                    self._work(instance.id, f"{label} powered on again", lambda: self._restart(host, attached))
            elif host and host.running:
                self._plug(host, label, attached)
        elif instance.state in _OFF:
            if host and host.process:
                self._faults.forget(instance.id)
                self._work(instance.id, f"{label} stopped", self._off(instance.id, host.stop))
        elif host:
            self._faults.forget(instance.id)
            del self._hosts[instance.id]
            self._work(instance.id, f"{label} terminated", self._off(instance.id, host.destroy))
        if instance.state not in _ACTIVE:
            self._failed.pop(instance.id, None)  # the next start is a new try

    def _free_volumes(self, account: Account) -> None:
        """A volume that was detached from a host that is off, whatever the account says of it, is nobody's."""
        attached = {volume.id: volume.instance_id for volume in account.volumes}
        for volume, (holder, _) in list(self._plugged.items()):
            host = self._hosts.get(holder)
            if holder not in self._busy and attached.get(volume) != holder and not (host and host.running):
                del self._plugged[volume]

    def _off(self, instance_id: str, power_off: Callable[[], object]) -> Callable[[], None]:
        """Powers a host off, after which its volumes are free for others."""

        def work() -> None:
            power_off()
            for volume in self._plugged_into(instance_id):
                del self._plugged[volume]

        return work

    def _plugged_into(self, instance_id: str) -> dict[str, volumes.Device]:
        """By id, the volumes that the instance's host has."""
        return {volume: device for volume, (holder, device) in list(self._plugged.items()) if holder == instance_id}

    def _devices(self, instance_id: str, attached: list[model.Volume]) -> tuple[volumes.Device, ...]:
        """The volumes that no other host has; those that one has come when it lets go of them."""
        free = [volume for volume in attached if self._plugged.get(volume.id, (instance_id,))[0] == instance_id]
        devices = tuple(volumes.attach(self._lab, volume.id, volume.size_gb) for volume in free)
        self._plugged.update({device.volume_id: (instance_id, device) for device in devices})
        return devices

    def _restart(self, host: hosts.Host, attached: list[model.Volume]) -> None:
        self._off(host.instance_id, host.stop)()
        host.devices = self._devices(host.instance_id, attached)
        host.start()

    def _plug(self, host: hosts.Host, label: str, attached: list[model.Volume]) -> None:
        """Brings a running host's volumes in line with the account."""
        has, wanted = self._plugged_into(host.instance_id), {volume.id: volume for volume in attached}
        as_large = {volume.id for volume in attached if volume.id in has and has[volume.id].size_gb >= volume.size_gb}
        if as_large == has.keys() == wanted.keys():
            return
        leader = hosts.leader(host.cgroup)
        if leader is None or host.instance_id in self._faults.paused:
            return
        for volume in has.keys() - wanted.keys():
            if volumes.unplug(has[volume], leader):
                del self._plugged[volume]
                _LOG.info("%s: %s unplugged", label, volume)
        for device in self._devices(host.instance_id, [wanted[id_] for id_ in wanted.keys() - as_large]):
            if device.volume_id not in has:
                volumes.plug(device, leader)
                _LOG.info("%s: %s plugged in as %s", label, device.volume_id, device.path)

    def _launch(self, instance: model.Instance, attached: list[model.Volume]) -> None:
        host = hosts.Host(
            lab=self._lab,
            instance_id=instance.id,
            address=instance.private_ip,
            subnet=instance.subnet_cidr or str(ipaddress.ip_network(f"{instance.private_ip}/24", strict=False)),
            image=self._image(instance.image_id),
            cgroup=self._cgroup / instance.id,
            trusted=self._authority,
            devices=self._devices(instance.id, attached),
        )
        try:
            host.start()
        except BaseException:
            host.destroy()
            raise
        self._hosts[instance.id] = host

    def _image(self, ami: str) -> Path:
        if ami not in self._images:
            try:
                self._images[ami] = images.ensure(images.for_ami(ami))
            except images.ImageError as error:
                raise LabError(f"its image: {error}") from error
        return self._images[ami]

    def _work(self, instance_id: str, what: str, action: Callable[[], object]) -> None:
        self._busy.add(instance_id)

        def work() -> None:
            started = time.monotonic()
            try:
                action()
                _LOG.info("%s, %.2f s", what, time.monotonic() - started)
            except Exception as error:
                self._failed[instance_id] = str(error)
                _LOG.exception("NOT %s", what)
            finally:
                self._busy.discard(instance_id)
                self._wake.set()

        self._pool.submit(work)

    def _load_filter(self, account: Account) -> None:
        present = packet_filter.members(account.instances, account.subnets, account.vpcs, account.public)
        cut = {layout.host_interface(instance_id) for instance_id in self._faults.cut}
        ruleset = packet_filter.ruleset(present, account.groups, account.vpcs, cut)
        if ruleset != self._ruleset:
            for vpc in account.vpcs:
                network.route_vpc(self._lab, vpc.cidr)
            network.load_packet_filter(self._lab.router_namespace, ruleset)
            self._ruleset = ruleset

    # ---- what hosts and people ask

    def _caller(self, address: str) -> model.Instance | None:
        return next((i for i in model.instances() if i.private_ip == address and i.state in _ACTIVE), None)

    def _resolve(self, name: str) -> model.AddressRecords | None:
        names = dns.Names(self._names, model.a_records, Account.read().elastic, self._archive_hosts)
        return names.resolve(name)

    def _handle(self, request: control.Request) -> Any:
        match request.get("ask"):
            case "status":
                return self.status()
            case "alarms":
                return [dataclasses.asdict(alarm) for alarm in model.alarms()]
            case "objects":
                return model.objects()
            case "elastic":
                return Account.read().elastic
            case "fault":
                return self._fault(request["kind"], self._find(request["host"]))
            case "host":
                return {"instance": self._find(request["host"]).id, "cgroup": str(self._cgroup)}
            case "name":
                return self._name(request["name"].rstrip(".").lower(), request["address"], request["exists"])
            case "acme":
                return self._handle_acme(request)
            case other:
                raise LabError(f"The controller does not know {other!r}: it is of another version; restart the lab.")

    def _name(self, name: str, address: str | None, exists: bool) -> None:
        if address is None and exists:
            self._names.pop(name, None)
        else:
            self._names[name] = address

    def _handle_acme(self, request: control.Request) -> Any:
        match request["action"]:
            case "root":
                return self._acme.root()
            case "start":
                return self._acme.start()
            case "stop":
                return self._acme.stop()
            case "lifetime":
                return self._acme.set_lifetime(request["seconds"])
            case _:
                return self._acme.report()

    def _find(self, wanted: str) -> model.Instance:
        present = [i for i in model.instances() if i.state != "terminated"]
        # The program tags each instance with its node's short name: lb-1.
        found = [i for i in present if wanted in (i.id, i.name, i.tags.get("Node"))]
        if len(found) == 1:
            return found[0]
        if found:
            raise LabError(f"Several hosts are called {wanted!r}: name one of {', '.join(i.id for i in found)}.")
        known = ", ".join(sorted(i.name for i in present)) or "none"
        raise LabError(f"There is no host {wanted!r}; there are: {known}.")

    def _fault(self, kind: str, instance: model.Instance) -> str:
        host = self._hosts.get(instance.id)
        if host is None:
            raise LabError(f"{instance.name} has no host now (it is {instance.state} in EC2).")
        self._failed.pop(instance.id, None)
        done = self._faults.apply(kind, host)
        self._load_filter(Account.read())
        self._wake.set()
        return f"{instance.name} {done}"

    def status(self) -> list[dict[str, Any]]:
        """One entry per instance that is not terminated."""
        found = []
        for instance in model.instances():
            if instance.state == "terminated":
                continue
            host = self._hosts.get(instance.id)
            up = host is not None and host.running
            found.append(
                {
                    "name": instance.name,
                    "instance": instance.id,
                    "state": instance.state,
                    "host": self._failed.get(instance.id) or self._faults.describe(instance.id, up),
                    "private": instance.private_ip,
                    "public": instance.public_ip if instance.state in _ACTIVE else None,
                    "uptime_seconds": round(time.time() - host.started_at) if host and up else None,
                    "memory_bytes": hosts.memory_bytes(host.cgroup) if host and up else None,
                }
            )
        return found
