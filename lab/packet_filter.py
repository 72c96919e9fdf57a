"""Security groups, public addresses and cut cables as one nftables ruleset. Pure: values in, text out.

What EC2 does, and where it is done here:

- A packet leaving an instance is judged by the egress rules of the instance's groups by the address it was sent to
  (before a public address is translated), a packet arriving by the ingress rules by the source address that the
  instance will see (after translation). So a rule whose other end is a group matches private addresses only.
- Groups are stateful: the answer to what was let in or out passes.
- An instance without a public address, or in a subnet without a route to an internet gateway, has no way to or from
  the internet. Nobody on the internet reaches a private address.
- The metadata service and the resolver are not subject to security groups.
- When a public address moves or goes, connections over the old association die.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lab import layout
from lab.ec2.model import Instance, Rule, SecurityGroup, Subnet, Vpc

PROVIDED_ADDRESSES = (layout.METADATA_ADDRESS, layout.DNS_ADDRESS)
_VERDICTS = "ipv4_addr : verdict"
_PORT_PROTOCOLS = {"6": "tcp", "17": "udp"}


@dataclass(frozen=True)
class Member:
    """An instance as the packet filter sees it: one interface with a private and perhaps a public address."""

    instance_id: str
    private: str
    public: str | None
    vpc_id: str
    vpc_cidr: str
    groups: tuple[str, ...]

    @property
    def interface(self) -> str:
        return layout.host_interface(self.instance_id)


def members(
    instances: Iterable[Instance], subnets: Iterable[Subnet], vpcs: Iterable[Vpc], public: Mapping[str, str]
) -> list[Member]:
    """The running instances; `public` maps public to private addresses. A public address counts only where the
    subnet's routes lead to an internet gateway."""
    connected = {subnet.id for subnet in subnets if subnet.reaches_internet}
    cidrs = {vpc.id: vpc.cidr for vpc in vpcs}
    by_private = {private: address for address, private in public.items()}
    return [
        Member(
            instance_id=instance.id,
            private=instance.private_ip,
            public=by_private.get(instance.private_ip) if instance.subnet_id in connected else None,
            vpc_id=instance.vpc_id,
            vpc_cidr=cidrs[instance.vpc_id],
            groups=instance.security_group_ids,
        )
        for instance in instances
        if instance.state in ("pending", "running") and instance.vpc_id in cidrs
    ]


