"""What the accounts' program does in each state that it can find the database in, before a database made of a dict."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cluster.templates import TEMPLATES


class OperationFailure(Exception):  # noqa: N818  (pymongo's name)
    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class Server:
    """Users and their passwords; the localhost exception lets the first one be made without a login."""

    def __init__(self) -> None:
        self.users: dict[str, str] = {}
        self.roles: dict[str, list[str]] = {}
        self.commands: list[str] = []
        self.open = False

    def client(self, host: str, port: int, username: str | None = None, password: str | None = None, **_: Any) -> Any:
        server = self

        class Admin:
            def command(self, name: str, user: str = "", pwd: str = "", roles: list[str] | None = None) -> Any:
                if username and server.users.get(username) != password:
                    raise OperationFailure(18)
                if not username and (name != "createUser" or server.users) and not server.open:
                    raise OperationFailure(13)
                server.commands.append(name)
                match name:
                    case "createUser" | "updateUser":
                        server.users[user], server.roles[user] = pwd, roles or []
                    case "dropUser":
                        del server.users[user]
                    case "usersInfo":
                        return {"users": [user] if user in server.users else []}
                return {}

        return type("Client", (), {"admin": Admin()})()


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def run(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs the program; its exit status and what it said."""
    pymongo, errors = ModuleType("pymongo"), ModuleType("pymongo.errors")
    pymongo.MongoClient = server.client  # type: ignore[attr-defined]
    errors.OperationFailure = errors.PyMongoError = OperationFailure  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pymongo", pymongo)
    monkeypatch.setitem(sys.modules, "pymongo.errors", errors)
    spec = importlib.util.spec_from_file_location("accounts", TEMPLATES / "mongodb/accounts.py")
    assert spec and spec.loader
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)

    def call(user: str = "antmedia", password: str = "first-password", what: str = "provide") -> tuple[int, str]:
        server.commands.clear()
        arguments = [what, str(tmp_path), "administrator", "readWriteAnyDatabase"]
        status = program.main(arguments, f"{user}\n{password}\n")
        said = capsys.readouterr()
        return int(status), said.out + said.err

    return call


def changes(server: Server) -> list[str]:
    return [name for name in server.commands if name.endswith("User")]


def test_a_new_database_gets_both_accounts_and_a_second_run_changes_nothing(
    server: Server, run: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    assert run()[0] == 0
    assert server.users == {"antmedia": "first-password", "administrator": (tmp_path / "administrator").read_text()}
    assert server.roles == {"antmedia": ["readWriteAnyDatabase"], "administrator": ["root"]}
    assert (tmp_path / "administrator").stat().st_mode & 0o777 == 0o600
    assert run()[0] == 0
    assert changes(server) == []


def test_a_changed_password_is_taken_over(server: Server, run: Callable[..., tuple[int, str]]) -> None:
    run()
    assert run(password="second-password")[0] == 0
    assert server.users["antmedia"] == "second-password"
    assert changes(server) == ["updateUser"]


def test_accounts_before_stay_until_they_are_retired(server: Server, run: Callable[..., tuple[int, str]]) -> None:
    run()
    server.users["somebody"] = "made by hand"
    for user in ("second", "third"):
        assert run(user=user, password=f"of-the-{user}")[0] == 0
    assert set(server.users) == {"administrator", "antmedia", "second", "third", "somebody"}
    for _ in range(2):
        assert run(user="third", password="of-the-third", what="retire")[0] == 0
        assert set(server.users) == {"administrator", "third", "somebody"}


def test_an_interrupted_run_is_finished_by_the_next(
    server: Server, run: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    (tmp_path / "administrator").write_text("written-before-the-account-was-made")
    assert run()[0] == 0
    assert server.users["administrator"] == "written-before-the-account-was-made"


def test_data_of_another_administrator_are_left_alone_and_the_way_out_is_said(
    server: Server, run: Callable[..., tuple[int, str]]
) -> None:
    server.users["somebody"] = "else"
    status, said = run()
    assert status == 1
    assert "does not let administrator in" in said
    assert server.users == {"somebody": "else"}


def test_a_database_that_asks_for_no_login_is_a_failure(server: Server, run: Callable[..., tuple[int, str]]) -> None:
    server.open = True
    status, said = run()
    assert status == 1
    assert "shows its data without a login" in said


def test_no_password_is_ever_printed(server: Server, run: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    said = run()[1] + run(password="second-password")[1] + run(user="media")[1] + run(user="media", what="retire")[1]
    for secret in ("first-password", "second-password", (tmp_path / "administrator").read_text()):
        assert secret not in said
