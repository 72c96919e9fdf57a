"""Stand-in media nodes that share a database: who is in the list, who has a stream, what one sends on to another."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import pathlib
import time
import urllib.parse
from typing import Any

import pytest

from lab.image.media.node import __main__ as program
from lab.image.media.node import answers, messages
from lab.image.media.node.answers import Node
from lab.image.media.node.cluster import Cluster, Load
from lab.image.media.node.records import DatabaseError

ORIGIN, EDGE = "172.30.0.32", "172.30.0.132"
USER = {"email": "a@example.org", "password": "one"}


class Memory:
    """The database, in memory. While it is `away` it answers nobody."""

    def __init__(self) -> None:
        self.users: list[dict[str, Any]] = []
        self.changed: dict[str, Any] = {}
        self.entries: dict[str, dict[str, Any]] = {}
        self.published: dict[str, dict[str, Any]] = {}
        self.away = False
        self.milliseconds = 1.4

    def _answers(self) -> None:
        if self.away:
            raise DatabaseError("the database at 172.30.0.9:27017 does not answer")

    async def administrator(self) -> dict[str, Any] | None:
        self._answers()
        return self.users[0] if self.users else None

    async def add_administrator(self, record: dict[str, Any]) -> bool:
        self._answers()
        if self.users:
            return False
        self.users.append(record)
        return True

    async def replace_administrator(self, record: dict[str, Any]) -> None:
        self._answers()
        self.users[:] = [record]

    async def settings(self) -> dict[str, Any]:
        self._answers()
        return self.changed

    async def save_settings(self, settings: dict[str, Any]) -> None:
        self._answers()
        self.changed = settings

    async def write_node(self, node: dict[str, Any]) -> None:
        self._answers()
        self.entries[node["id"]] = node

    async def nodes(self) -> list[dict[str, Any]]:
        self._answers()
        return [self.entries[each] for each in sorted(self.entries)]

    async def delete_node(self, node_id: str) -> bool:
        self._answers()
        return self.entries.pop(node_id, None) is not None

    async def take_stream(self, stream_id: str, origin: str, time_ms: int) -> None:
        self._answers()
        self.published[stream_id] = {
            "streamId": stream_id,
            "status": "broadcasting",
            "publishType": "RTMP",
            "originAdress": origin,
            "updateTime": time_ms,
        }

    async def keep_stream(self, stream_id: str, origin: str, time_ms: int) -> None:
        found = await self.stream(stream_id)
        if found is None or found["originAdress"] == origin:
            await self.take_stream(stream_id, origin, time_ms)

    async def drop_stream(self, stream_id: str, origin: str) -> None:
        self._answers()
        if self.published.get(stream_id, {}).get("originAdress") == origin:
            del self.published[stream_id]

    async def drop_streams(self, origin: str) -> None:
        self._answers()
        self.published = {name: each for name, each in self.published.items() if each["originAdress"] != origin}

    async def stream(self, stream_id: str) -> dict[str, Any] | None:
        self._answers()
        return self.published.get(stream_id)

    async def streams(self) -> list[dict[str, Any]]:
        self._answers()
        return [self.published[each] for each in sorted(self.published)]


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def database() -> Memory:
    return Memory()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def nodes(tmp_path: pathlib.Path, database: Memory, clock: Clock) -> dict[str, Node]:
    """An origin and an edge that have joined."""
    made = {}
    for address in (ORIGIN, EDGE):
        (tmp_path / address / "webapps/LiveApp/streams").mkdir(parents=True)
        cluster = Cluster(database, "f0e1-", address, clock)
        asyncio.run(cluster.join())
        made[address] = Node(tmp_path / address, name=f"ip-{address.replace('.', '-')}", cluster=cluster)
    return made


def ask(node: Node, method: str, target: str, body: object = None, peer: str = "192.0.2.7", **headers: str) -> Any:
    pairs = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    data = b"" if body is None else json.dumps(body).encode()
    return asyncio.run(node.respond(messages.Request(method, target, pairs, data, len(data), peer)))


def rtmp(node: Node, call: str, stream: str, port: int = 1935, **more: str) -> Any:
    """What the node tells its nginx about a publisher or player who came to a port."""
    said = {"app": "LiveApp", "tcurl": f"rtmp://example.org:{port}/LiveApp", **more, "call": call, "name": stream}
    return asyncio.run(node.rtmp_event(messages.Request("GET", f"/?{urllib.parse.urlencode(said)}", ())))


def publish(node: Node, stream: str) -> None:
    assert rtmp(node, "publish", stream).status == 200
    (node.streams / f"{stream}.m3u8").write_text("#EXTM3U\n")


def header(response: Any, name: str) -> str:
    return next((str(value) for key, value in response.headers if key == name), "")


def log_in(node: Node) -> str:
    """The cookie of the administrator, who is made first if there is none."""
    ask(node, "POST", "/rest/v2/users/initial", USER)
    return header(ask(node, "POST", "/rest/v2/users/authenticate", USER), "Set-Cookie").split(";")[0]


def get(node: Node, call: str, method: str = "GET") -> Any:
    """An administrator's call."""
    return json.loads(ask(node, method, f"/rest/v2/cluster/{call}", Cookie=log_in(node)).body)


