"""How the keys of the configuration are described, and what a person is told of a value that is not taken."""

from __future__ import annotations

import difflib
import enum
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    SecretStr,
)
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, ErrorDetails

NAMESPACE: Final = "antmedia"
SECRET: Final = "[secret]"

TYPE: Final = "TYPE"
"""Stands in a path for the name of an instance type."""

Place = tuple[int | str, ...]
"""Where a value is: names of keys, and numbers within lists."""


class Guide:
    """What a person needs to know of one key, beside its sentence, which is the docstring under it.

    Args:
        may_hold: left out where the type says it: whole numbers with limits, choices, true or false. Of a group, what
            it may hold instead of its keys.
        remedy: how to put a wrong value right; left out where the type says it.
        unit: of a number.
    """

    def __init__(self, may_hold: str = "", remedy: str = "", *, unit: str = "") -> None:
        self.may_hold = may_hold
        self.remedy = remedy
        self.unit = unit


class Matches:
    """A text must match the whole of a regular expression, which editors are told too: so it is one that JavaScript
    understands.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return handler.generate_schema(Annotated[source, AfterValidator(self._check)])

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(core_schema), "pattern": f"^(?:{self.pattern})$"}

    def _check(self, text: str) -> str:
        if re.fullmatch(self.pattern, text):
            return text
        bare = re.sub(r"^[a-z0-9]+://", "", text.strip()).strip("/")
        for near in (bare, bare.lower()):
            if re.fullmatch(self.pattern, near):
                raise NearMissError(f"did you mean {near}?")
        raise ValueError("does not match")


class Filled:
    """A group, or a value, that may be left out, but not be empty, which has seldom been meant as leaving it out.

    Args:
        off: what may stand for it to switch it off, which makes it None.
        remedy: how it is filled.
    """

    def __init__(self, off: bool | None = None, remedy: str = "indent its keys under it, or remove the line") -> None:
        self.off = off
        self.remedy = remedy

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return handler.generate_schema(Annotated[source, BeforeValidator(self._check)])

    def _check(self, value: Any) -> Any:
        if value is None:
            raise NearMissError(self.remedy)
        # A group on top that is switched off arrives as the engine hands over single values there: as text.
        return None if value is self.off or (self.off is False and value == "false") else value


class NearMissError(ValueError):
    """A value that is wrong in a way that shows what was meant. The text is the remedy, and may hold the value."""


class Section(BaseModel):
    """A group of keys: frozen, camelCase in the stack file, unknown keys refused, no silent conversions."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )


@dataclass(frozen=True)
class Key:
    """One key as its model describes it."""

    path: tuple[str, ...]
    """Names from the top, `TYPE` for a name that the person chooses."""
    info: FieldInfo
    kind: Any
    """The type of its value, or of an element's, where it may be left empty without that."""
    guide: Guide

    @property
    def name(self) -> str:
        """As a person writes it, with dots."""
        return f"{NAMESPACE}:{'.'.join(self.path)}"

    @property
    def section(self) -> type[Section] | None:
        """The group that it is, if it is one."""
        return self.kind if _is_section(self.kind) else None

    @property
    def secret(self) -> bool:
        """Whether its value belongs encrypted into the stack file."""
        return self.kind is SecretStr

    @property
    def may_be_off(self) -> bool:
        """Whether `false` may stand for its value."""
        return any(isinstance(item, Filled) and item.off is False for item in self.info.metadata)

    @property
    def sentence(self) -> str:
        """What it does."""
        text = self.info.description or (self.section and self.section.__doc__) or ""
        return " ".join(text.partition("\n\n")[0].split())

    @property
    def may_hold(self) -> str:
        """In words that go on from "may hold"."""
        said = self.guide.may_hold
        if self.section:
            names = _names(self.section)
            group = f"the {'keys' if len(names) > 1 else 'key'} {_listed(names, 'and')}"
            return f"{group}, or {said}" if said else group
        if said:
            return said
        if self.kind is bool:
            return "true or false"
        if choices := self.choices:
            return _listed(choices, "or")
        least, most = self.limits
        return f"a whole number of {self.guide.unit} from {least} to {most}"

    @property
    def choices(self) -> list[str]:
        """Every value of a key that has but a few."""
        is_enum = isinstance(self.kind, type) and issubclass(self.kind, enum.Enum)
        return [choice.value for choice in self.kind] if is_enum else []

    @property
    def limits(self) -> tuple[Any, Any]:
        """The least and the most that a number may be."""
        least = next((item.ge for item in self.info.metadata if isinstance(item, Ge)), None)
        most = next((item.le for item in self.info.metadata if isinstance(item, Le)), None)
        return least, most

    @property
    def remedy(self) -> str:
        """How to put right a value, or the lack of one, of which nothing better is known."""
        if self.guide.remedy:
            return self.guide.remedy
        if section := self.section:
            required = [key for key in _below(section) if key.info.is_required()]
            names = _listed([key.path[-1] for key in required], "and") if required else ""
            if required and all(key.secret for key in required):
                return f"`make new-stack STACK=…` adds it, with {names}"
            under = f"; {names} must be there" if required else ""
            return f"indent its keys under it{under}"
        if self.choices:
            return self.sentence.replace("`", "").rstrip(".")
        if self.kind is bool:
            return "write one of these"
        return "choose a number in this range, or leave the key out for the default"