def ruleset(
    present: Sequence[Member],
    groups: Iterable[SecurityGroup],
    vpcs: Iterable[Vpc] = (),
    cut_interfaces: Collection[str] = frozenset(),
) -> str:
    """The whole ruleset of the router as text for `nft -f`, replacing whatever is loaded in one transaction."""
    present = sorted(present, key=lambda member: member.instance_id)
    by_id = {group.id: group for group in groups}
    addresses: dict[str, list[str]] = {}
    for member in present:
        for group in member.groups:
            addresses.setdefault(group, []).append(member.private)

    chains: list[str] = []
    for member in present:
        own = [by_id[group] for group in member.groups if group in by_id]
        egress = _accepts((rule for group in own for rule in group.egress), "daddr", addresses)
        ingress = _accepts((rule for group in own for rule in group.ingress), "saddr", addresses)
        peers = sorted(peer.private for peer in present if peer.vpc_id == member.vpc_id)
        way_out = [] if member.public else [f"ip daddr != {member.vpc_cidr} drop"]
        chains += _chain(_egress_chain(member), [*way_out, *egress, "drop"])
        # Only what came for the public address, or from inside the VPC, arrives at all.
        not_routed = f"ct status & dnat == 0 ip saddr != {_set(peers)} drop"
        chains += _chain(_ingress_chain(member), [not_routed, *ingress, "drop"])

    with_public = [member for member in present if member.public]
    lines = [
        "add table ip lab",
        "delete table ip lab",
        "table ip lab {",
        *_named("set", "interface_addresses", "ifname . ipv4_addr", _interface_addresses(present)),
        *_named("set", "associations", "ipv4_addr . ipv4_addr", [f"{m.public} . {m.private}" for m in with_public]),
        *_named("map", "private_of", "ipv4_addr : ipv4_addr", [f"{m.public} : {m.private}" for m in with_public]),
        *_named("map", "public_of", "ipv4_addr : ipv4_addr", [f"{m.private} : {m.public}" for m in with_public]),
        *chains,
        *_named("map", "egress_of", _VERDICTS, [f"{m.private} : jump {_egress_chain(m)}" for m in present]),
        *_named("map", "ingress_of", _VERDICTS, [f"{m.private} : jump {_ingress_chain(m)}" for m in present]),
        *_base_chains(sorted(vpc.cidr for vpc in vpcs), sorted(cut_interfaces)),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _base_chains(vpc_cidrs: Sequence[str], cut: Sequence[str]) -> list[str]:
    # The policy of every chain is accept: while a new table replaces the old one, the new chains are in place before
    # their rules are, and the old chains still judge.
    provided = _set(PROVIDED_ADDRESSES)
    cut_set = _set([f'"{name}"' for name in cut])
    cut_in = [f"iifname {cut_set} drop"] if cut else []
    cut_out = [f"oifname {cut_set} drop"] if cut else []
    return [
        *_chain(
            "cables",
            [
                "type filter hook prerouting priority raw; policy accept;",
                *cut_in,
                'iifname != "lo" iifname . ip saddr != @interface_addresses drop',
                f'iifname {{ "client", "admin" }} ip daddr {layout.METADATA_ADDRESS} drop',
            ],
        ),
        *_chain(
            "leaving",
            [
                "type filter hook prerouting priority mangle; policy accept;",
                "ct status dnat ct original ip daddr . ct reply ip saddr != @associations drop",
                f"ip daddr {provided} accept",
                f"ct status snat ct original ip saddr != {layout.ROUTER_ADDRESS}"
                " ct reply ip daddr . ct original ip saddr != @associations drop",
                "ct state established,related accept",
                "ip saddr vmap @egress_of",
            ],
        ),
        *_chain("to_private", ["type nat hook prerouting priority dstnat; policy accept;", _DNAT]),
        *_chain("to_private_from_router", ["type nat hook output priority -100; policy accept;", _DNAT]),
        *_chain(
            "from_public",
            [
                "type nat hook postrouting priority srcnat; policy accept;",
                # The ACME server asks from its own address, whoever else works in the router's namespace is the admin.
                f"meta skgid {layout.ACME_GROUP_ID} ip saddr {layout.ROUTER_ADDRESS}"
                f' oifname != "lo" snat to {layout.ACME_ADDRESS}',
                f'ip saddr {layout.ROUTER_ADDRESS} oifname != "lo" snat to {layout.ADMIN_ADDRESS}',
                "ct status dnat snat to ip saddr map @public_of",
                f"ip daddr {layout.INTERNET} snat to ip saddr map @public_of",
            ],
        ),
        *_chain(
            "from_public_to_router",
            [
                "type nat hook input priority 100; policy accept;",
                f"ip daddr {layout.INTERNET} snat to ip saddr map @public_of",
            ],
        ),
        *_chain(
            "arriving",
            [
                "type filter hook postrouting priority srcnat + 10; policy accept;",
                *cut_out,
                # An address that nobody has, or whose host is off: silence.
                f'oifname "lo" ip daddr {_set([layout.PUBLIC_ADDRESSES, *vpc_cidrs])} drop',
                "ct state established,related accept",
                "ip daddr vmap @ingress_of",
            ],
        ),
    ]


_DNAT = "dnat to ip daddr map @private_of"


def _accepts(rules: Iterable[Rule], side: str, addresses: Mapping[str, Sequence[str]]) -> list[str]:
    """One `accept` line per rule that can match anything; the same set of rules gives the same lines."""
    found = set()
    for rule in rules:
        other_end = _other_end(rule, side, addresses)
        if other_end is not None:
            found.add(" ".join(part for part in (other_end, _traffic(rule), "accept") if part))
    return sorted(found)


def _other_end(rule: Rule, side: str, addresses: Mapping[str, Sequence[str]]) -> str | None:
    if rule.group_id is not None:
        group = addresses.get(rule.group_id)
        return f"ip {side} {_set(sorted(group))}" if group else None
    if rule.cidr is None:
        return None
    network = ipaddress.ip_network(rule.cidr)
    return "" if network.prefixlen == 0 else f"ip {side} {network}"


def _traffic(rule: Rule) -> str:
    protocol = _PORT_PROTOCOLS.get(rule.protocol, rule.protocol)
    if protocol == "-1":
        return ""
    first, last = rule.from_port, rule.to_port
    if protocol in ("icmp", "1"):
        if first is None or first < 0:
            return "ip protocol icmp"
        code = f" icmp code {last}" if last is not None and last >= 0 else ""
        return f"icmp type {first}{code}"
    if protocol not in ("tcp", "udp"):
        return f"ip protocol {protocol}"
    if first is None or last is None or first < 0 or (first, last) == (0, 65535):
        return f"ip protocol {protocol}"
    return f"{protocol} dport {first}" if first == last else f"{protocol} dport {first}-{last}"


def _interface_addresses(present: Iterable[Member]) -> list[str]:
    visitors = [("client", layout.CLIENT_ADDRESS), ("admin", layout.ADMIN_ADDRESS)]
    every = [*visitors, *((member.interface, member.private) for member in present)]
    return [f'"{interface}" . {address}' for interface, address in every]


def _egress_chain(member: Member) -> str:
    return f"from_{layout.instance_tail(member.instance_id)}"


def _ingress_chain(member: Member) -> str:
    return f"to_{layout.instance_tail(member.instance_id)}"


def _chain(name: str, lines: Sequence[str]) -> list[str]:
    return [f"  chain {name} {{", *(f"    {line}" for line in lines), "  }"]


def _named(kind: str, name: str, type_: str, elements: Iterable[str]) -> list[str]:
    held = sorted(elements)
    content = [f"    elements = {{ {', '.join(held)} }}"] if held else []
    return [f"  {kind} {name} {{", f"    type {type_};", *content, "  }"]


def _set(elements: Iterable[str]) -> str:
    return f"{{ {', '.join(elements)} }}"
