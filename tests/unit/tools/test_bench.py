"""The benchmarks' arithmetic and their page."""

from __future__ import annotations

import math
import re

import pytest

from cluster.firewall import rules
from tools.bench import changes, nodes, with_section
from tools.bench.figures import differences, ratio, slope
from tools.bench.inside import interval
from tools.bench.terraform import CONFIGURATION, steps_of, variables
from tools.render import stack_plan

PAGE = "# Benchmarks\n\nWords.\n\n## make a\n\nold\n\n## make b\n\nkept\n"


def test_a_section_is_replaced_and_the_others_are_kept() -> None:
    assert with_section(PAGE, "a", "new\n") == PAGE.replace("old", "new")


def test_a_new_section_comes_last() -> None:
    assert with_section(PAGE, "c", "text") == PAGE + "\n## make c\n\ntext\n"
    assert with_section("", "c", "text") == "# Benchmarks\n\n## make c\n\ntext\n"


@pytest.mark.parametrize("n", range(1, 60))
def test_the_interval_holds_the_median_with_95_percent(n: int) -> None:
    low, high = interval([float(value) for value in reversed(range(n))])
    outside = sum(math.comb(n, rank) for rank in range(int(low) + 1)) / 2**n
    assert high == n - 1 - low
    # With fewer than six values, not even all of them are enough.
    assert outside <= 0.025 or (n < 6 and low == 0)
    if n >= 6:
        wider = outside + math.comb(n, int(low) + 1) / 2**n
        assert wider > 0.025, "the interval is wider than it must be"


def test_a_ratio_is_the_median_of_the_pairs_with_its_interval() -> None:
    found = ratio([(1.0, 2.0), (30.0, 20.0), (5.0, 5.0)])
    assert (found.low, found.middle, found.high) == (0.5, 1.0, 1.5)
    assert str(found) == "1.00 (0.50 to 1.50)"


def test_a_slope_is_what_one_more_adds() -> None:
    assert slope([(3, 16.0), (10, 30.0), (30, 70.0), (100, 210.0)]) == pytest.approx(2.0)


def test_accounts_that_hold_the_same_numbers_do_not_differ() -> None:
    assert differences({"instances": 2, "volumes": 1}, {"volumes": 1, "instances": 2}) == []
    assert differences({"instances": 2, "roles": 1}, {"instances": 3}) == ["instances: 2 and 3", "roles: 1 and 0"]


def runs(*, terraform: bool) -> nodes.Runs:
    """Twice: a preview takes 2 s and 50 ms a node, what it is compared with twice as long."""
    made = nodes.Runs(terraform="1.0" if terraform else "none: not installed")
    ours, theirs = zip(*nodes.RATIOS.values(), strict=True)
    factors = dict.fromkeys(ours, 1.0) | dict.fromkeys(theirs if terraform else (), 2.0)
    for name, factor in factors.items():
        made.seconds[name] = {size: [factor * (2 + 0.05 * size)] * 2 for size in nodes.SIZES}
    made.seconds |= {name: {size: [1.0] for size in nodes.SIZES} for name in (nodes.UPDATE, nodes.UPDATE_AGAIN)}
    made.resources = {size: 80 + 5 * size for size in nodes.SIZES}
    return made


def test_the_figures_of_deployments_by_number_of_nodes() -> None:
    assert nodes.flat(runs(terraform=True)) == {
        "preview_vs_terraform_plan_100": 0.5,
        "preview_refresh_vs_terraform_plan_100": 0.5,
        "ms_per_node": 50.0,
        "resources_per_node": 5.0,
    }


def test_the_figures_of_first_creations_and_rolls() -> None:
    made = changes.Runs(created=[{3: 50.0, 12: 60.0}], rolled=[{3: 40.0, 12: 160.0}])
    assert changes.flat(made) == {"create_12_vs_3": 1.2, "roll_12_edges_vs_one_wave": 4.0}
    assert changes.flat(made).keys() == changes.TARGETS.keys()
    assert "3 nodes 50.0 s, 12 nodes 60.0 s" in changes.table(made)


def test_without_terraform_what_is_compared_with_it_is_left_out_and_said_to_be() -> None:
    without = runs(terraform=False)
    assert nodes.flat(without).keys() == nodes.TARGETS.keys() - nodes.RATIOS.keys()
    assert "Terraform: none: not installed." in nodes.table(without)


def test_terraform_is_given_every_node_and_rule_of_the_plan_and_no_other_variable_than_it_has() -> None:
    plan = stack_plan("lab-cluster")
    names = {node.name: {"ready": "true\n"} for node in plan.nodes}
    given = variables(plan, names)
    assert given["nodes"].keys() == {node.name for node in plan.nodes}
    assert given["rules"].keys() == {rule.key for rule in rules(plan)}
    assert sum(node["group"] == "media" for node in given["nodes"].values()) == len(plan.media)
    declared = re.findall(r'(?m)^variable "(\w+)"', (CONFIGURATION / "variables.tf").read_text())
    assert sorted(given) == sorted(declared)


def test_steps_are_found_in_a_state_by_node_and_name() -> None:
    command = {
        "type": "command:remote:Command",
        "urn": "urn:pulumi:s::p::x$command:remote:Command::edge-1-ready",
        "parent": "urn:pulumi:s::p::antmedia:host:RemoteHost::edge-1",
        "inputs": {"stdin": "plain\n"},
    }
    secret = {**command, "urn": "urn:x::edge-1-server", "inputs": {"stdin": {"plaintext": '"hidden\\n"'}}}
    other = {"type": "aws:ec2/instance:Instance", "urn": "urn:x::edge-1"}
    state = {"deployment": {"resources": [other, command, secret]}}
    assert steps_of(state) == {"edge-1": {"ready": "plain\n", "server": "hidden\n"}}
