"""The real Ant Media Server behind the load balancer: what each of them says and believes fits together."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import media
from tests.lab.deployments import DOMAIN, STREAM, Deployment, frames_played, prepare, publishing
from tests.lab.labs import eventually

REST = f"https://{DOMAIN}/rest/v2"
LIST = f"https://{DOMAIN}/LiveApp/rest/v2/broadcasts/list/0/5"
CODE = ("-o", "/dev/null", "-w", "%{http_code}")
PASSWORD = hashlib.md5(b"a-password", usedforsecurity=False).hexdigest()
"""The administrator's password as the web panel sends it."""


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    made = prepare(tmp_path_factory.mktemp("real"))

    def configure(config: dict[str, Any]) -> None:
        config["antmedia:media"]["ami"] = media.AMS

    made.edit(configure)
    try:
        made.run("make", "up")
        yield made
    finally:
        made.lab.down()


class Panel:
    """The web panel in an administrator's browser: it keeps cookies."""

    def __init__(self, deployment: Deployment, jar: Path) -> None:
        self._deployment, self._cookies = deployment, ("-b", str(jar), "-c", str(jar))

    def ask(self, url: str, *options: str, body: object = None) -> str:
        sent = () if body is None else ("-H", "Content-Type: application/json", "-d", "@-")
        return self._deployment.lab.admin(
            "curl", "-sk", "-m", "10", *self._cookies, *sent, *options, url,
            stdin=None if body is None else json.dumps(body),
        ).stdout  # fmt: skip


@pytest.fixture(scope="module")
def panel(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Panel:
    """Loaded, the node's first administrator made, and logged in, with the requests that the web panel makes."""
    made = Panel(deployment, tmp_path_factory.mktemp("browser") / "jar")
    user = {"email": "a@example.com", "password": PASSWORD}
    assert not json.loads(made.ask(f"{REST}/authentication-status"))["success"]
    assert json.loads(made.ask(f"{REST}/first-login-status"))["success"]
    assert json.loads(made.ask(f"{REST}/users/initial", body=user))["success"]
    assert json.loads(made.ask(f"{REST}/users/authenticate", body=user))["success"]
    return made


def test_a_login_stays_on_its_node(panel: Panel) -> None:
    assert [panel.ask(f"{REST}/version", *CODE) for _ in range(6)] == ["200"] * 6


def test_the_nodes_address_filter_sees_the_administrators_own_address(deployment: Deployment, panel: Panel) -> None:
    settings = f"{REST}/applications/settings/LiveApp"
    assert panel.ask(LIST, *CODE) == "403", "by default it is for the node itself"
    before = json.loads(panel.ask(settings))
    opened = {**before, "remoteAllowedCIDR": "127.0.0.1,192.0.2.20/32"}
    assert json.loads(panel.ask(settings, body=opened))["success"]
    assert [panel.ask(LIST, *CODE) for _ in range(4)] == ["200"] * 4
    closed = {**before, "remoteAllowedCIDR": "127.0.0.1,172.30.0.0/16"}
    assert json.loads(panel.ask(settings, body=closed))["success"]
    assert panel.ask(LIST, *CODE) == "403", "the load balancer's address is taken for the administrator's"


def test_cookies_and_tls_are_said_once_and_for_https(deployment: Deployment) -> None:
    head = deployment.lab.admin("curl", "-sk", "-o", "/dev/null", "-D", "-", f"{REST}/authentication-status").stdout
    (cookie,) = re.findall(r"(?im)^set-cookie: (.*?)\r?$", head)
    assert re.fullmatch(r"JSESSIONID=origin-1~[0-9A-F]{32}; Path=/; Secure; HttpOnly", cookie)
    assert re.findall(r"(?im)^strict-transport-security: (.*?)\r?$", head) == ["max-age=63072000"]


def test_a_published_stream_is_played_back_by_rtmp_rtmps_and_hls(deployment: Deployment, panel: Panel) -> None:
    with publishing(deployment, "real"):
        playlist = f"https://{DOMAIN}/LiveApp/streams/real.m3u8"
        eventually(lambda: deployment.fetch(playlist)[:7], "#EXTM3U", 30)
        for url in (f"{STREAM}/real", f"rtmps://{DOMAIN}:443/LiveApp/real", playlist):
            assert frames_played(deployment, url) >= 15, url
        through = f"https://{DOMAIN}/rest/request?_path=LiveApp/rest/v2/broadcasts/real"
        assert json.loads(panel.ask(through))["status"] == "broadcasting"
