"""What is watched: which alarms a plan has, and that what they watch is published."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from cluster import monitoring, render
from cluster.monitoring import Alarm, Comparison, Missing, Remedy
from cluster.plan import ClusterPlan

pytestmark = pytest.mark.unit

COMMUNITY = {"ami": "ami-0123456789abcdef0", "edition": "community"}


def keys(plan: ClusterPlan) -> list[str]:
    return [alarm.key for alarm in monitoring.alarms(plan)]


def named(plan: ClusterPlan, key: str) -> Alarm:
    return next(alarm for alarm in monitoring.alarms(plan) if alarm.key == key)


def test_a_cluster_has_no_more_alarms_than_aws_gives_for_nothing(make_plan: Callable[..., ClusterPlan]) -> None:
    assert keys(make_plan()) == [
        "lb-1-system",
        "db-1-system",
        "lb-1-instance",
        "no-healthy-origin",
        "no-healthy-edge",
        "nodes-down",
        "certificate",
        "lb-1-disk",
        "db-1-disk",
        "database-down",
    ]


def test_more_nodes_are_watched_by_the_same_alarms(make_plan: Callable[..., ClusterPlan]) -> None:
    media = {"ami": "ami-0123456789abcdef0", "origins": {"count": 20}, "edges": {"count": 80}}
    assert keys(make_plan(media=media)) == keys(make_plan())


def test_what_a_plan_has_not_is_not_watched(make_plan: Callable[..., ClusterPlan]) -> None:
    alone = keys(make_plan(media=COMMUNITY))
    assert not [key for key in alone if "edge" in key or "db-1" in key or "database" in key]
    assert "no-healthy-origin" in alone
    assert not keys(make_plan(alarms=False))
    assert not monitoring.publishing(make_plan(alarms=False))


def test_only_what_brings_nobody_more_harm_is_done_by_itself(make_plan: Callable[..., ClusterPlan]) -> None:
    done = {alarm.key: alarm.remedy for alarm in monitoring.alarms(make_plan()) if alarm.remedy}
    assert done == {"lb-1-system": Remedy.RECOVER, "db-1-system": Remedy.RECOVER, "lb-1-instance": Remedy.REBOOT}


def test_a_reboot_comes_later_than_a_recovery(make_plan: Callable[..., ClusterPlan]) -> None:
    plan = make_plan()
    assert named(plan, "lb-1-instance").periods > named(plan, "lb-1-system").periods


@pytest.mark.parametrize("key", ["no-healthy-origin", "no-healthy-edge", "database-down"])
def test_silence_of_a_host_that_publishes_is_an_alarm(make_plan: Callable[..., ClusterPlan], key: str) -> None:
    alarm = named(make_plan(), key)
    assert (alarm.missing, alarm.comparison, alarm.threshold) == (Missing.ALARM, Comparison.BELOW, 1)


@pytest.mark.parametrize("replaced", [{}, {"media": COMMUNITY}, {"tls": {"mode": "none"}}])
def test_everything_that_is_watched_is_published_by_a_host(
    make_plan: Callable[..., ClusterPlan], replaced: dict[str, object]
) -> None:
    plan = make_plan(**replaced)
    scripts = "".join(render.metrics(plan, node) for node in monitoring.publishing(plan))
    published = set()
    for name, dimension, value in re.findall(r"(?m)^\s*(?:\[.*\|\| )?put (\w+) \S.*?(?: (Role|Node) (\S+))?$", scripts):
        published.add((name, *((dimension, value) if dimension else ())))
    watched = {
        (alarm.metric.name, *(part for pair in alarm.metric.dimensions.items() if pair[0] != "Stack" for part in pair))
        for alarm in monitoring.alarms(plan)
        if alarm.metric.namespace == "antmedia"
    }
    assert published == watched
    assert scripts.count("&Namespace=antmedia") == len(monitoring.publishing(plan))


def test_every_name_that_is_published_can_stand_in_a_url_as_it_is(make_plan: Callable[..., ClusterPlan]) -> None:
    for alarm in monitoring.alarms(make_plan()):
        metric = alarm.metric
        parts = (metric.namespace.replace("AWS/EC2", ""), metric.name, *metric.dimensions, *metric.dimensions.values())
        assert re.fullmatch(r"[A-Za-z0-9._-]*", "".join(parts)), alarm.key


def test_who_is_told_reads_what_is_wrong(make_plan: Callable[..., ClusterPlan]) -> None:
    for alarm in monitoring.alarms(make_plan()):
        assert len(alarm.means) <= 1024, "CloudWatch takes no longer description"
        assert alarm.means.endswith("."), alarm.key


def test_the_dashboard_fits_and_its_widgets_do_not_overlap(make_plan: Callable[..., ClusterPlan]) -> None:
    plan = make_plan()
    ids = {node.name: f"i-{node.name}" for node in plan.nodes}
    widgets = monitoring.dashboard(plan, "us-east-1", ids, ["arn:x"])["widgets"]
    cells = [(w["x"] + x, w["y"] + y) for w in widgets for x in range(w["width"]) for y in range(w["height"])]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    text = json.dumps(widgets)
    assert all(id_ in text for id_ in ids.values())


def test_a_name_with_a_dot_makes_a_dashboard(make_plan: Callable[..., ClusterPlan]) -> None:
    plan = make_plan()
    object.__setattr__(plan, "stack", "live.eu")
    assert monitoring.dashboard_name(plan) == "antmedia-live-eu"
