"""The ACME server at https://acme.lab.test/dir: pebble, with a root of its own that nobody trusts unless told to.

It starts with the first connection (which waits for it, a second or two), so a lab without certificates does not pay
for it; from then on its accounts, orders and root live as long as the controller. It validates http-01 as the real one
does: it resolves the name through the lab's DNS and connects to port 80 from 192.0.2.90, an address on the lab's
internet. It never reuses an authorisation, refuses no nonce at random, and does not dawdle.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import json
import logging
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from lab import authority, forward, hosts, images, layout, network
from lab.layout import LabError, Layout

DEFAULT_LIFETIME_SECONDS = 90 * 86400
_PORT = 443
_SERVER = ("127.0.0.1", 14000)
_MANAGEMENT = ("127.0.0.1", 15000)
_START_SECONDS = 30.0
_CONNECT_SECONDS = 5.0
_LOG = logging.getLogger("lab")


@dataclass(frozen=True)
class Count:
    """What the ACME server has done so far; all zero before its first use."""

    orders: int = 0
    certificates: int = 0
    failed_validations: int = 0


def count(log: Iterable[str]) -> Count:
    """Reads pebble's log (2.6)."""
    orders, certificates, failed = set(), set(), set()
    for line in log:
        if found := re.search(r'Added order "([^"]+)" to the db', line):
            orders.add(found[1])
        elif found := re.search(r"Issued certificate serial (\S+) for order", line):
            certificates.add(found[1])
        elif found := re.search(r"authz (\S+) set INVALID by completed challenge", line):
            failed.add(found[1])
    return Count(len(orders), len(certificates), len(failed))


class Acme:
    """The ACME server of one lab. `cgroup` is a group of its own below the lab's: it ends with that."""

    def __init__(self, lab: Layout, signer: authority.Authority, cgroup: Path) -> None:
        self._lab, self._signer, self._cgroup = lab, signer, cgroup
        self._process: subprocess.Popen[bytes] | None = None
        self._lifetime_seconds = DEFAULT_LIFETIME_SECONDS
        self._listening: socket.socket | None = None
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        # A process that dies with its parent dies with the thread that started it: this one lives with the controller.
        self._starter = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="acme")

    # ---- what people ask

    def start(self) -> None:
        """Takes connections from now on; does nothing if it does."""
        with self._lock:
            if self._listening is None:
                self._listening = network.listen(self._lab.router_namespace, (layout.ACME_ADDRESS, _PORT))
                threading.Thread(target=self._accept, args=(self._listening,), name="acme", daemon=True).start()

    def stop(self) -> None:
        """Refuses connections from now on and breaks those there are. What the server knows stays."""
        with self._lock:
            listening, self._listening = self._listening, None
            broken, self._connections = self._connections, set()
        for each in (*broken, *([listening] if listening else [])):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        if listening:
            listening.close()

    def root(self) -> str:
        """The PEM certificate of the root of all that the server signs; starts it. Raises LabError."""
        self._run()
        trusting_all = ssl._create_unverified_context()  # this machine's own loopback
        with network.connect(self._lab.router_namespace, _MANAGEMENT, _CONNECT_SECONDS) as plain:
            plain.settimeout(_CONNECT_SECONDS)
            connection = http.client.HTTPConnection(*_MANAGEMENT)
            connection.sock = trusting_all.wrap_socket(plain)
            connection.request("GET", "/roots/0")
            return connection.getresponse().read().decode()

    def set_lifetime(self, seconds: int) -> None:
        """How long certificates are good. Raises LabError once the server runs: it would lose its root."""
        if seconds < 1:
            raise LabError(f"A certificate cannot be good for {seconds} seconds: use a positive number.")
        if self._is_running():
            raise LabError("The ACME server has been used already: set the lifetime right after lab/lab up.")
        self._lifetime_seconds = seconds

    def report(self) -> dict[str, object]:
        """What it did, whether it takes connections, the memory of its process in bytes (0 before its first use)."""
        with contextlib.ExitStack() as opened:
            log: Iterable[str] = ()
            with contextlib.suppress(FileNotFoundError):
                log = opened.enter_context((self._lab.acme / "log").open())
            done = count(log)
        return {
            **asdict(done),
            "listening": self._listening is not None,
            "lifetime_seconds": self._lifetime_seconds,
            "memory_bytes": hosts.memory_bytes(self._cgroup) or 0,
        }

    # ---- connections

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                caller, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(caller,), name="acme connection", daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        with self._lock:
            if self._listening is None:
                caller.close()
                return
            self._connections.add(caller)
        try:
            self._run()
            forward.join(caller, network.connect(self._lab.router_namespace, _SERVER, _CONNECT_SECONDS))
        except (OSError, LabError) as error:
            _LOG.warning("the ACME server: %s", error)
            caller.close()
        finally:
            with self._lock:
                self._connections.discard(caller)

    # ---- the process

    def _is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _run(self) -> None:
        """Returns when the server answers, starting it if it does not run. Raises LabError."""
        if not self._is_running():
            try:
                self._starter.submit(self._launch).result()
            except images.ImageError as error:
                raise LabError(f"the ACME server cannot be had: {error}") from error

    def _launch(self) -> None:
        if self._is_running():
            return
        started = time.monotonic()
        if self._process is not None:
            _LOG.warning("the ACME server died; the next one has another root and knows no account")
        command = self._command(images.ensure("pebble") / "usr/bin/pebble")
        self._cgroup.mkdir(exist_ok=True)
        settings = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"}
        with (self._lab.acme / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **settings, "GOMAXPROCS": "1"},
            )
        _wait(self._answers, self._is_running)
        _LOG.info("ACME server started, %.2f s", time.monotonic() - started)

    def _command(self, program: Path) -> list[str]:
        """The command line, with the files that it names written."""
        directory = self._lab.acme
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(mode=0o700)
        chain, key = self._signer.issue([layout.ACME_NAME])
        (directory / "certificate.pem").write_text(chain)
        authority.write_private(directory / "key.pem", key)
        settings = {
            "listenAddress": "{}:{}".format(*_SERVER),
            "managementListenAddress": "{}:{}".format(*_MANAGEMENT),
            "certificate": str(directory / "certificate.pem"),
            "privateKey": str(directory / "key.pem"),
            "httpPort": 80,
            "tlsPort": 443,
            "certificateValidityPeriod": self._lifetime_seconds,
            "retryAfter": {"authz": 1, "order": 1},
        }
        (directory / "config.json").write_text(json.dumps({"pebble": settings}, indent=1))
        # It is in its control group before it exists, sees the lab's network only, may do nothing that a user may not,
        # and its packets are told by its group id.
        enter = ["/bin/sh", "-c", 'echo 0 >"$0/cgroup.procs" && exec "$@"', str(self._cgroup)]
        inside = ["ip", "netns", "exec", self._lab.router_namespace]
        group = [f"--regid={layout.ACME_GROUP_ID}", "--clear-groups"]
        harmless = ["setpriv", *group, "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--pdeathsig=KILL"]
        resolver = f"{layout.DNS_ADDRESS}:53"
        serve = [str(program), "-config", str(directory / "config.json"), "-dnsserver", resolver]
        return [*enter, *inside, *harmless, "--", *serve]

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            network.connect(self._lab.router_namespace, _SERVER, _CONNECT_SECONDS).close()
            return True
        return False


def _wait(ready: Callable[[], bool], running: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not ready():
        if not running() or time.monotonic() > deadline:
            raise LabError("the ACME server does not start: see the file acme/log in the lab's state directory")
        time.sleep(0.02)
