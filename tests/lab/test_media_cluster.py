"""Stand-in media nodes as one cluster, over a database that speaks MongoDB's protocol.

Which of this Ant Media Server does too, as far as can be known without a licence:

- documented, in the sources of its packages: names, answers and rights of /rest/v2/cluster (ClusterRestServiceV2 and
  AuthenticationFilter), the fields of a node and its death after 20 s (ClusterNode), users in the database `serverdb`
  (console.datastore.MongoStore), a stream's node as originAdress, and that a node gets what it lacks from that one
  (AntMediaApplicationAdapter); the origin's port 5000 (ServerSettings). Its script, change_server_mode.sh: arguments,
  files, properties. Reported by its users: without its database the server does not start; an address that is no
  mongodb:// one changes nothing when there is no terminal.
- the stand-in's own: its log's lines; that it serves on when the database is lost later; that a node's old entries
  stay until they are deleted; that settings are the same everywhere at once; that RTMP is fetched on port 5000, where
  the real server fetches it from the broadcast's rtmpURL.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from lab import images
from tests.lab import ferretdb, media
from tests.lab.ferretdb import Database
from tests.lab.labs import Network, eventually, from_anywhere, from_group
from tests.lab.media import ADMINISTRATOR, HOME, Answer, Media, playlist

VIEWERS = "192.0.2.0/24"
DEAD_SECONDS = 20.0
START_SECONDS = 40.0
"""From the script's end to the first answer or complaint, on a busy machine: 2 s on an idle one."""

PASSWORD = "s3cret-P@ss+word"
IN_URI = "s3cret-P%40ss%2Bword"

REQUESTS = """\
import sys, urllib.request

def code(url):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Connection": "close"}), timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, b""

stream, *addresses = sys.argv[1:]
for number in range(20):
    here, there = (f"http://{addresses[n % len(addresses)]}:5080/LiveApp/streams" for n in (number, number + 1))
    status, text = code(f"{here}/{stream}.m3u8")
    segments = [line for line in text.decode().splitlines() if line.endswith(".ts")]
    got, segment = code(f"{there}/{segments[number % len(segments)]}") if segments else (0, b"")
    print(status, got, segment[:1] == b"G" and len(segment) % 188 == 0)
"""


@dataclass(frozen=True)
class Cluster:
    database: Database
    origin: Media
    edges: tuple[Media, Media]

    @property
    def nodes(self) -> tuple[Media, ...]:
        return (self.origin, *self.edges)

    def listed(self, asked: Media) -> dict[str, str]:
        """Each node's address and status in the list that one of them shows; an address may have been listed before."""
        answer = administrator(asked, "/rest/v2/cluster/nodes/0/50")
        return {
            each["ip"]: each["status"] for each in sorted(answer.json, key=lambda each: int(each["lastUpdateTime"]))
        }

    @property
    def all_alive(self) -> dict[str, str]:
        return {node.host.private: "alive" for node in self.nodes}


def administrator(node: Media, path: str, *options: str) -> Answer:
    return node.ask(path, *options, session=node.log_in())


def change_mode(node: Media, *arguments: str) -> str:
    return node.host.run(f"{HOME}/change_server_mode.sh", *arguments).stdout


def answers(node: Media) -> bool:
    return node.ask("/rest/v2/liveness").status == 200


def wait_for(node: Media) -> None:
    eventually(lambda: answers(node), True, START_SECONDS)


def log(node: Media) -> str:
    return node.host.run("journalctl", "-u", "antmedia", "--no-pager", "-o", "cat").stdout


