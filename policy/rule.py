"""What a rule is, and what it is given: the resources of a stack as plain values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final


class _Unknown:
    def __repr__(self) -> str:
        return "not known yet"


UNKNOWN: Final = _Unknown()
"""A value that a preview cannot know, such as the id of what is yet to be made."""


@dataclass(frozen=True)
class Resource:
    """One resource of the stack, as it would be after the update."""

    type: str
    """The engine's, such as `aws:ec2/instance:Instance`."""
    name: str
    properties: Mapping[str, Any]
    """By the engine's names; secrets in the clear, UNKNOWN for what is not known."""
    urn: str = ""
    made_from: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By property: the URNs of the resources that its value comes from."""

    @property
    def kind(self) -> str:
        """The type's last word."""
        return self.type.rpartition(":")[2]

    def get(self, name: str) -> Any:
        """A property; None where it is not set."""
        return self.properties.get(name)

    def leads_to(self, name: str, other: Resource) -> bool:
        """Whether a property is the other resource's id or ARN, also while that is not known."""
        known = {other.get("id"), other.get("arn")} - {None, UNKNOWN}
        return self.get(name) in known or other.urn in self.made_from.get(name, ())


Finding = tuple[Resource | None, str]
"""What breaks a rule, None for the stack as a whole, and how."""


@dataclass(frozen=True)
class Rule:
    """One thing that has to be so. `check` gets every resource of the stack."""

    name: str
    wants: str
    """What has to be so, in a sentence."""
    reason: str
    """Why, in a sentence."""
    remedy: str
    """What to do about a finding, in a sentence."""
    check: Callable[[Sequence[Resource]], Iterable[Finding]]
    mandatory: bool = True
    """Whether a finding fails the preview."""


def of(resources: Iterable[Resource], *kinds: str) -> Iterator[Resource]:
    """The resources of AWS of some kinds, such as `Instance`."""
    return (each for each in resources if each.type.startswith("aws:") and each.kind in kinds)


def entries(value: Any) -> list[Any]:
    """A property that holds a list, or one entry, or nothing."""
    if value is None or value is UNKNOWN:
        return []
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
