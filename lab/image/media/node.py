"""The stand-in for one Ant Media Server node: the answers that clients, load balancers and operators rely on.

nginx in front (nginx.conf) takes HTTP on 5080 and RTMP on 1935 and cuts RTMP into HLS; this program starts it and
answers what is not a file: health, the administration's login, the application's REST, HLS playlists, WebSocket
signalling. It carries no WebRTC media. Runs on the node with nothing but Debian's Python and python3-websockets.

Answers follow Ant Media Server 2.x, whose Community edition answers the same tests (tests/lab/test_media_image.py):
io.antmedia.console.rest.RestServiceV2 and io.antmedia.rest.BroadcastRestService for HTTP, Tomcat's RemoteIpValve for
who a request comes from, io.antmedia.websocket.WebSocketCommunityHandler for signalling.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import hashlib
import hmac
import html
import ipaddress
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

VIEWER_SECONDS = 20
"""A session that has not asked for a stream's playlist for this long no longer watches it."""

PROXIES = tuple(
    ipaddress.ip_network(each)
    for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8", "100.64.0.0/10")
)
"""Peers whose X-Forwarded headers are believed: those that RemoteIpValve believes unless it is told otherwise."""

SESSIONS_MAX = 10_000
BODY_MAX_BYTES = 1_000_000
"""Longest body that is read into memory. The debug path counts longer ones without keeping them."""

VERSION = {"versionName": "0.0.0", "versionType": "Stand-in", "buildNumber": "0"}
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

    def cookies(self, name: str) -> list[str]:
        """The values of a cookie: a browser sends one for each path that it was given for."""
        pairs = (pair.strip().partition("=") for pair in self.header("Cookie").split(";"))
        return [value for key, _, value in pairs if key == name]

    @property
    def is_proxied(self) -> bool:
        """Whether the peer is one whose word about the client is taken."""
        return is_proxy(self.peer)

    @property
    def is_secure(self) -> bool:
        """Whether a trusted peer says that the client came over TLS."""
        return self.is_proxied and self.header("X-Forwarded-Proto").lower() == "https"

    @property
    def client(self) -> str:
        """The client's address: the peer's, or the last one that trusted peers name and that is not one of them."""
        if not self.is_proxied:
            return self.peer
        named = [each.strip() for each in self.header("X-Forwarded-For").split(",") if each.strip()]
        foreign = [address for address in named if not is_proxy(address)]
        return foreign[-1] if foreign else (named or [self.peer])[0]


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


class Sessions:
    """The sessions of one web application: in memory, this node's own, and the oldest given up for the newest."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._logged_in: collections.OrderedDict[str, bool] = collections.OrderedDict()

    def known(self, request: Request) -> str:
        """The request's session, or nothing."""
        return next((each for each in request.cookies("JSESSIONID") if each in self._logged_in), "")

    def is_logged_in(self, request: Request) -> bool:
        return self._logged_in.get(self.known(request), False)

    def open(self, request: Request, logged_in: bool = False) -> tuple[str, tuple[tuple[str, str], ...]]:
        """The request's session or a new one, and the headers that tell the client of a new one."""
        if session := self.known(request):
            self._logged_in[session] = logged_in or self._logged_in[session]
            return session, ()
        session = secrets.token_hex(16).upper()
        self._logged_in[session] = logged_in
        if len(self._logged_in) > SESSIONS_MAX:
            self._logged_in.popitem(last=False)
        secure = "; Secure" if request.is_secure else ""
        return session, (("Set-Cookie", f"JSESSIONID={session}; Path={self.path}{secure}; HttpOnly"),)