def test_every_node_shows_all_nodes(nodes: dict[str, Node]) -> None:
    for node in nodes.values():
        assert get(node, "node-count") == {"number": 2}
        shown = get(node, "nodes/0/10")
        assert [each["ip"] for each in shown] == [EDGE, ORIGIN]
        assert {each["status"] for each in shown} == {"alive"}
        assert [each["ip"] for each in get(node, "nodes/1/10")] == [ORIGIN]


def test_a_nodes_entry_has_the_fields_of_cluster_node(nodes: dict[str, Node], clock: Clock) -> None:
    entry = next(each for each in get(nodes[EDGE], "nodes/0/10") if each["ip"] == ORIGIN)
    assert entry["id"] == f"f0e1-{ORIGIN}"
    assert entry["lastUpdateTime"] == clock.now * 1000
    assert entry["dbQueryAveargeTimeMs"] == 1
    assert entry["cpu"].isdigit()
    used, everything = map(int, entry["memory"].split("/"))
    assert 0 < used < everything
    assert set(entry) == {"id", "ip", "lastUpdateTime", "dbQueryAveargeTimeMs", "cpu", "memory", "status"}


@pytest.mark.parametrize(("seconds", "status"), [(20, "alive"), (20.001, "dead")])
def test_a_node_is_dead_when_its_entry_is_older_than_20_seconds(
    nodes: dict[str, Node], clock: Clock, seconds: float, status: str
) -> None:
    clock.now += seconds
    assert {each["status"] for each in get(nodes[EDGE], "nodes/0/10")} == {status}


def test_a_deleted_node_is_gone_until_it_updates_again(nodes: dict[str, Node]) -> None:
    assert get(nodes[EDGE], f"node/f0e1-{ORIGIN}", "DELETE")["success"]
    assert not get(nodes[EDGE], f"node/f0e1-{ORIGIN}", "DELETE")["success"]
    assert [each["ip"] for each in get(nodes[EDGE], "nodes/0/10")] == [EDGE]
    cluster = nodes[ORIGIN].cluster
    assert cluster
    asyncio.run(cluster.update())
    assert get(nodes[EDGE], "node-count") == {"number": 2}


@pytest.mark.parametrize("call", ["node-count", "nodes/0/10"])
def test_the_node_list_is_for_administrators(nodes: dict[str, Node], call: str) -> None:
    assert ask(nodes[EDGE], "GET", f"/rest/v2/cluster/{call}").status == 403


def test_a_node_on_its_own_has_no_node_list(tmp_path: pathlib.Path) -> None:
    alone = Node(tmp_path)
    (tmp_path / "webapps/LiveApp").mkdir(parents=True)
    assert ask(alone, "GET", "/rest/v2/cluster/node-count", Cookie=log_in(alone)).status == 500


def test_one_administrator_is_everybodys_and_sessions_are_each_nodes_own(nodes: dict[str, Node]) -> None:
    origin, edge = nodes.values()
    assert json.loads(ask(origin, "POST", "/rest/v2/users/initial", USER).body)["success"]
    thief = {"email": "b@example.org", "password": "two"}
    assert not json.loads(ask(edge, "POST", "/rest/v2/users/initial", thief).body)["success"]
    assert not json.loads(ask(edge, "GET", "/rest/v2/first-login-status").body)["success"]
    session = log_in(edge)
    assert ask(edge, "GET", "/rest/v2/version", Cookie=session).status == 200
    assert ask(origin, "GET", "/rest/v2/version", Cookie=session).status == 403


