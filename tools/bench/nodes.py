"""Deployments by their number of media nodes, against terraform's, before one emulated AWS API.

Both deployments are in the same account at once, so both meet the same API.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cluster.plan import ClusterPlan, plan
from cluster.settings import NAMESPACE, load
from tests.engine.pulumi_cli import STACK, Engine
from tests.engine.sandbox import AwsApi
from tools.bench import emulated
from tools.bench.emulated import seconds_of
from tools.bench.figures import Estimate, differences, estimate, estimates_table, middles, ratio, slope
from tools.bench.terraform import Terraform, TerraformUnavailableError, steps_of, variables

SIZES: Final = (3, 10, 30, 100)
TARGETS: Final = {
    "preview_vs_terraform_plan_100": 1.0,
    "preview_refresh_vs_terraform_plan_100": 1.0,
    "ms_per_node": 60.0,
    "resources_per_node": 8.0,
}
"""What each figure is to be at most."""

PREVIEW: Final = "preview, no change"
PREVIEW_REFRESH: Final = "preview --refresh, no change"
PLAN: Final = "terraform plan -refresh=false, no change"
PLAN_REFRESH: Final = "terraform plan, no change"
UPDATE: Final = "up from the size before"
UPDATE_AGAIN: Final = "up, no change"
APPLY: Final = "terraform apply from the size before"
APPLY_AGAIN: Final = "terraform apply, no change"
RATIOS: Final = {
    "preview_vs_terraform_plan_100": (PREVIEW, PLAN),
    "preview_refresh_vs_terraform_plan_100": (PREVIEW_REFRESH, PLAN_REFRESH),
}
"""The figures that are ratios, at the largest size."""

FEW: Final = 2
"""How often what has no target is repeated."""


class NotEquivalentError(Exception):
    """Terraform's deployment is not ours: times cannot be compared. The text says what differs."""


@dataclass
class Runs:
    """Every measurement. Seconds by what was run and number of nodes, in the order of the runs."""

    terraform: str
    """Its version, or why there is none."""
    seconds: dict[str, dict[int, list[float]]] = field(default_factory=dict)
    resources: dict[int, int] = field(default_factory=dict)
    """The engine's, components counted, by number of nodes."""

    def time(self, name: str, nodes: int, action: Callable[[], object]) -> None:
        """Do it, and keep how long it took."""
        seconds = seconds_of(action)
        self.seconds.setdefault(name, {}).setdefault(nodes, []).append(seconds)
        print(f"  {nodes} nodes, {name}: {seconds:.2f} s", flush=True)


