"""What is watched: what hosts publish, the alarms on that and on EC2's own checks, and the dashboard.

Why these and no others is in docs/decisions/monitoring.md; what to do about each, in docs/alarms.md.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cluster.addressing import Role
from cluster.plan import ClusterPlan, Node

PERIOD_SECONDS: Final = 60
"""Hosts publish as often, and EC2 checks them as often."""

CERTIFICATE_DAYS: Final = 14
"""certbot renews with a third of the time left: 30 days of Let's Encrypt's 90."""

DISK_PERCENT: Final = 85

PROGRAM: Final = "/usr/local/sbin/antmedia-metrics"
"""Measures and publishes, on the load balancer and on the database's host: templates/monitoring/."""

HEALTHY_NODES: Final = "HealthyNodes"
NODES_DOWN: Final = "NodesDown"
CERTIFICATE: Final = "CertificateDays"
DISK: Final = "DiskUsedPercent"
DATABASE: Final = "DatabaseUp"

_EC2: Final = "AWS/EC2"
_CONSOLES: Final = {
    "aws": "console.aws.amazon.com",
    "aws-us-gov": "console.amazonaws-us-gov.com",
    "aws-cn": "console.amazonaws.cn",
}
"""By partition. Source: AWS's manual, Management Console endpoints."""

_WIDGET_COLUMNS: Final = 12
_WIDGET_ROWS: Final = 6
"""A dashboard is 24 columns wide."""


@dataclass(frozen=True)
class Metric:
    """One series of CloudWatch's. `instance` names the node whose instance id is one more dimension, InstanceId."""

    namespace: str
    name: str
    dimensions: Mapping[str, str] = field(default_factory=dict)
    instance: str | None = None


class Comparison(enum.StrEnum):
    """How a value has to stand to the threshold for an alarm. CloudWatch's names."""

    AT_LEAST = "GreaterThanOrEqualToThreshold"
    ABOVE = "GreaterThanThreshold"
    BELOW = "LessThanThreshold"


class Missing(enum.StrEnum):
    """What a period without a value counts as. CloudWatch's names."""

    UNKNOWN = "missing"
    ALARM = "breaching"


class Remedy(enum.StrEnum):
    """What EC2 does by itself. The end of the action's ARN."""

    RECOVER = "recover"
    REBOOT = "reboot"


@dataclass(frozen=True)
class Alarm:
    """When a metric stands so to its threshold in each of `periods` periods, somebody is told."""

    key: str
    metric: Metric
    statistic: str
    comparison: Comparison
    threshold: int
    periods: int
    means: str
    """What a person reads who is told."""
    missing: Missing = Missing.UNKNOWN
    remedy: Remedy | None = None


def namespace(plan: ClusterPlan) -> str:
    """Of all metrics that hosts publish: the only one that they may publish in."""
    return plan.project


def alarm_name(plan: ClusterPlan, alarm: Alarm) -> str:
    """What CloudWatch calls it: the first thing that somebody reads."""
    return f"{plan.project}-{plan.stack}-{alarm.key}"


def publishing(plan: ClusterPlan) -> tuple[Node, ...]:
    """The hosts that publish; none where nothing is watched."""
    if plan.settings.alarms is None:
        return ()
    return (plan.load_balancer, *((plan.database,) if plan.database else ()))


def roles(plan: ClusterPlan) -> tuple[Role, ...]:
    """Those of media nodes that the plan has."""
    return tuple(dict.fromkeys(node.role for node in plan.media))


def permission(plan: ClusterPlan) -> dict[str, Any]:
    """All that publishing needs: CloudWatch knows no narrower resource, so its condition is the limit."""
    return {
        "Effect": "Allow",
        "Action": "cloudwatch:PutMetricData",
        "Resource": "*",
        "Condition": {"StringEquals": {"cloudwatch:namespace": namespace(plan)}},
    }


