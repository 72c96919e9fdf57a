"""One EC2 instance of the plan, the same way for every role."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pulumi
import pulumi_aws as aws

from cluster import images
from cluster.cloud_init import LOGIN_USER, cloud_config, ssh_keys
from cluster.firewall import Group
from cluster.plan import ClusterPlan, Node
from components.remote import RemoteHost, RemoteHostArgs
from components.sequence import once_there


def instance(
    plan: ClusterPlan,
    node: Node,
    *,
    group: Group,
    subnet_ids: Mapping[str, pulumi.Input[str]],
    security_group_ids: Mapping[Group, pulumi.Input[str]],
    instance_profile: pulumi.Input[str] | None = None,
    after: Sequence[pulumi.Resource] = (),
    opts: pulumi.ResourceOptions,
) -> aws.ec2.Instance:
    """An instance at its fixed address, with an encrypted gp3 volume and IMDSv2 only; touched once `after` exist."""
    tags = plan.tags(group.value, node.name)
    ssh = plan.settings.ssh
    user_data = json.dumps({**cloud_config(ssh), "ssh_keys": ssh_keys(ssh)}, indent=1)
    return aws.ec2.Instance(
        node.name,
        ami=image_id(node.ami, opts),
        instance_type=node.instance_type,
        subnet_id=subnet_ids[node.zone.name],
        private_ip=once_there(after, str(node.address)),
        vpc_security_group_ids=[security_group_ids[group]],
        iam_instance_profile=instance_profile,
        # What AWS does without asking, said so that nobody switches it off unseen.
        maintenance_options={"auto_recovery": "default"},
        metadata_options={"http_tokens": "required", "http_put_response_hop_limit": 1},
        root_block_device={
            "volume_type": "gp3",
            "volume_size": node.volume_gb,
            "encrypted": True,
            "tags": tags,
        },
        user_data=pulumi.Output.secret(f"#cloud-config\n{user_data}"),
        tags=tags,
        opts=pulumi.ResourceOptions.merge(
            opts,
            pulumi.ResourceOptions(
                # The new host takes the old one's private address.
                delete_before_replace=True,
                # A host reads it on its first boot; a new one is always made with the newest.
                ignore_changes=["userData"],
            ),
        ),
    )


def remote_host(
    plan: ClusterPlan,
    node: Node,
    host: aws.ec2.Instance,
    *,
    address: pulumi.Input[str],
    through: pulumi.Input[str] | None = None,
    opts: pulumi.ResourceOptions,
) -> RemoteHost:
    """An instance to do something on: with the stack's one login, and the one host key that every host shows."""
    ssh = plan.settings.ssh
    return RemoteHost(
        node.name,
        RemoteHostArgs(
            address=address,
            user=LOGIN_USER,
            private_key=pulumi.Output.secret(ssh.login_key),
            host_public_key=ssh.host_public_key,
            instance=host,
            through=through,
        ),
        opts,
    )


def image_id(ami: str, opts: pulumi.ResourceOptions) -> pulumi.Input[str]:
    """The id of an image given by id, or by the exact name that its publisher gave it."""
    publisher = images.publisher(ami)
    if not publisher:
        return ami
    return aws.ec2.get_ami_output(
        owners=[publisher],
        filters=[{"name": "name", "values": [ami]}],
        opts=pulumi.InvokeOptions(parent=opts.parent),
    ).id
