"""Where the load balancer keeps its certificate for the host that comes after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from cluster.firewall import Group
from cluster.plan import ClusterPlan


@dataclass(frozen=True)
class CertificateStoreArgs:
    """What the store is made from."""

    plan: ClusterPlan


class CertificateStore(pulumi.ComponentResource):
    """A secret that by `statements` only the load balancer's host may read and write (docs/decisions/certificates.md).

    Let's Encrypt gives 5 certificates a week for the same names: a rebuilt host must not need a new one.
    """

    secret_id: pulumi.Output[str]
    statements: Sequence[Mapping[str, Any]]
    """What the load balancer's host may do."""

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
        self.statements = [
            {
                "Effect": "Allow",
                "Action": ["secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"],
                "Resource": secret.arn,
            }
        ]
        self.secret_id = secret.arn
        self.register_outputs({"secret_id": self.secret_id})