@pytest.fixture(scope="module")
def cluster(network: Network) -> Iterator[Cluster]:
    """An origin and two edges that reach one another on ports 5000 and 5080 only."""
    images.ensure(images.for_ami(media.STAND_IN))
    viewers = (from_anywhere("tcp", 5080, cidr=VIEWERS), from_anywhere("tcp", 1935, cidr=VIEWERS))
    group = network.group("cluster", ingress=viewers)
    network.lab.ec2().authorize_security_group_ingress(
        GroupId=group, IpPermissions=[from_group("tcp", port, group) for port in (5000, 5080)]
    )
    behind = network.group("database", ingress=(from_group("tcp", ferretdb.PORT, group),))
    hosts = [network.launch(name, group, ImageId=media.STAND_IN) for name in ("origin-1", "edge-1", "edge-2")]
    database = ferretdb.install(network.launch("database", behind).ready(), "antmedia", PASSWORD)
    origin, *edges = (Media(network.lab, host.ready()) for host in hosts)
    for node in (origin, *edges):
        wait_for(node)
    made = Cluster(database, origin, (edges[0], edges[1]))
    for node in made.nodes:
        said = change_mode(node, "cluster", database.uri)
        assert said.splitlines() == ["Mode: cluster", "Ant Media Server is restarting in cluster mode."]
    for node in made.nodes:
        wait_for(node)
    yield made


def test_nodes_that_joined_are_in_every_nodes_list(cluster: Cluster) -> None:
    for node in cluster.nodes:
        assert cluster.listed(node) == cluster.all_alive
        assert administrator(node, "/rest/v2/cluster/node-count").json == {"number": 3}
    (entry,) = administrator(cluster.origin, "/rest/v2/cluster/nodes/0/1").json
    print(entry)
    assert set(entry) == {"id", "ip", "lastUpdateTime", "dbQueryAveargeTimeMs", "cpu", "memory", "status"}
    assert entry["id"].endswith(entry["ip"])


def test_the_node_list_is_for_who_logged_in(cluster: Cluster) -> None:
    assert cluster.origin.ask("/rest/v2/cluster/node-count").status == 403
    assert cluster.origin.ask("/rest/v2/cluster/node/x", "--request", "DELETE").status == 403


def test_the_cluster_has_one_administrator_and_each_node_its_sessions(cluster: Cluster) -> None:
    thief = {"email": "thief@example.org", "password": "two"}
    session = cluster.origin.log_in()
    for node in cluster.edges:
        assert not node.ask("/rest/v2/users/initial", body=thief).json["success"]
        assert node.ask("/rest/v2/users/authenticate", body=ADMINISTRATOR).json["success"]
        assert node.ask("/rest/v2/version", session=session).status == 403
    assert cluster.origin.host.run("ls", HOME).stdout.split().count("server.db") == 0


def test_the_password_is_in_files_that_others_cannot_read(cluster: Cluster) -> None:
    found = cluster.origin.host.run("grep", "-rlF", IN_URI, HOME, "/etc", "/run", "/var/log").stdout.split()
    assert sorted(found) == [
        f"{HOME}/conf/red5.properties",
        f"{HOME}/webapps/LiveApp/WEB-INF/red5-web.properties",
        f"{HOME}/webapps/root/WEB-INF/red5-web.properties",
    ]
    for file in found:
        mode = cluster.origin.host.run("stat", "--format=%U %a", file).stdout.strip()
        assert mode == "antmedia 640", file
    for path in ("/LiveApp/WEB-INF/red5-web.properties", "/WEB-INF/red5-web.properties"):
        assert cluster.origin.ask(path).status == 404


def test_settings_written_on_one_node_are_obeyed_by_all(cluster: Cluster) -> None:
    settings, broadcasts = "/rest/v2/applications/settings/LiveApp", "/LiveApp/rest/v2/broadcasts/list/0/10"
    session = cluster.origin.log_in()
    before = cluster.origin.ask(settings, session=session).json
    for allowed, status in ((VIEWERS, 200), (before["remoteAllowedCIDR"], 403)):
        changed = {**before, "remoteAllowedCIDR": allowed}
        assert cluster.origin.ask(settings, session=session, body=changed).json["success"]
        assert [node.ask(broadcasts).status for node in cluster.nodes] == [status] * 3


@pytest.fixture(scope="module")
def stream(cluster: Cluster) -> Iterator[str]:
    with cluster.origin.publishing("shared") as stream_id:
        yield stream_id


def test_a_stream_plays_from_every_node_over_rtmp(cluster: Cluster, stream: str) -> None:
    for node in cluster.nodes:
        assert node.codecs(f"rtmp://{node.address}/LiveApp/{stream}") == ["aac", "h264"]


