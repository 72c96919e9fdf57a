"""`make docs`: docs/settings.md and stacks/schema.json, made from the models in cluster/settings.py.

`--check` changes nothing, and fails where one of them is not what the models say.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final, get_origin

from pydantic import TypeAdapter

from cluster.mistakes import NAMESPACE, Filled, Key, Matches, keys
from cluster.settings import Settings

CHECKOUT: Final = Path(__file__).resolve().parent.parent

INTRODUCTION: Final = f"""\
# Settings

<!-- Made from cluster/settings.py by `make docs`: change it there. -->

Every key of a stack file, `stacks/Pulumi.STACK.yaml`. On top they begin with `{NAMESPACE}:`; those of a group are
indented under it:

```yaml
# yaml-language-server: $schema=schema.json
config:
  aws:region: us-east-1
  {NAMESPACE}:domain: live.example.com
  {NAMESPACE}:tls:
    mode: letsencrypt
    email: ops@example.com
```

- **Required** keys have no default; any other may be left out. `make new-stack STACK=mine` makes a file with every
  secret that is required.
- **Secret** keys are encrypted in the file. For instance,
  `tools/pulumi config set --secret --path {NAMESPACE}:stats.password -s mine` asks for the value, or reads it from
  standard input. In the clear they are taken with a warning.
- `true` and `false` are the only switches: `yes`, `no`, `on` and `off` are texts to Pulumi. Numbers are written
  without quotes.
- The first line is for editors: those with the
  [YAML language server](https://github.com/redhat-developer/yaml-language-server) (VS Code's YAML extension, Neovim,
  Emacs) complete keys, explain them and mark mistakes by [stacks/schema.json](../stacks/schema.json).
- `aws:` keys are [the AWS provider's](https://www.pulumi.com/registry/packages/aws/installation-configuration/);
  `aws:region` is the one that a stack needs.

A mistake is told before anything is made: `tools/pulumi preview -s mine` lists all of them at once.
"""

SECURE: Final = {
    "type": "object",
    "properties": {"secure": {"type": "string", "description": "Encrypted by Pulumi."}},
    "required": ["secure"],
    "additionalProperties": False,
}
"""A secret as the Pulumi CLI writes it."""


def settings_page() -> str:
    """docs/settings.md."""
    every = list(keys(Settings))
    single = [key for key in every if len(key.path) == 1 and not _has_keys(key)]
    parts = [INTRODUCTION, f"## Keys on top\n\n{_table(single)}"]
    for group in every:
        if len(group.path) == 1 and _has_keys(group):
            below = [key for key in every if key.path[0] == group.path[0] and key is not group]
            required = " Required." if group.info.is_required() else ""
            parts.append(f"## {group.path[0]}\n\n{group.sentence}{required}\n\n{_table(below)}")
    return "\n".join(parts)


def _has_keys(key: Key) -> bool:
    return bool(key.section) or get_origin(key.kind) is dict


def _table(rows: list[Key]) -> str:
    lines = ["| key | what it does | may hold | unit | default | secret |", "|---|---|---|---|---|---|"]
    for key in rows:
        cells = (
            f"`{'.'.join(key.path)}`",
            key.sentence,
            key.may_hold,
            key.guide.unit,
            _default(key),
            "secret" if key.secret else "",
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _default(key: Key) -> str:
    """As it is written in a stack file."""
    if key.info.is_required():
        return "**required**"
    value = key.info.get_default(call_default_factory=True)
    if key.section:
        return "" if value else "nothing"
    if value in (None, (), {}):
        return "nothing"
    if isinstance(value, tuple):
        return f"`[{', '.join(value)}]`"
    if isinstance(value, str):
        first, *more = value.splitlines()
        return f"`{first}{'…' * bool(more)}`"
    return f"`{json.dumps(value)}`"


def schema() -> dict[str, Any]:
    """stacks/schema.json: a JSON Schema of draft 7, which every editor's YAML support knows."""
    top = {f"{NAMESPACE}:{name}": said for name, said in _properties(Settings).items()}
    required = [key.name for key in keys(Settings) if len(key.path) == 1 and _must_be_written(key)]
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$comment": "Made from cluster/settings.py by `make docs`: change it there.",
        "title": f"A stack of {NAMESPACE}",
        "type": "object",
        "properties": {
            "config": {
                "type": "object",
                "description": "What a person decides about the stack.",
                "properties": top,
                # Other namespaces are other programs'.
                "patternProperties": {f"^{NAMESPACE}:(?!({'|'.join(_names(top))})$)": False},
                "required": required,
            },
            **{
                name: {"description": "Pulumi's own: how the stack's secrets are encrypted.", "type": "string"}
                for name in ("encryptionsalt", "secretsprovider", "encryptedkey")
            },
            "environment": {"description": "Pulumi's own: ESC environments to import."},
        },
        "required": ["config"],
        "additionalProperties": False,
    }