def test_an_applications_settings_are_everybodys(nodes: dict[str, Node]) -> None:
    settings = "/rest/v2/applications/settings/LiveApp"
    origin, edge = nodes.values()
    changed = {"remoteAllowedCIDR": "192.0.2.0/24", "a.b": 1}
    assert ask(origin, "POST", settings, changed, Cookie=log_in(origin)).status == 200
    assert json.loads(ask(edge, "GET", settings, Cookie=log_in(edge)).body) == changed
    assert ask(edge, "GET", "/LiveApp/rest/v2/broadcasts/list/0/10").status == 200


def test_all_nodes_list_a_stream_with_its_origin(nodes: dict[str, Node]) -> None:
    publish(nodes[ORIGIN], "s1")
    for node in nodes.values():
        (shown,) = json.loads(ask(node, "GET", "/LiveApp/rest/v2/broadcasts/list/0/10", peer="127.0.0.1").body)
        assert shown == {
            "streamId": "s1",
            "status": "broadcasting",
            "publishType": "RTMP",
            "originAdress": ORIGIN,
            "hlsViewerCount": 0,
        }


def test_a_player_of_rtmp_is_sent_to_the_origins_port(nodes: dict[str, Node]) -> None:
    publish(nodes[ORIGIN], "s1")
    assert rtmp(nodes[ORIGIN], "play", "s1").status == 200
    sent = rtmp(nodes[EDGE], "play", "s1")
    assert (sent.status, header(sent, "Location")) == (302, f"rtmp://{ORIGIN}:5000/LiveApp/s1")
    assert rtmp(nodes[EDGE], "play", "nobody").status == 404


def test_a_node_fetches_from_the_origin_only(nodes: dict[str, Node]) -> None:
    """Else two nodes, each of which takes the other for the origin, would ask each other for ever."""
    publish(nodes[ORIGIN], "s1")
    assert rtmp(nodes[ORIGIN], "play", "s1", port=5000).status == 200
    assert rtmp(nodes[EDGE], "play", "s1", port=5000).status == 404
    for path in ("s1.m3u8", "s1-1764093384123.ts"):
        assert ask(nodes[EDGE], "GET", f"/LiveApp/streams/{path}", X_For_Node="ip-1").status == 404


def test_what_a_node_fetches_is_not_published_on_it(nodes: dict[str, Node]) -> None:
    publish(nodes[ORIGIN], "s1")
    assert rtmp(nodes[EDGE], "publish", "s1", flashver="ngx-local-relay").status == 200
    assert rtmp(nodes[EDGE], "publish_done", "s1", flashver="ngx-local-relay").status == 200
    assert header(rtmp(nodes[EDGE], "play", "s1"), "Location").startswith(f"rtmp://{ORIGIN}:")


def test_a_second_publisher_on_a_node_is_refused(nodes: dict[str, Node]) -> None:
    publish(nodes[ORIGIN], "s1")
    assert rtmp(nodes[ORIGIN], "publish", "s1").status == 403
    assert rtmp(nodes[EDGE], "play", "s1").status == 302


def test_a_name_that_is_none_is_not_published(nodes: dict[str, Node], database: Memory) -> None:
    assert rtmp(nodes[ORIGIN], "publish", "a b").status == 403
    assert not database.published


def test_hls_of_another_nodes_stream_is_fetched_from_its_origin(nodes: dict[str, Node]) -> None:
    publish(nodes[ORIGIN], "s-1")
    for path in ("/LiveApp/streams/s-1.m3u8", "/LiveApp/streams/s-1-1764093384123.ts"):
        answer = ask(nodes[EDGE], "GET", path)
        assert (answer.status, header(answer, "X-Accel-Redirect")) == (200, f"/origin/{ORIGIN}{path}")
    assert ask(nodes[EDGE], "GET", "/LiveApp/streams/other-1.ts").status == 404
    assert ask(nodes[ORIGIN], "GET", "/LiveApp/streams/s-1-1.ts").status == 404, "it would have been a file"


