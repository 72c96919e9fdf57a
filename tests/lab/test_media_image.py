"""What clients, load balancers and operators expect of an Ant Media Server node: the real one and the stand-in alike.

A test here looks at both images and asserts the same. What the real server was seen to do is what the stand-in must do.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from lab import images
from tests.lab import media
from tests.lab.labs import Lab, Network, eventually
from tests.lab.media import ADMINISTRATOR, Media, playlist
from tests.patience import BUSY

ENDED_SECONDS = 60.0
"""The real server keeps an ended stream's playlist until it can have been played: 15 segments of 2 s."""

VIEWERS_SECONDS = 60.0
"""A viewer who has gone is forgotten after 20 s, and the real server counts every 10 s."""

SETTINGS = "/rest/v2/applications/settings/LiveApp"
LIST = "/LiveApp/rest/v2/broadcasts/list/0/10"
MD5 = hashlib.md5(ADMINISTRATOR["password"].encode(), usedforsecurity=False).hexdigest()


@pytest.fixture(scope="module", params=[media.STAND_IN, media.AMS], ids=images.for_ami)
def node(network: Network, request: pytest.FixtureRequest) -> Media:
    return media.launch(network, request.param)


@pytest.fixture
def stream(node: Media) -> Iterator[str]:
    """The id of a stream that is being published, and never was before."""
    with node.publishing(f"published-{secrets.token_hex(3)}") as stream_id:
        yield stream_id


def test_the_host_boots_without_a_failed_unit(node: Media) -> None:
    eventually(lambda: node.host.run("systemctl", "is-system-running", check=False).stdout.strip(), "running", 20.0)
    status = json.loads(node.host.run("cloud-init", "status", "--format", "json").stdout)
    assert status["extended_status"] == "done", status


def test_the_service_is_healthy_soon_after_boot(node: Media) -> None:
    shown = node.host.run("systemctl", "show", "antmedia", "-P", "ActiveEnterTimestampMonotonic").stdout
    booted = node.host.run("systemctl", "show", "-P", "UserspaceTimestampMonotonic").stdout
    assert (int(shown) - int(booted)) / 1e6 < BUSY * media.LIVENESS_SECONDS


def test_the_host_has_ant_media_servers_account(node: Media) -> None:
    fields = node.host.run("getent", "passwd", "antmedia").stdout.strip().split(":")
    assert fields[5:] == ["/usr/local/antmedia/", "/bin/false"]


def test_liveness_needs_no_login_and_opens_no_session(node: Media) -> None:
    answer = node.ask("/rest/v2/liveness")
    assert answer.json == {"status": "ok", "host": node.host.run("hostname").stdout.strip()}
    assert not answer.session
    assert node.ask("/rest/v2/liveness", "--head").status == 200


def result(success: bool, message: str = "", error_id: int = 0) -> dict[str, Any]:
    return {"success": success, "message": message, "dataId": "", "errorId": error_id}


def test_the_first_administrator_is_claimed_once_and_outlives_the_service(node: Media) -> None:
    thief = {"email": "thief@example.org", "password": "two"}
    node.forget_users()
    assert node.ask("/rest/v2/first-login-status").json == result(True)
    claimed = node.ask("/rest/v2/users/initial", body=ADMINISTRATOR)
    assert (claimed.status, claimed.json, claimed.session) == (200, result(True, error_id=-1), "")
    refused = node.ask("/rest/v2/users/initial", body=thief)
    assert (refused.status, refused.json) == (200, result(False, error_id=-1))
    assert node.ask("/rest/v2/first-login-status").json == result(False)

    node.host.run("systemctl", "restart", "antmedia")
    assert node.ask("/rest/v2/first-login-status").json == result(False)
    assert node.ask("/rest/v2/users/authenticate", body=thief).json == result(False)
    wrong = node.ask("/rest/v2/users/authenticate", body={**ADMINISTRATOR, "password": "two"})
    assert (wrong.status, wrong.json, wrong.session) == (200, result(False), "")
    right = node.ask("/rest/v2/users/authenticate", body=ADMINISTRATOR)
    assert (right.status, right.json) == (200, result(True, "system/ADMIN"))
    assert right.session


