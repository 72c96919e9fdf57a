"""The stand-in media node answers as Ant Media Server does where clients, load balancers and operators rely on it."""

from __future__ import annotations

import importlib.util
import json
import os
import pathlib
import sys
import time
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab import images


def load() -> ModuleType:
    """The node's program, which is a file of an image and no module of a package."""
    spec = importlib.util.spec_from_file_location("lab_media_node", images.RECIPES / "media/node.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


program: Any = load()


@pytest.fixture
def home(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "webapps/LiveApp/streams").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def node(home: pathlib.Path) -> Any:
    return program.Node(home, name="media-1")


def ask(node: Any, method: str, target: str, body: object = None, **headers: str) -> Any:
    pairs = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    data = b"" if body is None else json.dumps(body).encode()
    return node.respond(program.Request(method, target, pairs, data, len(data), "192.0.2.7"))


def session(response: Any) -> str:
    """The session that a response opens, or nothing."""
    for name, value in response.headers:
        if name == "Set-Cookie":
            assert value.endswith("; Path=/; HttpOnly")
            return str(value.split(";")[0].removeprefix("JSESSIONID="))
    return ""


def publish(home: pathlib.Path, stream: str, seconds_ago: float = 0) -> None:
    playlist = home / f"webapps/LiveApp/streams/{stream}.m3u8"
    playlist.write_text("#EXTM3U\n")
    written = time.time() - seconds_ago
    os.utime(playlist, (written, written))


def test_liveness_needs_no_login_and_opens_no_session(node: Any) -> None:
    response = ask(node, "GET", "/rest/v2/liveness")
    assert response.status == 200
    assert json.loads(response.body)["status"] == "ok"
    assert not session(response)


@pytest.mark.parametrize("target", ["/", "/LiveApp/", "/rest/v2/liveness", "/rest/v2/version", "/nowhere"])
def test_every_answer_names_the_node(node: Any, target: str) -> None:
    assert ("X-Node", "media-1") in ask(node, "GET", target).headers


def test_the_web_panel_names_the_node_in_its_page(node: Any) -> None:
    assert b"media-1" in ask(node, "GET", "/").body


def test_a_known_session_is_kept_and_an_unknown_one_is_replaced(node: Any, home: pathlib.Path) -> None:
    opened = session(ask(node, "GET", "/"))
    assert opened
    assert not session(ask(node, "GET", "/", Cookie=f"a=b; JSESSIONID={opened}"))
    other = program.Node(home, name="media-2")
    assert session(ask(other, "GET", "/", Cookie=f"JSESSIONID={opened}")) not in ("", opened)


def test_sessions_do_not_fill_the_memory(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "SESSIONS_MAX", 3)
    opened = [session(ask(node, "GET", "/")) for _ in range(5)]
    kept = [not session(ask(node, "HEAD", "/", Cookie=f"JSESSIONID={each}")) for each in opened[2:]]
    assert all(kept)
    assert session(ask(node, "HEAD", "/", Cookie=f"JSESSIONID={opened[0]}"))


def test_the_first_administrator_can_be_claimed_once_and_outlives_the_service(node: Any, home: pathlib.Path) -> None:
    def success(on: Any, method: str, call: str, user: object = None) -> bool:
        return bool(json.loads(ask(on, method, f"/rest/v2/{call}", user).body)["success"])

    user, thief = {"email": "a@example.org", "password": "one"}, {"email": "b@example.org", "password": "two"}
    assert success(node, "GET", "first-login-status")
    assert not success(node, "POST", "users/authenticate", user)
    assert success(node, "POST", "users/initial", user)
    assert not success(node, "POST", "users/initial", thief)
    assert not success(node, "GET", "first-login-status")

    restarted = program.Node(home, name="media-1")
    assert success(restarted, "POST", "users/authenticate", user)
    assert not success(restarted, "POST", "users/authenticate", thief)
    assert not success(restarted, "POST", "users/authenticate", {**user, "password": "two"})
    assert (home / "server.db").stat().st_mode & 0o077 == 0
    assert "one" not in json.loads((home / "server.db").read_text()).values()


def test_the_version_is_for_those_who_logged_in_on_this_node(node: Any, home: pathlib.Path) -> None:
    user = {"email": "a@example.org", "password": "one"}
    assert ask(node, "GET", "/rest/v2/version").status == 403
    assert ask(node, "POST", "/rest/v2/users/initial", user).status == 200
    before = session(ask(node, "GET", "/"))
    assert not session(ask(node, "POST", "/rest/v2/users/authenticate", user, Cookie=f"JSESSIONID={before}"))
    assert ask(node, "GET", "/rest/v2/version", Cookie=f"JSESSIONID={before}").status == 200
    other = program.Node(home, name="media-2")
    assert ask(other, "GET", "/rest/v2/version", Cookie=f"JSESSIONID={before}").status == 403


@pytest.mark.parametrize("body", [b"", b"[]", b'"x"', b"{}", b'{"email": "a", "password": 1}', b"\xff", b'{"email"'])
def test_a_login_that_is_none_is_refused(node: Any, body: bytes) -> None:
    request = program.Request("POST", "/rest/v2/users/initial", (), body)
    assert node.respond(request).status == 400
    assert json.loads(ask(node, "GET", "/rest/v2/first-login-status").body)["success"]


def test_a_playlist_is_served_while_its_stream_is_published(node: Any, home: pathlib.Path) -> None:
    assert ask(node, "GET", "/LiveApp/streams/s1.m3u8").status == 404
    publish(home, "s1")
    response = ask(node, "GET", "/LiveApp/streams/s1.m3u8?token=x")
    assert (response.status, response.body) == (200, b"#EXTM3U\n")
    assert session(response), "viewers are counted by their session"
    publish(home, "s1", seconds_ago=60)
    assert ask(node, "GET", "/LiveApp/streams/s1.m3u8").status == 404


@pytest.mark.parametrize("path", ["../../conf/red5.properties", "..%2f..%2fserver.db", "%2e%2e/x", ".m3u8", "a/b"])
def test_a_playlists_path_leads_nowhere_else(node: Any, home: pathlib.Path, path: str) -> None:
    (home / "webapps/x.m3u8").write_text("secret")
    assert ask(node, "GET", f"/LiveApp/streams/{path}.m3u8").status == 404


def test_the_echo_shows_what_the_load_balancer_sent(node: Any) -> None:
    response = ask(node, "POST", "/LiveApp/echo?a=b", {"x": 1}, X_Forwarded_For="192.0.2.9", Host="lab.test")
    shown = json.loads(response.body)
    assert shown["peer"] == "192.0.2.7"
    assert shown["method"] == "POST"
    assert shown["target"] == "/LiveApp/echo?a=b"
    assert ["X-Forwarded-For", "192.0.2.9"] in shown["headers"]
    assert shown["bodyBytes"] == len(b'{"x": 1}')


def test_hsts_is_said_only_when_the_load_balancer_says_https(node: Any) -> None:
    names = [name for name, _ in ask(node, "GET", "/", X_Forwarded_Proto="https").headers]
    assert "Strict-Transport-Security" in names
    assert "Strict-Transport-Security" not in [name for name, _ in ask(node, "GET", "/").headers]


def test_a_request_is_read_as_sent_and_the_proxys_own_headers_are_taken_out() -> None:
    head = (
        b"GET /x?y=1 HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nX-One: 2\r\nX-Node-Peer: 192.0.2.1\r\nConnection: close\r\n\r\n"
    )
    request = program.parse(head)
    assert request.headers == (("Host", "a"), ("X-One", "1"), ("X-One", "2"))
    assert (request.method, request.path, request.query("y"), request.peer) == ("GET", "/x", "1", "192.0.2.1")


def test_the_answer_to_head_has_the_length_but_no_body(node: Any) -> None:
    head = ask(node, "HEAD", "/LiveApp/").encode(with_body=False)
    full = ask(node, "GET", "/LiveApp/").encode()
    assert full.startswith(head)
    assert f"Content-Length: {len(full) - len(head)}".encode() in head


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ({"command": "ping"}, {"command": "pong"}),
        ({"command": "play"}, {"command": "error", "definition": "noStreamNameSpecified"}),
        ({"command": "publish", "streamId": "a b"}, {"command": "error", "definition": "invalidStreamName"}),
        (
            {"command": "play", "streamId": "none"},
            {"command": "error", "error_code": "404", "definition": "no_stream_exist", "streamId": "none"},
        ),
        (
            {"command": "getStreamInfo", "streamId": "none"},
            {"command": "error", "error_code": "404", "definition": "no_stream_exist", "streamId": "none"},
        ),
        ({"command": "publish", "streamId": "new"}, {"command": "start", "streamId": "new"}),
        ({"command": "publish", "streamId": "live"}, {"command": "error", "definition": "streamIdInUse"}),
        ({"command": "takeCandidate", "streamId": "live"}, None),
        ({"streamId": "live"}, None),
    ],
)
def test_signalling_answers_as_ant_media_server_does(
    node: Any, home: pathlib.Path, message: dict[str, str], answer: dict[str, str] | None
) -> None:
    publish(home, "live")
    assert node.signal(json.dumps(message)) == answer


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["command", "streamId", "x"]), inner),
        ).map(lambda value: json.dumps(value).encode()),
    )
)
def test_no_message_stops_the_signalling(node: Any, message: bytes) -> None:
    answer = node.signal(message)
    assert answer is None or answer["command"] in ("pong", "error", "start")
