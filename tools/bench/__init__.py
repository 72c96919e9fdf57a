"""The page of benchmarks, of which each benchmark writes its own section."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).resolve().parent.parent.parent / "docs" / "benchmarks.md"


def with_section(page: str, command: str, text: str) -> str:
    """The page with the section of `make COMMAND` replaced, or added at its end."""
    heading = f"## make {command}"
    section = f"{heading}\n\n{text.strip()}\n"
    kept = re.split(r"(?m)^(?=## )", page or "# Benchmarks\n")
    titles = [part.splitlines()[0] for part in kept]
    if heading in titles:
        kept[titles.index(heading)] = section
    else:
        kept.append(section)
    return "\n".join(part.rstrip("\n") + "\n" for part in kept)


def write_section(command: str, text: str) -> None:
    """Put a benchmark's results into docs/benchmarks.md."""
    PAGE.write_text(with_section(PAGE.read_text() if PAGE.exists() else "", command, text))
