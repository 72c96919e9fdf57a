"""The stand-in media node answers as Ant Media Server does where clients, load balancers and operators rely on it."""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.image.media.node import answers, messages


@pytest.fixture
def home(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "webapps/LiveApp/streams").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def node(home: pathlib.Path) -> Any:
    return answers.Node(home, name="media-1")


LOAD_BALANCER = "172.30.0.4"
VIEWER = "192.0.2.7"


def ask(node: Any, method: str, target: str, body: object = None, peer: str = VIEWER, **headers: str) -> Any:
    pairs = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    data = b"" if body is None else json.dumps(body).encode()
    return asyncio.run(node.respond(messages.Request(method, target, pairs, data, len(data), peer)))


def cookie(response: Any) -> str:
    """The cookie that a response sets, or nothing."""
    return next((str(value) for name, value in response.headers if name == "Set-Cookie"), "")


def session(response: Any) -> str:
    """The session that a response opens, or nothing."""
    return cookie(response).split(";")[0].removeprefix("JSESSIONID=")


def success(node: Any, method: str, call: str, user: object = None) -> bool:
    return bool(json.loads(ask(node, method, f"/rest/v2/{call}", user).body)["success"])


STATUS = "/rest/v2/authentication-status"
"""What opens a session: the web panel asks for it when it is loaded."""


def log_in(node: Any) -> str:
    """The session of the node's administrator, who is made first."""
    user = {"email": "a@example.org", "password": "one"}
    assert success(node, "POST", "users/initial", user)
    return session(ask(node, "POST", "/rest/v2/users/authenticate", user))


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
    opened = session(ask(node, "GET", STATUS))
    assert opened
    assert not session(ask(node, "GET", STATUS, Cookie=f"a=b; JSESSIONID={opened}"))
    other = answers.Node(home, name="media-2")
    assert session(ask(other, "GET", STATUS, Cookie=f"JSESSIONID={opened}")) not in ("", opened)


def test_panel_and_application_have_sessions_of_their_own(node: Any) -> None:
    panel, application = ask(node, "GET", STATUS), ask(node, "GET", "/LiveApp/streams/none.m3u8")
    assert cookie(panel).endswith("; Path=/; HttpOnly")
    assert cookie(application).endswith("; Path=/LiveApp; HttpOnly")
    both = f"JSESSIONID={session(application)}; JSESSIONID={session(panel)}"
    assert not session(ask(node, "GET", STATUS, Cookie=both))
    assert not session(ask(node, "GET", "/LiveApp/streams/none.m3u8", Cookie=both))
    assert session(ask(node, "GET", STATUS, Cookie=f"JSESSIONID={session(application)}"))


def test_a_cookie_is_for_tls_when_the_load_balancer_says_so(node: Any) -> None:
    answer = ask(node, "GET", STATUS, peer=LOAD_BALANCER, X_Forwarded_Proto="https")
    assert cookie(answer).endswith("; Path=/; Secure; HttpOnly")


@pytest.mark.parametrize("call", ["liveness", "first-login-status"])
def test_what_asks_for_no_login_opens_no_session(node: Any, call: str) -> None:
    assert not session(ask(node, "GET", f"/rest/v2/{call}"))


def test_sessions_do_not_fill_the_memory(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "SESSIONS_MAX", 3)
    opened = [session(ask(node, "GET", STATUS)) for _ in range(5)]
    kept = [not session(ask(node, "HEAD", STATUS, Cookie=f"JSESSIONID={each}")) for each in opened[2:]]
    assert all(kept)
    assert session(ask(node, "HEAD", STATUS, Cookie=f"JSESSIONID={opened[0]}"))