def test_a_stream_plays_from_every_node_over_hls(cluster: Cluster, stream: str) -> None:
    for node in cluster.nodes:
        assert node.codecs(f"http://{node.address}:5080{playlist(stream)}") == ["aac", "h264"]


def test_playlists_and_segments_may_come_from_different_nodes(cluster: Cluster, stream: str) -> None:
    addresses = [node.address for node in cluster.nodes]
    said = cluster.origin.lab.client(sys.executable, "-c", REQUESTS, stream, *addresses).stdout
    assert said.splitlines() == ["200 200 True"] * 20


def test_only_the_origin_has_a_streams_files(cluster: Cluster, stream: str) -> None:
    for edge in cluster.edges:
        edge.codecs(f"rtmp://{edge.address}/LiveApp/{stream}")
        assert edge.host.run("ls", f"{HOME}/webapps/LiveApp/streams").stdout == ""


def test_an_edge_answers_with_its_own_name_and_session(cluster: Cluster, stream: str) -> None:
    edge = cluster.edges[0]
    answer = edge.ask(playlist(stream))
    assert answer.headers["x-node"] == edge.host.run("hostname").stdout.strip()
    assert answer.headers["content-type"] == "application/vnd.apple.mpegurl"
    assert answer.session
    assert not edge.ask(playlist(stream), session=answer.session).session
    segment = next(line for line in answer.text.splitlines() if line.endswith(".ts"))
    headers = edge.ask(f"/LiveApp/streams/{segment}", "--head").headers
    assert (headers["content-type"], headers["cache-control"]) == ("video/mp2t", "max-age=10")


def broadcasts(node: Media) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = node.ask_from_the_node("/LiveApp/rest/v2/broadcasts/list/0/10").json
    return listed


def test_every_node_lists_a_stream_with_its_origin(cluster: Cluster, stream: str) -> None:
    for node in cluster.nodes:
        (found,) = broadcasts(node)
        assert (found["streamId"], found["status"]) == (stream, "broadcasting")
        assert found["originAdress"] == cluster.origin.host.private


def test_a_second_publisher_is_refused_and_the_first_stays_listed(cluster: Cluster, stream: str) -> None:
    node = cluster.origin
    assert node.lab.client(*node.publisher(stream, seconds=5), check=False).returncode != 0
    assert [each["originAdress"] for each in broadcasts(cluster.edges[0])] == [node.host.private]


def test_what_nobody_publishes_plays_nowhere(cluster: Cluster) -> None:
    for node in cluster.nodes:
        assert node.ask(playlist("nobody")).status == 404
        refused = node.lab.client("ffprobe", "-loglevel", "error", f"rtmp://{node.address}/LiveApp/nobody", check=False)
        assert refused.returncode != 0


def test_an_ended_stream_is_gone_everywhere(cluster: Cluster) -> None:
    edge = cluster.edges[0]
    with edge.publishing("short"):
        eventually(lambda: cluster.origin.ask(playlist("short")).status, 200, 10.0)
    eventually(lambda: [node.ask(playlist("short")).status for node in cluster.nodes], [404] * 3, 30.0)
    assert "short" not in json.dumps(broadcasts(cluster.origin))


def test_a_lost_database_is_told_once_and_stops_neither_health_nor_streams(cluster: Cluster, stream: str) -> None:
    node = cluster.edges[0]
    assert node.ask(playlist(stream)).status == 200
    cluster.database.stop()
    told = f"cluster: not updated in the node list: the database at {cluster.database.address} cannot be reached"
    eventually(lambda: told in log(node), True, 30.0)
    assert answers(node)
    assert node.ask(playlist(stream)).status == 200
    assert cluster.origin.codecs(f"rtmp://{cluster.origin.address}/LiveApp/{stream}") == ["aac", "h264"]
    cluster.database.start()
    eventually(lambda: "cluster: updated in the node list again" in log(node), True, 30.0)
    assert log(node).count(told) == 1
    eventually(lambda: cluster.listed(node), cluster.all_alive, 30.0)


