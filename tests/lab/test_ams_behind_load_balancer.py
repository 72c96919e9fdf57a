"""The real Ant Media Server (Community) behind our load balancer, deployed by the unchanged program, used from outside.

What of it complaints are about, by their number in Ant Media Server's issue tracker, is asserted here.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import labs
from tests.lab.deployments import DOMAIN, PICTURES, STREAM, Deployment, frames_played, prepare, publishing
from tests.lab.labs import CHECKOUT, eventually

SITE = f"https://{DOMAIN}"
CODE = ("-o", "/dev/null", "-w", "%{http_code}")
EMAIL = "admin@antmedia.invalid"
LIST = "LiveApp/rest/v2/broadcasts/list/0/10"
SETTINGS = "/rest/v2/applications/settings/LiveApp"
VIEWERS_SECONDS = 60.0
"""A viewer who has gone is forgotten after 20 s, and the server counts every 10 s."""


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    made = prepare(tmp_path_factory.mktemp("ams"), "lab-ams")
    try:
        made.make_up()
        yield made
    finally:
        made.lab.down()


class Administrator:
    """A browser on a machine in adminCidrs: it keeps its cookies."""

    def __init__(self, deployment: Deployment, jar: Path) -> None:
        self._lab, self.jar = deployment.lab, jar

    def ask(self, path: str, *options: str, body: Any = None) -> str:
        sent = ("-H", "Content-Type: application/json", "--data-binary", "@-") if body is not None else ()
        command = ("curl", "-sk", "-m", "10", "-b", str(self.jar), "-c", str(self.jar), *sent, *options, SITE + path)
        return self._lab.admin(*command, stdin=None if body is None else json.dumps(body)).stdout

    def json(self, path: str, body: Any = None) -> Any:
        return json.loads(self.ask(path, body=body))

    def of_application(self, path: str) -> Any:
        """An answer of the application's REST, through the dashboard."""
        return self.json(f"/rest/request?_path={path}")


@pytest.fixture
def anybody(deployment: Deployment, tmp_path: Path) -> Administrator:
    """On an administrator's machine, not logged in."""
    return Administrator(deployment, tmp_path / "jar")


@pytest.fixture
def administrator(deployment: Deployment, anybody: Administrator) -> Administrator:
    """Logged in with what the deployment claimed the server with."""
    anybody.ask("/rest/v2/authentication-status")
    user = {"email": EMAIL, "password": deployment.password("administrator")}
    assert anybody.json("/rest/v2/users/authenticate", user)["success"]
    return anybody


def test_the_program_deploys_one_node_of_the_real_server(deployment: Deployment, administrator: Administrator) -> None:
    assert set(deployment.outputs()["nodes"]) == {"lb-1", "origin-1"}
    version = administrator.json("/rest/v2/version")
    assert (version["versionName"], version["versionType"]) == ("2.16.2", "Community Edition")
    deployment.pulumi("preview", "--expect-no-changes")


def test_the_deployment_is_the_first_administrator_and_nobody_else_can_be(anybody: Administrator) -> None:
    assert anybody.json("/rest/v2/first-login-status")["success"] is False
    thief = {"email": "thief@example.org", "password": "another-password"}
    assert anybody.json("/rest/v2/users/initial", thief)["success"] is False
    assert anybody.json("/rest/v2/users/authenticate", thief)["success"] is False


def test_the_dashboards_own_login_works_too(deployment: Deployment, anybody: Administrator) -> None:
    """It sends the password's MD5."""
    digest = deployment.lab.client("md5sum", stdin=deployment.password("administrator")).stdout.split()[0]
    assert anybody.json("/rest/v2/users/authenticate", {"email": EMAIL, "password": digest})["success"]


def test_a_login_stays_on_its_node(administrator: Administrator) -> None:
    """#688: a session cookie that names the node."""
    assert "JSESSIONID\torigin-1~" in administrator.jar.read_text()
    assert [administrator.ask("/rest/v2/version", *CODE) for _ in range(5)] == ["200"] * 5


def test_liveness_and_rest_are_for_administrators(deployment: Deployment, anybody: Administrator) -> None:
    assert anybody.json("/rest/v2/liveness")["status"] == "ok"
    for path in ("/rest/v2/liveness", "/rest/v2/users/initial", f"/{LIST}", "/index.html"):
        head = deployment.fetch(SITE + path, "-o", "/dev/null", "-D", "-")
        assert head.startswith("HTTP/2 403"), f"{path}: {head}"
        assert "jsessionid" not in head.lower(), f"{path}: the node was asked"


