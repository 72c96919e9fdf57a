"""A look at a deployment as one screen of text."""

from __future__ import annotations

import itertools
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tools.live.status import Certificate, LoadBalancer, Node, Status

_COLOURS: Final = {"up": "green", "down": "bold red", "drain": "yellow", "maint": "yellow", "unknown": "red"}


def screen(status: Status) -> RenderableType:
    """Colours say nothing that the words do not."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("node", "role", "state", "for", "last check", "sessions", "RTMP", "image"):
        # Where a terminal is narrow, these two go on in another line; nothing is cut off.
        folds = title in ("last check", "image")
        right = title in ("sessions", "RTMP")
        table.add_column(title, no_wrap=not folds, overflow="fold", justify="right" if right else "left")
    for node in status.nodes:
        table.add_row(*_row(node))
    problems = [Text(f"! {problem}", style="red") for problem in status.problems] or [Text("All is well.", "green")]
    return Group(
        Text(f"stack {status.stack}, {status.time.astimezone():%Y-%m-%d %H:%M:%S}", style="bold"),
        Text(""),
        *(Text(line) for line in (*_load_balancer(status.load_balancer), *_certificate(status.certificate))),
        Text(""),
        table,
        Text(""),
        *problems,
    )


def _load_balancer(each: LoadBalancer) -> list[str]:
    reloads = "never reloaded"
    if each.last_reload_seconds is not None:
        reloads = f"reloaded {span(each.last_reload_seconds)} ago ({each.reloads} in all)"
    failed = f", {each.failed_reloads} reloads failed" if each.failed_reloads else ""
    old = "; ".join(
        f"{worker.pid} ({span(worker.age_seconds)} old, sessions: {worker.sessions})" for worker in each.old_workers
    )
    return [
        f"{each.name}         {each.address}, image {each.image or 'unknown'}",
        f"HAProxy      {each.version}, up {span(each.uptime_seconds)}, {reloads}{failed}",
        f"connections  {each.connections} of {each.max_connections}",
        f"old workers  {f'{len(each.old_workers)} still finishing: {old}' if old else 'none'}",
    ]


def _certificate(each: Certificate | None) -> list[str]:
    if not each:
        return ["certificate  none"]
    days = f"{each.days_left} days left" if each.days_left >= 0 else "ended"
    return [
        f"certificate  {', '.join(each.names)}: {days}, until {each.ends:%Y-%m-%d}, from {each.issuer}",
        *([f"renewal      {each.renewal}"] if each.renewal else []),
    ]


def _row(node: Node) -> list[str | Text]:
    if node.state is None:
        return [node.name, node.role, "-", "-", "-", "-", "-", node.image or "unknown"]
    check = "-"
    if found := node.last_check:
        took = f" in {found.milliseconds} ms" if found.milliseconds is not None else ""
        check = " ".join(filter(None, (found.outcome, str(found.http_status or ""), found.said))) + took
    return [
        node.name,
        node.role,
        Text(node.state, style=_COLOURS[node.state]),
        span(node.since_seconds) if node.since_seconds is not None else "-",
        Text(check),
        str(node.sessions),
        str(node.rtmp_connections),
        node.image or "unknown",
    ]


def span(seconds: int) -> str:
    """A length of time in its two largest units, such as `3 h 12 min`."""
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    for (name, size), (smaller, part) in itertools.pairwise(units):
        if seconds >= size:
            rest = seconds % size // part
            return f"{seconds // size} {name}" + (f" {rest} {smaller}" if rest else "")
    return f"{seconds} s"