def test_a_node_whose_password_is_wrong_does_not_start_and_says_why(cluster: Cluster) -> None:
    node, others = cluster.edges[1], cluster.edges[0]
    change_mode(node, "cluster", cluster.database.uri.replace(IN_URI, "wrong-Secret"))
    told = (
        "cluster: not joined, so the server does not start: "
        f"the database at {cluster.database.address} refuses the user 'antmedia': wrong name or password"
    )
    eventually(lambda: told in log(node).splitlines(), True, START_SECONDS)
    assert not answers(node)
    assert not re.search("s3cret-P|wrong-Secret", log(node))
    gone = {**cluster.all_alive, node.host.private: "dead"}
    eventually(lambda: cluster.listed(others), gone, DEAD_SECONDS + 10)
    change_mode(node, "cluster", cluster.database.uri)
    wait_for(node)
    eventually(lambda: cluster.listed(others), cluster.all_alive, 10.0)


def test_a_node_that_cannot_reach_its_database_waits_as_long_as_its_address_says(cluster: Cluster) -> None:
    node = cluster.edges[1]
    change_mode(node, "cluster", "mongodb://antmedia:secret@127.0.0.1:27017/?serverSelectionTimeoutMS=2000")
    told = "cluster: not joined, so the server does not start: the database at 127.0.0.1:27017 cannot be reached"
    eventually(lambda: told in log(node), True, 20.0)
    assert not answers(node)
    change_mode(node, "cluster", cluster.database.uri)
    wait_for(node)


def test_a_dead_node_is_listed_as_dead_until_it_is_deleted(cluster: Cluster) -> None:
    node, other = cluster.edges[1], cluster.origin
    node.host.run("systemctl", "stop", "antmedia")
    eventually(lambda: cluster.listed(other)[node.host.private], "dead", DEAD_SECONDS + 10)
    dead = [each["id"] for each in administrator(other, "/rest/v2/cluster/nodes/0/50").json if each["status"] == "dead"]
    for node_id in dead:
        assert administrator(other, f"/rest/v2/cluster/node/{node_id}", "--request", "DELETE").json["success"]
    assert administrator(other, "/rest/v2/cluster/node-count").json == {"number": 2}
    node.host.run("systemctl", "start", "antmedia")
    assert cluster.listed(other) == cluster.all_alive, "systemctl start returned before the node is in the list"


@pytest.mark.parametrize("address", ["10.0.0.9", "mongo", "redis://10.0.0.9"])
def test_an_address_that_is_no_mongodb_one_changes_nothing_without_a_terminal(cluster: Cluster, address: str) -> None:
    node = cluster.edges[1]
    before = node.host.run("systemctl", "show", "antmedia", "-P", "MainPID").stdout
    assert change_mode(node, "cluster", address) == ""
    assert node.host.run("systemctl", "show", "antmedia", "-P", "MainPID").stdout == before
    assert f"clusterdb.host={address}\n" not in node.host.run("cat", f"{HOME}/conf/red5.properties").stdout


@pytest.mark.parametrize("arguments", [(), ("cluster",), ("both",)])
def test_a_mode_or_an_address_that_is_missing_is_refused(cluster: Cluster, arguments: tuple[str, ...]) -> None:
    done = cluster.edges[1].host.run(f"{HOME}/change_server_mode.sh", *arguments, check=False)
    assert (done.returncode, "Usage:" in done.stdout) == (1, True)


def test_a_node_leaves_its_cluster_with_an_administrator_of_its_own(cluster: Cluster) -> None:
    node = cluster.edges[1]
    change_mode(node, "standalone")
    wait_for(node)
    assert node.ask("/rest/v2/first-login-status").json["success"]
    assert administrator(node, "/rest/v2/cluster/node-count").status == 500
    assert IN_URI not in node.host.run("cat", f"{HOME}/conf/red5.properties").stdout
    assert node.host.run("ss", "-Hltn", "sport = :5000").stdout == "", "an origin port is open"
    change_mode(node, "cluster", cluster.database.uri)
    wait_for(node)
    assert cluster.listed(cluster.origin) == cluster.all_alive