def test_the_first_administrator_can_be_claimed_once_and_outlives_the_service(node: Any, home: pathlib.Path) -> None:
    user, thief = {"email": "a@example.org", "password": "one"}, {"email": "b@example.org", "password": "two"}
    assert success(node, "GET", "first-login-status")
    assert not success(node, "POST", "users/authenticate", user)
    assert success(node, "POST", "users/initial", user)
    assert not success(node, "POST", "users/initial", thief)
    assert not success(node, "GET", "first-login-status")

    restarted = answers.Node(home, name="media-1")
    assert success(restarted, "POST", "users/authenticate", user)
    assert not success(restarted, "POST", "users/authenticate", thief)
    assert not success(restarted, "POST", "users/authenticate", {**user, "password": "two"})
    assert (home / "server.db").stat().st_mode & 0o077 == 0
    assert "one" not in json.loads((home / "server.db").read_text()).values()


MD5_OF_ONE = "f97c5d29941bfb1b2fdab0874906ab82"


@pytest.mark.parametrize(
    ("claimed", "sent", "known"),
    [("one", "one", True), ("one", MD5_OF_ONE, False), (MD5_OF_ONE, MD5_OF_ONE, True), (MD5_OF_ONE, "one", True)],
)
def test_who_claims_with_the_md5_may_log_in_with_it_and_without(
    node: Any, claimed: str, sent: str, known: bool
) -> None:
    assert success(node, "POST", "users/initial", {"email": "a@example.org", "password": claimed})
    assert success(node, "POST", "users/authenticate", {"email": "a@example.org", "password": sent}) is known


def test_the_version_is_for_those_who_logged_in_on_this_node(node: Any, home: pathlib.Path) -> None:
    user = {"email": "a@example.org", "password": "one"}
    assert ask(node, "GET", "/rest/v2/version").status == 403
    assert ask(node, "POST", "/rest/v2/users/initial", user).status == 200
    before = session(ask(node, "GET", STATUS))
    assert not session(ask(node, "POST", "/rest/v2/users/authenticate", user, Cookie=f"JSESSIONID={before}"))
    assert ask(node, "GET", "/rest/v2/version", Cookie=f"JSESSIONID={before}").status == 200
    other = answers.Node(home, name="media-2")
    assert ask(other, "GET", "/rest/v2/version", Cookie=f"JSESSIONID={before}").status == 403


@pytest.mark.parametrize("body", [b"", b"[]", b'"x"', b"{}", b'{"email": "a", "password": 1}', b"\xff", b'{"email"'])
def test_a_login_that_is_none_is_refused(node: Any, body: bytes) -> None:
    request = messages.Request("POST", "/rest/v2/users/initial", (), body)
    assert asyncio.run(node.respond(request)).status == 400
    assert json.loads(ask(node, "GET", "/rest/v2/first-login-status").body)["success"]


def test_a_playlist_is_served_while_its_stream_is_published(node: Any, home: pathlib.Path) -> None:
    assert ask(node, "GET", "/LiveApp/streams/s1.m3u8").status == 404
    publish(home, "s1")
    response = ask(node, "GET", "/LiveApp/streams/s1.m3u8?token=x")
    assert (response.status, response.body) == (200, b"#EXTM3U\n")
    assert session(response), "viewers are counted by their session"
    assert not session(ask(node, "GET", "/LiveApp/streams/s1.m3u8", Cookie=f"JSESSIONID={session(response)}"))
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


@pytest.mark.parametrize(
    ("target", "peer", "protocol", "said"),
    [
        ("/", LOAD_BALANCER, "https", True),
        ("/rest/v2/liveness", LOAD_BALANCER, "https", True),
        ("/nowhere", LOAD_BALANCER, "https", True),
        ("/", LOAD_BALANCER, "http", False),
        ("/", VIEWER, "https", False),
        ("/LiveApp/", LOAD_BALANCER, "https", False),
    ],
)
def test_hsts_is_the_panels_and_said_when_the_load_balancer_says_https(
    node: Any, target: str, peer: str, protocol: str, said: bool
) -> None:
    headers = dict(ask(node, "GET", target, peer=peer, X_Forwarded_Proto=protocol).headers)
    assert ("Strict-Transport-Security" in headers) is said


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        (VIEWER, "203.0.113.9", VIEWER),
        (LOAD_BALANCER, "203.0.113.9", "203.0.113.9"),
        (LOAD_BALANCER, "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        (LOAD_BALANCER, "203.0.113.9, 10.0.0.1", "203.0.113.9"),
        (LOAD_BALANCER, "10.0.0.2, 10.0.0.1", "10.0.0.2"),
        (LOAD_BALANCER, "", LOAD_BALANCER),
    ],
)
def test_a_private_peer_says_who_the_client_is(peer: str, forwarded: str, client: str) -> None:
    request = messages.Request("GET", "/", (("X-Forwarded-For", forwarded),), peer=peer)
    assert request.client == client


