"""`inside.py JOB`, in a copy of the image `bench` and network namespaces of its own; parameters as JSON on stdin.

    compare   requests per second of two addresses, alternating, until the ratio is known well enough
    memory    HAProxy's memory for idle WSS connections
    reloads   what is lost while HAProxy is reloaded, or restarted, under load

Prints JSON. Nothing but Python's own library, since the image is not the project's virtual environment.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import math
import os
import re
import resource
import socket
import ssl
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

NODES = ("172.30.0.32", "172.30.0.132")
BALANCER = "172.30.0.10"
CONFIGS = Path("/bench")
NODES_NAMESPACE = "nodes"
WEB_SOCKET_ID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def allow_files() -> None:
    """As many open files as this machine lets a process have."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def prepare() -> None:
    """Two namespaces: this one with HAProxy and the clients, and one with the media nodes."""
    allow_files()
    run("ip", "link", "set", "lo", "up")
    Path("/run/netns").mkdir(parents=True, exist_ok=True)
    run("ip", "netns", "add", NODES_NAMESPACE)
    run("ip", "link", "add", "bench0", "type", "veth", "peer", "name", "bench1", "netns", NODES_NAMESPACE)
    run("ip", "addr", "add", f"{BALANCER}/24", "dev", "bench0")
    run("ip", "link", "set", "bench0", "up")
    for address in NODES:
        run("ip", "-n", NODES_NAMESPACE, "addr", "add", f"{address}/24", "dev", "bench1")
    for link in ("lo", "bench1"):
        run("ip", "-n", NODES_NAMESPACE, "link", "set", link, "up")
    for setting, value in (("ip_local_port_range", "1024 65000"), ("tcp_tw_reuse", "1")):
        Path("/proc/sys/net/ipv4", setting).write_text(value)
    tls = Path("/etc/haproxy/tls")
    tls.mkdir(parents=True, exist_ok=True)
    run(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "2"),
        *("-subj", "/CN=bench", "-keyout", "/tmp/key.pem", "-out", "/tmp/chain.pem"),
    )
    (tls / "site.pem").write_text(Path("/tmp/chain.pem").read_text() + Path("/tmp/key.pem").read_text())
    Path("/etc/haproxy/stats-users.cfg").write_text("userlist stats\n    user stats insecure-password unused\n")
    Path("/var/lib/haproxy/server-state").write_text("1\n")
    Path("/run/haproxy").mkdir(exist_ok=True)
    page = Path("/srv/bench/LiveApp/index.html")
    page.parent.mkdir(parents=True)
    page.write_text("x" * 1024)
    segment = page.parent / "streams" / "x.ts"
    segment.parent.mkdir()
    segment.write_text(page.read_text())
    # Where HAProxy's log goes once it has changed its root.
    log = Path("/var/lib/haproxy/dev/log")
    log.parent.mkdir(exist_ok=True)
    drain = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    drain.bind(str(log))
    log.chmod(0o666)
    threading.Thread(target=_read_all, args=(drain,), daemon=True).start()


def _read_all(drain: socket.socket) -> None:
    while True:
        drain.recv(8192)


def start_nodes() -> None:
    subprocess.Popen(["ip", "netns", "exec", NODES_NAMESPACE, "nginx", "-c", str(CONFIGS / "nginx.conf")])
    subprocess.Popen(["ip", "netns", "exec", NODES_NAMESPACE, sys.executable, __file__, "echo"])
    wait_for(lambda: answers(NODES[0], 5080))


