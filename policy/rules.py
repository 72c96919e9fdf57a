"""Every rule of the pack, why it is one, and what to do about a finding. One of your own goes here too."""

from __future__ import annotations

from typing import Final

from policy import account, firewall, hosts
from policy.rule import Rule

RULES: Final = (
    Rule(
        "world-open-ports",
        "Only ports of the firewall table are open to the world.",
        "A port that nobody decided on is one that nobody watches.",
        "Close it, or add a row with its reason to cluster/firewall.py.",
        firewall.world_open_ports,
    ),
    Rule(
        "administration-is-closed",
        "SSH and the statistics page are never open to the world.",
        "Whoever gets in there has every host.",
        "Name the addresses of administrators in adminCidrs; a machine without a fixed one lets itself in with "
        "tools.ci.ssh_access.",
        firewall.administration_is_closed,
    ),
    Rule(
        "database-is-closed",
        "The database has no Elastic IP, and takes connections from the cluster's groups alone.",
        "A database that can be reached from outside has been copied sooner or later.",
        "Reach it through the load balancer, by make ssh; remove the address, or the rule.",
        firewall.database_is_closed,
    ),
    Rule(
        "default-group-is-closed",
        "The default security group of every VPC has no rules.",
        "What is started without a group gets it, and by default everything in it may talk to everything else.",
        "Keep it empty with aws.ec2.DefaultSecurityGroup, as components/network.py does.",
        firewall.default_group_is_closed,
    ),
    Rule(
        "metadata-is-guarded",
        "Hosts take metadata requests of version 2 only, over one hop.",
        "A server that fetches addresses for strangers is otherwise talked into fetching the host's credentials.",
        "Set metadata_options to http_tokens required and http_put_response_hop_limit 1.",
        hosts.metadata_is_guarded,
    ),
    Rule(
        "volumes-are-encrypted",
        "Every volume is encrypted, root volumes too.",
        "Snapshots and discarded disks are read by others.",
        "Set encrypted on the volume or its block device; AWS then replaces it.",
        hosts.volumes_are_encrypted,
    ),
    Rule(
        "user-data-holds-no-secret",
        "User data holds no secret but the stack's SSH host key.",
        "Everybody on the host and everybody who may describe it reads user data.",
        "Send it to the host in a step, on standard input (components/remote.py); the one exception is in "
        "docs/decisions/host-key.md.",
        hosts.user_data_holds_no_secret,
    ),
    Rule(
        "images-are-pinned",
        "Every host starts from one image, named by its id.",
        "An image that changes by itself replaces hosts at an update about something else.",
        "Name an image's id or its exact name in the stack file.",
        hosts.images_are_pinned,
    ),
    Rule(
        "everything-is-tagged",
        "Everything that can have tags has the project's.",
        "Recovery, reviews and bills find what belongs to a stack by them.",
        "Give it tags=plan.tags(role, name).",
        account.everything_is_tagged,
    ),
    Rule(
        "networks-are-logged",
        "Every VPC has a flow log of all traffic, kept for a time.",
        "Without it nobody can tell afterwards who spoke to whom; without an end it keeps people's addresses for ever.",
        "Set network.flowLogDays; false is a choice that a stack file may make, so this is a remark.",
        account.networks_are_logged,
        mandatory=False,
    ),
)