def keys(section: type[Section], above: tuple[str, ...] = ()) -> Iterator[Key]:
    """Every key of a group and of the groups in it, in the order of the models."""
    for name, info in section.model_fields.items():
        key = Key((*above, info.alias or name), info, *_described(info.annotation, info.metadata))
        yield key
        if key.section:
            yield from keys(key.section, key.path)
        elif get_origin(key.kind) is dict:
            yield from keys(get_args(key.kind)[1], (*key.path, TYPE))


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong in a stack file."""

    key: str
    held: str
    may_hold: str
    remedy: str

    def __str__(self) -> str:
        return f"  {self.key}\n    holds     {self.held}\n    may hold  {self.may_hold}\n    remedy    {self.remedy}"


class SettingsError(Exception):
    """The configuration cannot be used. `mistakes` has every one of them; the text is for a person to read."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        count = "1 mistake" if len(self.mistakes) == 1 else f"{len(self.mistakes)} mistakes"
        super().__init__(
            f"{count} in the configuration; nothing was changed.\n\n" + "\n\n".join(map(str, self.mistakes)) + "\n"
        )


def mistakes(details: Iterable[ErrorDetails], model: type[Section], hidden: Collection[str]) -> Iterator[Mistake]:
    """What pydantic refused, for a person. No value under a top-level key of `hidden` is shown."""
    found = [(_location(detail), detail) for detail in details]
    for location, detail in found:
        # A list whose elements are wrong is also reported as too short.
        if detail["type"] != "too_short" or not any(_inside(place, location) for place, _ in found):
            yield _mistake(location, detail, model, hidden)


def missing(model: type[Section], *path: str) -> Mistake:
    """A key that must be there, and is not."""
    key = _look_up(model, path)
    assert key
    return Mistake(key.name, "nothing", key.may_hold, key.remedy)


def stray(name: str, model: type[Section]) -> Mistake | None:
    """What is wrong with a key of another namespace, `NAMESPACE:KEY`, if it was meant for this one."""
    namespace, _, key = name.partition(":")
    plain = _plain(namespace)
    if plain != NAMESPACE and not difflib.get_close_matches(plain, [NAMESPACE], cutoff=0.8):
        return None
    near = [key.name for key in _neighbours(key, (), model, model)] or [f"{NAMESPACE}:{key}"]
    return Mistake(
        name,
        "a value",
        f"nothing that counts: the program reads {NAMESPACE}:…",
        f"did you mean {_listed(near, 'or')}?",
    )


def _location(detail: ErrorDetails) -> Place:
    # pydantic also names its own functions, and says that a mapping's key is what is wrong.
    return tuple(part for part in detail["loc"] if isinstance(part, int) or not re.match(r"function-|\[key\]$", part))


