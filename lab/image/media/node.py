"""The stand-in for one Ant Media Server node: the answers that clients, load balancers and operators rely on.

nginx in front (nginx.conf) takes HTTP on 5080 and RTMP on 1935 and cuts RTMP into HLS; this program starts it and
answers what is not a file: health, the administration's login, HLS playlists, WebSocket signalling. It carries no
WebRTC media. Runs on the node with nothing but Debian's Python and python3-websockets.

Answers follow Ant Media Server 2.x: io.antmedia.rest.RootRestService and .console.rest.RestServiceV2 for HTTP,
io.antmedia.websocket.WebSocketCommunityHandler for signalling.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import hashlib
import hmac
import html
import json
import os
import pathlib
import re
import secrets
import signal
import socket
import sys
import time
import urllib.parse

HOME = pathlib.Path("/usr/local/antmedia")
SOCKET = pathlib.Path("/run/antmedia/node.sock")
NGINX = ("/usr/sbin/nginx", "-e", "stderr", "-c", str(HOME / "conf/nginx.conf"))
HTTP_PORT = 5080
APPLICATION = "LiveApp"
STREAM_ID = re.compile(r"[A-Za-z0-9_.-]{1,256}")

PLAYLIST_LIVE_SECONDS = 10
"""A playlist that was not written for this long belongs to a stream that has ended: Ant Media Server deletes it."""

SESSIONS_MAX = 10_000
BODY_MAX_BYTES = 1_000_000
"""Longest body that is read into memory. The debug path counts longer ones without keeping them."""

REASONS = {200: "OK", 302: "Found", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed"}


@dataclasses.dataclass(frozen=True)
class Request:
    """One HTTP request. `peer` is the address that the connection to the node came from."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    body_bytes: int = 0
    peer: str = ""

    @property
    def path(self) -> str:
        return urllib.parse.urlsplit(self.target).path

    def query(self, name: str) -> str:
        """The first value of a query parameter, or nothing."""
        values = urllib.parse.parse_qs(urllib.parse.urlsplit(self.target).query).get(name, [""])
        return values[0]

    def header(self, name: str) -> str:
        """The first value of a header, or nothing."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    def cookie(self, name: str) -> str:
        """The value of a cookie, or nothing."""
        for pair in self.header("Cookie").split(";"):
            key, _, value = pair.strip().partition("=")
            if key == name:
                return value
        return ""


@dataclasses.dataclass(frozen=True)
class Response:
    """One HTTP response; `headers` are those besides the length."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    def with_headers(self, *more: tuple[str, str]) -> Response:
        return dataclasses.replace(self, headers=(*self.headers, *more))

    def encode(self, with_body: bool = True) -> bytes:
        """The response as it goes over the wire, for a connection that ends with it."""
        lines = [f"HTTP/1.1 {self.status} {REASONS[self.status]}", f"Content-Length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in (*self.headers, ("Connection", "close"))]
        return "\r\n".join((*lines, "", "")).encode() + (self.body if with_body else b"")


def json_response(value: object, status: int = 200) -> Response:
    return Response(status, json.dumps(value).encode(), (("Content-Type", "application/json"),))


def page(title: str, text: str, name: str) -> Response:
    body = (
        f"<!doctype html><title>{html.escape(title)}</title><h1>{html.escape(title)}</h1>"
        f"<p>{html.escape(text)}</p><p>Node: <b>{html.escape(name)}</b></p>\n"
    )
    return Response(200, body.encode(), (("Content-Type", "text/html;charset=UTF-8"),))


class Node:
    """Everything a node remembers: sessions (in memory, this node's own) and its first administrator (on disk)."""

    def __init__(self, home: pathlib.Path = HOME, name: str | None = None) -> None:
        self.streams = home / "webapps" / APPLICATION / "streams"
        self.users = home / "server.db"
        self._name = name
        self._sessions: collections.OrderedDict[str, bool] = collections.OrderedDict()  # id -> logged in

    @property
    def name(self) -> str:
        """The host's name, which cloud-init may set while the node already runs."""
        return self._name or socket.gethostname()

    def is_live(self, stream_id: str) -> bool:
        """Whether somebody publishes the stream: its playlist is being written."""
        if not STREAM_ID.fullmatch(stream_id):
            return False
        try:
            age_seconds = time.time() - (self.streams / f"{stream_id}.m3u8").stat().st_mtime
        except OSError:
            return False
        return age_seconds < PLAYLIST_LIVE_SECONDS

    def respond(self, request: Request) -> Response:
        """The answer to a request; every answer names the node in X-Node."""
        response = self._route(request)
        return response.with_headers(("X-Node", self.name))

    def _route(self, request: Request) -> Response:
        path = request.path
        if path.startswith("/rest/"):
            return self._rest(request)
        if request.method not in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"):
            return Response(405)
        if path == f"/{APPLICATION}/echo":
            return json_response(
                {
                    "node": self.name,
                    "peer": request.peer,
                    "method": request.method,
                    "target": request.target,
                    "headers": [list(pair) for pair in request.headers],
                    "bodyBytes": request.body_bytes,
                }
            )
        if request.method not in ("GET", "HEAD"):
            return Response(405)
        if path in ("/", "/index.html"):
            response = self._with_session(request, page("Ant Media Server", "Web panel", self.name))
            if request.header("X-Forwarded-Proto") == "https":
                # The real web panel says so for the whole domain, which changes what browsers do on other ports.
                return response.with_headers(("Strict-Transport-Security", "max-age=31536000;includeSubDomains"))
            return response
        if path == f"/{APPLICATION}":
            return Response(302, headers=(("Location", f"/{APPLICATION}/"),))
        if path == f"/{APPLICATION}/":
            return page(APPLICATION, "Application", self.name)
        playlist = re.fullmatch(rf"/{APPLICATION}/streams/([^/]+)\.m3u8", path)
        if playlist and self.is_live(playlist[1]):
            text = (self.streams / f"{playlist[1]}.m3u8").read_bytes()
            headers = (("Content-Type", "application/vnd.apple.mpegurl"), ("Cache-Control", "no-cache"))
            return self._with_session(request, Response(200, text, headers))
        return Response(404, b"Not found\n", (("Content-Type", "text/plain"),))

    def _rest(self, request: Request) -> Response:
        call = (request.method.replace("HEAD", "GET"), request.path)
        if call == ("GET", "/rest/v2/liveness"):
            return json_response({"status": "ok", "host": self.name})
        if call == ("GET", "/rest/v2/first-login-status"):
            return self._with_session(request, json_response(result(not self.users.exists())))
        if call in (("POST", "/rest/v2/users/initial"), ("POST", "/rest/v2/users/authenticate")):
            user = login_of(request.body)
            if user is None:
                return json_response(result(False, "email and password are needed"), 400)
            if request.path.endswith("/initial"):
                return self._with_session(request, json_response(result(self._add_first_user(*user))))
            known = self._is_user(*user)
            return self._with_session(request, json_response(result(known)), logged_in=known)
        if not self._sessions.get(request.cookie("JSESSIONID"), False):
            return self._with_session(request, json_response(result(False, "Not logged in"), 403))
        if call == ("GET", "/rest/v2/version"):
            return json_response({"versionName": "0.0.0", "versionType": "Stand-in", "buildNumber": "0"})
        return json_response(result(False, "The lab's stand-in has no such call"), 404)

    def _with_session(self, request: Request, response: Response, logged_in: bool = False) -> Response:
        session = request.cookie("JSESSIONID")
        if session in self._sessions:
            self._sessions[session] = logged_in or self._sessions[session]
            return response
        session = secrets.token_hex(16).upper()
        self._sessions[session] = logged_in
        if len(self._sessions) > SESSIONS_MAX:
            self._sessions.popitem(last=False)
        return response.with_headers(("Set-Cookie", f"JSESSIONID={session}; Path=/; HttpOnly"))

    def _add_first_user(self, email: str, password: str) -> bool:
        salt = secrets.token_hex(16)
        record = {"email": email, "salt": salt, "digest": digest(password, salt)}
        try:
            with os.fdopen(os.open(self.users, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
                json.dump(record, file)
        except FileExistsError:
            return False
        return True

    def _is_user(self, email: str, password: str) -> bool:
        if not self.users.exists():
            return False
        record = json.loads(self.users.read_text())
        known = hmac.compare_digest(digest(password, record["salt"]), record["digest"])
        return known and email == record["email"]

    def signal(self, message: str | bytes) -> dict[str, str] | None:
        """The answer to a WebSocket message, or None where the real server says nothing either."""
        try:
            request = json.loads(message)
            command, stream_id = request.get("command"), request.get("streamId") or ""
        except (ValueError, AttributeError):
            return None
        if command is None:
            return None
        if command == "ping":
            return {"command": "pong"}
        if not isinstance(stream_id, str) or not stream_id:
            return {"command": "error", "definition": "noStreamNameSpecified"}
        if not STREAM_ID.fullmatch(stream_id):
            return {"command": "error", "definition": "invalidStreamName"}
        if command == "publish":
            if self.is_live(stream_id):
                return {"command": "error", "definition": "streamIdInUse"}
            return {"command": "start", "streamId": stream_id}
        if command in ("play", "getStreamInfo") and not self.is_live(stream_id):
            return {"command": "error", "error_code": "404", "definition": "no_stream_exist", "streamId": stream_id}
        if command == "play":
            # Where the real server would offer WebRTC media, which the stand-in cannot carry.
            return {"command": "error", "definition": "server_error_check_logs", "streamId": stream_id}
        return None


def result(success: bool, message: str = "") -> dict[str, object]:
    """io.antmedia.rest.model.Result as JSON."""
    return {"success": success, "message": message or None, "dataId": None, "errorId": -1}


def login_of(body: bytes) -> tuple[str, str] | None:
    """E-mail and password of a JSON body, if it holds both."""
    try:
        user = json.loads(body)
        email, password = user["email"], user["password"]
    except (ValueError, KeyError, TypeError):
        return None
    return (email, password) if isinstance(email, str) and isinstance(password, str) and email and password else None


def digest(password: str, salt: str) -> str:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), bytes.fromhex(salt), 50_000).hex()


def parse(head: bytes) -> Request:
    """A request from everything before its body. Raises ValueError when it is none."""
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    pairs = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    own = {"x-node-peer", "connection"}  # said by the nginx in front, not by the client
    peer = next((value for name, value in pairs if name.lower() == "x-node-peer"), "")
    return Request(method, target, tuple(pair for pair in pairs if pair[0].lower() not in own), peer=peer)


async def serve_connection(node: Node, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers one request or holds one WebSocket; nginx opens a connection for each."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        request = parse(head)
        if request.path == f"/{APPLICATION}/websocket" and request.header("Upgrade").lower() == "websocket":
            await serve_websocket(node, head, reader, writer)
            return
        request = await with_body(request, reader)
        if delay := request.query("delay"):
            await asyncio.sleep(min(float(delay), 3600))
        writer.write(node.respond(request).encode(with_body=request.method != "HEAD"))
        await writer.drain()
    except (ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        writer.write(Response(400).encode())
    except ConnectionError:
        pass
    finally:
        writer.close()


async def with_body(request: Request, reader: asyncio.StreamReader) -> Request:
    """The request with its body read; of a long one only the length is kept."""
    length = left = int(request.header("Content-Length") or 0)
    kept = bytearray()
    while left:
        chunk = await reader.read(min(left, 65536))
        if not chunk:
            raise asyncio.IncompleteReadError(bytes(kept), length)
        left -= len(chunk)
        if length <= BODY_MAX_BYTES:
            kept += chunk
    return dataclasses.replace(request, body=bytes(kept), body_bytes=length)


async def serve_websocket(node: Node, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Signalling on one WebSocket until either side closes it."""
    from websockets import http11
    from websockets.frames import Frame, Opcode
    from websockets.server import ServerProtocol

    protocol = ServerProtocol()
    data = head
    while True:
        protocol.receive_data(data) if data else protocol.receive_eof()
        for event in protocol.events_received():
            if isinstance(event, http11.Request):
                response = protocol.accept(event)
                response.headers["X-Node"] = node.name
                protocol.send_response(response)
            elif isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.BINARY):
                answer = node.signal(bytes(event.data))
                if answer is not None:
                    protocol.send_text(json.dumps(answer).encode())
        for output in protocol.data_to_send():
            if output:
                writer.write(output)
        await writer.drain()
        if not data or protocol.close_expected():
            return
        data = await reader.read(65536)


def notify_systemd(state: str) -> None:
    """Tells systemd, if it started us, what sd_notify(3) would."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(state.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)


async def answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def main() -> int:
    """Runs the node until SIGTERM (0), or until nginx ends by itself (1)."""
    node = Node()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve_connection(node, reader, writer)

    await asyncio.start_unix_server(connected, SOCKET, backlog=4096)
    nginx = await asyncio.create_subprocess_exec(*NGINX)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    ended = asyncio.create_task(nginx.wait())
    while not ended.done() and not await answers(HTTP_PORT):
        await asyncio.sleep(0.02)
    if not ended.done():
        notify_systemd("READY=1")
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([ended, stopping], return_when=asyncio.FIRST_COMPLETED)
    if ended.done():
        print(f"nginx ended by itself (exit {nginx.returncode})", file=sys.stderr)
        return 1
    nginx.terminate()
    await nginx.wait()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