def alarms(plan: ClusterPlan) -> Iterator[Alarm]:
    """Every alarm of a plan; as many for a hundred media nodes as for one."""
    if plan.settings.alarms is None:
        return
    balancer, database = plan.load_balancer, plan.database
    for host in publishing(plan):
        yield Alarm(
            f"{host.name}-system",
            Metric(_EC2, "StatusCheckFailed_System", instance=host.name),
            "Maximum",
            Comparison.AT_LEAST,
            threshold=1,
            periods=2,
            remedy=Remedy.RECOVER,
            means=f"What {host.name} runs on has failed. EC2 moves it to other hardware by itself.",
        )
    yield Alarm(
        f"{balancer.name}-instance",
        Metric(_EC2, "StatusCheckFailed_Instance", instance=balancer.name),
        "Maximum",
        Comparison.AT_LEAST,
        threshold=1,
        periods=3,  # AWS's advice: later than a recovery, which a reboot would come in the way of
        remedy=Remedy.REBOOT,
        means=f"The system of {balancer.name} does not answer: nobody is served. EC2 reboots it by itself.",
    )
    for role in roles(plan):
        yield Alarm(
            f"no-healthy-{role}",
            _published(plan, HEALTHY_NODES, {"Role": role.value}),
            "Maximum",
            Comparison.BELOW,
            threshold=1,
            periods=2,
            missing=Missing.ALARM,
            means=f"HAProxy finds no {role} that answers, or {balancer.name} has fallen silent.",
        )
    yield Alarm(
        "nodes-down",
        _published(plan, NODES_DOWN),
        "Minimum",
        Comparison.AT_LEAST,
        threshold=1,
        periods=3,
        means="A media node does not answer HAProxy, and nobody has taken it out. The others serve.",
    )
    yield Alarm(
        "certificate",
        _published(plan, CERTIFICATE),
        "Maximum",
        Comparison.BELOW,
        threshold=CERTIFICATE_DAYS,
        periods=2,
        means=f"The certificate that viewers are shown ends in less than {CERTIFICATE_DAYS} days.",
    )
    for host in publishing(plan):
        yield Alarm(
            f"{host.name}-disk",
            _published(plan, DISK, {"Node": host.name}),
            "Minimum",
            Comparison.ABOVE,
            threshold=DISK_PERCENT,
            periods=2,
            means=f"The fullest file system of {host.name} is more than {DISK_PERCENT} % full.",
        )
    if database:
        yield Alarm(
            "database-down",
            _published(plan, DATABASE),
            "Maximum",
            Comparison.BELOW,
            threshold=1,
            periods=2,
            missing=Missing.ALARM,
            means=f"MongoDB on {database.name} does not answer, or {database.name} has fallen silent. "
            "Running streams go on; new ones are not found on other nodes.",
        )


def dashboard_name(plan: ClusterPlan) -> str:
    """Letters, digits, - and _ are all that CloudWatch takes."""
    return f"{plan.project}-{plan.stack}".replace(".", "-")


def dashboard_url(plan: ClusterPlan, partition: str, region: str) -> str:
    """Where a person with an AWS login sees it."""
    console = _CONSOLES.get(partition, _CONSOLES["aws"])
    return f"https://{region}.{console}/cloudwatch/home?region={region}#dashboards/dashboard/{dashboard_name(plan)}"


def dashboard(
    plan: ClusterPlan, region: str, instance_ids: Mapping[str, Any], alarm_arns: Sequence[Any]
) -> dict[str, Any]:
    """The dashboard's body, whose ids by node name and ARNs may not be known yet."""
    healthy = [_published(plan, HEALTHY_NODES, {"Role": role.value}) for role in roles(plan)]
    disks = [_published(plan, DISK, {"Node": host.name}) for host in publishing(plan)]
    graphs = [
        ("Media nodes", "Minimum", [*healthy, _published(plan, NODES_DOWN)]),
        ("Days left of the certificate", "Minimum", [_published(plan, CERTIFICATE)]),
        ("Fullest file system, %", "Maximum", disks),
        ("CPU, %", "Average", _of_every_node(plan, "CPUUtilization")),
        ("Bytes received", "Sum", _of_every_node(plan, "NetworkIn")),
        ("Bytes sent", "Sum", _of_every_node(plan, "NetworkOut")),
    ]
    if plan.database:
        graphs.insert(3, ("Database answers", "Minimum", [_published(plan, DATABASE)]))
    widgets: list[dict[str, Any]] = [{"type": "alarm", "properties": {"title": "Alarms", "alarms": alarm_arns}}]
    widgets += [
        {
            "type": "metric",
            "properties": {
                "title": title,
                "region": region,
                "stat": statistic,
                "period": PERIOD_SECONDS if metrics[0].namespace != _EC2 else 300,  # EC2's basic monitoring
                "metrics": [_shown(metric, instance_ids) for metric in metrics],
            },
        }
        for title, statistic, metrics in graphs
    ]
    for number, widget in enumerate(widgets):
        row, column = divmod(number, 2)
        widget |= {"x": column * _WIDGET_COLUMNS, "y": row * _WIDGET_ROWS}
        widget |= {"width": _WIDGET_COLUMNS, "height": _WIDGET_ROWS}
    return {"widgets": widgets}


def _published(plan: ClusterPlan, name: str, dimensions: Mapping[str, str] | None = None) -> Metric:
    return Metric(namespace(plan), name, {"Stack": plan.stack, **(dimensions or {})})


def _of_every_node(plan: ClusterPlan, name: str) -> list[Metric]:
    return [Metric(_EC2, name, instance=node.name) for node in plan.nodes]


def _shown(metric: Metric, instance_ids: Mapping[str, Any]) -> list[Any]:
    """As a dashboard's JSON names a metric: namespace, name, each dimension and its value, and how it is shown."""
    dimensions: dict[str, Any] = dict(metric.dimensions)
    if metric.instance:
        dimensions["InstanceId"] = instance_ids[metric.instance]
    label = metric.instance or " ".join([metric.name, *(v for k, v in metric.dimensions.items() if k != "Stack")])
    flat = [part for pair in dimensions.items() for part in pair]
    return [metric.namespace, metric.name, *flat, {"label": label}]