def _mistake(location: Place, detail: ErrorDetails, model: type[Section], hidden: Collection[str]) -> Mistake:
    if detail["type"] == "extra_forbidden":
        return _unknown_key(location, detail["input"], model, hidden)
    name = f"{NAMESPACE}:{_path(location)}"
    # Of a mapping's key, what is said of the mapping holds.
    key = _look_up(model, location[:-1] if detail["loc"][-1] == "[key]" else location)
    assert key
    if detail["type"] == "missing":
        return Mistake(name, "nothing", key.may_hold, key.remedy)
    held = detail["input"]
    has_secrets = bool(held) and any(inner.secret for inner in _below(key.section))
    if key.secret or has_secrets or location[0] in hidden:
        in_quotes = detail["type"] == "string_type" and isinstance(held, bool | int | float)
        # A choice that was nearly made is no secret.
        hint = "put it into quotes" if in_quotes else key.choices and _remedy_for_kind(detail["type"], held, key)
        return Mistake(name, SECRET, key.may_hold, hint or key.remedy)
    reason = detail.get("ctx", {}).get("error")
    remedy = str(reason) if isinstance(reason, NearMissError) else _remedy_for_kind(detail["type"], held, key)
    return Mistake(name, _shown(held), key.may_hold, remedy or key.remedy)


def _remedy_for_kind(error: str, value: Any, key: Key) -> str | None:
    """How a value of the wrong kind is written as one of the right kind; None where that cannot be told."""
    text = value.strip() if isinstance(value, str) else None
    match error:
        case "int_type" if text in ("no", "off", "false") and key.may_be_off:
            return "write false, without quotes"
        case "int_type" if text is not None:
            if re.fullmatch(r"\d+", text):
                return f"write it without quotes: {text}"
            if re.fullmatch(r"\d[\d_, ]*\d", text):
                digits = re.sub(r"\D", "", text)
                return f"write the digits alone: {digits}"
            if thousands := re.fullmatch(r"(\d+)\s*[kK]", text):
                return f"write all the digits: {thousands[1]}000"
            if with_unit := re.fullmatch(r"(\d+)\s*[A-Za-z]+", text):
                return f"write the number alone, in {key.guide.unit}: {with_unit[1]}"
            return "write a number"
        case "int_type" if isinstance(value, float) and value.is_integer():
            return f"write it without a fraction: {int(value)}"
        case "int_type":
            return "write a whole number, or leave the key out"
        case "bool_type":
            meant = {"yes": "true", "on": "true", "1": "true", "no": "false", "off": "false", "0": "false"}
            word = str(value).lower()
            if word in ("true", "false"):
                return f"write it in small letters and without quotes: {word}"
            return f"write {meant[word]}" if word in meant else None
        case "string_type" if isinstance(value, bool | int | float):
            return f"put it into quotes: {json.dumps(_shown(value))}"
        case "string_type" if isinstance(value, list) and len(value) == 1:
            return f"write it without brackets: {_shown(value[0])}"
        case "tuple_type" if text:
            elements = re.split(r"[,;\s]+", text)
            return f"write it as a list: [{', '.join(elements)}]"
        case "enum" if "none" in key.choices and str(value).lower() in ("no", "off", "false"):
            return "did you mean none?"
        case "enum" if text:
            near = {_plain(choice): choice for choice in key.choices}
            found = difflib.get_close_matches(_plain(text), near, n=1)
            return f"did you mean {near[found[0]]}?" if found else None
        case "model_type" | "model_attributes_type" | "dict_type" if isinstance(value, list):
            return "write its keys without dashes before them"
        case "model_type" | "model_attributes_type" | "dict_type" if value in (None, "") and not key.info.is_required():
            return "indent its keys under it, or remove the line"
    return None


_OTHER_NAMES: Final = {
    "region": "aws:region",
    "ssl": f"{NAMESPACE}:tls",
    "vpc": f"{NAMESPACE}:network",
    "haproxy": f"{NAMESPACE}:loadBalancer",
    "mongodb": f"{NAMESPACE}:database",
}
"""What people call them elsewhere."""

_SOUNDS_SECRET: Final = re.compile(r"pass|secret|key|token|licen|uri", re.IGNORECASE)


def _unknown_key(location: Place, held: Any, model: type[Section], hidden: Collection[str]) -> Mistake:
    above, last = location[:-1], str(location[-1])
    group = _look_up(model, above) if above else None
    section, place = (group.section or model, group.path) if group else (model, ())
    near = _neighbours(last, place, model, section)
    first, dot, rest = last.partition(".")
    if other := None if above else _OTHER_NAMES.get(_plain(last)):
        remedy = f"did you mean {other}?"
    elif near and dot and not above:
        remedy = f"write {rest} on a line of its own, indented, under {NAMESPACE}:{first}"
    elif near:
        remedy = f"did you mean {_listed([_called(key, place) for key in near], 'or')}?"
    else:
        remedy = "remove it"
    # A misspelt key may hold what belongs to a secret one.
    meant = [inner for key in near for inner in (key, *_below(key.section))] or _below(section)
    secret = location[0] in hidden or _SOUNDS_SECRET.search(last) or any(key.secret for key in meant)
    return Mistake(
        f"{NAMESPACE}:{_path(location)}",
        SECRET if secret else _shown(held),
        f"nothing: there is no such key; the keys here are {', '.join(_names(section))}",
        remedy,
    )


