"""The Debian archive as the lab's hosts see it: a caching proxy at an address on the lab's internet.

The resolver gives its address for the archive's names, so a host needs no setting: its apt asks for the archive over
plain http, as anywhere, and its security groups decide whether that gets out. It also takes proxy requests. Only this
process reaches the real network, and only the archives that this machine itself installs from. Beside them it serves
the lab's own repository (`lab/packages.py`) under a name of its own.

What never changes under its name (packages, indexes by hash) is kept; what does (InRelease) is asked for each time,
and the last copy is given when the archive cannot be reached. A file appears in the cache in one step, complete:
several labs may use one cache, and a killed one leaves a `.part` file that is swept up a day later.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import http.server
import logging
import os
import re
import socket
import socketserver
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

_LOG = logging.getLogger(__name__)
_CHUNK = 1 << 18  # bytes held in memory per connection
_FETCH_SECONDS = 60.0
_SWEEP_SECONDS = 86400.0
_FORBIDDEN = "This lab's archive has only what the machine's own apt sources name, and the lab's own packages."


def archive_hosts(apt: Path = Path("/etc/apt")) -> set[str]:
    """The names of the archives in this machine's apt sources."""
    files = [apt / "sources.list", *sorted(apt.glob("sources.list.d/*")), *sorted(apt.glob("mirrors/*"))]
    text = "\n".join(file.read_text(errors="replace") for file in files if file.is_file())
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return {name.lower() for line in lines for name in re.findall(r"https?://([A-Za-z0-9.-]+)", line)}


def is_permanent(url: str) -> bool:
    """Whether what is under this URL can never be anything else."""
    return url.endswith((".deb", ".udeb")) or "/by-hash/" in url


class Download:
    """One file on its way into the cache; any number of readers follow while it grows."""

    def __init__(self, url: str, target: Path) -> None:
        self._url, self._target = url, target
        self._changed = threading.Condition()
        self._received = 0
        self._file: BinaryIO | None = None
        self.finished = False
        self.length: int | None = None
        """What the archive announced, in bytes; known once `wait` has returned."""
        self.failure: str | None = None
        self.status = 502
        """The HTTP status to answer with when the download failed before its first byte."""
        threading.Thread(target=self._run, name="download", daemon=True).start()

    def wait(self, position: int) -> int:
        """Waits until there are more than `position` bytes or the download has ended; how many there are."""
        with self._changed:
            self._changed.wait_for(lambda: self._received > position or self.finished)
            return self._received

    def read(self, position: int, size: int) -> bytes:
        """Bytes that `wait` said are there; the file may have been renamed or removed meanwhile."""
        return os.pread(self._file.fileno(), size, position) if self._file else b""

    def _run(self) -> None:
        part: Path | None = None
        try:
            with urllib.request.urlopen(self._url, timeout=_FETCH_SECONDS) as response:
                length = response.headers.get("Content-Length")
                self.length = int(length) if length else None
                descriptor, name = tempfile.mkstemp(suffix=".part", dir=self._target.parent)
                part = Path(name)
                self._file = os.fdopen(descriptor, "w+b", buffering=0)
                while chunk := response.read1(_CHUNK):
                    self._file.write(chunk)
                    with self._changed:
                        self._received += len(chunk)
                        self._changed.notify_all()
            if self.length is not None and self._received != self.length:
                raise OSError("the archive sent less than it announced")
            part.chmod(0o644)
            part.rename(self._target)
        except urllib.error.HTTPError as error:
            self.status, self.failure = error.code, str(error)
        except (OSError, http.client.HTTPException) as error:
            self.failure = str(error)
            _LOG.warning("archive: %s: %s", self._url, error)
            if part is not None:
                part.unlink(missing_ok=True)
        finally:
            with self._changed:
                self.finished = True
                self._changed.notify_all()