def measure(*, pairs: int, plugins: Path | None) -> Runs:
    """`pairs` of runs at the largest size, half as many at others.

    `plugins` is the directory of terraform's providers; None: where it looks by itself.

    Raises:
        NotEquivalentError: terraform's deployment holds other objects than ours.
    """
    with emulated.sandbox() as (engine, aws, directory):
        terraform: Terraform | None = None
        try:
            terraform = Terraform(engine.namespace, directory / "terraform", plugins)
        except TerraformUnavailableError as error:
            runs = Runs(terraform=f"none: {error}")
        else:
            runs = Runs(terraform=terraform.version)
        print(f"terraform: {runs.terraform}", flush=True)
        for nodes in SIZES:
            _grow(runs, engine, aws, terraform, nodes)
            _repeat(runs, engine, terraform, nodes, pairs if nodes == SIZES[-1] else min(pairs, pairs // 2 + 1))
    return runs


def _grow(runs: Runs, engine: Engine, aws: AwsApi, terraform: Terraform | None, nodes: int) -> None:
    """Both deployments, from the size before to this one."""
    held = _numbers(aws)
    emulated.configure(engine, emulated.of_size(nodes))
    runs.time(UPDATE, nodes, lambda: engine.run("up", "--yes", "--skip-preview"))
    state = engine.export("--show-secrets")
    runs.resources[nodes] = len(state["deployment"]["resources"])
    if terraform is None:
        return
    before = _numbers(aws)
    terraform.configure(variables(_plan(engine), steps_of(state)))
    runs.time(APPLY, nodes, terraform.apply)
    ours, theirs = _added(held, before), _added(before, _numbers(aws))
    if different := differences(ours, theirs):
        raise NotEquivalentError(f"{nodes} nodes, objects of ours and of terraform: {'; '.join(different)}")


def _repeat(runs: Runs, engine: Engine, terraform: Terraform | None, nodes: int, pairs: int) -> None:
    """Nothing changes; who goes first does, from pair to pair."""
    actions: dict[str, Callable[[], object]] = {
        PREVIEW: lambda: engine.run("preview", "--expect-no-changes"),
        PREVIEW_REFRESH: lambda: engine.run("preview", "--expect-no-changes", "--refresh"),
        UPDATE_AGAIN: lambda: engine.run("up", "--yes", "--skip-preview", "--expect-no-changes"),
    }
    if terraform is not None:
        actions |= {
            PLAN: lambda: terraform.plan("-refresh=false"),
            PLAN_REFRESH: terraform.plan,
            APPLY_AGAIN: terraform.apply,
        }
    for number in range(pairs):
        for pair in (*RATIOS.values(), *([(UPDATE_AGAIN, APPLY_AGAIN)] if number < FEW else [])):
            for name in pair if number % 2 else pair[::-1]:
                if name in actions:
                    runs.time(name, nodes, actions[name])


def _plan(engine: Engine) -> ClusterPlan:
    """What the program plans with the engine's configuration."""
    prefix = f"{NAMESPACE}:"
    configured = engine.configuration().items()
    values = {key.removeprefix(prefix): value for key, value in configured if key.startswith(prefix)}
    return plan(load(values, now=datetime.now(UTC)), project=NAMESPACE, stack=STACK)


def _numbers(aws: AwsApi) -> dict[str, int]:
    """How many objects the account holds, by kind."""
    return {kind: len(ids) for kind, ids in aws.objects().items()}


def _added(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    return {kind: count - before.get(kind, 0) for kind, count in after.items() if count != before.get(kind, 0)}


def estimates(runs: Runs) -> dict[str, Estimate]:
    """The figures that have targets, with their intervals; without those that were not measured."""
    found: dict[str, Estimate] = {}
    most, least = SIZES[-1], SIZES[0]
    for key, (ours, theirs) in RATIOS.items():
        if theirs in runs.seconds:
            pairs = zip(runs.seconds[ours][most], runs.seconds[theirs][most], strict=True)
            found[key] = ratio(list(pairs))
    previews = runs.seconds[PREVIEW]
    repetitions = zip(*(previews[nodes] for nodes in SIZES), strict=False)  # the largest size has more
    found["ms_per_node"] = estimate([1000 * slope(list(zip(SIZES, each, strict=True))) for each in repetitions])
    found["resources_per_node"] = estimate([(runs.resources[most] - runs.resources[least]) / (most - least)])
    return found


def flat(runs: Runs) -> dict[str, float]:
    """The figures alone, for other programs."""
    return middles(estimates(runs))


def table(runs: Runs) -> str:
    """Figures and medians as Markdown."""
    lines = estimates_table(estimates(runs), _WORDS, TARGETS)
    lines += ["", f"| seconds, medians | {' | '.join(f'{nodes} nodes' for nodes in SIZES)} |"]
    lines += [f"|---|{'---|' * len(SIZES)}"]
    for name in (PREVIEW, PLAN, PREVIEW_REFRESH, PLAN_REFRESH, UPDATE_AGAIN, APPLY_AGAIN, UPDATE, APPLY):
        if measured := runs.seconds.get(name):
            cells = [f"{statistics.median(measured[nodes]):.1f}" for nodes in SIZES]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"Terraform: {runs.terraform}."])


_WORDS: Final = {
    "preview_vs_terraform_plan_100": "preview to terraform plan -refresh=false, 100 nodes, no change",
    "preview_refresh_vs_terraform_plan_100": "preview --refresh to terraform plan, 100 nodes, no change",
    "ms_per_node": "ms of a preview without change for one more node",
    "resources_per_node": "engine resources for one more node",
}

MEANING: Final = f"{emulated.MEANING}; both deployments are in one account and hold the same objects"
