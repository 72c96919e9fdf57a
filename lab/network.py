"""Network namespaces of a lab: the router, the client and the admin on the internet, and one per host.

Everything is routed, nothing bridged. The router answers ARP for every address it has a route to and holds one /32
route per host, so that every packet between two hosts passes its packet filter, as on EC2. No namespace has a link
to the machine's own network.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from lab import layout
from lab.layout import LabError, Layout

NETNS = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)
T = TypeVar("T")

# The router forwards; answers ARP at once; keeps quiet about better routes; has no IPv6. The reverse-path filter is
# off because the packet filter checks each interface's source address itself.
_ROUTER_SETTINGS = (
    "net.ipv4.ip_forward=1",
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.default.rp_filter=0",
    "net.ipv4.conf.all.send_redirects=0",
    "net.ipv4.conf.default.send_redirects=0",
    "net.ipv4.neigh.default.proxy_delay=0",
)
_NO_IPV6 = ("net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")


def _ip_batch(commands: Iterable[str], namespace: str | None = None) -> None:
    command = ["ip", *(["-n", namespace] if namespace else []), "-batch", "-"]
    done = subprocess.run(command, input="\n".join(commands), text=True, capture_output=True)
    if done.returncode:
        raise LabError(f"The network of the lab cannot be made: {done.stderr.strip()}.")


def in_namespace(namespace: str, work: Callable[[], T]) -> T:
    """Calls `work` in a thread of its own inside the network namespace; its sockets stay there."""
    result: list[T] = []
    failure: list[BaseException] = []

    def enter() -> None:
        try:
            descriptor = os.open(NETNS / namespace, os.O_RDONLY)
            try:
                if _LIBC.setns(descriptor, _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), f"setns to {namespace}")
            finally:
                os.close(descriptor)
            result.append(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=enter, name=f"netns {namespace}", daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


def listen(namespace: str, address: tuple[str, int], kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """A bound (TCP: listening) socket that lives in the namespace, whatever namespace this process is in."""

    def bind() -> socket.socket:
        opened = socket.socket(socket.AF_INET, kind)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        if kind == socket.SOCK_STREAM:
            opened.listen(128)
        return opened

    return in_namespace(namespace, bind)


def listen_both(namespace: str, address: tuple[str, int]) -> tuple[socket.socket, socket.socket]:
    """A bound UDP socket and a listening TCP socket on the same address."""
    return listen(namespace, address, socket.SOCK_DGRAM), listen(namespace, address)


def connect(namespace: str, address: tuple[str, int], timeout: float) -> socket.socket:
    """A TCP connection made from inside the namespace. Raises OSError; `timeout` in seconds."""
    return in_namespace(namespace, lambda: socket.create_connection(address, timeout))


def set_kernel(namespace: str, settings: Sequence[str]) -> None:
    """Writes `name=value` kernel settings of the namespace; one that this kernel lacks is left out."""

    def write() -> None:
        # /proc/sys/net shows the namespace of the thread that opens it, /proc/self that of the first thread.
        for setting in settings:
            name, value = setting.split("=", 1)
            with contextlib.suppress(FileNotFoundError):
                Path("/proc/sys", *name.split(".")).write_text(value)

    in_namespace(namespace, write)


def load_packet_filter(namespace: str, ruleset: str) -> None:
    """Loads an nftables ruleset in one transaction: all of it or nothing."""
    command = ["ip", "netns", "exec", namespace, "nft", "-f", "-"]
    done = subprocess.run(command, input=ruleset, text=True, capture_output=True)
    if done.returncode:
        raise LabError(f"The packet filter refuses the security groups: {done.stderr.strip()}")


def _resolver_files(namespace: str) -> None:
    # `ip netns exec` lays these over /etc. Without the second a machine with systemd-resolved would be asked for
    # names through its socket, which no network namespace shuts out.
    directory = Path("/etc/netns") / namespace
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "resolv.conf").write_text(f"nameserver {layout.DNS_ADDRESS}\noptions timeout:1 attempts:2\n")
    if Path("/etc/nsswitch.conf").exists():
        (directory / "nsswitch.conf").write_text(
            "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\n"
            "services: files\nethers: files\nrpc: files\n"
        )


def make_router(lab: Layout) -> None:
    """The router and the two visitors on the internet. Nothing is filtered until a ruleset is loaded."""
    router = lab.router_namespace
    _ip_batch([f"netns add {router}"])
    set_kernel(router, (*_NO_IPV6, *_ROUTER_SETTINGS))
    own = (
        *(layout.METADATA_ADDRESS, layout.DNS_ADDRESS),
        *(layout.ROUTER_ADDRESS, layout.ARCHIVE_ADDRESS, layout.ACME_ADDRESS, layout.AWS_ADDRESS),
    )
    _ip_batch(
        [
            "link set lo up",
            *(f"addr add {address}/32 dev lo" for address in own),
            f"route add {layout.PUBLIC_ADDRESSES} dev lo src {layout.ROUTER_ADDRESS}",
            f"route add unreachable {layout.INTERNET}",
        ],
        router,
    )
    _resolver_files(router)
    visitors = {"client": (lab.client_namespace, layout.CLIENT_ADDRESS)}
    visitors["admin"] = (lab.admin_namespace, layout.ADMIN_ADDRESS)
    for interface, (namespace, address) in visitors.items():
        _make_leaf(router, namespace, interface, f"{address}/24", layout.ROUTER_ADDRESS)
        _resolver_files(namespace)


def make_host(lab: Layout, instance_id: str, address: str, subnet: str) -> None:
    """An instance's namespace: eth0 with its private address in its subnet, the subnet's first address as gateway."""
    network = ipaddress.ip_network(subnet)
    gateway = str(network.network_address + 1)
    _ip_batch([f"addr replace {gateway}/32 dev lo"], lab.router_namespace)
    namespace = lab.host_namespace(instance_id)
    interface = layout.host_interface(instance_id)
    _make_leaf(lab.router_namespace, namespace, interface, f"{address}/{network.prefixlen}", gateway)


def _make_leaf(router: str, namespace: str, interface: str, address: str, gateway: str) -> None:
    # The kernel takes a namespace's interfaces away a while after the namespace: what is left of one before must not
    # stand in the way of its successor, which has the same address and may have the same name.
    subprocess.run(["ip", "-n", router, "link", "del", interface], capture_output=True)
    _ip_batch([f"netns add {namespace}"])
    set_kernel(namespace, _NO_IPV6)
    _ip_batch([f"link add {interface} netns {router} type veth peer name eth0 netns {namespace}"])
    set_kernel(router, (f"net.ipv4.conf.{interface}.proxy_arp=1", f"net.ipv4.neigh.{interface}.proxy_delay=0"))
    host = address.split("/")[0]
    _ip_batch(
        [f"link set {interface} up", f"route replace {host}/32 dev {interface} src {layout.ROUTER_ADDRESS}"], router
    )
    _ip_batch(["link set lo up", "link set eth0 up", f"addr add {address} dev eth0"], namespace)
    _ip_batch([f"route add default via {gateway}"], namespace)


def route_vpc(lab: Layout, cidr: str) -> None:
    """Addresses of a VPC that no host has lead nowhere: the packet filter drops them silently, as EC2 does."""
    _ip_batch([f"route replace {cidr} dev lo src {layout.ROUTER_ADDRESS}"], lab.router_namespace)


def remove_namespace(namespace: str) -> None:
    """Removes a namespace and its resolver files; nothing happens when there is none."""
    if (NETNS / namespace).exists():
        subprocess.run(["ip", "netns", "del", namespace], capture_output=True)
    shutil.rmtree(Path("/etc/netns") / namespace, ignore_errors=True)


def namespaces(lab: Layout) -> list[str]:
    """The network namespaces of this lab that exist, the router first."""
    directories = [directory for directory in (NETNS, Path("/etc/netns")) if directory.is_dir()]
    found = {entry.name for directory in directories for entry in directory.iterdir()}
    return sorted(name for name in found if lab.owns_namespace(name))
