"""What only the stand-in node does: signalling without the media, and showing what a load balancer sent."""

from __future__ import annotations

import json
import sys

import pytest

from tests.lab import media
from tests.lab.labs import Network, eventually
from tests.lab.media import Media

WEBSOCKET = """\
import sys
from websockets.sync.client import connect

with connect(sys.argv[1], open_timeout=5) as socket:
    for message in sys.argv[2:]:
        socket.send(message)
        print(socket.recv(timeout=5))
"""


@pytest.fixture(scope="module")
def node(network: Network) -> Media:
    return media.launch(network, media.STAND_IN)


def talk(node: Media, *messages: dict[str, str]) -> list[dict[str, str]]:
    """The answers to messages on one WebSocket."""
    texts = [json.dumps(message) for message in messages]
    url = f"ws://{node.address}:5080/LiveApp/websocket"
    said = node.lab.client(sys.executable, "-c", WEBSOCKET, url, *texts).stdout
    return [json.loads(line) for line in said.splitlines()]


def test_signalling_answers_on_one_websocket(node: Media) -> None:
    with node.publishing("published") as stream:
        answers = talk(
            node,
            {"command": "ping"},
            {"command": "play", "streamId": "nobody"},
            {"command": "publish", "streamId": stream},
            {"command": "publish", "streamId": "free"},
        )
    assert answers == [
        {"command": "pong"},
        {"command": "error", "error_code": "404", "definition": "no_stream_exist", "streamId": "nobody"},
        {"command": "error", "definition": "streamIdInUse"},
        {"command": "start", "streamId": "free"},
    ]


def test_a_silent_websocket_stays_open(node: Media) -> None:
    program = WEBSOCKET.replace(
        "        socket.send(message)", "        import time; time.sleep(5); socket.send(message)"
    )
    url = f"ws://{node.address}:5080/LiveApp/websocket"
    said = node.lab.client(sys.executable, "-c", program, url, '{"command": "ping"}').stdout
    assert json.loads(said) == {"command": "pong"}


def test_every_answer_names_its_node(node: Media) -> None:
    name = node.host.run("hostname").stdout.strip()
    for path in ("/", "/rest/v2/liveness", "/nowhere"):
        assert node.ask(path).headers["x-node"] == name


def test_the_echo_shows_the_viewers_address_and_headers(node: Media) -> None:
    shown = node.ask("/LiveApp/echo?x=1", "--header", "X-Forwarded-For: 203.0.113.9", "--http1.1").json
    assert shown["peer"] == "192.0.2.10"
    assert shown["target"] == "/LiveApp/echo?x=1"
    assert ["X-Forwarded-For", "203.0.113.9"] in shown["headers"]
    assert shown["node"] == node.host.run("hostname").stdout.strip()


def test_a_large_upload_arrives_whole(node: Media) -> None:
    upload = f"curl --silent --max-time 20 -T - http://{node.address}:5080/LiveApp/echo"
    said = node.lab.client("sh", "-c", f"head -c 20000000 /dev/zero | {upload}").stdout
    assert json.loads(said)["bodyBytes"] == 20_000_000


def test_a_crashed_part_brings_the_whole_service_back(node: Media) -> None:
    before = node.host.run("systemctl", "show", "antmedia", "-P", "MainPID").stdout
    node.host.run("sh", "-c", "kill -9 $(cat /run/antmedia/nginx.pid)")
    eventually(
        lambda: (
            node.ask("/rest/v2/liveness").status == 200
            and node.host.run("systemctl", "is-active", "antmedia", check=False).stdout.strip() == "active"
            and node.host.run("systemctl", "show", "antmedia", "-P", "MainPID").stdout != before
        ),
        True,
        20.0,
    )
