"""What hosts said becomes one document, the document becomes one screen. Pure."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cryptography import x509

from cluster.haproxy import HEALTH_POOL, RTMP_POOL

_AGE: Final = re.compile(r"(\d+)d(\d+)h(\d+)m(\d+)s")


@dataclass(frozen=True)
class Worker:
    """A process of HAProxy that serves connections."""

    pid: str
    age_seconds: int
    """Since the load or reload that started it."""
    version: str
    is_old: bool
    """A reload has left it behind, to finish its connections."""


def workers(processes: str) -> tuple[Worker, ...]:
    """From the master's answer to `show proc`."""
    current, _, old = processes.partition("# old workers")
    found = []
    for text, is_old in ((current, False), (old, True)):
        for line in text.splitlines():
            fields = line.split()
            if len(fields) >= 4 and fields[1] == "worker" and (age := _AGE.fullmatch(fields[3])):
                days, hours, minutes, seconds = map(int, age.groups())
                seconds += 60 * (minutes + 60 * (hours + 24 * days))
                found.append(Worker(fields[0], seconds, " ".join(fields[4:5]), is_old))
    return tuple(found)


def information(text: str) -> dict[str, str]:
    """From the answer to `show info`: its values by its names."""
    return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)


def servers(statistics: str) -> dict[str, dict[str, dict[str, str]]]:
    """From the answer to `show stat`: its rows of servers, by node and pool."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for row in csv.DictReader(io.StringIO(statistics.lstrip("# "))):
        if row["type"] == "2":  # a server: neither a frontend, nor a backend, nor a listener
            found.setdefault(row["svname"], {})[row["pxname"]] = row
    return found


def state(status: str) -> str:
    """`up`, `down`, `drain` or `maint`, of what HAProxy calls a server, such as `DOWN 1/2` or `MAINT (via nodes/x)`."""
    word = status.split(maxsplit=1)[0].lower() if status.strip() else ""
    return word if word in ("up", "down", "drain", "maint") else "unknown"


def certificate(pem: str, now: datetime) -> dict[str, Any] | None:
    """Names and days left; None where there is none. `now` is with a time zone."""
    try:
        held = x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        return None
    try:
        names = held.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        shown = [str(name) for kind in (x509.DNSName, x509.IPAddress) for name in names.get_values_for_type(kind)]
    except x509.ExtensionNotFound:
        shown = []
    return {"names": shown, "daysLeft": (held.not_valid_after_utc - now).days}


def _node(
    told: Mapping[str, Any], pools: Mapping[str, Mapping[str, str]], host: Mapping[str, Any] | None
) -> dict[str, Any]:
    checked = pools.get(HEALTH_POOL)
    found: dict[str, Any] = {
        "role": told["role"],
        "privateAddress": told["privateAddress"],
        "uptimeSeconds": int(float(host["uptime"].split()[0])) if host else None,
        "service": host.get("service") if host else None,
    }
    if told["role"] in ("origin", "edge"):
        found |= {
            "state": state(checked["status"]) if checked else "unknown",
            "check": (checked["check_status"] or None) if checked else None,
            "sessions": sum(int(row["scur"] or 0) for row in pools.values()),
            "rtmpConnections": int(pools[RTMP_POOL]["scur"] or 0) if RTMP_POOL in pools else 0,
        }
    return found


def document(
    stack: str,
    nodes: Mapping[str, Mapping[str, Any]],
    balancer: Mapping[str, Any],
    hosts: Mapping[str, Mapping[str, Any] | None],
    now: datetime,
) -> dict[str, Any]:
    """What `make status ARGS=--json` prints; docs/operations.md has its keys.

    Args:
        stack: its name.
        nodes: the stack's output of this name.
        balancer: what tools/status/probe.py printed.
        hosts: for each other node its `uptime`, as /proc has it, and its `service`'s state; None where it did not say.
        now: with a time zone.
    """
    info, running, by_node = (
        information(balancer["info"]),
        workers(balancer["processes"]),
        servers(balancer["statistics"]),
    )
    newest = min((worker for worker in running if not worker.is_old), key=lambda each: each.age_seconds, default=None)
    told = {
        name: {"uptime": balancer["uptime"]} if each["role"] == "lb" else hosts.get(name)
        for name, each in nodes.items()
    }
    old = [
        {
            "pid": int(worker.pid),
            "ageSeconds": worker.age_seconds,
            "connections": int(seen["CurrConns"])
            if "CurrConns" in (seen := information(balancer["old"].get(worker.pid, "")))
            else None,
        }
        for worker in running
        if worker.is_old
    ]
    return {
        "stack": stack,
        "time": now.isoformat(timespec="seconds"),
        "haproxy": {
            "running": bool(info),
            "version": info.get("Version"),
            "connections": int(info["CurrConns"]) if info else None,
            "lastLoadSeconds": newest.age_seconds if newest else None,
            "oldWorkers": old,
        },
        "certificate": certificate(balancer["certificate"], now),
        "nodes": {name: _node(each, by_node.get(name, {}), told[name]) for name, each in nodes.items()},
    }


def age(seconds: int | None) -> str:
    """In the two largest units."""
    if seconds is None:
        return "?"
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    parts = [f"{value} {unit}" for value, unit in ((days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")) if value]
    return " ".join(parts[:2]) or "0 s"


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines, with columns as wide as they need to be."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def screen(seen: Mapping[str, Any]) -> str:
    """One screen of the document."""
    balancer, certified = seen["haproxy"], seen["certificate"]
    lines = [f"stack {seen['stack']}  {seen['time']}", ""]
    rows = [["node", "role", "state", "check", "sessions", "RTMP", "service", "host up"]]
    for name, node in seen["nodes"].items():
        figures = [str(node.get(key, "")) for key in ("state", "check", "sessions", "rtmpConnections")]
        service = "" if node["role"] == "lb" else node["service"] or "no answer"
        rows.append([name, node["role"], *figures, service, age(node["uptimeSeconds"])])
    lines += [*table(rows), ""]
    if balancer["running"]:
        loaded = age(balancer["lastLoadSeconds"])
        lines.append(f"HAProxy {balancer['version']}: {balancer['connections']} connections, loaded {loaded} ago")
    else:
        lines.append("HAProxy does not run: make ssh NODE=lb-1, journalctl -u haproxy says why")
    lines += [
        f"  old worker {old['pid']}: {'?' if old['connections'] is None else old['connections']} connections, "
        f"started {age(old['ageSeconds'])} ago"
        for old in balancer["oldWorkers"]
    ]
    lines.append(
        f"certificate: {', '.join(certified['names'])}, {certified['daysLeft']} days left"
        if certified
        else "certificate: none"
    )
    return "\n".join(lines)