def test_a_viewer_counts_where_it_asks(nodes: dict[str, Node]) -> None:
    publish(nodes[ORIGIN], "s1")
    opened = header(ask(nodes[EDGE], "GET", "/LiveApp/streams/s1.m3u8"), "Set-Cookie")
    assert opened.endswith("; Path=/LiveApp; HttpOnly")
    fetched = ask(nodes[ORIGIN], "GET", "/LiveApp/streams/s1.m3u8", X_For_Node="ip-172-30-0-132")
    assert (fetched.status, fetched.body, header(fetched, "Set-Cookie")) == (200, b"#EXTM3U\n", "")
    assert (nodes[ORIGIN].viewers("s1"), nodes[EDGE].viewers("s1")) == (0, 1)
    size = json.loads(ask(nodes[EDGE], "GET", "/rest/v2/live-clients-size", Cookie=log_in(nodes[EDGE])).body)
    assert size == {"totalConnectionSize": 1, "totalLiveStreamSize": 0}


def test_signalling_knows_the_streams_of_all_nodes(nodes: dict[str, Node]) -> None:
    publish(nodes[ORIGIN], "s1")
    message = json.dumps({"command": "publish", "streamId": "s1"})
    for node in nodes.values():
        assert asyncio.run(node.signal(message)) == {"command": "error", "definition": "streamIdInUse"}


def test_an_ended_stream_is_nobodys(nodes: dict[str, Node], clock: Clock) -> None:
    publish(nodes[ORIGIN], "s1")
    assert rtmp(nodes[EDGE], "play", "s1").status == 302
    assert rtmp(nodes[ORIGIN], "publish_done", "s1").status == 200
    clock.now += 1
    assert rtmp(nodes[EDGE], "play", "s1").status == 404
    for node in nodes.values():
        assert ask(node, "GET", "/LiveApp/streams/s1.m3u8").status == 404


def test_a_stream_of_a_dead_origin_is_forgotten_after_20_seconds(nodes: dict[str, Node], clock: Clock) -> None:
    publish(nodes[ORIGIN], "s1")
    clock.now += 21
    assert rtmp(nodes[EDGE], "play", "s1").status == 404


def test_an_update_keeps_a_nodes_streams(nodes: dict[str, Node], clock: Clock) -> None:
    publish(nodes[ORIGIN], "s1")
    cluster = nodes[ORIGIN].cluster
    assert cluster
    clock.now += 15
    asyncio.run(cluster.update())
    clock.now += 15
    assert rtmp(nodes[EDGE], "play", "s1").status == 302


def test_a_publisher_who_comes_back_elsewhere_takes_the_stream_along(nodes: dict[str, Node], clock: Clock) -> None:
    publish(nodes[EDGE], "s1")
    publish(nodes[ORIGIN], "s1")
    for node in nodes.values():
        assert node.cluster
        asyncio.run(node.cluster.update())
    assert rtmp(nodes[EDGE], "publish_done", "s1").status == 200
    assert header(rtmp(nodes[EDGE], "play", "s1"), "Location").startswith(f"rtmp://{ORIGIN}:")


def test_a_restarted_node_has_no_stream(nodes: dict[str, Node], database: Memory, clock: Clock) -> None:
    publish(nodes[ORIGIN], "s1")
    publish(nodes[EDGE], "s2")
    asyncio.run(Cluster(database, "f0e1-", ORIGIN, clock).join())
    assert set(database.published) == {"s2"}


def test_without_the_database_health_and_running_streams_go_on(
    nodes: dict[str, Node], database: Memory, clock: Clock
) -> None:
    publish(nodes[ORIGIN], "s1")
    session = log_in(nodes[EDGE])
    assert rtmp(nodes[EDGE], "play", "s1").status == 302
    database.away = True
    clock.now += 600
    assert ask(nodes[EDGE], "GET", "/rest/v2/liveness").status == 200
    assert rtmp(nodes[EDGE], "play", "s1").status == 302
    assert header(ask(nodes[EDGE], "GET", "/LiveApp/streams/s1.m3u8"), "X-Accel-Redirect")
    assert rtmp(nodes[ORIGIN], "play", "s1").status == 200
    assert ask(nodes[EDGE], "GET", "/rest/v2/version", Cookie=session).status == 200
    refused = ask(nodes[EDGE], "GET", "/rest/v2/cluster/node-count", Cookie=session)
    assert refused.status == 500
    assert b"172.30.0.9:27017 does not answer" in refused.body