def echo() -> None:
    """In the nodes' namespace: a WebSocket on 5081 (behind nginx) and RTMP's port 1935, both of which send all back."""

    async def web_socket(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        key = re.search(rb"(?i)sec-websocket-key: (\S+)", head)
        assert key
        accept = base64.b64encode(hashlib.sha1(key[1] + WEB_SOCKET_ID).digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        await back(reader, writer)

    async def back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(4096):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def serve() -> None:
        await asyncio.start_server(web_socket, "127.0.0.1", 5081, backlog=4096)
        for address in NODES:
            await asyncio.start_server(back, address, 1935, backlog=4096)
        await asyncio.Event().wait()

    allow_files()
    asyncio.run(serve())


def answers(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), 1).close()
    except OSError:
        return False
    return True


def wait_for(condition: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            sys.exit("what was to be measured does not start")
        time.sleep(0.05)


class Haproxy:
    """A master and its worker with one configuration."""

    def __init__(self, name: str, port: int) -> None:
        self.name, self.port = name, port
        self.master = f"/run/master-{name}.sock"
        self.start()

    def start(self) -> None:
        users = ["-f", "/etc/haproxy/stats-users.cfg"] if self.name.startswith("ours") else []
        command = ["haproxy", "-W", "-S", self.master, "-f", str(CONFIGS / f"{self.name}.cfg"), *users]
        with Path(f"/tmp/{self.name}.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(lambda: self._ended() or answers("127.0.0.1", self.port))

    def _ended(self) -> bool:
        if self._process.poll() is not None:
            sys.exit(f"{self.name}: {Path(f'/tmp/{self.name}.log').read_text()}")
        return False

    def restart(self) -> None:
        self._process.terminate()
        self._process.wait()
        self.start()

    def reload(self) -> None:
        state = ask("/run/haproxy/admin.sock", "show servers state")
        Path("/var/lib/haproxy/server-state").write_text(state)
        said = ask(self.master, "reload")
        if "Success=1" not in said:
            sys.exit(f"reload: {said}")

    def worker_memory_kib(self) -> int:
        """The proportional share of memory of the newest worker, in KiB."""
        worker = next(line.split()[0] for line in ask(self.master, "show proc").splitlines() if " worker " in line)
        rollup = Path(f"/proc/{worker}/smaps_rollup").read_text()
        found = re.search(r"^Pss: +(\d+) kB", rollup, re.MULTILINE)
        assert found
        return int(found[1])


def ask(path: str, command: str) -> str:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.settimeout(60)
        opened.connect(path)
        opened.sendall(command.encode() + b"\n")
        opened.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: opened.recv(65536), b"")).decode()


def requests_per_second(url: str, seconds: int, connections: int, *, new: bool) -> float:
    headers = ["-H", "Connection: close"] if new else []
    said = run("wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds}s", *headers, url)
    if "Non-2xx" in said:
        sys.exit(f"{url}: {said}")
    found = re.search(r"Requests/sec: +([\d.]+)", said)
    assert found, said
    return float(found[1])


def interval(values: list[float]) -> tuple[float, float]:
    """The median's 95 % interval: from rank to rank, by the binomial distribution; all values when there are few."""
    ordered, n = sorted(values), len(values)
    rank, below = 0, 0.5**n
    while below <= 0.025 and rank < n // 2:
        rank += 1
        below += math.comb(n, rank) / 2**n
    lowest = max(rank - 1, 0)
    return ordered[lowest], ordered[n - 1 - lowest]


def compare(job: dict[str, Any]) -> dict[str, Any]:
    """Pairs of runs in alternating order; ends when the ratio's interval is within `within` or after `most` pairs."""
    for name, port in job["start"].items():
        Haproxy(name, port)
    time.sleep(2)  # until the health checks have spoken
    first, second = job["urls"]
    options = {"seconds": job["seconds"], "connections": job["connections"]}

    def measure(url: str) -> float:
        return requests_per_second(url, **options, new=job["new"])

    for url in (first, second):
        measure(url)  # warm
    pairs: list[tuple[float, float]] = []
    low = high = middle = 0.0
    while len(pairs) < job["most"]:
        if len(pairs) % 2:
            b, a = measure(second), measure(first)
        else:
            a, b = measure(first), measure(second)
        pairs.append((a, b))
        ratios = [a / b for a, b in pairs]
        low, high = interval(ratios)
        middle = statistics.median(ratios)
        if len(pairs) >= job["least"] and high - low <= 2 * job["within"] * middle:
            break
    return {
        "ratio": middle,
        "low": low,
        "high": high,
        "pairs": pairs,
        "resolved": high - low <= 2 * job["within"] * middle,
    }


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


UPGRADE = (
    b"GET /LiveApp/websocket HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def open_web_socket(context: ssl.SSLContext, port: int) -> socket.socket:
    opened = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 10))
    opened.sendall(UPGRADE)
    said = b""
    while b"\r\n\r\n" not in said:
        data = opened.recv(4096)
        if not data:
            sys.exit(f"no WebSocket: {said!r}")
        said += data
    if not said.startswith(b"HTTP/1.1 101"):
        sys.exit(f"no WebSocket: {said!r}")
    return opened