LIST = "/LiveApp/rest/v2/broadcasts/list/0/10"
SETTINGS = "/rest/v2/applications/settings/LiveApp"


def test_an_applications_rest_is_for_the_node_itself_until_an_administrator_opens_it(
    node: Any, home: pathlib.Path
) -> None:
    publish(home, "s1")
    assert ask(node, "GET", LIST).status == 403
    assert ask(node, "GET", LIST, peer=LOAD_BALANCER).status == 403
    assert [each["streamId"] for each in json.loads(ask(node, "GET", LIST, peer="127.0.0.1").body)] == ["s1"]

    assert ask(node, "POST", SETTINGS, {"remoteAllowedCIDR": "192.0.2.0/24"}).status == 403
    logged_in = f"JSESSIONID={log_in(node)}"
    assert json.loads(ask(node, "GET", SETTINGS, Cookie=logged_in).body)["remoteAllowedCIDR"] == "127.0.0.1"
    changed = ask(node, "POST", SETTINGS, {"remoteAllowedCIDR": "192.0.2.0/24, 10.0.0.1"}, Cookie=logged_in)
    assert json.loads(changed.body)["success"]
    for on in (node, answers.Node(home, name="media-1")):
        assert ask(on, "GET", LIST).status == 200
        assert ask(on, "GET", LIST, peer=LOAD_BALANCER, X_Forwarded_For=VIEWER).status == 200
        assert ask(on, "GET", LIST, peer=LOAD_BALANCER, X_Forwarded_For="203.0.113.9").status == 403


def test_who_is_logged_in_reaches_an_applications_rest_through_the_panel(node: Any, home: pathlib.Path) -> None:
    publish(home, "s1")
    through = "/rest/request?_path=LiveApp/rest/v2/broadcasts/s1"
    assert ask(node, "GET", through).status == 403
    logged_in = f"JSESSIONID={log_in(node)}"
    assert json.loads(ask(node, "GET", through, Cookie=logged_in).body)["status"] == "broadcasting"
    assert ask(node, "GET", "/rest/request?_path=LiveApp/rest/v2/broadcasts/s2", Cookie=logged_in).status == 404


def test_viewers_are_counted_by_session_for_as_long_as_they_ask(
    node: Any, home: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(home, "s1")
    playlist = "/LiveApp/streams/s1.m3u8"
    one = session(ask(node, "GET", playlist))
    for _ in range(3):
        ask(node, "GET", playlist, Cookie=f"JSESSIONID={one}")
    ask(node, "GET", playlist)
    assert node.viewers("s1") == 2
    size = json.loads(ask(node, "GET", "/rest/v2/live-clients-size", Cookie=f"JSESSIONID={log_in(node)}").body)
    assert size == {"totalConnectionSize": 3, "totalLiveStreamSize": 1}
    later = time.monotonic() + answers.VIEWER_SECONDS + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    ask(node, "GET", playlist, Cookie=f"JSESSIONID={one}")
    assert node.viewers("s1") == 1


def test_a_request_is_read_as_sent_and_the_proxys_own_headers_are_taken_out() -> None:
    head = (
        b"GET /x?y=1 HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nX-One: 2\r\nX-Node-Peer: 192.0.2.1\r\nConnection: close\r\n\r\n"
    )
    request = messages.parse(head)
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
    assert asyncio.run(node.signal(json.dumps(message))) == answer


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
    answer = asyncio.run(node.signal(message))
    assert answer is None or answer["command"] in ("pong", "error", "start")
