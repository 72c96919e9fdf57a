"""templates/ -> text. Nothing else reads that folder."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

import jinja2

TEMPLATES: Final = Path(__file__).resolve().parent.parent / "templates"


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        comment_start_string="{*",  # the usual one begins bash's ${#array[@]}
        comment_end_string="*}",
        autoescape=False,
    )


def rendered(template: str, **values: Any) -> str:
    """A template's text; a value that it uses and is not given is an error."""
    return _environment().get_template(template).render(**values)