def memory(job: dict[str, Any]) -> dict[str, Any]:
    """kB that HAProxy takes for one more idle WSS connection."""
    haproxy = Haproxy(job["config"], job["port"])
    time.sleep(2)
    context, held = trusting(), []
    held += [open_web_socket(context, job["port"]) for _ in range(100)]  # what is taken once
    time.sleep(2)
    before = haproxy.worker_memory_kib()
    held += [open_web_socket(context, job["port"]) for _ in range(job["count"])]
    time.sleep(2)
    return {"kb": (haproxy.worker_memory_kib() - before) * 1.024 / job["count"]}


class Stream(threading.Thread):
    """One connection that sends and hears a byte every 50 ms, as a stream would; `lost` says how often it broke."""

    def __init__(self, kind: str, ports: dict[str, int], over: threading.Event) -> None:
        super().__init__(daemon=True)
        self._kind, self._ports, self._over = kind, ports, over
        self.lost = 0

    def run(self) -> None:
        while not self._over.is_set():
            try:
                with self._open() as opened:
                    opened.settimeout(10)
                    while not self._over.wait(0.05):
                        opened.sendall(b"x")
                        if not opened.recv(10):
                            raise ConnectionError
            except OSError:
                self.lost += 1
                self._over.wait(0.1)

    def _open(self) -> socket.socket:
        if self._kind == "rtmp":
            return socket.create_connection(("127.0.0.1", self._ports["rtmp"]), 10)
        return open_web_socket(trusting(), self._ports["tls"])


LOAD = {"http": "http://127.0.0.1:{http}/LiveApp/", "tls": "https://127.0.0.1:{tls}/LiveApp/"}


def reloads(job: dict[str, Any]) -> dict[str, Any]:
    """Reloads, or restarts, one after the other while requests and streams go on; counts what was lost."""
    haproxy = Haproxy(job["config"], job["ports"]["http"])
    time.sleep(2)
    over = threading.Event()
    streams = {kind: [Stream(kind, job["ports"], over) for _ in range(job["streams"])] for kind in ("rtmp", "wss")}
    for stream in [stream for kind in streams.values() for stream in kind]:
        stream.start()
    seconds = job["times"] * job["pause"] + 5
    loads = {
        name: subprocess.Popen(
            ["wrk", "-t", "1", "-c", "8", "-d", f"{seconds}s", *more, url.format(**job["ports"])],
            stdout=subprocess.PIPE, text=True,
        )
        for name, url, more in [
            (kind + kept, url, more)
            for kind, url in LOAD.items()
            for kept, more in (("", []), (" new", ["-H", "Connection: close"]))
        ]
    }  # fmt: skip
    time.sleep(2)
    for _ in range(job["times"]):
        haproxy.reload() if job["what"] == "reload" else haproxy.restart()
        time.sleep(job["pause"])
    answered, lost = 0, 0
    details = {}
    for name, load in loads.items():
        said = load.communicate()[0]
        total = re.search(r"(\d+) requests in", said)
        assert total, said
        # `wrk` counts a connection that was closed while it was idle, before it asked again, as a read error.
        errors = re.search(r"connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
        refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
        bad = sum(map(int, errors.groups())) if errors else 0
        bad += int(refused[1]) if refused else 0
        details[name] = {"requests": int(total[1]), "lost": bad}
        answered, lost = answered + int(total[1]), lost + bad
    over.set()
    for kind, each in streams.items():
        broken = sum(stream.lost for stream in each)
        details[kind] = {"connections": len(each), "lost": broken}
        lost += broken
    return {"lost": lost, "total": answered + 2 * job["streams"], "details": details}


def main() -> None:
    job = sys.argv[1]
    if job == "echo":
        echo()
    prepare()
    start_nodes()
    work = {"compare": compare, "memory": memory, "reloads": reloads}[job]
    print(json.dumps(work(json.load(sys.stdin))))
    sys.stdout.flush()
    os._exit(0)  # every process here ends with its namespace


if __name__ == "__main__":
    main()
