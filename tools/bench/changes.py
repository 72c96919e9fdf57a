"""First creations and rolls of different sizes, before an emulated AWS API."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.engine.pulumi_cli import Engine
from tests.engine.sandbox import AwsApi
from tools.bench import emulated
from tools.bench.emulated import seconds_of
from tools.bench.figures import Estimate, estimates_table, middles, ratio

CREATED: Final = (3, 12)
"""Media nodes."""

ROLLED: Final = (3, 12)
"""Edges, replaced three at a time: in one wave and in four."""

IMAGES: Final = ("ami-0ddd0000000000001", "ami-0ddd0000000000003")
"""Of the emulated API: the nodes are replaced by those of the other one."""

TARGETS: Final = {"create_12_vs_3": 1.3, "roll_12_edges_vs_one_wave": 4.5}
"""What each figure is to be at most."""

MEANING: Final = emulated.MEANING


@dataclass
class Runs:
    """Every measurement; one entry for each round."""

    created: list[dict[int, float]] = field(default_factory=list)
    """Seconds of a first update from an empty account, by number of nodes."""
    rolled: list[dict[int, float]] = field(default_factory=list)
    """Seconds of an update that replaces every edge, by number of edges."""


def measure(*, rounds: int) -> Runs:
    """So many rounds of first creations and of rolls."""
    runs = Runs()
    with emulated.sandbox() as (engine, aws, _):
        for number in range(1, rounds + 1):
            print(f"round {number} of {rounds}", flush=True)
            backwards = number % 2 == 0
            runs.created.append(_create(engine, aws, CREATED[::-1] if backwards else CREATED))
            runs.rolled.append(_roll(engine, ROLLED[::-1] if backwards else ROLLED))
    return runs


def _create(engine: Engine, aws: AwsApi, sizes: Sequence[int]) -> dict[int, float]:
    """The first update of each size, and its end again."""
    found = {}
    for nodes in sizes:
        assert not aws.objects(), "each begins with an empty account"
        emulated.configure(engine, emulated.of_size(nodes))
        found[nodes] = seconds_of(lambda: engine.run("up", "--yes", "--skip-preview"))
        print(f"  {nodes} nodes: {found[nodes]:.1f} s", flush=True)
        engine.destroy()
    return found


def _roll(engine: Engine, sizes: Sequence[int]) -> dict[int, float]:
    """A new image for every node, for each number of edges; the deployment is there already."""
    found = {}
    for edges in sizes:
        for image in IMAGES:
            group = {"count": edges}
            media = {"ami": image, "origins": {"count": 1}, "edges": group, "maxUnavailable": {"edges": ROLLED[0]}}
            emulated.configure(engine, media)
            seconds = seconds_of(lambda: engine.run("up", "--yes", "--skip-preview"))
        found[edges] = seconds
        print(f"  {edges} edges: {seconds:.1f} s", flush=True)
    engine.destroy()
    return found


def estimates(runs: Runs) -> dict[str, Estimate]:
    """The figures that have targets, with their intervals."""
    fewer, more = CREATED
    wave, waves = ROLLED
    return {
        "create_12_vs_3": ratio([(each[more], each[fewer]) for each in runs.created]),
        "roll_12_edges_vs_one_wave": ratio([(each[waves], each[wave]) for each in runs.rolled]),
    }


def flat(runs: Runs) -> dict[str, float]:
    """The figures alone, for other programs."""
    return middles(estimates(runs))


def table(runs: Runs) -> str:
    """Figures and medians as Markdown."""
    lines = estimates_table(estimates(runs), _WORDS, TARGETS)
    cells = [f"{nodes} nodes {statistics.median(each[nodes] for each in runs.created):.1f} s" for nodes in CREATED]
    lines += ["", f"First `up` from an empty account: {', '.join(cells)}."]
    cells = [f"{edges} edges {statistics.median(each[edges] for each in runs.rolled):.1f} s" for edges in ROLLED]
    lines += ["", f"`up` that replaces every node, edges {ROLLED[0]} at a time: {', '.join(cells)}."]
    return "\n".join(lines)


_WORDS: Final = {
    "create_12_vs_3": "first creation of 12 nodes to that of 3",
    "roll_12_edges_vs_one_wave": "replacing 12 edges in four waves to 3 edges in one",
}
