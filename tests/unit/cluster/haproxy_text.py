"""haproxy.cfg as tests read it."""

from __future__ import annotations


def sections(text: str) -> dict[str, list[str]]:
    """haproxy.cfg as {section line: its lines}, comments dropped."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if not line.strip() or line.strip().startswith("#"):
            continue
        if line[0] != " ":
            lines = found[line] = []
        else:
            lines.append(line.strip())
    return found


def of_kind(text: str, keyword: str) -> list[tuple[str, list[str]]]:
    """(section, the words of a line) for each line that begins with a keyword."""
    return [
        (section, line.split())
        for section, lines in sections(text).items()
        for line in lines
        if line.split()[0] == keyword
    ]
