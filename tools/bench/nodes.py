"""Deployments by their number of media nodes, against terraform's, before one emulated AWS API.

Both deployments are in the same account at once, so both meet the same API. Every host's SSH server is one that answers
each command with success at once: what is measured is the engine, the provider and the program, not the hosts.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cluster import keys
from cluster.plan import ClusterPlan, plan
from cluster.settings import NAMESPACE, load
from tests.engine.pulumi_cli import STACK, Engine
from tests.engine.sandbox import AwsApi, Namespace, SshServer
from tools.bench.figures import Estimate, differences, estimate, ratio, slope
from tools.bench.terraform import Terraform, TerraformUnavailableError, steps_of, variables

SIZES: Final = (3, 10, 30, 100)
CREATED: Final = (3, 12)
ROLLED: Final = (3, 12)
"""Edges, replaced three at a time: in one wave and in four."""

IMAGES: Final = ("ami-0ddd0000000000001", "ami-0ddd0000000000003")
"""Of the emulated API: the nodes are replaced by those of the other one."""

ORIGINS: Final = 0.4
"""Their share of the media nodes: that of stacks/Pulumi.lab-cluster.yaml."""

TARGETS: Final = {
    "preview_vs_terraform_plan_100": 1.0,
    "preview_refresh_vs_terraform_plan_100": 1.0,
    "ms_per_node": 60.0,
    "resources_per_node": 8.0,
    "create_12_vs_3": 1.3,
    "roll_12_edges_vs_one_wave": 4.5,
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
    created: list[dict[int, float]] = field(default_factory=list)
    """Seconds of a first update from an empty account, by number of nodes; one for each round."""

    rolled: list[dict[int, float]] = field(default_factory=list)
    """Seconds of an update that replaces every edge, by number of edges; one for each round."""

    def time(self, name: str, nodes: int, action: Callable[[], object]) -> None:
        """Do it, and keep how long it took."""
        seconds = _seconds(action)
        self.seconds.setdefault(name, {}).setdefault(nodes, []).append(seconds)
        print(f"  {nodes} nodes, {name}: {seconds:.2f} s", flush=True)


def _seconds(action: Callable[[], object]) -> float:
    began = time.monotonic()
    action()
    return time.monotonic() - began


@contextmanager
def _sandbox() -> Iterator[tuple[Engine, AwsApi, Path]]:
    """The engine, an empty account and every host, until they are left."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        namespace = Namespace()
        stack.callback(namespace.close)
        aws = AwsApi(namespace, directory)
        stack.callback(aws.close)
        engine = Engine(namespace, directory)
        login, host = engine.ssh_keys
        ssh = SshServer(namespace, directory, host_key=host, authorized_key=keys.public_key(login))
        stack.callback(ssh.close)
        yield engine, aws, directory


