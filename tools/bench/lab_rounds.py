"""Deployments into a real lab: how long its commands take, and how much memory the lab.

Each round makes a lab of its own, measures every command once, and takes it down; rounds follow one another, so that a
drift of the machine's speed meets all commands alike.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import yaml

from lab.layout import Layout, layout

CHECKOUT: Final = Path(__file__).resolve().parent.parent.parent
PULUMI: Final = str(CHECKOUT / "tools" / "pulumi")
LAB: Final = str(CHECKOUT / "lab" / "lab")

UP: Final = "make up, from nothing to serving"
PREVIEW: Final = "preview, no change"
MEMORY: Final = "memory of the lab: controller, load balancer, two nodes"
ONE_MORE: Final = "engine resources for one more node"
TARGETS: Final = {UP: (75.0, "s"), PREVIEW: (6.0, "s"), MEMORY: (500.0, "MiB"), ONE_MORE: (8.0, "")}


@dataclass
class Round:
    """One lab's life. Seconds by what was run, and other figures by name."""

    seconds: dict[str, float] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)

    def time(self, name: str, command: list[str], env: dict[str, str]) -> str:
        """Run a command and keep how long it took; returns what it printed."""
        began = time.monotonic()
        done = subprocess.run(command, cwd=CHECKOUT, env=env, capture_output=True, text=True, check=False)
        self.seconds[name] = time.monotonic() - began
        if done.returncode:
            sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        print(f"  {name}: {self.seconds[name]:.1f} s", flush=True)
        return done.stdout


def measure() -> Round:
    """One round."""
    lab = layout(f"b-{secrets.token_hex(3)}")
    env = {**os.environ, "ANTMEDIA_LAB": lab.name}
    result = Round()
    try:
        result.time(UP, ["make", "up"], env)
        result.time("make up again", ["make", "up"], env)
        result.time(PREVIEW, [PULUMI, "preview", "-s", "lab", "--expect-no-changes"], env)
        result.time(
            "preview --refresh, no change", [PULUMI, "preview", "-s", "lab", "--expect-no-changes", "--refresh"], env
        )
        result.figures[MEMORY] = memory_mib(lab)
        result.figures[ONE_MORE] = resources_of_one_more_node(lab, env)
        result.time("make down", ["make", "down"], env)
    finally:
        subprocess.run([LAB, "--lab", lab.name, "down"], check=False, capture_output=True)
    return result


def memory_mib(lab: Layout) -> float:
    """The proportional share of memory (PSS) of every process of the lab, in MiB."""
    group = Path(lab.cgroup_file.read_text().strip())
    pids = {int(lab.pid_file.read_text())}
    for file in group.rglob("cgroup.procs"):
        pids |= {int(pid) for pid in file.read_text().split()}
    total_kib = 0
    for pid in pids:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue  # it has ended meanwhile
        match = re.search(r"^Pss: +(\d+) kB", rollup, re.MULTILINE)
        total_kib += int(match[1]) if match else 0
    return total_kib / 1024


def resources_of_one_more_node(lab: Layout, env: dict[str, str]) -> float:
    """What a preview with one more edge would create, components counted."""
    changed = lab.state / "one-more.yaml"
    stack = yaml.safe_load((lab.state / "Pulumi.lab.yaml").read_text())
    stack["config"]["antmedia:media"]["edges"]["count"] += 1
    changed.touch(mode=0o600)
    changed.write_text(yaml.safe_dump(stack))
    shown = subprocess.run(
        [PULUMI, "preview", "-s", "lab", "--json", "--config-file", str(changed)],
        cwd=CHECKOUT, env=env, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    changed.unlink()
    return float(sum(1 for step in json.loads(shown)["steps"] if step["op"] == "create"))


def flat(rounds: list[Round]) -> dict[str, float]:
    """The medians of what has a target, for other programs."""
    found = {key: statistics.median(each.seconds[name] for each in rounds) for key, name in _SECONDS.items()}
    found["lab_memory_mib"] = statistics.median(each.figures[MEMORY] for each in rounds)
    return {key: round(value, 3) for key, value in found.items()}


_SECONDS: Final = {"lab_up_seconds": UP, "lab_preview_seconds": PREVIEW}


def table(rounds: list[Round]) -> str:
    """The medians and ranges as Markdown."""
    lines = ["| | median | lowest | highest | to a preview | at most |", "|---|---|---|---|---|---|"]
    for name in rounds[0].seconds:
        values = [each.seconds[name] for each in rounds]
        ratio = statistics.median(each.seconds[name] / each.seconds[PREVIEW] for each in rounds)
        lines.append(_row(name, values, "s", f"x{ratio:.1f}"))
    lines += [_row(n, [each.figures[n] for each in rounds], TARGETS[n][1], "") for n in rounds[0].figures]
    return "\n".join(lines)


def _row(name: str, values: list[float], unit: str, ratio: str) -> str:
    def shown(value: float) -> str:
        return f"{value:.1f} {unit}" if unit == "s" else f"{value:.0f} {unit}".strip()

    target = shown(TARGETS[name][0]) if name in TARGETS else ""
    cells = [name, shown(statistics.median(values)), shown(min(values)), shown(max(values)), ratio, target]
    return f"| {' | '.join(cells)} |"