@pytest.mark.parametrize("base", [f"rtmp://{DOMAIN}", f"rtmps://{DOMAIN}:443", f"rtmps://{DOMAIN}:1936"])
def test_a_stream_is_published_and_played(deployment: Deployment, base: str) -> None:
    name = "p" + re.sub(r"\D", "", base)
    with publishing(deployment, name, base=f"{base}/LiveApp"):
        eventually(lambda: frames_played(deployment, f"{base}/LiveApp/{name}") >= 15, True, 60)
        playlist = f"{SITE}/LiveApp/streams/{name}.m3u8"
        eventually(lambda: deployment.fetch(playlist).startswith("#EXTM3U"), True, 40)
        eventually(lambda: frames_played(deployment, playlist) >= 15, True, 40)


def test_hls_viewers_are_counted_once(deployment: Deployment, administrator: Administrator, tmp_path: Path) -> None:
    """#2812, #3282: a viewer who comes back with each playlist is one."""
    jar = str(tmp_path / "viewer")
    with publishing(deployment, "counted"):
        playlist = f"{SITE}/LiveApp/streams/counted.m3u8"
        eventually(lambda: deployment.fetch(playlist, "-b", jar, "-c", jar).startswith("#EXTM3U"), True, 40)

        def count() -> int:
            for _ in range(3):
                deployment.fetch(playlist, "-b", jar, "-c", jar, "-o", "/dev/null")
            return int(administrator.of_application("LiveApp/rest/v2/broadcasts/counted")["hlsViewerCount"])

        eventually(count, 1, VIEWERS_SECONDS)
        assert count() == 1


@pytest.fixture
def allow(administrator: Administrator) -> Iterator[Any]:
    """Sets which addresses the application's own filter lets use its REST."""
    before = administrator.json(SETTINGS)

    def set_to(cidrs: str) -> None:
        assert administrator.json(SETTINGS, {**before, "remoteAllowedCIDR": cidrs})["success"]

    yield set_to
    set_to(before["remoteAllowedCIDR"])


def test_the_applications_address_filter_sees_who_asks(administrator: Administrator, allow: Any) -> None:
    """#6044: not the load balancer, and not what somebody claims."""
    assert administrator.ask(f"/{LIST}", *CODE) == "403"
    allow("192.0.2.20")
    assert administrator.ask(f"/{LIST}", *CODE) == "200"
    forged = ("-H", "X-Forwarded-For: 127.0.0.1", "-H", "X-Real-IP: 127.0.0.1", "-H", "Forwarded: for=127.0.0.1")
    assert administrator.ask(f"/{LIST}", *CODE, *forged) == "200"
    allow("127.0.0.1,172.30.0.0/16")
    assert administrator.ask(f"/{LIST}", *CODE) == "403", "the load balancer's address counted"
    assert administrator.ask(f"/{LIST}", *CODE, *forged) == "403", "a claim was believed"


def test_nothing_handed_out_over_https_leads_to_the_clear(deployment: Deployment, administrator: Administrator) -> None:
    """#7025: neither ws:// nor http:// with the site's name, in headers, pages, playlists and REST."""
    with publishing(deployment, "clear"):
        streams = "/LiveApp/streams/clear.m3u8"
        eventually(lambda: deployment.fetch(SITE + streams).startswith("#EXTM3U"), True, 40)
        answers = {path: deployment.fetch(SITE + path, "-D", "-") for path in ("/", "/LiveApp", "/LiveApp/", streams)}
        more = ("/", "/rest/v2/version", "/rest/v2/applications", SETTINGS, f"/rest/request?_path={LIST}")
        answers |= {f"administrator {path}": administrator.ask(path, "-D", "-") for path in more}
    assert "clear" in answers[f"administrator {more[-1]}"], "the stream's own description was not looked at"
    assert "location: /LiveApp/" in answers["/LiveApp"]
    for path, answer in answers.items():
        assert not re.search(rf"(ws|http)://[^/\s\"]*({re.escape(DOMAIN)}|172\.30\.)", answer), f"{path}: {answer}"


def test_one_voice_speaks_of_strict_transport_security(deployment: Deployment, administrator: Administrator) -> None:
    """The server asks for includeSubDomains, which would close clear ports of other names of the domain."""
    for said in (
        *(administrator.ask(path, "-o", "/dev/null", "-D", "-") for path in ("/", "/rest/v2/version")),
        deployment.fetch(f"{SITE}/LiveApp/", "-o", "/dev/null", "-D", "-"),
    ):
        assert re.findall(r"(?im)^strict-transport-security: (.*?)\r?$", said) == ["max-age=63072000"]