def measure(*, pairs: int, rounds: int, plugins: Path | None) -> Runs:
    """Everything: `pairs` of runs at the largest size, half as many at others, and `rounds` of first creations.

    `plugins` is the directory of terraform's providers; None: where it looks by itself.

    Raises:
        NotEquivalentError: terraform's deployment holds other objects than ours.
    """
    with _sandbox() as (engine, aws, directory):
        terraform: Terraform | None = None
        try:
            terraform = Terraform(engine.namespace, directory / "terraform", plugins)
        except TerraformUnavailableError as error:
            runs = Runs(terraform=f"none: {error}")
        else:
            runs = Runs(terraform=terraform.version)
        print(f"terraform: {runs.terraform}", flush=True)
        for number in range(1, rounds + 1):
            print(f"first creation, round {number} of {rounds}", flush=True)
            runs.created.append(_create(engine, aws, CREATED if number % 2 else CREATED[::-1]))
        for number in range(1, min(rounds, FEW) + 1):
            print(f"roll, round {number}", flush=True)
            runs.rolled.append(_roll(engine))
        for nodes in SIZES:
            _grow(runs, engine, aws, terraform, nodes)
            _repeat(runs, engine, terraform, nodes, pairs if nodes == SIZES[-1] else min(pairs, pairs // 2 + 1))
    return runs


def _configure(engine: Engine, nodes: int) -> None:
    origins = round(nodes * ORIGINS)
    media = {"origins": {"count": origins}, "edges": {"count": nodes - origins}}
    # Terraform's configuration has no alarms, and both accounts are to hold the same.
    engine.configure({f"{NAMESPACE}:media": media, f"{NAMESPACE}:alarms": False})


def _roll(engine: Engine) -> dict[int, float]:
    """A new image for every node, for each number of edges; the deployment is there already."""
    found = {}
    for edges in ROLLED:
        for image in IMAGES:
            group = {"count": edges}
            media = {"ami": image, "origins": {"count": 1}, "edges": group, "maxUnavailable": {"edges": ROLLED[0]}}
            engine.configure({f"{NAMESPACE}:media": media})
            seconds = _seconds(lambda: engine.run("up", "--yes", "--skip-preview"))
        found[edges] = seconds
        print(f"  {edges} edges: {seconds:.1f} s", flush=True)
    engine.destroy()
    return found


def _create(engine: Engine, aws: AwsApi, sizes: Sequence[int]) -> dict[int, float]:
    """The first update of each size, and its end again."""
    found = {}
    for nodes in sizes:
        assert not aws.objects(), "each begins with an empty account"
        _configure(engine, nodes)
        found[nodes] = _seconds(lambda: engine.run("up", "--yes", "--skip-preview"))
        print(f"  {nodes} nodes: {found[nodes]:.1f} s", flush=True)
        engine.destroy()
    return found


def _grow(runs: Runs, engine: Engine, aws: AwsApi, terraform: Terraform | None, nodes: int) -> None:
    """Both deployments, from the size before to this one."""
    held = _numbers(aws)
    _configure(engine, nodes)
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
    if runs.created:
        fewer, more = CREATED
        found["create_12_vs_3"] = ratio([(each[more], each[fewer]) for each in runs.created])
    if runs.rolled:
        wave, waves = ROLLED
        found["roll_12_edges_vs_one_wave"] = ratio([(each[waves], each[wave]) for each in runs.rolled])
    return found


def flat(runs: Runs) -> dict[str, float]:
    """The figures alone, for other programs."""
    return {key: round(value.middle, 3) for key, value in estimates(runs).items()}


def table(runs: Runs) -> str:
    """Figures and medians as Markdown."""
    lines = ["| | median, its interval (95 %) | at most |", "|---|---|---|"]
    lines += [f"| {_WORDS[key]} | {value} | {TARGETS[key]:g} |" for key, value in estimates(runs).items()]
    lines += ["", f"| seconds, medians | {' | '.join(f'{nodes} nodes' for nodes in SIZES)} |"]
    lines += [f"|---|{'---|' * len(SIZES)}"]
    for name in (PREVIEW, PLAN, PREVIEW_REFRESH, PLAN_REFRESH, UPDATE_AGAIN, APPLY_AGAIN, UPDATE, APPLY):
        if measured := runs.seconds.get(name):
            cells = [f"{statistics.median(measured[nodes]):.1f}" for nodes in SIZES]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    if runs.created:
        cells = [f"{nodes} nodes {statistics.median(each[nodes] for each in runs.created):.1f} s" for nodes in CREATED]
        lines += ["", f"First `up` from an empty account: {', '.join(cells)}."]
    if runs.rolled:
        cells = [f"{edges} edges {statistics.median(each[edges] for each in runs.rolled):.1f} s" for edges in ROLLED]
        lines += ["", f"`up` that replaces every edge, {ROLLED[0]} at a time: {', '.join(cells)}."]
    return "\n".join([*lines, "", f"Terraform: {runs.terraform}."])


_WORDS: Final = {
    "preview_vs_terraform_plan_100": "preview to terraform plan -refresh=false, 100 nodes, no change",
    "preview_refresh_vs_terraform_plan_100": "preview --refresh to terraform plan, 100 nodes, no change",
    "ms_per_node": "ms of a preview without change for one more node",
    "resources_per_node": "engine resources for one more node",
    "create_12_vs_3": "first creation of 12 nodes to that of 3",
    "roll_12_edges_vs_one_wave": "replacing 12 edges in four waves to 3 edges in one",
}

MEANING: Final = (
    "both deployments are in one account of the emulated AWS API and hold the same objects; hosts answer every step "
    "with success at once; ratios are medians of pairs that alternate"
)
