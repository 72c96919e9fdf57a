"""What a node on its own keeps in files, and what every node keeps in the database instead when it is in a cluster."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any, Protocol


class DatabaseError(Exception):
    """The database did not do what it was asked; the message is one line for the log, without the password."""


class Records(Protocol):
    """What outlives the service: the administrator and the application's settings."""

    async def administrator(self) -> dict[str, Any] | None:
        """The administrator's record, or None when nobody has claimed it."""

    async def add_administrator(self, record: dict[str, Any]) -> bool:
        """Keeps the first administrator's record; False when there is one already."""

    async def replace_administrator(self, record: dict[str, Any]) -> None:
        """Keeps another record of the same administrator."""

    async def settings(self) -> dict[str, Any]:
        """The application's settings that were changed."""

    async def save_settings(self, settings: dict[str, Any]) -> None: ...


class Registry(Records, Protocol):
    """What the nodes of a cluster share. Times are milliseconds since the epoch. Every call may raise DatabaseError."""

    milliseconds: float
    """How long the database has taken of late."""

    async def write_node(self, node: dict[str, Any]) -> None:
        """Adds a node's entry or replaces it."""

    async def nodes(self) -> list[dict[str, Any]]:
        """Every node's entry, by id."""

    async def delete_node(self, node_id: str) -> bool: ...

    async def take_stream(self, stream_id: str, origin: str, time_ms: int) -> None:
        """Says that a stream is published on `origin`, whoever had it before."""

    async def keep_stream(self, stream_id: str, origin: str, time_ms: int) -> None:
        """Says that it still is, unless another node has taken it."""

    async def drop_stream(self, stream_id: str, origin: str) -> None:
        """Says that it has ended, unless another node has taken it."""

    async def drop_streams(self, origin: str) -> None: ...

    async def stream(self, stream_id: str) -> dict[str, Any] | None: ...

    async def streams(self) -> list[dict[str, Any]]:
        """Every stream's entry, by id."""


class Files:
    """The records of a node on its own."""

    def __init__(self, users: pathlib.Path, settings: pathlib.Path) -> None:
        self._users, self._settings = users, settings

    async def administrator(self) -> dict[str, Any] | None:
        return json.loads(self._users.read_text()) if self._users.exists() else None

    async def add_administrator(self, record: dict[str, Any]) -> bool:
        try:
            with os.fdopen(os.open(self._users, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
                json.dump(record, file)
        except FileExistsError:
            return False
        return True

    async def replace_administrator(self, record: dict[str, Any]) -> None:
        self._users.write_text(json.dumps(record))

    async def settings(self) -> dict[str, Any]:
        return json.loads(self._settings.read_text()) if self._settings.exists() else {}

    async def save_settings(self, settings: dict[str, Any]) -> None:
        self._settings.write_text(json.dumps(settings))
