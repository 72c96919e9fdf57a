"""Security groups and their rules."""

from __future__ import annotations

from typing import Any

from lab.ec2 import backend  # noqa: F401  (moto's settings come first)


def description_of_a_rule_between_groups() -> None:
    """DescribeSecurityGroupRules says the description of a rule whose other end is a group.

    Stock: null. Without this every preview with refresh wants to set it again.
    """
    from moto.ec2.models.security_groups import SecurityGroupRule

    SecurityGroupRule.description = property(  # type: ignore[assignment]
        lambda self: self.ip_range.get("Description") or self.source_group.get("Description")
    )


def rule_is_the_same_whatever_its_description() -> None:
    """Rules between groups are the same even if described differently, and one is revoked without its description.

    Stock compares descriptions, so a duplicate that AWS refuses is accepted, and a rule revoked by its ports and source
    is not found.
    """
    from moto.ec2.models.security_groups import SecurityGroupRule

    def ends(rule: Any) -> tuple[Any, ...]:
        ports = None if rule.ip_protocol == "-1" else (rule.from_port, rule.to_port)
        source = rule.source_group.get("GroupId")
        return rule.ip_protocol, ports, rule.cidr_ipv4, rule.cidr_ipv6, source, rule.prefix_list_id

    SecurityGroupRule.__eq__ = lambda self, other: ends(self) == ends(other)  # type: ignore[method-assign]


def change_of_any_rule() -> None:
    """ModifySecurityGroupRules changes rules of every kind, wholly, to what the request says.

    Stock refuses a rule for all protocols (which has no ports), ignores the group and the description of a rule between
    groups, and never removes a description. Without this, the update of such a rule fails or shows at every preview.
    """
    from moto.ec2.exceptions import InvalidSecurityGroupNotFoundError, InvalidSecurityGroupRuleIdNotFoundError
    from moto.ec2.models.security_groups import SecurityGroupBackend

    stock_modify = SecurityGroupBackend.modify_security_group_rules

    def modify(self: Any, group_id: str, rules: dict[str, dict[str, Any]]) -> None:
        group = self.get_security_group_by_name_or_id(group_id)
        if group is None:
            raise InvalidSecurityGroupNotFoundError(group_id)
        for rule_id, new in rules.items():
            rule = group.get_rule(rule_id)
            if rule is None:
                raise InvalidSecurityGroupRuleIdNotFoundError(rule_id)
            all_protocols, referenced = new.get("IpProtocol") == "-1", new.get("ReferencedGroupId")
            if not all_protocols and not referenced:
                stock_modify(self, group_id, {rule_id: new})  # with stock moto's own checks of the request
            rule.ip_protocol = new["IpProtocol"]
            rule.from_port = None if all_protocols else int(new["FromPort"])
            rule.to_port = None if all_protocols else int(new["ToPort"])
            if referenced:
                end = {"GroupId": referenced, "OwnerId": self.account_id, "UserId": self.account_id}
            else:
                names = (("CidrIp", "CidrIpv4"), ("CidrIpv6", "CidrIpv6"))
                end = {own: new[given] for own, given in names if new.get(given)}
            if new.get("Description"):
                end["Description"] = new["Description"]
            rule.source_group, rule.ip_range = (end, {}) if referenced else ({}, end)

    SecurityGroupBackend.modify_security_group_rules = modify  # type: ignore[method-assign]


def group_in_use_is_not_deleted() -> None:
    """DeleteSecurityGroup is refused (DependencyViolation) while an interface has the group or a rule refers to it.

    Stock deletes it. Without this a program with a wrong order of deletion would work in the lab and hang on AWS.
    """
    from moto.ec2.exceptions import DependencyViolationError
    from moto.ec2.models.security_groups import SecurityGroupBackend

    stock_delete = SecurityGroupBackend._delete_security_group

    def delete(self: Any, vpc_id: str | None, group_id: str) -> None:
        by_interface = any(group.id == group_id for eni in self.enis.values() for group in eni._group_set)
        by_rule = any(
            rule.source_group.get("GroupId") == group_id
            for groups in self.groups.values()
            for group in groups.values()
            if group.id != group_id
            for rule in (*group.ingress_rules, *group.egress_rules)
        )
        if by_interface or by_rule:
            raise DependencyViolationError(f"resource {group_id} has a dependent object")
        stock_delete(self, vpc_id, group_id)

    SecurityGroupBackend._delete_security_group = delete  # type: ignore[method-assign]


PATCHES = (
    description_of_a_rule_between_groups,
    rule_is_the_same_whatever_its_description,
    change_of_any_rule,
    group_in_use_is_not_deleted,
)
