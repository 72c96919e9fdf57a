"""One comment on a pull request, or one issue, that is made once and then updated in place.

usage: python -m tools.ci.github comment NUMBER MARKER FILE...   a comment on the pull request NUMBER
       python -m tools.ci.github issue MARKER TITLE FILE...      an open issue
       python -m tools.ci.github close MARKER                    close it, where there is one

MARKER is a text that the page carries unseen, by which it is found again. A FILE is Markdown, if it ends in .md;
everything else is shown as it is. Reads GITHUB_TOKEN, GITHUB_REPOSITORY and GITHUB_API_URL, as GitHub's runners have
them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from tools.markdown import fenced

LONGEST: Final = 65_000
"""Characters; GitHub takes 65,536 in a comment or an issue."""

PAGE: Final = 100
BOT: Final = "github-actions[bot]"
"""Who writes what a workflow writes. What carries the marker and is somebody else's is left alone."""


class GitHubError(Exception):
    """GitHub refused, or did not answer."""


@dataclass(frozen=True)
class Repository:
    """A repository by GitHub's REST API."""

    api: str
    name: str
    """OWNER/NAME."""
    token: str

    def comment(self, number: int, marker: str, text: str) -> str:
        """Make or update the comment; returns its address."""
        body = {"body": page(marker, text)}
        found = self._own(f"issues/{number}/comments?", marker)
        if found:
            return str(self._ask("PATCH", f"issues/comments/{found['id']}", body)["html_url"])
        return str(self._ask("POST", f"issues/{number}/comments", body)["html_url"])

    def issue(self, marker: str, title: str, text: str) -> str:
        """Make or update the open issue; returns its address."""
        body = {"title": title, "body": page(marker, text)}
        found = self._own_issue(marker)
        if found:
            return str(self._ask("PATCH", f"issues/{found['number']}", body)["html_url"])
        return str(self._ask("POST", "issues", body)["html_url"])

    def close(self, marker: str) -> str | None:
        """Close the open issue; returns its address, None where there is none."""
        found = self._own_issue(marker)
        if not found:
            return None
        body = {"state": "closed", "state_reason": "completed"}
        return str(self._ask("PATCH", f"issues/{found['number']}", body)["html_url"])

    def _own_issue(self, marker: str) -> Any:
        return self._own(f"issues?state=open&creator={quote(BOT)}&", marker)

    def _own(self, path: str, marker: str) -> Any:
        for each in self._all(path):
            is_ours = (each.get("user") or {}).get("login") == BOT
            if is_ours and "pull_request" not in each and (each.get("body") or "").startswith(hidden(marker)):
                return each
        return None

    def _all(self, path: str) -> Iterator[Any]:
        number = 1
        while found := self._ask("GET", f"{path}per_page={PAGE}&page={number}"):
            yield from found
            if len(found) < PAGE:
                return
            number += 1

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        request = Request(
            f"{self.api}/repos/{self.name}/{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={
                "Accept": "application/vnd.github+json",
                "Authorization": f"Bearer {self.token}",
                "Content-Type": "application/json",
                "X-GitHub-Api-Version": "2022-11-28",
            },
        )
        try:
            with urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except HTTPError as error:
            raise GitHubError(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from None
        except URLError as error:
            raise GitHubError(f"{method} {path}: {error.reason}") from None


def hidden(marker: str) -> str:
    """A line of Markdown that nobody sees."""
    return f"<!-- antmedia: {marker} -->"


def page(marker: str, text: str) -> str:
    """The text with its marker, cut where GitHub would refuse it."""
    whole = f"{hidden(marker)}\n{text}"
    note = "\n\nThe rest is in the job's log.\n"
    return whole if len(whole) <= LONGEST else whole[: LONGEST - len(note)] + note


def shown(files: list[str]) -> str:
    """What files hold, one after the other."""
    texts = ((Path(file), Path(file).read_text()) for file in files)
    return "\n\n".join(
        text if path.suffix == ".md" else f"### {path.stem}\n\n{fenced(text.strip())}" for path, text in texts
    )


def main(words: list[str]) -> int:
    """Do what the words say. Returns the exit code."""
    environment = os.environ
    try:
        repository = Repository(
            environment.get("GITHUB_API_URL", "https://api.github.com"),
            environment["GITHUB_REPOSITORY"],
            environment["GITHUB_TOKEN"],
        )
        match words:
            case ["comment", number, marker, *files] if files:
                print(repository.comment(int(number), marker, shown(files)))
            case ["issue", marker, title, *files] if files:
                print(repository.issue(marker, title, shown(files)))
            case ["close", marker]:
                print(repository.close(marker) or "there is no such issue")
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except KeyError as error:
        print(f"{error} is not in the environment", file=sys.stderr)
        return 1
    except GitHubError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
