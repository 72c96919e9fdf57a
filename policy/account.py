"""What an account is kept in order by: tags, and a record of who spoke to whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from cluster.plan import tags
from policy.rule import UNKNOWN, Finding, Resource, of

TAGS: Final = frozenset(tags("", "", "", ""))
"""The names of the tags that the program gives to everything."""

WITHOUT_TAGS: Final = frozenset(
    {
        "Dashboard",
        "EipAssociation",
        "Record",
        "RolePolicy",
        "Route",
        "RouteTableAssociation",
        "TopicSubscription",
        "VolumeAttachment",
    }
)
"""The kinds that AWS has no tags for, of those that the program makes. One that it does not make yet is added here."""


def everything_is_tagged(resources: Sequence[Resource]) -> Iterator[Finding]:
    """What could have the project's tags and lacks some."""
    for each in resources:
        if not each.type.startswith("aws:") or each.kind in WITHOUT_TAGS:
            continue
        given = each.get("tags")
        if given is not UNKNOWN and (missing := TAGS - set(given or ())):
            yield each, f"{each.kind} {each.name} lacks the tags {', '.join(sorted(missing))}"


def networks_are_logged(resources: Sequence[Resource]) -> Iterator[Finding]:
    """VPCs without a flow log of all traffic, and flow logs whose group never forgets."""
    logs, groups = list(of(resources, "FlowLog")), list(of(resources, "LogGroup"))
    for vpc in of(resources, "Vpc"):
        own = [log for log in logs if log.leads_to("vpcId", vpc) and log.get("trafficType") == "ALL"]
        if not own:
            yield vpc, f"the network {vpc.name} has no flow log of all traffic"
        for log in own:
            for group in groups:
                if log.leads_to("logDestination", group) and not group.get("retentionInDays"):
                    yield group, f"the log group {group.name} keeps flow logs for ever"