def _neighbours(name: str, place: tuple[str, ...], model: type[Section], section: type[Section]) -> list[Key]:
    """The keys that a name nobody knows was perhaps meant to be: of the group that it stands in, or of others."""
    plain, every = _plain(name), list(keys(model))
    here = {_plain(key.path[-1]): key for key in every if key.path[:-1] == place and key.path[-1] in _names(section)}
    if plain in here:
        return [here[plain]]
    # The right name in the wrong group, or the names of group and key in one.
    moved = [key for key in every if plain in (_plain(key.path[-1]), *(_plain("".join(key.path[n:])) for n in (0, 1)))]
    below = [key for key in moved if key.path[: len(place)] == place]
    if below and place:
        return below
    if 0 < len(moved) <= 4:
        return moved
    close = [(0.1 + _likeness(plain, name), key) for name, key in here.items()]
    # Elsewhere only what is very like it: a wrong hint is worse than none.
    close += [
        (likeness, key)
        for key in every
        for name in (key.path[-1], "".join(key.path))
        if (likeness := _likeness(plain, _plain(name))) > 0.8
    ]
    likeness, key = max(close, key=lambda one: one[0])
    return [key] if likeness > 0.7 else []


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()


def _below(section: type[Section] | None) -> list[Key]:
    """The keys of a group, without those of the groups in it."""
    return [key for key in keys(section) if len(key.path) == 1] if section else []


def _called(key: Key, place: tuple[str, ...]) -> str:
    return key.path[-1] if key.path[:-1] == place else key.name


def _plain(name: str) -> str:
    """Without what spellings differ by: capitals, hyphens, underscores."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _inside(place: Place, outer: Place) -> bool:
    return len(place) > len(outer) and place[: len(outer)] == outer


def _path(location: Iterable[int | str]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _shown(value: Any) -> str:
    """As it would be written in a stack file."""
    match value:
        case None:
            return "nothing"
        case "":
            return "an empty text"
        case Mapping():
            return "a group of keys" if value else "an empty group"
        case [Mapping(), *_]:
            return "a list of groups"
        case str() if value.isprintable() and not re.fullmatch(r"[\d_]+(\.\d+)?|true|false|null|~", value):
            text = value
        case _:
            # Quotes show that "2" was written as a text where a number belongs.
            text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def _look_up(model: type[Section], location: Sequence[int | str]) -> Key | None:
    """The key that a value at a place belongs to; in a list, what is said of its elements."""
    section: type[Section] | None = model
    found: Key | None = None
    path: tuple[str, ...] = ()
    for part in location:
        if found and isinstance(part, int):
            found = Key(found.path, found.info, *_described(get_args(found.kind)[0], (), found.guide))
        elif found and get_origin(found.kind) is dict:
            section, path = get_args(found.kind)[1], (*path, TYPE)
            found = Key(path, found.info, section, Guide())
        elif section:
            info = next((info for name, info in section.model_fields.items() if part in (name, info.alias)), None)
            if info is None:
                return None
            path = (*path, str(part))
            found = Key(path, info, *_described(info.annotation, info.metadata))
            section = found.section
    return found


def _described(annotation: Any, metadata: Iterable[Any], otherwise: Guide | None = None) -> tuple[Any, Guide]:
    """A type without what is annotated to it and without None, and the outermost guide that was annotated."""
    guide = next((item for item in metadata if isinstance(item, Guide)), None)
    while get_origin(annotation) in (Annotated, Union, UnionType):
        metadata = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
        guide = guide or next((item for item in metadata if isinstance(item, Guide)), None)
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    return annotation, guide or otherwise or Guide()


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _names(section: type[Section]) -> list[str]:
    return [info.alias or name for name, info in section.model_fields.items()]


def _listed(names: Sequence[str], conjunction: str) -> str:
    """`a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} {conjunction} {last}" if first else last