@pytest.mark.parametrize(("claimed", "others"), [(MD5, ADMINISTRATOR["password"]), (ADMINISTRATOR["password"], MD5)])
def test_who_claims_with_the_passwords_md5_may_log_in_with_both(node: Media, claimed: str, others: str) -> None:
    """The web panel sends MD5 at both: claimed with the password as it is, it would refuse the administrator."""
    node.forget_users()
    assert node.ask("/rest/v2/users/initial", body={**ADMINISTRATOR, "password": claimed}).json["success"]
    for password, known in ((claimed, True), (others, claimed == MD5)):
        answer = node.ask("/rest/v2/users/authenticate", body={**ADMINISTRATOR, "password": password})
        assert answer.json["success"] is known
    node.forget_users()


def test_the_administrator_changes_the_password_as_the_web_panel_does(node: Media) -> None:
    """By MD5, as it was made; without a session or with a wrong password nothing changes."""
    node.forget_users()
    assert node.ask("/rest/v2/users/initial", body={**ADMINISTRATOR, "password": MD5}).json["success"]
    session = node.ask("/rest/v2/users/authenticate", body={**ADMINISTRATOR, "password": MD5}).session
    wanted = {"email": ADMINISTRATOR["email"], "password": MD5, "newPassword": "b" * 32}
    assert node.ask("/rest/v2/users/password", body=wanted).status == 403
    assert not node.ask("/rest/v2/users/password", session=session, body={**wanted, "password": "no"}).json["success"]
    assert node.ask("/rest/v2/users/password", session=session, body=wanted).json["success"]
    for password, known in ((MD5, False), ("b" * 32, True)):
        answer = node.ask("/rest/v2/users/authenticate", body={**ADMINISTRATOR, "password": password})
        assert answer.json["success"] is known
    node.forget_users()


def test_a_login_that_is_no_json_is_refused(node: Media) -> None:
    assert node.ask("/rest/v2/users/authenticate", body='{"email"').status == 400


def test_the_version_is_for_those_who_logged_in(node: Media) -> None:
    without = node.ask("/rest/v2/version")
    assert (without.status, without.headers["content-type"].lower()) == (403, "text/html;charset=utf-8")
    assert without.session, "a refusal opens a session"
    known = node.ask("/rest/v2/version", session=node.log_in())
    assert sorted(known.json) == ["buildNumber", "versionName", "versionType"]
    assert not known.session


def test_a_call_that_does_not_exist_is_refused_before_it_is_missed(node: Media) -> None:
    assert node.ask("/rest/v2/nothing").status == 403
    assert node.ask("/rest/v2/nothing", session=node.log_in()).status == 404
    assert node.ask("/nowhere").status == 404


@pytest.mark.parametrize("call", ["node-count", "nodes/0/10"])
def test_a_node_without_a_cluster_has_no_node_list(node: Media, call: str) -> None:
    assert node.ask(f"/rest/v2/cluster/{call}").status == 403
    assert node.ask(f"/rest/v2/cluster/{call}", session=node.log_in()).status == 500


def test_an_administrator_sees_applications_and_load(node: Media) -> None:
    session = node.log_in()
    assert node.ask("/rest/v2/applications", session=session).json == {"applications": ["LiveApp"]}
    size = node.ask("/rest/v2/live-clients-size", session=session).json
    assert sorted(size) == ["totalConnectionSize", "totalLiveStreamSize"]


