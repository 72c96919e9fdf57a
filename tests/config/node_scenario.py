"""node_scenario.py PROGRAM HEALTH: what becomes of sessions while nodes are taken out and back, with the real HAProxy.

Runs in the image without a network: every node's address is one of the loopback interface, and a thread of this program
answers there. Prints what was seen as one JSON object.
"""

from __future__ import annotations

import http.server
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

PROGRAM, HEALTH = sys.argv[1:]
CONFIG, SHRUNK = "/config/all.cfg", "/config/without-origin-1.cfg"
IN_USE = "/etc/haproxy/haproxy.cfg"
ADMIN, MASTER, STATE = "/run/haproxy/admin.sock", "/run/haproxy-master.sock", "/var/lib/haproxy/server-state"
FILES = ["/run/lock/antmedia-haproxy.lock", ADMIN, MASTER, STATE, HEALTH]
NODES = {"origin-1": "172.30.0.32", "origin-2": "172.30.1.32", "edge-1": "172.30.0.132"}
seen: dict[str, object] = {}


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Node:
    """Answers its health check, and tells whoever connects for RTMP its name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.web = http.server.ThreadingHTTPServer((NODES[name], 5080), Answer)
        self.rtmp = socket.create_server((NODES[name], 1935))
        threading.Thread(target=self.web.serve_forever, daemon=True).start()
        threading.Thread(target=self._greet, daemon=True).start()

    def _greet(self) -> None:
        while True:
            connection, _ = self.rtmp.accept()
            threading.Thread(target=self._stay, args=[connection], daemon=True).start()

    def _stay(self, connection: socket.socket) -> None:
        with connection:
            connection.sendall(self.name.encode())
            connection.recv(1)  # until the other side ends

    def end(self) -> None:
        self.web.shutdown()
        self.web.server_close()


def ask(path: str, command: str) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(f"{command}\n".encode())
        return connection.makefile().read()


def session() -> tuple[str, socket.socket]:
    """A new RTMP session, and which node it reached."""
    connection = socket.create_connection(("127.0.0.1", 1935), 60)
    return connection.recv(100).decode(), connection


def session_on(node: str) -> socket.socket:
    """One of several that reached the node; the others end."""
    for _ in range(20):
        reached, connection = session()
        if reached == node:
            return connection
        connection.close()
    raise SystemExit(f"no session reaches {node}")


def reached(count: int) -> list[str]:
    found = []
    for _ in range(count):
        name, connection = session()
        found.append(name)
        connection.close()
    return sorted(set(found))


def reload() -> None:
    Path(STATE).write_text(ask(ADMIN, "show servers state"))
    assert ask(MASTER, "reload").startswith("Success=1")


def program(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, PROGRAM, *FILES, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def said(*arguments: str) -> str:
    return program(*arguments).communicate(timeout=300)[0]


def states(node: str) -> list[str]:
    rows = [row.split(",") for row in ask(ADMIN, "show stat").splitlines()]
    return sorted({row[17].split()[0] for row in rows if len(row) > 17 and row[1] == node})


def until(condition: Callable[[], bool]) -> bool:
    """Whether it came true in the time that it may take on a busy machine."""
    deadline = time.monotonic() + 120
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
for address in NODES.values():
    subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
nodes = {name: Node(name) for name in NODES}
shutil.copy(CONFIG, IN_USE)
for folder in ("/run/haproxy", "/var/lib/haproxy/dev", "/run/lock"):
    Path(folder).mkdir(parents=True, exist_ok=True)
Path(STATE).write_text("1\n")
haproxy = subprocess.Popen(["haproxy", "-W", "-S", MASTER, "-f", IN_USE, "-f", "/config/users.cfg"])
until(lambda: Path(ADMIN).exists())

seen["serve"] = said("serve", "origin-1", "120") + said("serve", "origin-2", "120")
seen["before"] = reached(8)

held = session_on("origin-1")
draining = program("drain", "origin-1", "1")
until(lambda: states("origin-1") == ["MAINT"])
seen["drained"] = states("origin-1")
reload()
seen["drained after a reload"] = states("origin-1")
seen["reached while drained"] = reached(8)
for _ in range(10):  # in some of them the drain looks just when HAProxy's master is away
    reload()
    time.sleep(0.03)
seen["waits"] = draining.poll() is None
draining.kill()
draining.communicate()
draining = program("drain", "origin-1", "1")
time.sleep(1)
seen["an interrupted drain goes on"] = draining.poll() is None
held.close()
seen["drain"] = draining.communicate(timeout=300)[0].splitlines()[-1]

seen["back"] = said("serve", "origin-1", "120")
seen["reached after"] = reached(8)

held = session_on("origin-1")
seen["cut"] = said("drain", "origin-1", "0.05").splitlines()[-1]
seen["back after cut"] = said("serve", "origin-1", "120")
held.close()

# The new configuration has no origin-1; a session of its goes on in the old worker.
held = session_on("origin-1")
shutil.copy(SHRUNK, IN_USE)
reload()
draining = program("drain", "origin-1", "1")
time.sleep(2)
seen["a removed node waits for the old worker"] = draining.poll() is None
held.close()
seen["removed"] = draining.communicate(timeout=300)[0].splitlines()[-1]

nodes["origin-2"].end()
until(lambda: states("origin-2") == ["DOWN"])
seen["down"] = said("drain", "origin-2", "5")
seen["serve down"] = said("serve", "origin-2", "2")
seen["unknown"] = said("serve", "edge-9", "2")

haproxy.terminate()
haproxy.wait()
seen["no haproxy"] = said("drain", "edge-1", "5")
print(json.dumps(seen))
