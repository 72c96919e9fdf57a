#!/usr/bin/python3
"""antmedia-database-accounts provide|retire FOLDER ADMINISTRATOR ROLE…: the database's accounts are as they should be.

Reads the name and the password of the media nodes' account, two lines, from standard input. FOLDER is on the data
volume and root's alone: there it keeps the administrator's password, which it makes, and the names of the media nodes'
accounts. provide makes the account and leaves those before it; retire drops those. An account that is right already is
left alone.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from typing import Any

import pymongo
from pymongo.errors import OperationFailure, PyMongoError

AUTHENTICATION_FAILED = 18
UNAUTHORIZED = 13
PATIENCE_MS = 60_000


class AccountsError(Exception):
    """The accounts cannot be made; the text says why and what to do."""


def connect(user: str | None = None, password: str | None = None) -> Any:
    """The `admin` database over this host's loopback address, where its very first account can be made without one."""
    login = {"username": user, "password": password, "authSource": "admin"} if user else {}
    client: Any = pymongo.MongoClient(
        "127.0.0.1", 27017, directConnection=True, serverSelectionTimeoutMS=PATIENCE_MS, **login
    )
    return client.admin


def admits(user: str, password: str) -> bool:
    """Whether the database lets somebody in with these."""
    try:
        connect(user, password).command("connectionStatus")
    except OperationFailure as error:
        if error.code == AUTHENTICATION_FAILED:
            return False
        raise
    return True


def is_closed() -> bool:
    """Whether it shows its data to nobody without a login."""
    try:
        connect().command("listDatabases")
    except OperationFailure:
        return True
    return False


def keep(file: Path, text: str) -> None:
    """Write a file that root alone may read, and have it on the disk before going on."""
    new = file.with_name(file.name + ".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as writing:
        writing.write(text)
        writing.flush()
        os.fsync(writing.fileno())
    new.replace(file)


def administer(folder: Path, name: str) -> Any:
    """The `admin` database as its administrator, who is made first in a database that has no account yet."""
    file = folder / "administrator"
    if not file.exists():
        keep(file, secrets.token_urlsafe(32))
    password = file.read_text()
    if not admits(name, password):
        try:
            connect().command("createUser", name, pwd=password, roles=["root"])
        except OperationFailure as error:
            if error.code == UNAUTHORIZED:
                raise AccountsError(
                    f"the data on this volume have accounts, and {file} does not let {name} in: restore that file, or "
                    "make the account anew with authorization switched off for a moment"
                ) from None
            raise
        print(f"made the account {name}")
    return connect(name, password)


def provide(admin: Any, folder: Path, user: str, password: str, roles: list[str]) -> None:
    """The media nodes' account."""
    keep_names(folder, [*(name for name in names(folder) if name != user), user])
    if not admin.command("usersInfo", user)["users"]:
        admin.command("createUser", user, pwd=password, roles=roles)
        print(f"made the account {user}")
    elif not admits(user, password):
        admin.command("updateUser", user, pwd=password, roles=roles)
        print(f"gave the account {user} its new password")
    else:
        print(f"the account {user} is right")
    if not admits(user, password):
        raise AccountsError(f"the database does not let {user} in with the password that it was just given")


def retire(admin: Any, folder: Path, user: str) -> None:
    """The accounts that media nodes had before this one go, with the connections that use them."""
    for name in names(folder):
        if name != user and admin.command("usersInfo", name)["users"]:
            admin.command("dropUser", name)
            print(f"dropped the account {name}")
    keep_names(folder, [user])


def names(folder: Path) -> list[str]:
    """Of the accounts that media nodes have had, oldest first."""
    file = folder / "media"
    return file.read_text().split() if file.exists() else []


def keep_names(folder: Path, found: list[str]) -> None:
    keep(folder / "media", "\n".join(found))


def main(arguments: list[str], text: str) -> int:
    """0 when the accounts are right and nobody else gets in."""
    what, folder, administrator, *roles = arguments
    user, password = text.splitlines()[:2]
    try:
        admin = administer(Path(folder), administrator)
        if what == "retire":
            retire(admin, Path(folder), user)
            return 0
        provide(admin, Path(folder), user, password, roles)
        if not is_closed():
            raise AccountsError("the database shows its data without a login")
    except (AccountsError, PyMongoError) as error:
        print(f"accounts: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdin.read()))
