"""Between the engine's policies and this pack's rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pulumi_policy import EnforcementLevel, PolicyResource, StackValidationArgs, StackValidationPolicy
from pulumi_policy.policy import ReportViolation
from pulumi_policy.proxy import UnknownValueError

from policy.rule import UNKNOWN, Resource, Rule


def as_policy(rule: Rule) -> StackValidationPolicy:
    """A rule as a policy over the whole stack."""

    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        for resource, what in rule.check([plain(each) for each in args.resources]):
            report(f"{what}. {rule.reason} {rule.remedy}", resource.urn if resource else None)

    level = EnforcementLevel.MANDATORY if rule.mandatory else EnforcementLevel.ADVISORY
    return StackValidationPolicy(rule.name, rule.wants, validate, level)


def plain(resource: PolicyResource) -> Resource:
    """A resource as the rules take it."""
    return Resource(
        type=resource.resource_type,
        name=resource.name,
        properties=_known(resource.props),
        urn=resource.urn,
        made_from={name: [each.urn for each in found] for name, found in resource.property_dependencies.items()},
    )


def _known(held: Any) -> Any:
    """The same without the SDK's wrappers, which raise at what is not known."""
    if isinstance(held, Mapping):
        return {key: _item(held, key) for key in held}
    if isinstance(held, Sequence) and not isinstance(held, str):
        return [_item(held, at) for at in range(len(held))]
    return held


def _item(held: Any, key: Any) -> Any:
    try:
        return _known(held[key])
    except UnknownValueError:
        return UNKNOWN