class Archive:
    """The cache directory and the downloads under way. `own` has folders by the names that they are served under."""

    def __init__(self, cache: Path, hosts: Collection[str], own: Mapping[str, Path] = MappingProxyType({})) -> None:
        self.cache, self.hosts, self._own = cache, {host.lower() for host in hosts}, dict(own)
        self._downloads: dict[str, Download] = {}
        self._lock = threading.Lock()
        cache.mkdir(parents=True, exist_ok=True)
        for part in cache.glob("*.part"):
            with contextlib.suppress(OSError):
                if time.time() - part.stat().st_mtime > _SWEEP_SECONDS:
                    part.unlink()

    def path(self, url: str) -> Path:
        return self.cache / hashlib.sha256(url.encode()).hexdigest()

    def allows(self, url: str) -> bool:
        return url.startswith("http://") and (urlsplit(url).hostname or "").lower() in self.hosts

    def own_file(self, url: str) -> Path | None:
        """The file of the lab's own repository that a URL names; None for a URL of somebody else's."""
        parts = urlsplit(url)
        folder = self._own.get((parts.hostname or "").lower())
        if folder is None:
            return None
        found = (folder / unquote(parts.path).lstrip("/")).resolve()
        return found if found.is_relative_to(folder.resolve()) and found.is_file() else folder / "no such file"

    def download(self, url: str) -> Download | None:
        """The one download of this URL that is under way, started if there is none; None once the cache has it."""
        with self._lock:
            for finished in [name for name, held in self._downloads.items() if held.finished]:
                del self._downloads[finished]
            if url not in self._downloads:
                # Its last reader may have had every byte before the cache had the file.
                if self.path(url).exists():
                    return None
                self._downloads[url] = Download(url, self.path(url))
            return self._downloads[url]


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


def serve(listening: socket.socket, archive: Archive) -> None:
    """Answers on `listening` from now on."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 120

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """No line per package."""

        def do_CONNECT(self) -> None:
            self.send_error(403, "This lab's archive speaks http only; packages are signed.")

        def do_GET(self) -> None:
            url = self.path if "://" in self.path else f"http://{self.headers.get('Host', '')}{self.path}"
            if (own := archive.own_file(url)) is not None:
                self._give_own(own)
            elif not archive.allows(url):
                self.send_error(403, _FORBIDDEN)
            elif is_permanent(url):
                self._give_permanent(url)
            else:
                self._give_current(url)

        do_HEAD = do_GET  # noqa: N815

        def _give_permanent(self, url: str) -> None:
            cached = archive.path(url)
            if not cached.exists() and (download := archive.download(url)):
                self._follow(download)
                return
            with cached.open("rb") as file:
                self._start(200, os.fstat(file.fileno()).st_size)
                if self.command == "GET":
                    self.connection.sendfile(file)

        def _give_own(self, path: Path) -> None:
            try:
                file = path.open("rb")
            except FileNotFoundError:
                self.send_error(404)
                return
            with file:
                self._start(200, os.fstat(file.fileno()).st_size)
                if self.command == "GET":
                    self.connection.sendfile(file)

        def _follow(self, download: Download) -> None:
            received = download.wait(0)
            if received == 0 and download.failure is not None:
                self.send_error(download.status)
                return
            self._start(200, download.length)
            if self.command != "GET":
                return
            sent = 0
            while received > sent:
                while chunk := download.read(sent, min(_CHUNK, received - sent)):
                    self.wfile.write(chunk)
                    sent += len(chunk)
                received = download.wait(sent)
            if download.failure is not None:
                self.close_connection = True

        def _give_current(self, url: str) -> None:
            passed = {name: self.headers[name] for name in ("If-Modified-Since", "Range") if name in self.headers}
            kept = archive.path(url)
            try:
                response = urllib.request.urlopen(urllib.request.Request(url, headers=passed), timeout=_FETCH_SECONDS)
            except urllib.error.HTTPError as error:
                with error:
                    self.send_response(error.code)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                return
            except (OSError, http.client.HTTPException):
                if kept.exists():
                    self._give_permanent(url)
                else:
                    self.send_error(502, "The archive cannot be reached, and the lab has no copy of this.")
                return
            with response:
                length = response.headers.get("Content-Length")
                self._start(response.status, int(length) if length else None, response.headers)
                if self.command != "GET":
                    return
                descriptor, part = tempfile.mkstemp(suffix=".part", dir=archive.cache)
                try:
                    with os.fdopen(descriptor, "wb") as copy:
                        while chunk := response.read1(_CHUNK):
                            self.wfile.write(chunk)
                            copy.write(chunk)
                        complete = length is None or copy.tell() == int(length)
                    if response.status == 200 and complete:
                        Path(part).chmod(0o644)
                        Path(part).rename(kept)
                finally:
                    Path(part).unlink(missing_ok=True)

        def _start(self, status: int, length: int | None, upstream: http.client.HTTPMessage | None = None) -> None:
            self.send_response(status)
            for name in ("Last-Modified", "Content-Type", "Content-Range"):
                if upstream and name in upstream:
                    self.send_header(name, upstream[name])
            if length is None:
                self.send_header("Connection", "close")
                self.close_connection = True
            else:
                self.send_header("Content-Length", str(length))
            self.end_headers()

    server = _Server(listening.getsockname(), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    threading.Thread(target=server.serve_forever, name="archive", daemon=True).start()