class Node:
    """Everything a node remembers: sessions and viewers in memory, first administrator and settings on disk."""

    def __init__(self, home: pathlib.Path = HOME, name: str | None = None) -> None:
        self.streams = home / "webapps" / APPLICATION / "streams"
        self.users = home / "server.db"
        self.settings = home / "webapps" / APPLICATION / "settings.json"
        self._name = name
        self._panel, self._application = Sessions("/"), Sessions(f"/{APPLICATION}")
        self._viewers: dict[str, collections.OrderedDict[str, float]] = {}  # stream -> session -> when it last asked

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
        if request.is_secure and not request.path.startswith(f"/{APPLICATION}"):
            # The real web panel says so for the whole domain, which changes what browsers do on other ports.
            response = response.with_headers(("Strict-Transport-Security", "max-age=31536000;includeSubDomains"))
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
        if path.startswith(f"/{APPLICATION}/rest/"):
            if not self._may_use_rest(request.client):
                return error_page(403, "Not allowed IP")
            return self._application_rest(request.method, path.removeprefix(f"/{APPLICATION}"))
        if request.method not in ("GET", "HEAD"):
            return Response(405)
        if path in ("/", "/index.html"):
            return page("Ant Media Server", "Web panel", self.name)
        if path == f"/{APPLICATION}":
            return Response(302, headers=(("Location", f"/{APPLICATION}/"),))
        if path == f"/{APPLICATION}/":
            return page(APPLICATION, "Application", self.name)
        if playlist := re.fullmatch(rf"/{APPLICATION}/streams/([^/]+)\.m3u8", path):
            return self._playlist(request, playlist[1])
        return error_page(404, "Not found")

    def _playlist(self, request: Request, stream_id: str) -> Response:
        session, cookie = self._application.open(request)
        if not self.is_live(stream_id):
            return error_page(404, "Not found").with_headers(*cookie)
        viewers = self._viewers.setdefault(stream_id, collections.OrderedDict())
        viewers[session] = time.monotonic()
        viewers.move_to_end(session)
        self.viewers(stream_id)
        text = (self.streams / f"{stream_id}.m3u8").read_bytes()
        return Response(200, text, (("Content-Type", "application/vnd.apple.mpegurl"), *cookie))

    def _rest(self, request: Request) -> Response:
        call = (request.method.replace("HEAD", "GET"), request.path)
        if call == ("GET", "/rest/v2/liveness"):
            return json_response({"host": self.name, "status": "ok"})
        if call == ("GET", "/rest/v2/first-login-status"):
            return json_response(result(not self.users.exists()))
        if call in (("POST", "/rest/v2/users/initial"), ("POST", "/rest/v2/users/authenticate")):
            user = login_of(request.body)
            if user is None:
                return error_page(400, "email and password are needed")
            if request.path.endswith("/initial"):
                return json_response(result(self._add_first_user(*user), error_id=-1))
            if not self._is_user(*user):
                return json_response(result(False))
            _, cookie = self._panel.open(request, logged_in=True)
            return json_response(result(True, "system/ADMIN")).with_headers(*cookie)
        is_logged_in = self._panel.is_logged_in(request)
        _, cookie = self._panel.open(request)
        if call == ("GET", "/rest/v2/authentication-status"):
            response = json_response(result(is_logged_in))
        elif not is_logged_in:
            response = error_page(403, "Not authenticated user")
        else:
            response = self._administration(call, request)
        return response.with_headers(*cookie)

    def _administration(self, call: tuple[str, str], request: Request) -> Response:
        settings = f"/rest/v2/applications/settings/{APPLICATION}"
        if call == ("GET", "/rest/v2/version"):
            return json_response(VERSION)
        if call == ("GET", "/rest/v2/applications"):
            return json_response({"applications": [APPLICATION]})
        if call == ("GET", "/rest/v2/live-clients-size"):
            live = self.live_streams()
            viewers = sum(self.viewers(stream_id) for stream_id in live)
            return json_response({"totalConnectionSize": viewers + len(live), "totalLiveStreamSize": len(live)})
        if call == ("GET", settings):
            return json_response(self._settings())
        if call == ("POST", settings):
            self.settings.write_bytes(request.body)
            return json_response(result(True))
        if request.path == "/rest/request":
            # A call of an application's REST, made by the node itself: the address filter sees 127.0.0.1.
            return self._application_rest(request.method, request.query("_path").removeprefix(APPLICATION))
        return error_page(404, "The lab's stand-in has no such call")

    def _application_rest(self, method: str, path: str) -> Response:
        if method not in ("GET", "HEAD"):
            return Response(405)
        if path == "/rest/v2/version":
            return json_response(VERSION)
        if page_of := re.fullmatch(r"/rest/v2/broadcasts/list/(\d+)/(\d+)", path):
            first, count = int(page_of[1]), int(page_of[2])
            return json_response([self._broadcast(each) for each in self.live_streams()[first : first + count]])
        one = re.fullmatch(r"/rest/v2/broadcasts/([^/]+)", path)
        if one and self.is_live(one[1]):
            return json_response(self._broadcast(one[1]))
        return error_page(404, "Not found")

    def _broadcast(self, stream_id: str) -> dict[str, object]:
        viewers = self.viewers(stream_id)
        return {"streamId": stream_id, "status": "broadcasting", "publishType": "RTMP", "hlsViewerCount": viewers}

    def live_streams(self) -> list[str]:
        """The ids of the streams that somebody publishes."""
        return sorted(path.stem for path in self.streams.glob("*.m3u8") if self.is_live(path.stem))

    def viewers(self, stream_id: str) -> int:
        """How many sessions watch a stream over HLS."""
        viewers = self._viewers.get(stream_id, collections.OrderedDict())
        while viewers and next(iter(viewers.values())) < time.monotonic() - VIEWER_SECONDS:
            viewers.popitem(last=False)
        return len(viewers)

    def _settings(self) -> dict[str, object]:
        """The application's settings; what there are besides remoteAllowedCIDR is kept and has no effect."""
        stored = json.loads(self.settings.read_text()) if self.settings.exists() else {}
        return {"remoteAllowedCIDR": "127.0.0.1", **stored}

    def _may_use_rest(self, address: str) -> bool:
        allowed = str(self._settings()["remoteAllowedCIDR"]).split(",")
        return any(
            ipaddress.ip_address(address) in ipaddress.ip_network(each.strip(), strict=False) for each in allowed
        )

    def _add_first_user(self, email: str, password: str) -> bool:
        salt = secrets.token_hex(16)
        record = {"email": email, "salt": salt, "digest": digest(md5(password), salt)}
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
        # The web panel sends the MD5 of what is typed, here and when it makes the user, and the MD5 of what was sent is
        # kept. Who sends a password as typed is known by the MD5 of its MD5. The other way round nobody is known.
        attempts = (md5(password), md5(md5(password)))
        known = any(hmac.compare_digest(digest(each, record["salt"]), record["digest"]) for each in attempts)
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


def result(success: bool, message: str = "", error_id: int = 0) -> dict[str, object]:
    """io.antmedia.rest.model.Result as JSON."""
    return {"success": success, "message": message, "dataId": "", "errorId": error_id}


def error_page(status: int, message: str) -> Response:
    """As Tomcat shows an error: a page, also where JSON was asked for."""
    title = f"HTTP Status {status}: {REASONS[status]}"
    body = f"<!doctype html><title>{title}</title><h1>{title}</h1><p><b>Message</b> {html.escape(message)}</p>\n"
    return Response(status, body.encode(), (("Content-Type", "text/html;charset=utf-8"),))


def is_proxy(address: str) -> bool:
    try:
        return any(ipaddress.ip_address(address) in network for network in PROXIES)
    except ValueError:
        return False


def md5(text: str) -> str:
    """Ant Media Server's digest of a password: no protection, but what its clients send and compare."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


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
