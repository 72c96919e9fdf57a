"""A stack's own page: Pulumi.README.md with the stack's outputs in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

PAGE: Final = Path(__file__).resolve().parent.parent / "Pulumi.README.md"
PLACE: Final = re.compile(r"\$\{outputs\.(\w+)\}")
"""As Pulumi Cloud writes it. Filled in here, the page is the same wherever the state is."""


def stack_page(page: str, outputs: Mapping[str, Any]) -> str:
    """The page, without the lines that are about something that the stack has not: an output that is None.

    Raises:
        KeyError: the page names an output that there is not.
    """
    lines = page.splitlines(keepends=True)
    there = [line for line in lines if all(outputs[name] is not None for name in PLACE.findall(line))]
    return PLACE.sub(lambda place: _shown(place[1], outputs[place[1]]), "".join(there))


def _shown(name: str, value: Any) -> str:
    if name == "nodes":
        rows = [f"| {node} | {at['privateAddress']} | {at['publicAddress'] or ''} |" for node, at in value.items()]
        return "\n".join(["| host | private address | public address |", "|---|---|---|", *rows])
    return ", ".join(f"`{each}`" for each in value) if isinstance(value, list) else str(value)
