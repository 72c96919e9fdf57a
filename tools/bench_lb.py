"""`make bench-lb`: our HAProxy configuration against the how-to's, a bare one and none, side by side on this machine.

Everything runs in a throw-away copy of the image `bench`, in network namespaces of its own. Ratios come from pairs of
runs that follow one another, so that a drift of the machine's speed meets both; a comparison ends when the interval of
its median ratio is within 3 %, or is reported as unresolved. Every run goes to build/bench-lb-runs.json, the figures to
build/bench-lb.json, and with --write a table to docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from cluster import render
from cluster.plan import plan
from cluster.settings import NAMESPACE, load
from lab import images
from tools import bench
from tools.render import configuration

CHECKOUT: Final = Path(__file__).resolve().parent.parent
INSIDE: Final = CHECKOUT / "tools" / "bench"
BUILD: Final = CHECKOUT / "build"
MAX_CONNECTIONS: Final = 8_000
HIGH_LIMITS: Final = {"connections": 100_000, "newConnectionsPerSecond": 100_000, "requestsPerSecond": 100_000}
OURS: Final = {"ours": 80}
HOWTO: Final = {"howto": 8081}
BARE: Final = {"bare": 8082}
PATH: Final = "/LiveApp/streams/x.ts"
"""What most requests are for: a file of a stream."""

DIRECT: Final = f"http://172.30.0.32:5080{PATH}"
JOB_SECONDS: Final = 3600


@dataclass(frozen=True)
class Comparison:
    """Requests per second of the first address over the second's."""

    key: str
    what: str
    start: dict[str, int]
    urls: tuple[str, str]
    target: float | None
    new: bool = False