def test_a_browser_plays_hls_from_the_public_address(deployment: Deployment) -> None:
    with publishing(deployment, "browser", base=f"rtmps://{DOMAIN}:443/LiveApp"):
        playlist = "/LiveApp/streams/browser.m3u8"
        # Chromium gives up at a live playlist of a single segment.
        eventually(lambda: deployment.fetch(SITE + playlist).count("#EXTINF") >= 3, True, 40)
        # On a busy machine Chromium has once met something that it could not parse: as a viewer would, it tries again.
        for _ in range(3):
            seen = browse(deployment, deployment.lab.client, "player.png", deployment.outputs()["url"], playlist)
            if (video := seen["video"])["error"] is None:
                break
    assert video["error"] is None
    assert (video["width"], video["height"]) == (320, 180)
    assert video["seconds"] >= 4, video
    assert video["frames"] >= 30, video


def test_a_browser_opens_the_statistics_page(deployment: Deployment) -> None:
    url = deployment.outputs()["statsUrl"].replace("https://", f"https://stats:{deployment.password('stats')}@")
    seen = browse(deployment, deployment.lab.admin, "statistics.png", url)
    assert seen["title"].startswith("Statistics Report")
    assert "origin-1" in seen["text"]


def browse(deployment: Deployment, on: Any, picture: str, *more: str) -> Any:
    """What tests/lab/browser.py saw on a machine of the lab's internet."""
    program = str(CHECKOUT / "tests/lab/browser.py")
    return json.loads(on(sys.executable, program, str(PICTURES / picture), *more).stdout)


def test_at_its_cpu_limit_the_server_refuses_publishers_and_it_shows(deployment: Deployment) -> None:
    set_cpu_load(deployment, 75)
    eventually(lambda: nodes_up(deployment), 1, 60)
    try:
        said = deployment.lab.client(
            "ffmpeg", "-v", "error", "-re", "-f", "lavfi", "-i", "testsrc=size=320x180:rate=15", "-t", "5",
            "-c:v", "libx264", "-preset", "ultrafast", "-f", "flv", f"{STREAM}/busy", check=False,
        )  # fmt: skip
        assert said.returncode != 0
        assert "current system resources not enough" in said.stderr
        log = deployment.lab.host("origin-1", "journalctl", "-u", "antmedia", "--no-pager", "-o", "cat").stdout
        assert "Due to high cpu load: 75 cpu limit: 75" in log
        assert nodes_up(deployment) == 1, "a busy server is not a dead one"
    finally:
        set_cpu_load(deployment, 0)
        eventually(lambda: nodes_up(deployment), 1, 60)


def set_cpu_load(deployment: Deployment, percent: int) -> None:
    change = f"s/^lab.cpu_load=.*/lab.cpu_load={percent}/"
    deployment.lab.host("origin-1", "sed", "-i", change, "/usr/local/antmedia/conf/red5.properties")
    deployment.lab.host("origin-1", "systemctl", "restart", "antmedia")


def nodes_up(deployment: Deployment) -> int:
    said = deployment.lab.host("lb-1", "sh", "-c", "echo show stat | socat - /run/haproxy/admin.sock").stdout
    rows = [line.split(",") for line in said.splitlines()]
    return sum(row[0] == "nodes" and row[1] != "BACKEND" and row[17] == "UP" for row in rows)


def test_a_server_that_stops_is_told_to_viewers_and_taken_back(deployment: Deployment) -> None:
    before = deployment.haproxy()
    deployment.lab.host("origin-1", "systemctl", "stop", "antmedia")
    eventually(lambda: nodes_up(deployment), 0, 10)
    head = deployment.fetch(f"{SITE}/LiveApp/", "-o", "/dev/null", "-D", "-")
    assert head.startswith("HTTP/2 503")
    assert "retry-after: 5" in head.lower()
    assert labs.probe(deployment.lab.client, DOMAIN, 1935) in ("closed", "ECONNRESET"), "a publisher is left waiting"
    deployment.lab.host("origin-1", "systemctl", "start", "antmedia")
    eventually(lambda: deployment.fetch(f"{SITE}/LiveApp/", *CODE), "200", 60)
    with publishing(deployment, "again"):
        eventually(lambda: frames_played(deployment, f"{STREAM}/again") >= 15, True, 60)
    assert deployment.haproxy() == before, "HAProxy was reloaded"
