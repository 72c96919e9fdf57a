"""The pages: what they link to is there, and what they tell to type exists."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.pages import CHECKOUT, anchors, blocks, without_blocks

pytestmark = pytest.mark.unit

TRACKED = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
    cwd=CHECKOUT, check=True, capture_output=True, text=True,
).stdout.split()  # fmt: skip
PAGES = [name for name in TRACKED if (CHECKOUT / name).exists()]
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)) | {
    "recover",
    "repair",
}


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    page = CHECKOUT / name
    links = re.findall(r"\]\(([^)\s]+)\)", without_blocks(page.read_text()))
    lost = []
    for link in links:
        path, _, anchor = link.partition("#")
        if path.startswith(("https:", "http:", "mailto:", "$")):
            continue
        target: Path = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            lost.append(link)
    assert lost == []


@pytest.mark.parametrize("name", PAGES)
def test_every_make_command_exists(name: str) -> None:
    text = (CHECKOUT / name).read_text()
    told = set(re.findall(r"(?:^|`|\()make ([a-z][a-z-]*)", text, re.MULTILINE))
    assert told <= TARGETS | {"render", "help"}


def test_every_page_is_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    ahead = [CHECKOUT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", without_blocks(page.read_text()))
        ahead += [found for link in links if (found := (page.parent / link).resolve()).exists() and found.is_file()]
    alone = {"Pulumi.README.md"}  # the stack's page, which is an output
    assert {CHECKOUT / name for name in PAGES} - seen == {CHECKOUT / name for name in alone}


def test_a_page_is_taken_apart() -> None:
    page = "# A b\n\n```sh\n# no heading\nmake up\n```\n\n## `C` (d): e\n\n- x\n\n  ```sh\n  one\n    two\n  ```\n"
    assert [(each.heading, each.language, each.text) for each in blocks(page)] == [
        ("A b", "sh", "# no heading\nmake up\n"),
        ("`C` (d): e", "sh", "one\n  two\n"),
    ]
    assert anchors(page) == {"a-b", "c-d-e"}