def _names(top: dict[str, Any]) -> list[str]:
    return [name.removeprefix(f"{NAMESPACE}:") for name in top]


def _must_be_written(key: Key) -> bool:
    """Whether a person has to write it; required secrets are added by `make new-stack`."""
    if key.section and key.info.is_required():
        return any(_must_be_written(inner) for inner in keys(key.section) if len(inner.path) == 1)
    return key.info.is_required() and not key.secret


def _properties(section: Any) -> dict[str, Any]:
    return {key.path[0]: _described(key) for key in keys(section) if len(key.path) == 1}


def _described(key: Key) -> dict[str, Any]:
    said: dict[str, Any] = {"description": f"{key.sentence} May hold: {key.may_hold}."}
    if not key.section and _default(key)[0] == "`" and "…" not in _default(key):
        said["default"] = key.info.get_default(call_default_factory=True)
    if not key.section:
        return said | _value(key)
    group = _group(key.section)
    # A group that something else may stand for.
    switches = [item.off for item in key.info.metadata if isinstance(item, Filled) and item.off is not None]
    return said | ({"anyOf": [group, *({"const": off} for off in switches)]} if switches else group)


def _group(section: Any) -> dict[str, Any]:
    required = [key.path[0] for key in keys(section) if len(key.path) == 1 and _must_be_written(key)]
    return {
        "type": "object",
        "properties": _properties(section),
        **({"required": required} if required else {}),
        "additionalProperties": False,
    }


def _value(key: Key) -> dict[str, Any]:
    """The kind and the limits of a value, as pydantic says them."""
    if key.secret:
        return SECURE
    if get_origin(key.kind) is dict:
        name, value = key.kind.__args__
        pattern = next(item.pattern for item in name.__metadata__ if isinstance(item, Matches))
        return {
            "type": "object",
            "patternProperties": {f"^(?:{pattern})$": _group(value)},
            "additionalProperties": False,
        }
    said = TypeAdapter(key.info.rebuild_annotation()).json_schema()
    if "anyOf" in said:  # or nothing
        held, nothing = said["anyOf"]
        said = {**held, "type": [held["type"], nothing["type"]]}
    return {name: part for name, part in said.items() if name not in ("title", "description")}


def outputs() -> dict[Path, str]:
    """The files, and what they must hold."""
    return {
        CHECKOUT / "docs" / "settings.md": settings_page(),
        CHECKOUT / "stacks" / "schema.json": json.dumps(schema(), indent=2, ensure_ascii=False) + "\n",
    }


def stale() -> list[Path]:
    """Those of the files that are not what the models say."""
    return [path for path, text in outputs().items() if not path.exists() or path.read_text() != text]


def main() -> int:
    """Write the files, or with `--check` name those that are stale."""
    found = stale()
    if sys.argv[1:] == ["--check"]:
        for path in found:
            print(f"{path.relative_to(CHECKOUT)} is not what cluster/settings.py says: run make docs", file=sys.stderr)
        return 1 if found else 0
    for path in found:
        path.write_text(outputs()[path])
        print(f"{path.relative_to(CHECKOUT)} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
