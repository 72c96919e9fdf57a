"""Alarms, who is told of them, and the dashboard; and the hosts' share of it, which is to publish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from cluster import monitoring, render
from cluster.monitoring import Alarm
from cluster.plan import ClusterPlan
from components.remote import RemoteHost, Step


@dataclass(frozen=True)
class MonitoringArgs:
    """What is to be watched."""

    plan: ClusterPlan
    instance_ids: Mapping[str, pulumi.Input[str]]
    """Of every host, by node name."""
    balancer: RemoteHost
    database: RemoteHost | None
    """None where the plan has no database host."""


class Monitoring(pulumi.ComponentResource):
    """Everything of `cluster.monitoring`. No alarm is there before what it watches has been published once."""

    dashboard_url: str | None
    """None where nothing is watched."""

    def __init__(self, name: str, args: MonitoringArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("antmedia:monitoring:Monitoring", name, None, opts)
        plan, settings = args.plan, args.plan.settings.alarms
        published = self._publishers(args)
        self.dashboard_url = None
        if settings:
            partition, region = aws.get_partition().partition, aws.get_region().region
            told = self._topic(plan, settings.email)
            alarms = [
                self._alarm(alarm, args, told, f"arn:{partition}:automate:{region}:ec2", published)
                for alarm in monitoring.alarms(plan)
            ]
            body = monitoring.dashboard(plan, region, args.instance_ids, [alarm.arn for alarm in alarms])
            aws.cloudwatch.Dashboard(
                "dashboard",
                dashboard_name=monitoring.dashboard_name(plan),
                dashboard_body=pulumi.Output.json_dumps(body),
                opts=pulumi.ResourceOptions(parent=self),
            )
            self.dashboard_url = monitoring.dashboard_url(plan, partition, region)
        self.register_outputs({"dashboard_url": self.dashboard_url})

    def _publishers(self, args: MonitoringArgs) -> list[pulumi.Resource]:
        plan = args.plan
        hosts = [(args.balancer, plan.load_balancer)]
        if args.database and plan.database:
            hosts.append((args.database, plan.database))
        return [host.step(Step("metrics", render.metrics(plan, node))) for host, node in hosts]

    def _topic(self, plan: ClusterPlan, email: str | None) -> list[pulumi.Input[str]]:
        """What alarms are sent to: a topic with one address, or nothing."""
        if email is None:
            return []
        own = pulumi.ResourceOptions(parent=self)
        topic = aws.sns.Topic("alarms", tags=plan.tags("monitoring", "alarms"), opts=own)
        aws.sns.TopicSubscription("email", topic=topic.arn, protocol="email", endpoint=email, opts=own)
        return [topic.arn]

    def _alarm(
        self,
        alarm: Alarm,
        args: MonitoringArgs,
        told: Sequence[pulumi.Input[str]],
        remedies: str,
        published: Sequence[pulumi.Resource],
    ) -> aws.cloudwatch.MetricAlarm:
        metric = alarm.metric
        dimensions: dict[str, pulumi.Input[str]] = dict(metric.dimensions)
        if metric.instance:
            dimensions["InstanceId"] = args.instance_ids[metric.instance]
        return aws.cloudwatch.MetricAlarm(
            alarm.key,
            name=monitoring.alarm_name(args.plan, alarm),
            alarm_description=alarm.means,
            namespace=metric.namespace,
            metric_name=metric.name,
            dimensions=dimensions,
            statistic=alarm.statistic,
            comparison_operator=alarm.comparison.value,
            threshold=alarm.threshold,
            period=monitoring.PERIOD_SECONDS,
            evaluation_periods=alarm.periods,
            treat_missing_data=alarm.missing.value,
            alarm_actions=[*([f"{remedies}:{alarm.remedy}"] if alarm.remedy else []), *told],
            ok_actions=told,
            tags=args.plan.tags("monitoring", alarm.key),
            opts=pulumi.ResourceOptions(parent=self, depends_on=published),
        )
