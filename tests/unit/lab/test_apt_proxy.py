"""The package cache: whole files or none, one download for many readers, only the machine's own archives."""

from __future__ import annotations

import http.client
import http.server
import os
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab import apt_proxy
from lab.apt_proxy import Archive
from tests.patience import PATIENCE

BODY = os.urandom(1_000_000)


@dataclass
class Upstream:
    """A Debian archive on the loopback, with what it was asked for and ways to misbehave."""

    port: int = 0
    asked: list[str] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)
    breaks_off: bool = False
    gone: bool = False

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    made = Upstream()
    made.go_on.set()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Quiet."""

        def do_GET(self) -> None:
            made.asked.append(self.path)
            if made.gone or "missing" in self.path:
                self.send_error(404)
                return
            if self.headers.get("If-Modified-Since"):
                self.send_response(304)
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY[:500_000])
            made.go_on.wait(10)
            if not made.breaks_off:
                self.wfile.write(BODY[500_000:])

    class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        made.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield made
        server.shutdown()


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "apt", {"127.0.0.1"})


@pytest.fixture
def proxy(archive: Archive) -> int:
    listening = socket.create_server(("127.0.0.1", 0))
    apt_proxy.serve(listening, archive)
    return int(listening.getsockname()[1])


def _get(proxy: int, url: str, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", proxy, timeout=PATIENCE)
    connection.request("GET", url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    try:
        return response.status, response.read()
    except http.client.IncompleteRead as error:
        return response.status, error.partial
    finally:
        connection.close()


def test_a_package_is_fetched_once(upstream: Upstream, proxy: int) -> None:
    url = upstream.url("pool/a.deb")
    assert [_get(proxy, url) for _ in range(3)] == [(200, BODY)] * 3
    assert upstream.asked == ["/pool/a.deb"]


def test_what_the_cache_has_meanwhile_is_not_fetched_again(upstream: Upstream, archive: Archive) -> None:
    url = upstream.url("pool/a.deb")
    first = archive.download(url)
    assert first is not None
    while not first.finished:
        first.wait(len(BODY))
    assert archive.download(url) is None
    assert upstream.asked == ["/pool/a.deb"]


def test_the_archive_can_be_asked_by_its_name_as_well(upstream: Upstream, proxy: int) -> None:
    """What a host without proxy settings sends: a path and the archive's name."""
    assert _get(proxy, "/pool/a.deb", Host=f"127.0.0.1:{upstream.port}") == (200, BODY)


def test_many_at_once_share_one_download(upstream: Upstream, proxy: int) -> None:
    upstream.go_on.clear()
    found: list[tuple[int, bytes]] = []
    url = upstream.url("pool/a.deb")
    readers = [threading.Thread(target=lambda: found.append(_get(proxy, url))) for _ in range(8)]
    for reader in readers:
        reader.start()
    time.sleep(0.2)
    upstream.go_on.set()
    for reader in readers:
        reader.join(10)
    assert found == [(200, BODY)] * 8
    assert len(upstream.asked) == 1


def test_a_reader_gets_bytes_while_they_arrive(upstream: Upstream, proxy: int) -> None:
    upstream.go_on.clear()
    connection = http.client.HTTPConnection("127.0.0.1", proxy, timeout=PATIENCE)
    connection.request("GET", upstream.url("pool/a.deb"))
    response = connection.getresponse()
    assert response.read(500_000) == BODY[:500_000], "half of it before the archive sends the rest"
    upstream.go_on.set()
    assert response.read() == BODY[500_000:]


def test_half_a_file_is_never_kept(upstream: Upstream, proxy: int, archive: Archive) -> None:
    upstream.breaks_off = True
    url = upstream.url("pool/a.deb")
    assert _get(proxy, url)[1] != BODY
    assert list(archive.cache.iterdir()) == []
    upstream.breaks_off = False
    assert _get(proxy, url) == (200, BODY)


def test_what_the_archive_has_not_is_not_kept(upstream: Upstream, proxy: int, archive: Archive) -> None:
    assert _get(proxy, upstream.url("pool/missing.deb"))[0] == 404
    assert list(archive.cache.iterdir()) == []


def test_an_index_is_asked_for_each_time(upstream: Upstream, proxy: int) -> None:
    url = upstream.url("dists/stable/InRelease")
    assert _get(proxy, url) == (200, BODY)
    assert _get(proxy, url, If_Modified_Since="now")[0] == 304
    assert len(upstream.asked) == 2


def test_the_last_index_is_given_when_the_archive_cannot_be_reached(archive: Archive, proxy: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/dists/stable/InRelease"
    assert _get(proxy, url)[0] == 502
    archive.path(url).write_bytes(BODY)
    assert _get(proxy, url) == (200, BODY)


@pytest.mark.parametrize("url", ["http://example.com/a.deb", "https://127.0.0.1/a.deb", "file:///etc/passwd"])
def test_nothing_else_can_be_fetched(url: str, proxy: int) -> None:
    assert _get(proxy, url)[0] == 403


def test_what_a_killed_lab_left_is_swept_up_later(tmp_path: Path) -> None:
    cache = tmp_path / "apt"
    cache.mkdir()
    old, new, whole = cache / "old.part", cache / "new.part", cache / "0123"
    for path in (old, new, whole):
        path.write_bytes(b"x")
    os.utime(old, (time.time() - 90_000,) * 2)
    Archive(cache, set())
    assert sorted(path.name for path in cache.iterdir()) == ["0123", "new.part"]


def test_the_archives_are_those_of_the_machines_sources(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(
        "deb http://One.example/debian stable main\n# deb http://no.example/ x main\n"
    )
    (tmp_path / "sources.list.d/two.sources").write_text("Types: deb\nURIs: https://two.example/debian\n")
    assert apt_proxy.archive_hosts(tmp_path) == {"one.example", "two.example"}