def test_a_stream_that_is_published_without_the_database_is_listed_when_it_is_back(
    nodes: dict[str, Node], database: Memory, capsys: pytest.CaptureFixture[str]
) -> None:
    database.away = True
    publish(nodes[ORIGIN], "s1")
    assert "cluster: stream s1 is not listed yet: the database at" in capsys.readouterr().err
    assert rtmp(nodes[EDGE], "play", "s1").status == 404
    database.away = False
    cluster = nodes[ORIGIN].cluster
    assert cluster
    asyncio.run(cluster.update())
    assert rtmp(nodes[EDGE], "play", "s1").status == 302


def test_an_outage_is_told_once_and_its_end_too(
    nodes: dict[str, Node],
    database: Memory,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = nodes[ORIGIN].cluster
    assert cluster
    monkeypatch.setattr("lab.image.media.node.cluster.UPDATE_SECONDS", 0.001)

    async def go_on() -> None:
        staying = asyncio.create_task(cluster.stay())
        for database.away in (False, True, False):
            await asyncio.sleep(0.05)
        staying.cancel()

    asyncio.run(go_on())
    assert capsys.readouterr().err.splitlines() == [
        "cluster: not updated in the node list: the database at 172.30.0.9:27017 does not answer",
        "cluster: updated in the node list again",
    ]


def test_load_is_what_was_used_since_it_was_measured_last(tmp_path: pathlib.Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 2048000 kB\nMemFree: 9 kB\nMemAvailable: 1024000 kB\n")
    (tmp_path / "stat").write_text("cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1\n")
    load = Load(tmp_path)
    (tmp_path / "stat").write_text("cpu  120 0 110 750 120 0 0 0 0 0\ncpu0 1\n")
    assert load.measure() == ("30", "1000/2000")


def token(secret: str, algorithm: str = "HS256", **claims: object) -> str:
    def encode(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    signed = ".".join(encode(json.dumps(part).encode()) for part in ({"alg": algorithm}, claims))
    return f"{signed}.{encode(hmac.digest(secret.encode(), signed.encode(), 'sha256'))}"


FAR_FUTURE = 4_000_000_000
"""A time of Unix; fixed, since workers that collect tests at different times must collect the same."""


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (token("secret", sub="ops"), 200),
        (token("secret", exp=FAR_FUTURE), 200),
        (token("secret", exp=1), 403),
        (token("other"), 403),
        (token("secret", algorithm="none"), 403),
        ("x", 403),
        ("a.b.c", 403),
        ("", 403),
    ],
    ids=["good", "not yet over", "over", "of another", "unsigned", "no token", "three parts", "nothing"],
)
def test_who_has_a_token_needs_no_session(database: Memory, tmp_path: pathlib.Path, sent: str, status: int) -> None:
    node = Node(tmp_path, cluster=Cluster(database, "f0e1-", EDGE), jwt_secret="secret")
    assert ask(node, "GET", "/rest/v2/cluster/node-count", ProxyAuthorization=sent).status == status


def test_tokens_count_only_where_they_are_switched_on(database: Memory, tmp_path: pathlib.Path) -> None:
    node = Node(tmp_path, cluster=Cluster(database, "f0e1-", EDGE))
    assert ask(node, "GET", "/rest/v2/cluster/node-count", ProxyAuthorization=token("")).status == 403
    assert not answers.is_signed(token("secret"), "", time.time())


@pytest.mark.parametrize(
    ("properties", "uri"),
    [
        ("", ""),
        ("clusterdb.host=mongodb://u:p%40=@10.0.0.9:27017/?authSource=admin", "mongodb://u:p%40=@10.0.0.9:27017/?authSource=admin"),
        ("clusterdb.host=10.0.0.9", "mongodb://10.0.0.9"),
        ("clusterdb.host=10.0.0.9\nclusterdb.user=u\nclusterdb.password=p", "mongodb://u:p@10.0.0.9"),
    ],
)  # fmt: skip
def test_the_databases_address_is_in_the_servers_properties(tmp_path: pathlib.Path, properties: str, uri: str) -> None:
    file = tmp_path / "red5.properties"
    file.write_text(f"# the server's\nserver.name=\n\n{properties}\n")
    assert program.database_uri(program.properties_of(file)) == uri


def test_an_installation_has_one_id(tmp_path: pathlib.Path) -> None:
    made = program.instance_id(tmp_path / "instanceId")
    assert len(made) == 36
    assert program.instance_id(tmp_path / "instanceId") == made
