"""watch.py HOST STREAM [STAY]: viewers of a live stream until its standard input ends; prints what they lost.

HLS viewers ask as players do: one try more for what fails. WebSocket sessions, to edges and to origins, and RTMP
players last some seconds and are followed by others; what ends before its time, or does not open, is lost. STAY
sessions stay: how many were cut.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import re
import ssl
import subprocess
import sys
import threading
import time
from typing import Any

# Not the one with threads: Python 3.11's TLS 1.3 loses a request now and then when another thread reads meanwhile.
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

host, stream = sys.argv[1:3]
staying = int(sys.argv[3]) if len(sys.argv) > 3 else 0
HLS, WSS, RTMP = 4, 6, 2
RTMP_SECONDS = 6
trusting = ssl.create_default_context()
trusting.check_hostname = False
trusting.verify_mode = ssl.CERT_NONE
over, lock = threading.Event(), threading.Lock()
stayers = threading.Semaphore(0)
seen: dict[str, Any] = {
    "hls": {"answered": 0, "lost": 0, "segments": 0, "segment_seconds": 0.0, "longest_wait_seconds": 0.0},
    "wss": {"ended": 0, "lost": 0},
    "rtmp": {"ended": 0, "lost": 0},
    "stay": {"cut": 0, "left": 0},
    "reasons": [],
}


def count(kind: str, what: str, reason: object = "") -> None:
    with lock:
        seen[kind][what] += 1
        if reason:
            seen["reasons"].append(f"{kind} {what}: {reason}")


class Viewer:
    """A player of HLS, with one connection and one cookie."""

    def __init__(self) -> None:
        self.connection = http.client.HTTPSConnection(host, timeout=10, context=trusting)
        self.cookie = ""

    def get(self, path: str) -> str:
        for last in (False, True):
            try:
                headers = {"Cookie": self.cookie} if self.cookie else {}
                self.connection.request("GET", path, headers=headers)
                answer = self.connection.getresponse()
                body = answer.read()
                self.cookie = (answer.getheader("Set-Cookie") or self.cookie).partition(";")[0]
                if answer.status == 200:
                    count("hls", "answered")
                    return body.decode(errors="replace")
                reason = f"{path}: {answer.status}"
            except (OSError, http.client.HTTPException) as error:
                reason = f"{path}: {error!r}"
                self.connection.close()
            if last:
                count("hls", "lost", reason)
            else:
                over.wait(0.3)
        return ""

    def watch(self) -> None:
        had: set[str] = set()
        arrived = None
        while not over.is_set():
            playlist = self.get(f"/LiveApp/streams/{stream}.m3u8")
            lengths = [float(found) for found in re.findall(r"#EXTINF:([\d.]+)", playlist)]
            for name in [line for line in playlist.splitlines() if line.endswith(".ts")]:
                if name in had or (not had and name != playlist.splitlines()[-1]):
                    continue
                if self.get(f"/LiveApp/streams/{name}"):
                    had.add(name)
                    now = time.monotonic()
                    with lock:
                        hls = seen["hls"]
                        hls["segments"] += 1
                        hls["segment_seconds"] = max(hls["segment_seconds"], *lengths)
                        if arrived:
                            hls["longest_wait_seconds"] = max(hls["longest_wait_seconds"], round(now - arrived, 2))
                    arrived = now
            over.wait(0.4)


async def session(target: str, seconds: float, begun: threading.Semaphore | None = None) -> None:
    """A WebSocket session; raises when it does not last."""
    url = f"wss://{host}/LiveApp/websocket{target}"
    async with connect(url, ssl=trusting, open_timeout=60) as connection:
        if begun:
            begun.release()
        end = time.monotonic() + seconds
        while time.monotonic() < end and not over.is_set():
            async with asyncio.timeout(10):
                await connection.send('{"command": "ping"}')
                await connection.recv()
            await asyncio.sleep(1)


def talk(number: int) -> None:
    while not over.is_set():
        try:
            asyncio.run(session("?target=edge" if number % 3 else "", random.uniform(3, 9)))
            count("wss", "ended")
        except (OSError, TimeoutError, WebSocketException) as error:
            count("wss", "lost", repr(error))
            over.wait(1)


def stay() -> None:
    try:
        asyncio.run(session("?target=edge", 1e9, stayers))
        count("stay", "left")
    except (OSError, TimeoutError, WebSocketException):
        count("stay", "cut")


def play() -> None:
    command = ["ffmpeg", "-v", "error", "-rw_timeout", "8000000", "-i", f"rtmp://{host}/LiveApp/{stream}"]
    while not over.is_set():
        ended = subprocess.run(
            [*command, "-t", str(RTMP_SECONDS), "-c", "copy", "-progress", "-", "-f", "null", "-"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
        played = int((re.findall(r"(?m)^out_time_us=(\d+)", ended.stdout) or [0])[-1]) / 1e6
        whole = ended.returncode == 0 and played > RTMP_SECONDS - 1
        count("rtmp", "ended" if whole else "lost", "" if whole else f"{played:.1f} s, {ended.stderr[-200:]}")


threads = [threading.Thread(target=Viewer().watch) for _ in range(HLS)]
threads += [threading.Thread(target=talk, args=[number]) for number in range(WSS)]
threads += [threading.Thread(target=play) for _ in range(RTMP)]
threads += [threading.Thread(target=stay) for _ in range(staying)]
for thread in threads:
    thread.start()
for _ in range(staying):
    stayers.acquire(timeout=60)
while not seen["hls"]["segments"]:
    time.sleep(0.2)
print("watching", flush=True)
sys.stdin.read()
over.set()
for thread in threads:
    thread.join()
seen["reasons"] = seen["reasons"][:20]
print(json.dumps(seen))