def _on(port: int, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{port}{PATH}"


COMPARISONS: Final = (
    Comparison("ours_vs_howto_clear", "ours to the how-to's, clear", OURS | HOWTO, (_on(80), _on(8081)), 1.9),
    Comparison(
        "ours_vs_howto_tls", "ours to the how-to's, TLS", OURS | HOWTO, (_on(443, "https"), _on(8444, "https")), 1.9
    ),
    Comparison("ours_vs_bare_clear", "ours to bare, clear", OURS | BARE, (_on(80), _on(8082)), 0.95),
    Comparison("ours_vs_bare_tls", "ours to bare, TLS", OURS | BARE, (_on(443, "https"), _on(8445, "https")), 0.95),
    Comparison("tls_vs_clear", "TLS to clear, ours", OURS, (_on(443, "https"), _on(80)), 0.65),
    Comparison("ours_vs_direct", "ours, clear, to the node itself", OURS, (_on(80), DIRECT), None),
    Comparison(
        "new_connections_vs_bare",
        "ours to bare, a new connection with TLS for each request",
        OURS | BARE,
        (_on(443, "https"), _on(8445, "https")),
        None,
        new=True,
    ),
)


def our_configuration() -> str:
    """The haproxy.cfg of the stack `lab` with clear HTTP served, as `make render` would print it.

    All load comes from one address, so limits are as high as they can be.
    """
    values = configuration("lab")
    values["adminCidrs"] = ["192.0.2.20/32"]
    values["loadBalancer"] = {
        **values["loadBalancer"],
        "clearHttp": "serve",
        "maxConnections": MAX_CONNECTIONS,
        "limits": HIGH_LIMITS,
    }
    return render.haproxy_cfg(plan(load(values, now=datetime.now(UTC)), project=NAMESPACE, stack="lab"))


def job(configs: Path, name: str, **parameters: Any) -> dict[str, Any]:
    """Run one job of tools/bench/inside.py. Raises SystemExit with what it said when it fails."""
    done = images.run(
        "bench",
        ["python3", "/bench/inside.py", name],
        stdin=json.dumps(parameters),
        binds={configs: "/bench"},
        timeout_seconds=JOB_SECONDS,
    )
    if done.returncode:
        sys.exit(f"{name} {parameters}: {done.stdout}{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(configs: Path, *, seconds: int, most: int) -> dict[str, Any]:
    """Every figure by its key, with its runs."""
    found: dict[str, Any] = {}
    for each in COMPARISONS:
        result = job(
            configs, "compare", start=each.start, urls=each.urls, new=each.new,
            seconds=seconds, connections=64, least=6, most=most, within=0.03,
        )  # fmt: skip
        found[each.key] = result
        print(f"  {each.what}: {shown(result)}, {len(result['pairs'])} pairs", flush=True)
    found["kb_per_idle_wss"] = job(configs, "memory", config="ours", port=443, count=3000)
    print(f"  kB for an idle WSS connection: {found['kb_per_idle_wss']['kb']:.1f}", flush=True)
    ports = {"http": 80, "tls": 443, "rtmp": 1935}
    for key, what, times in (("reload", "reload", 100), ("restart", "restart", 10)):
        result = job(configs, "reloads", config="ours", ports=ports, what=what, times=times, pause=1, streams=20)
        found[key] = result
        print(f"  {times} {what}s: {result['lost']} lost of {result['total']}: {result['details']}", flush=True)
    return found


def shown(result: dict[str, Any]) -> str:
    """A ratio with its interval."""
    said = f"{result['ratio']:.2f} ({result['low']:.2f} to {result['high']:.2f})"
    return said if result["resolved"] else f"{said}, unresolved"


def flat(found: dict[str, Any]) -> dict[str, float]:
    """The figures alone, for other programs."""
    figures = {each.key: round(found[each.key]["ratio"], 3) for each in COMPARISONS}
    return figures | {
        "kb_per_idle_wss": round(found["kb_per_idle_wss"]["kb"], 1),
        "reload_lost": found["reload"]["lost"],
        "reload_total": found["reload"]["total"],
        "restart_lost": found["restart"]["lost"],
    }


def table(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = ["| | ratio, its interval (95 %) | at least |", "|---|---|---|"]
    lines += [f"| {each.what} | {shown(found[each.key])} | {each.target or ''} |" for each in COMPARISONS]
    reload, restart = found["reload"], found["restart"]
    lines += [
        "",
        "| | figure | |",
        "|---|---|---|",
        f"| memory of HAProxy for an idle WSS connection | {found['kb_per_idle_wss']['kb']:.1f} kB | at most 22 |",
        f"| lost in 100 reloads under load (HTTP, TLS, RTMP, WSS) | {reload['lost']} of {reload['total']} | 0 |",
        f"| lost in 10 restarts, for comparison | {restart['lost']} of {restart['total']} | more than 0 |",
        "",
        "What an idle WSS connection is made of, and why OpenSSL 3.5 leaves no way to 22 kB: "
        "[decisions/haproxy](decisions/haproxy.md).",
    ]
    return "\n".join(lines)


def main() -> int:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(prog="make bench-lb", description=__doc__)
    parser.add_argument("--seconds", type=int, default=3, help="how long each run takes (3)")
    parser.add_argument("--most", type=int, default=40, help="pairs of runs, at most (40)")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        configs = Path(made)
        for source in INSIDE.iterdir():
            if source.is_file():
                (configs / source.name).write_text(source.read_text())
        (configs / "ours.cfg").write_text(our_configuration())
        found = measure(configs, seconds=arguments.seconds, most=arguments.most)
    BUILD.mkdir(exist_ok=True)
    (BUILD / "bench-lb-runs.json").write_text(json.dumps(found, indent=1) + "\n")
    (BUILD / "bench-lb.json").write_text(json.dumps(flat(found), indent=1) + "\n")
    text = table(found)
    print(f"\n{text}\n\nbuild/bench-lb.json; every run: build/bench-lb-runs.json")
    if arguments.write:
        machine = f"{os.cpu_count()} processors, {platform.freedesktop_os_release()['PRETTY_NAME']}, {date.today()}"
        bench.write_section("bench-lb", f"{MEANING} ({machine})\n\n{text}")
    return 0


MEANING: Final = (
    "Requests per second of a 1 KiB file of a stream; HAProxy, its clients (`wrk`, 64 connections) and two nginx as "
    "media nodes share one machine; each ratio is the median of alternating pairs of runs. Ours is the lab's "
    "haproxy.cfg with limits and all rules, which has no log lines for such files; the how-to's logs each; bare has no "
    "logs, rules or checks."
)


if __name__ == "__main__":
    sys.exit(main())
