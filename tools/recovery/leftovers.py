"""What is in AWS and not in the state: half-made objects of unfinished operations, and what nothing explains."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tools.recovery import kinds
from tools.recovery.kinds import ADOPTING, BY_TYPE, KINDS, Kind
from tools.recovery.stack import VOLUME, Operation, State

Clients = Callable[[str], Any]
"""Makes the client of a service, such as `ec2`."""


@dataclass(frozen=True)
class Object:
    """Something to delete."""

    kind: Kind
    id: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.noun} {self.name} ({self.id.replace(' ', ' to ')})"


@dataclass(frozen=True)
class Leftovers:
    """All that there is to do in AWS."""

    half_made: Sequence[Object]
    """Of operations that had begun: nothing uses them yet."""
    unknown: Sequence[Object]
    """Tagged as this deployment's, and no operation of the state explains them."""
    unsure: Sequence[Operation]
    """Creations of kinds that cannot be looked for here."""
    volumes: Sequence[str]
    """Tagged as this deployment's, and no operation of the state explains them; may hold data."""


def living(client: Any, kind: Kind, tags: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """Id and Pulumi name of every object of a kind with these tags. A terminated host is none; it keeps its tags."""
    if kind.listing is None:
        return
    operation, place, id_key = kind.listing
    filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]
    if client.can_paginate(operation):
        pages = client.get_paginator(operation).paginate(**{kind.filters: filters})
        found = pages.search(f"{place.removesuffix('[]')}[]")
    else:
        found = getattr(client, operation)(**{kind.filters: filters})[place]
    for each in found:
        has = {tag["Key"]: tag["Value"] for tag in each.get("Tags", ())}
        state = each.get("State")
        is_ended = isinstance(state, Mapping) and state["Name"] == "terminated"
        comes_with_its_vpc = each.get("GroupName") == "default"
        if tags.items() <= has.items() and kinds.is_rule_of(kind, each) and not is_ended and not comes_with_its_vpc:
            yield str(each[id_key]), has.get("Node", "?")


def free_volumes(ec2: Any, tags: Mapping[str, str]) -> Iterable[Mapping[str, Any]]:
    """Volumes with these tags that no host has, as EC2 describes them."""
    filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]
    filters.append({"Name": "status", "Values": ["available"]})
    for page in ec2.get_paginator("describe_volumes").paginate(Filters=filters):
        yield from page["Volumes"]


def survey(client: Clients, state: State, project: str, stack: str) -> Leftovers:
    """Compare the account with the state. Changes nothing."""
    tags = {"Project": project, "Stack": stack, "ManagedBy": "pulumi"}
    unknown = [
        Object(kind, id_, name)
        for kind in KINDS
        if kind.listing
        for id_, name in living(client(kind.service), kind, tags)
        if id_ not in state.known_ids
    ]
    volumes = {
        str(volume["VolumeId"]): volume
        for volume in free_volumes(client("ec2"), tags)
        if volume["VolumeId"] not in state.known_ids
    }
    half_made: dict[str, Object] = {}
    unsure: list[Operation] = []
    for operation in state.operations:
        if not operation.is_create or not operation.is_in_aws or operation.type in ADOPTING:
            continue
        kind = BY_TYPE.get(operation.type)
        if kind is None:
            unsure.append(operation)
            continue
        node = (operation.inputs.get("tags") or {}).get("Node")
        candidates = (each.id for each in unknown if each.kind is kind and each.name == node)
        ids = {id_ for id_ in candidates if kind.is_ours(client(kind.service), id_, operation.inputs)}
        ids |= set(kind.find(client(kind.service), operation.inputs)) - state.known_ids
        if operation.type == VOLUME and (written := state.written):
            ids |= {id_ for id_, each in volumes.items() if kinds.volume_is_new(each, operation.inputs, written)}
        half_made |= {id_: Object(kind, id_, operation.name) for id_ in ids}
    return Leftovers(
        half_made=in_order(half_made.values()),
        unknown=in_order(each for each in unknown if each.id not in half_made),
        unsure=unsure,
        volumes=[id_ for id_ in volumes if id_ not in half_made],
    )


def in_order(objects: Iterable[Object]) -> list[Object]:
    """As they can be deleted."""
    return sorted(objects, key=lambda each: (KINDS.index(each.kind), each.name, each.id))


def delete(client: Clients, objects: Sequence[Object]) -> Iterable[tuple[Object, bool]]:
    """Delete one after another; each with whether it was still there."""
    for each in in_order(objects):
        yield each, kinds.delete(client(each.kind.service), each.kind, each.id)
