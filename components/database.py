"""The database host, its data volume, and what is put onto it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_aws as aws

from cluster import database, monitoring, render
from cluster.firewall import Group
from cluster.plan import ClusterPlan, Node
from cluster.settings import OnDestroy
from components.host import instance, remote_host
from components.remote import RemoteHost, Step
from components.role import instance_profile

GP3_BASELINE_MIB_PER_S: Final = 125
"""What every gp3 volume has without extra cost. Source: EBS's manual."""

_DEVICE: Final = "/dev/sdf"
"""Asked for by the API; the host finds the volume by its id. Source: EC2's manual, device names for volumes."""


@dataclass(frozen=True)
class DatabaseArgs:
    """What the database is made from. Ids are keyed by zone name and group."""

    plan: ClusterPlan
    node: Node
    zone_names: Sequence[str]
    """The region's names of the plan's zones, in order."""
    subnet_ids: Mapping[str, pulumi.Input[str]]
    security_group_ids: Mapping[Group, pulumi.Input[str]]
    through: pulumi.Input[str]
    """The load balancer's public address: the only way to the host."""
    reachable: Sequence[pulumi.Resource]
    """What has to be there before that way can be taken."""


class Database(pulumi.ComponentResource):
    """MongoDB on one instance, with a data volume that outlives it. Exists only when both logins have been tried."""

    ready: pulumi.Resource
    """Media nodes may join the cluster from here on."""
    instance_ids: Mapping[str, pulumi.Output[str]]
    """By node name."""
    remote: RemoteHost

    def __init__(self, name: str, args: DatabaseArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("antmedia:database:Database", name, None, opts)
        plan, node = args.plan, args.node
        own = pulumi.ResourceOptions(parent=self)
        settings = plan.settings

        volume = self._volume(args)
        host = instance(
            plan,
            node,
            group=Group.DATABASE,
            subnet_ids=args.subnet_ids,
            security_group_ids=args.security_group_ids,
            instance_profile=self._profile(plan, node),
            opts=own,
        )
        attachment = aws.ec2.VolumeAttachment(
            node.name,
            device_name=_DEVICE,
            volume_id=volume.id,
            instance_id=host.id,
            # EC2 detaches a mounted volume only when its host has stopped.
            stop_instance_before_detaching=True,
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
        )
        user, password = database.account(settings)
        self._login = pulumi.Output.secret(f"{user}\n{password}\n")
        self.instance_ids = {node.name: host.id}
        self.remote = remote = remote_host(plan, node, host, address=str(node.address), through=args.through, opts=own)
        for step in (
            Step(
                "ready",
                render.host_ready(),
                text=render.authorized_keys(plan.settings),
                depends_on=[attachment, *args.reachable],
            ),
            Step(
                "volume",
                render.database_volume(),
                text=pulumi.Output.concat(volume.id, "\n"),
                triggers=[settings.database.volume_gb],  # a file system grows with its volume
            ),
            Step("install", render.database_install(settings)),
            Step("configure", render.database_configure()),
            Step("accounts", render.database_accounts(), text=self._login),
            Step("backup", render.database_backup(plan)),
            Step("verify", render.database_verify(), triggers=[volume.id]),
        ):
            self.ready = remote.step(step)

    def retire(self, serving: Sequence[pulumi.Resource]) -> None:
        """Once every node uses the account that it was given, those before it go."""
        step = Step("retire", render.database_retire(), text=self._login, depends_on=serving)
        self.remote.step(step)
        self.register_outputs({})

    def _volume(self, args: DatabaseArgs) -> aws.ebs.Volume:
        settings = args.plan.settings.database
        return aws.ebs.Volume(
            "database",
            availability_zone=args.zone_names[args.node.zone.number - 1],
            size=settings.volume_gb,
            type="gp3",
            # The baseline, said because AWS's provider otherwise asks EC2 to modify nothing when only final_snapshot
            # changes, which EC2 refuses.
            throughput=GP3_BASELINE_MIB_PER_S,
            encrypted=True,
            final_snapshot=settings.on_destroy is OnDestroy.SNAPSHOT,
            tags=args.plan.tags(Group.DATABASE.value, "database"),
            # The volume alone: its host holds nothing, and is replaced when its image changes.
            opts=pulumi.ResourceOptions(parent=self, protect=settings.on_destroy is OnDestroy.REFUSE),
        )

    def _profile(self, plan: ClusterPlan, node: Node) -> pulumi.Input[str] | None:
        """Lets the host publish metrics, read and write below its own prefix of the bucket, and nothing else."""
        policies: dict[str, list[dict[str, Any]]] = {}
        if backup := plan.settings.database.backup:
            prefix = database.backup_prefix(plan)
            policies["backup"] = [
                {
                    "Effect": "Allow",
                    "Action": ["s3:GetObject", "s3:PutObject"],
                    "Resource": f"arn:aws:s3:::{backup.bucket}/{prefix}*",
                },
                {
                    "Effect": "Allow",
                    "Action": "s3:ListBucket",
                    "Resource": f"arn:aws:s3:::{backup.bucket}",
                    "Condition": {"StringLike": {"s3:prefix": f"{prefix}*"}},
                },
            ]
        if node in monitoring.publishing(plan):
            policies["database-metrics"] = [monitoring.permission(plan)]
        tags = plan.tags(Group.DATABASE.value, node.name)
        return instance_profile("database", policies=policies, tags=tags, parent=self)
