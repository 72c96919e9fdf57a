"""What only the real server does: refuse streams at its limits, and try to call home."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.lab import media
from tests.lab.labs import Network, eventually
from tests.lab.media import ADMINISTRATOR, HOME, Media, playlist


@pytest.fixture(scope="module")
def node(network: Network) -> Media:
    return media.launch(network, media.AMS)


def test_it_is_the_real_server(node: Media) -> None:
    version = node.ask("/rest/v2/version", session=node.log_in()).json
    assert (version["versionName"], version["versionType"]) == ("2.16.2", "Community Edition")


def test_other_sites_pages_may_play_and_call(node: Media) -> None:
    for path in ("/rest/v2/liveness", "/LiveApp/streams/nobody.m3u8"):
        answer = node.ask(path, "--header", "Origin: https://example.org")
        assert answer.headers["access-control-allow-origin"] == "*", path


def test_it_opens_no_connection_and_asks_for_no_name(node: Media) -> None:
    """It would report each login, and each error, to its vendor; a lab's host is no installation to be counted."""
    count = media.calls_out(node)
    node.host.run("systemctl", "restart", "antmedia")
    node.forget_users()
    assert node.ask("/rest/v2/users/initial", body=ADMINISTRATOR).json["success"]
    node.log_in()
    with node.publishing("quiet"):
        node.codecs(f"rtmp://{node.address}/LiveApp/quiet")
    time.sleep(5)
    assert count() == 0
    assert "antmedia.io" in log(node), "it did not even try: the count shows nothing"


@pytest.fixture
def at_the_limit(node: Media) -> Iterator[None]:
    """The node as if its CPU were as busy as its limit allows."""
    set_cpu_load(node, 75)
    yield
    set_cpu_load(node, 0)


def set_cpu_load(node: Media, percent: int) -> None:
    node.host.run("sed", "-i", f"s/^lab.cpu_load=.*/lab.cpu_load={percent}/", f"{HOME}/conf/red5.properties")
    node.host.run("systemctl", "restart", "antmedia")


def log(node: Media) -> str:
    return node.host.run("journalctl", "-u", "antmedia", "--no-pager", "-o", "cat").stdout


def test_publishing_is_refused_at_the_cpu_limit_while_health_says_nothing(node: Media, at_the_limit: None) -> None:
    said = node.lab.client(*node.publisher("busy", seconds=5), check=False)
    assert said.returncode != 0
    assert "current system resources not enough" in said.stderr
    assert node.ask(playlist("busy")).status == 404
    assert "Due to high cpu load: 75 cpu limit: 75" in log(node)
    assert node.ask("/rest/v2/liveness").status == 200


def test_publishing_is_taken_below_the_cpu_limit(node: Media) -> None:
    set_cpu_load(node, 74)
    with node.publishing("calm"):
        assert node.ask(playlist("calm")).status == 200
    set_cpu_load(node, 0)
    eventually(lambda: node.ask("/rest/v2/liveness").status, 200, 10.0)