def test_a_session_is_the_panels_or_the_applications(node: Media) -> None:
    panel, application = node.ask("/rest/v2/authentication-status"), node.ask(playlist("nobody"))
    assert (panel.json, application.status) == (result(False), 404)
    assert attributes(panel) == {"Path=/", "HttpOnly"}
    assert attributes(application) == {"Path=/LiveApp", "HttpOnly"}
    assert not node.ask("/rest/v2/authentication-status", session=panel.session).session
    assert node.ask("/rest/v2/authentication-status", session=application.session).session


def attributes(answer: media.Answer) -> set[str]:
    return {part.strip() for part in answer.headers["set-cookie"].split(";")[1:]}


def test_a_cookie_is_for_tls_only_when_the_load_balancer_says_so(node: Media) -> None:
    for answer in (
        node.ask_as_load_balancer("/rest/v2/authentication-status", "--header", "X-Forwarded-Proto: https"),
        node.ask_as_load_balancer(playlist("nobody"), "--header", "X-Forwarded-Proto: https"),
    ):
        assert "Secure" in attributes(answer)
    claimed = node.ask("/rest/v2/authentication-status", "--header", "X-Forwarded-Proto: https")
    assert "Secure" not in attributes(claimed), "a viewer is believed"


def test_the_panel_asks_for_tls_in_the_whole_domain_when_the_load_balancer_says_https(node: Media) -> None:
    https = ("--header", "X-Forwarded-Proto: https")
    for path in ("/", "/rest/v2/liveness", "/rest/v2/version", "/nowhere"):
        said = node.ask_as_load_balancer(path, *https).headers.get("strict-transport-security", "")
        assert said.replace(" ", "") == "max-age=31536000;includeSubDomains", path
    silent = (
        node.ask_as_load_balancer("/"),
        node.ask("/", *https),
        node.ask_as_load_balancer("/LiveApp/", *https),
        node.ask_as_load_balancer(playlist("nobody"), *https),
    )
    assert not [each for each in silent if "strict-transport-security" in each.headers]


def test_an_application_without_its_slash_is_a_redirect_that_names_no_host(node: Media) -> None:
    answer = node.ask_as_load_balancer("/LiveApp", "--header", "X-Forwarded-Proto: https")
    assert (answer.status, answer.headers["location"]) == (302, "/LiveApp/")


@pytest.fixture
def opened(node: Media) -> Iterator[str]:
    """A network whose addresses alone may use the application's REST: the viewer's."""
    session, allowed = node.log_in(), "192.0.2.0/24"
    before = node.ask(SETTINGS, session=session).json
    assert before["remoteAllowedCIDR"] == "127.0.0.1"
    assert node.ask(SETTINGS, session=session, body={**before, "remoteAllowedCIDR": allowed}).json["success"]
    yield allowed
    assert node.ask(SETTINGS, session=node.log_in(), body=before).json["success"]


def test_an_applications_rest_answers_the_node_itself_alone(node: Media, stream: str) -> None:
    assert node.ask(LIST).status == 403
    assert node.ask_as_load_balancer(LIST).status == 403
    (broadcast,) = [each for each in node.ask_from_the_node(LIST).json if each["streamId"] == stream]
    assert (broadcast["status"], broadcast["publishType"]) == ("broadcasting", "RTMP")
    through = node.ask(f"/rest/request?_path=LiveApp/rest/v2/broadcasts/{stream}", session=node.log_in())
    assert through.json["streamId"] == stream, "an administrator reaches it through the panel"
    assert node.ask(f"/rest/request?_path=LiveApp/rest/v2/broadcasts/{stream}").status == 403


def test_the_address_filter_is_set_over_rest_by_an_administrator_alone(node: Media, opened: str) -> None:
    assert node.ask(LIST).status == 200
    assert node.ask(SETTINGS).status == 403
    assert node.ask(SETTINGS, body={"remoteAllowedCIDR": "0.0.0.0/0"}).status == 403
    node.host.run("systemctl", "restart", "antmedia")
    assert node.ask(LIST).status == 200
    assert node.ask_from_the_node(LIST).status == 403


