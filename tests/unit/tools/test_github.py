"""One comment, or one issue, that is made once and then updated: against an HTTP server with GitHub's paths."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tools.ci import github
from tools.ci.github import BOT, LONGEST, Repository, hidden, page

MARKER = "review of prod"


class GitHub(ThreadingHTTPServer):
    """What GitHub keeps of one repository: comments on one pull request, and issues."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.kept: dict[str, list[dict[str, Any]]] = {"comments": [], "issues": []}
        self.refuses = False

    def add(self, kind: str, body: str, user: str, **more: Any) -> dict[str, Any]:
        number = len(self.kept[kind]) + 1
        made = {"id": number, "number": number, "body": body, "user": {"login": user}, "state": "open", **more}
        self.kept[kind].append(made)
        return made


class Answers(BaseHTTPRequestHandler):
    server: GitHub

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        found = self.server.kept["comments" if url.path.endswith("/comments") else "issues"]
        found = [each for each in found if each["state"] == query.get("state", "open")]
        found = [each for each in found if each["user"]["login"] == query.get("creator", each["user"]["login"])]
        size, number = int(query["per_page"]), int(query["page"])
        self._answer(found[size * (number - 1) : size * number])

    def do_POST(self) -> None:
        kind = "comments" if self.path.endswith("/comments") else "issues"
        self._answer(self.server.add(kind, **self._body(), user=BOT))

    def do_PATCH(self) -> None:
        kind, number = self.path.rsplit("/", 2)[-2:]
        found = next(each for each in self.server.kept[kind] if each["id"] == int(number))
        found |= self._body()
        self._answer(found)

    def _body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, found: Any) -> None:
        is_refused = self.server.refuses or self.headers["Authorization"] != "Bearer token"
        self.send_response(403 if is_refused else 200)
        self.end_headers()
        shown = {"message": "Resource not accessible"} if is_refused else found
        if isinstance(shown, dict):
            shown = {**shown, "html_url": f"https://github.example/{shown.get('id')}"}
        self.wfile.write(json.dumps(shown).encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[GitHub]:
    with GitHub() as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def repository(server: GitHub) -> Repository:
    return Repository(f"http://127.0.0.1:{server.server_address[1]}", "owner/name", "token")


def test_a_comment_is_made_once_and_then_updated_in_place(server: GitHub, repository: Repository) -> None:
    for number in range(120):  # more than a page of them
        server.add("comments", f"comment {number}", "somebody")
    first = repository.comment(7, MARKER, "one")
    assert repository.comment(7, MARKER, "two") == first
    assert len(server.kept["comments"]) == 121
    assert server.kept["comments"][-1]["body"] == f"{hidden(MARKER)}\ntwo"


def test_a_comment_of_somebody_else_is_left_alone_whatever_it_says(server: GitHub, repository: Repository) -> None:
    theirs = server.add("comments", page(MARKER, "x"), "somebody")
    quoting = server.add("comments", f"> {hidden(MARKER)}", BOT)
    other = server.add("comments", page("review of dev", "x"), BOT)
    before = [dict(each) for each in (theirs, quoting, other)]
    repository.comment(7, MARKER, "ours")
    assert [theirs, quoting, other] == before
    assert len(server.kept["comments"]) == 4


def test_an_issue_is_made_updated_closed_and_made_again(server: GitHub, repository: Repository) -> None:
    pull_request = server.add("issues", page(MARKER, "x"), BOT, pull_request={})
    first = repository.issue(MARKER, "Drift", "one")
    assert repository.issue(MARKER, "Drift", "two") == first
    assert repository.close(MARKER) == first
    assert repository.close(MARKER) is None
    assert server.kept["issues"][1]["state"] == "closed"
    assert repository.issue(MARKER, "Drift", "three") != first
    assert pull_request["body"] == page(MARKER, "x")


def test_a_text_that_github_would_refuse_is_cut_and_says_so() -> None:
    assert len(page(MARKER, "x" * 70_000)) == LONGEST
    assert "in the job's log" in page(MARKER, "x" * 70_000)
    assert page(MARKER, "x") == f"{hidden(MARKER)}\nx"


def test_a_refusal_is_told_with_githubs_words_and_without_the_token(
    server: GitHub,
    repository: Repository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GITHUB_API_URL", repository.api)
    monkeypatch.setenv("GITHUB_REPOSITORY", "owner/name")
    monkeypatch.setenv("GITHUB_TOKEN", "token")
    (tmp_path / "review.md").write_text("# Review\n")
    (tmp_path / "aws.txt").write_text("~ update\n```\n")
    words = [str(tmp_path / "review.md"), str(tmp_path / "aws.txt")]
    assert github.main(["issue", MARKER, "Drift", *words]) == 0
    assert re.search(r"# Review\n\n\n### aws\n\n````\n~ update\n```\n````", server.kept["issues"][0]["body"])
    server.refuses = True
    assert github.main(["comment", "7", MARKER, *words]) == 1
    said = capsys.readouterr().err
    assert "Resource not accessible" in said
    assert "token" not in said
    monkeypatch.delenv("GITHUB_TOKEN")
    assert github.main(["close", MARKER]) == 1
