"""Where the load balancer keeps its certificate for the host that comes after it."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from cluster.firewall import Group
from cluster.plan import ClusterPlan
from components.role import instance_profile


@dataclass(frozen=True)
class CertificateStoreArgs:
    """What the store is made from."""

    plan: ClusterPlan


class CertificateStore(pulumi.ComponentResource):
    """A secret that only the load balancer's host may read and write (docs/decisions/certificates.md).

    Let's Encrypt gives 5 certificates a week for the same names: a rebuilt host must not need a new one.
    """

    secret_id: pulumi.Output[str]
    instance_profile: pulumi.Output[str]

    def __init__(self, name: str, args: CertificateStoreArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("antmedia:loadbalancer:CertificateStore", name, None, opts)
        own = pulumi.ResourceOptions(parent=self)
        tags = args.plan.tags(Group.LOAD_BALANCER.value, "certificate")

        secret = aws.secretsmanager.Secret(
            "certificate",
            description=f"{args.plan.project} {args.plan.stack}: certificate, its key, and the ACME account",
            recovery_window_in_days=0,  # destroy leaves nothing behind
            tags=tags,
            opts=own,
        )
        self.instance_profile = instance_profile(
            "load-balancer",
            policy="certificate",
            statements=[
                {
                    "Effect": "Allow",
                    "Action": ["secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"],
                    "Resource": secret.arn,
                }
            ],
            tags=tags,
            parent=self,
        )
        self.secret_id = secret.arn
        self.register_outputs({"secret_id": self.secret_id, "instance_profile": self.instance_profile})