@pytest.mark.parametrize(
    ("forwarded", "status"),
    [
        ("192.0.2.10", 200),
        ("203.0.113.9", 403),
        ("192.0.2.10, 203.0.113.9", 403),
        ("203.0.113.9, 192.0.2.10", 200),
        ("192.0.2.10, 10.0.0.9", 200),
    ],
)
def test_the_address_filter_believes_what_a_private_peer_says_last(
    node: Media, opened: str, forwarded: str, status: int
) -> None:
    header = ("--header", f"X-Forwarded-For: {forwarded}")
    assert node.ask_as_load_balancer(LIST, *header).status == status
    assert node.ask(LIST, *header).status == 200, "the viewer's own address counts, whatever it claims"


def test_a_published_stream_plays_over_rtmp_and_hls(node: Media, stream: str) -> None:
    assert node.codecs(f"rtmp://{node.address}/LiveApp/{stream}") == ["aac", "h264"]
    assert node.codecs(f"http://{node.address}:5080{playlist(stream)}") == ["aac", "h264"]


def test_hls_segments_last_two_seconds_and_may_be_kept_for_ten(node: Media, stream: str) -> None:
    eventually(lambda: node.ask(playlist(stream)).text.count("#EXTINF:2.0") > 1, True, 20.0)
    answer = node.ask(playlist(stream))
    assert answer.headers["content-type"] == "application/vnd.apple.mpegurl"
    assert "cache-control" not in answer.headers
    segment = next(line for line in answer.text.splitlines() if line.endswith(".ts"))
    headers = node.ask(f"/LiveApp/streams/{segment}", "--head").headers
    assert headers["content-type"].lower() == "video/mp2t"
    # The real server counts from a moment of its own, in whole seconds.
    assert headers["cache-control"] in ("max-age=10", "max-age=9")


def test_viewers_are_counted_by_their_session(node: Media, stream: str) -> None:
    sessions = [node.ask(playlist(stream)).session for _ in range(2)]
    assert len(set(sessions)) == 2

    def count() -> int:
        for session in sessions * 2:
            assert not node.ask(playlist(stream), session=session).session, "its session was not kept"
        return int(node.ask_from_the_node(f"/LiveApp/rest/v2/broadcasts/{stream}").json["hlsViewerCount"])

    # Who waited for the first playlist, in `stream`, is forgotten after 20 s.
    eventually(count, 2, VIEWERS_SECONDS)


def test_an_ended_stream_has_no_playlist(node: Media) -> None:
    with node.publishing("short"):
        pass
    eventually(lambda: node.ask(playlist("short")).status, 404, ENDED_SECONDS)
    eventually(lambda: "short" in node.ask_from_the_node(LIST).text, False, 10.0)


def test_a_stopped_service_refuses_both_ports_and_comes_back(node: Media, lab: Lab) -> None:
    node.host.run("systemctl", "stop", "antmedia")
    assert node.host.run("systemctl", "is-failed", "antmedia", check=False).stdout.strip() == "inactive"
    for port in (5080, 1935):
        refused = lab.client("curl", "--silent", "--max-time", "10", f"http://{node.address}:{port}/", check=False)
        assert refused.returncode == 7, f"port {port} is still open"
    node.host.run("systemctl", "start", "antmedia")
    assert node.ask("/rest/v2/liveness").status == 200, "systemctl start returned before the node answers"


def test_a_killed_service_comes_back(node: Media) -> None:
    before = node.host.run("systemctl", "show", "antmedia", "-P", "MainPID").stdout
    node.host.run("systemctl", "kill", "--signal=KILL", "antmedia")
    eventually(
        lambda: (
            node.host.run("systemctl", "is-active", "antmedia", check=False).stdout.strip() == "active"
            and node.host.run("systemctl", "show", "antmedia", "-P", "MainPID").stdout != before
            and node.ask("/rest/v2/liveness").status == 200
        ),
        True,
        60.0,
    )
