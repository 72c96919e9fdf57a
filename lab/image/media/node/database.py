"""The cluster's database: a MongoDB, or what speaks its protocol. Only what FerretDB 1.24 can do is asked of it.

Databases, collections and fields have the names that Ant Media Server gives them, in its spelling.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

import pymongo
from pymongo import errors, uri_parser

from .records import DatabaseError

ANSWER_SECONDS = 2.0
"""How long a node that has joined waits; after a failure nothing but the next update asks again. One that starts waits
as long as the address says, by default 30 s: drivers of every language do, so Ant Media Server does."""

APPLICATION = "LiveApp"
AUTHENTICATION_FAILED = 18

T = TypeVar("T")


class Database:
    """The records that all nodes share. Raises DatabaseError, also for an address that is none."""

    def __init__(self, uri: str) -> None:
        try:
            found = uri_parser.parse_uri(uri)
            self._client: Any = pymongo.MongoClient(uri, appname="antmedia")
        except (errors.PyMongoError, ValueError):
            # Nothing of what is wrong with it is repeated: it may be a part of the password.
            raise DatabaseError("clusterdb.host in conf/red5.properties is no MongoDB address") from None
        self._where = ",".join(f"{host}:{port}" for host, port in found["nodelist"])
        self._user = found["username"] or ""
        self._failure = ""
        self._wait: float = self._client.options.server_selection_timeout
        self.milliseconds = 0.0

    async def administrator(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = await self._ask(lambda client: client["serverdb"]["user"].find_one())
        return found

    async def add_administrator(self, record: dict[str, Any]) -> bool:
        def add(client: Any) -> bool:
            try:
                # The first one's id is always the same, so that of two who claim at two nodes one is refused.
                client["serverdb"]["user"].insert_one({"_id": "first", **record})
            except errors.DuplicateKeyError:
                return False
            return True

        return await self._ask(add)

    async def replace_administrator(self, record: dict[str, Any]) -> None:
        await self._ask(lambda client: client["serverdb"]["user"].replace_one({"_id": "first"}, record))

    async def settings(self) -> dict[str, Any]:
        found = await self._ask(lambda client: client["clusterdb"]["AppSettings"].find_one({"_id": APPLICATION}))
        settings: dict[str, Any] = json.loads(found["settings"]) if found else {}
        return settings

    async def save_settings(self, settings: dict[str, Any]) -> None:
        # As one text: names of settings may have dots.
        changed = {"$set": {"settings": json.dumps(settings)}}
        await self._ask(
            lambda client: client["clusterdb"]["AppSettings"].update_one({"_id": APPLICATION}, changed, upsert=True)
        )

    async def write_node(self, node: dict[str, Any]) -> None:
        which, entry = {"_id": node["id"]}, {"$set": {name: value for name, value in node.items() if name != "id"}}
        await self._ask(
            lambda client: client["clusterdb"]["clusternode"].update_one(which, entry, upsert=True),
            also_after_failure=True,
        )

    async def nodes(self) -> list[dict[str, Any]]:
        found = await self._ask(lambda client: list(client["clusterdb"]["clusternode"].find().sort("_id", 1)))
        return [{"id": each.pop("_id"), **each} for each in found]

    async def delete_node(self, node_id: str) -> bool:
        done = await self._ask(lambda client: client["clusterdb"]["clusternode"].delete_one({"_id": node_id}))
        return bool(done.deleted_count)

    async def take_stream(self, stream_id: str, origin: str, time_ms: int) -> None:
        entry = {
            "streamId": stream_id,
            "status": "broadcasting",
            "publishType": "RTMP",
            "originAdress": origin,
            "updateTime": time_ms,
        }
        await self._ask(lambda client: streams_of(client).update_one({"_id": stream_id}, {"$set": entry}, upsert=True))

    async def keep_stream(self, stream_id: str, origin: str, time_ms: int) -> None:
        found = await self.stream(stream_id)
        if found is None or found["originAdress"] == origin:
            await self.take_stream(stream_id, origin, time_ms)

    async def drop_stream(self, stream_id: str, origin: str) -> None:
        await self._ask(lambda client: streams_of(client).delete_one({"_id": stream_id, "originAdress": origin}))

    async def drop_streams(self, origin: str) -> None:
        await self._ask(
            lambda client: streams_of(client).delete_many({"originAdress": origin}), also_after_failure=True
        )

    async def stream(self, stream_id: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = await self._ask(lambda client: streams_of(client).find_one({"_id": stream_id}))
        return found

    async def streams(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self._ask(lambda client: list(streams_of(client).find().sort("_id", 1)))
        return found

    async def _ask(self, question: Callable[[Any], T], also_after_failure: bool = False) -> T:
        """The answer to a question, which is asked in a thread of its own."""
        if self._failure and not also_after_failure:
            raise DatabaseError(self._failure)
        started = time.monotonic()
        try:
            answer = await asyncio.to_thread(self._within, self._wait, question)
        except errors.PyMongoError as error:
            self._failure = f"the database at {self._where} {reason(error, self._user)}"
            raise DatabaseError(self._failure) from None
        self._failure, self._wait = "", ANSWER_SECONDS
        self.milliseconds += ((time.monotonic() - started) * 1000 - self.milliseconds) / 10
        return answer

    def _within(self, seconds: float, question: Callable[[Any], T]) -> T:
        with pymongo.timeout(seconds):
            return question(self._client)


def streams_of(client: Any) -> Any:
    return client[APPLICATION.lower()]["broadcast"]


def reason(error: errors.PyMongoError, user: str) -> str:
    """What the database does wrong, as the end of a sentence."""
    if isinstance(error, errors.OperationFailure) and error.code == AUTHENTICATION_FAILED:
        return f"refuses the user {user!r}: wrong name or password"
    if isinstance(error, errors.OperationFailure):
        return f"refuses what it is asked (code {error.code})"
    if system := re.search(r"\[Errno -?\d+\] ([^(,\]]+)", str(error)):
        return f"cannot be reached: {system[1].strip()}"
    return "does not answer"
