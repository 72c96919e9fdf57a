"""What a node answers: health, administration, an application's REST, playlists, signalling."""

from __future__ import annotations

import base64
import collections
import contextlib
import hashlib
import hmac
import ipaddress
import json
import pathlib
import re
import secrets
import socket
import time
import urllib.parse
from typing import Any

from .cluster import ORIGIN_PORT, Cluster
from .messages import Request, Response, error_page, json_response, text_page
from .records import DatabaseError, Files, Records

APPLICATION = "LiveApp"
STREAM_ID = re.compile(r"[A-Za-z0-9_.-]{1,256}")

PLAYLIST_LIVE_SECONDS = 10
"""A playlist that was not written for this long belongs to a stream that has ended: Ant Media Server deletes it."""

VIEWER_SECONDS = 20
"""A session that has not asked for a stream's playlist for this long no longer watches it."""

RELAY = "ngx-local-relay"
"""What nginx calls itself when it publishes a stream that it fetches from another node."""

SESSIONS_MAX = 10_000
INVALID_LICENCE = "LAB-INVALID"
"""The one licence key that counts as wrong: the stand-in asks no licence service."""

VERSION = {"versionName": "0.0.0", "versionType": "Stand-in", "buildNumber": "0"}


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
    """Everything a node remembers: sessions and viewers in memory, what outlives it in files or in its cluster.

    `jwt_secret` is what signs the tokens of those who need no session; without it there is no such token. `licence` is
    the key whose status it tells.
    """

    def __init__(
        self,
        home: pathlib.Path,
        name: str | None = None,
        cluster: Cluster | None = None,
        jwt_secret: str = "",
        licence: str = "",
    ) -> None:
        self.streams = home / "webapps" / APPLICATION / "streams"
        self.cluster = cluster
        files = Files(home / "server.db", home / "webapps" / APPLICATION / "settings.json")
        self._records: Records = cluster.registry if cluster else files
        self._changed_settings: dict[str, Any] = {}
        self._name = name
        self._jwt_secret = jwt_secret
        self._licence = licence
        self._panel, self._application = Sessions("/"), Sessions(f"/{APPLICATION}")
        self._viewers: dict[str, collections.OrderedDict[str, float]] = {}  # stream -> session -> when it last asked

    @property
    def name(self) -> str:
        """The host's name, which cloud-init may set while the node already runs."""
        return self._name or socket.gethostname()

    def is_live(self, stream_id: str) -> bool:
        """Whether somebody publishes the stream on this node: its playlist is being written."""
        if not STREAM_ID.fullmatch(stream_id) or (self.cluster and stream_id not in self.cluster.own):
            return False
        try:
            age_seconds = time.time() - (self.streams / f"{stream_id}.m3u8").stat().st_mtime
        except OSError:
            return False
        return age_seconds < PLAYLIST_LIVE_SECONDS

    async def origin(self, stream_id: str) -> str:
        """The address of the other node that has a stream, or nothing."""
        if self.cluster is None or not STREAM_ID.fullmatch(stream_id) or stream_id in self.cluster.own:
            return ""
        origin = await self.cluster.origin(stream_id)
        return "" if origin == self.cluster.address else origin

    async def respond(self, request: Request) -> Response:
        """The answer to a request; every answer names the node in X-Node."""
        try:
            response = await self._route(request)
        except DatabaseError as error:
            response = error_page(500, str(error))
        if request.is_secure and not request.path.startswith(f"/{APPLICATION}"):
            # The real web panel says so for the whole domain, which changes what browsers do on other ports.
            response = response.with_headers(("Strict-Transport-Security", "max-age=31536000;includeSubDomains"))
        return response.with_headers(("X-Node", self.name))

    async def _route(self, request: Request) -> Response:
        path = request.path
        if path.startswith("/rest/"):
            return await self._rest(request)
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
            if not await self._may_use_rest(request.client):
                return error_page(403, "Not allowed IP")
            return await self._application_rest(request.method, path.removeprefix(f"/{APPLICATION}"))
        if request.method not in ("GET", "HEAD"):
            return Response(405)
        if path in ("/", "/index.html"):
            return text_page("Ant Media Server", "Web panel", self.name)
        if path == f"/{APPLICATION}":
            return Response(302, headers=(("Location", f"/{APPLICATION}/"),))
        if path == f"/{APPLICATION}/":
            return text_page(APPLICATION, "Application", self.name)
        if playlist := re.fullmatch(rf"/{APPLICATION}/streams/([^/]+)\.m3u8", path):
            return await self._playlist(request, playlist[1])
        if segment := re.fullmatch(rf"/{APPLICATION}/streams/([^/]+)-\d+\.ts", path):
            # nginx has looked for the file already: it is not on this node.
            origin = "" if request.is_for_another_node else await self.origin(segment[1])
            return forward(origin, path) if origin else error_page(404, "Not found")
        return error_page(404, "Not found")

    async def _is_live_anywhere(self, stream_id: str) -> bool:
        return self.is_live(stream_id) or bool(await self.origin(stream_id))

    async def _playlist(self, request: Request, stream_id: str) -> Response:
        if request.is_for_another_node:
            # That node counts the viewer.
            return self._own_playlist(stream_id) if self.is_live(stream_id) else error_page(404, "Not found")
        session, cookie = self._application.open(request)
        origin = await self.origin(stream_id)
        if not origin and not self.is_live(stream_id):
            return error_page(404, "Not found").with_headers(*cookie)
        viewers = self._viewers.setdefault(stream_id, collections.OrderedDict())
        viewers[session] = time.monotonic()
        viewers.move_to_end(session)
        self.viewers(stream_id)
        response = forward(origin, request.path) if origin else self._own_playlist(stream_id)
        return response.with_headers(*cookie)

    def _own_playlist(self, stream_id: str) -> Response:
        text = (self.streams / f"{stream_id}.m3u8").read_bytes()
        return Response(200, text, (("Content-Type", "application/vnd.apple.mpegurl"),))

    async def rtmp_event(self, request: Request) -> Response:
        """What nginx shall do with a publisher or player of RTMP, which it asks in a cluster only."""
        assert self.cluster
        stream_id, event = request.query("name"), request.query("call")
        if not STREAM_ID.fullmatch(stream_id):
            return Response(403)
        if request.query("flashver") == RELAY:
            return Response(200)  # nginx publishes here what it fetched from an origin
        if event == "publish":
            if stream_id in self.cluster.own:
                return Response(403)  # else the end of this one would be taken for the end of the stream
            await self.cluster.published(stream_id)
        elif event == "publish_done":
            await self.cluster.ended(stream_id)
        elif event == "play" and stream_id not in self.cluster.own:
            comes_from_node = urllib.parse.urlsplit(request.query("tcurl")).port == ORIGIN_PORT
            origin = "" if comes_from_node else await self.origin(stream_id)
            if not origin:
                return Response(404)
            return Response(302, headers=(("Location", f"rtmp://{origin}:{ORIGIN_PORT}/{APPLICATION}/{stream_id}"),))
        return Response(200)

    async def _rest(self, request: Request) -> Response:
        call = (request.method.replace("HEAD", "GET"), request.path)
        if call == ("GET", "/rest/v2/liveness"):
            return json_response({"host": self.name, "status": "ok"})
        if call == ("GET", "/rest/v2/first-login-status"):
            return json_response(result(await self._records.administrator() is None))
        if call in (("POST", "/rest/v2/users/initial"), ("POST", "/rest/v2/users/authenticate")):
            user = login_of(request.body)
            if user is None:
                return error_page(400, "email and password are needed")
            if request.path.endswith("/initial"):
                return json_response(result(await self._add_first_user(*user), error_id=-1))
            if not await self._is_user(*user):
                return json_response(result(False))
            _, cookie = self._panel.open(request, logged_in=True)
            return json_response(result(True, "system/ADMIN")).with_headers(*cookie)
        if self._jwt_secret and (token := request.header("ProxyAuthorization")):
            if not is_signed(token, self._jwt_secret, time.time()):
                return error_page(403, "Invalid Server JWT Token")
            return await self._administration(call, request)
        is_logged_in = self._panel.is_logged_in(request)
        _, cookie = self._panel.open(request)
        if call == ("GET", "/rest/v2/authentication-status"):
            response = json_response(result(is_logged_in))
        elif not is_logged_in:
            response = error_page(403, "Not authenticated user")
        elif call == ("POST", "/rest/v2/users/password"):
            response = json_response(result(await self._change_password(request.body)))
        else:
            response = await self._administration(call, request)
        return response.with_headers(*cookie)

    async def _administration(self, call: tuple[str, str], request: Request) -> Response:
        settings = f"/rest/v2/applications/settings/{APPLICATION}"
        if call == ("GET", "/rest/v2/version"):
            return json_response(VERSION)
        if call == ("GET", "/rest/v2/last-licence-status"):
            status = "invalid" if self._licence == INVALID_LICENCE else "valid"
            return json_response({"licenceId": self._licence, "status": status} if self._licence else None)
        if call == ("GET", "/rest/v2/applications"):
            return json_response({"applications": [APPLICATION]})
        if call == ("GET", "/rest/v2/live-clients-size"):
            live = self.live_streams()
            viewers = sum(self.viewers(stream_id) for stream_id in self._viewers)
            return json_response({"totalConnectionSize": viewers + len(live), "totalLiveStreamSize": len(live)})
        if call == ("GET", settings):
            return json_response(await self._settings())
        if call == ("POST", settings):
            try:
                changed = dict(json.loads(request.body))
            except (ValueError, TypeError):
                return error_page(400, "settings are needed")
            await self._records.save_settings(changed)
            return json_response(result(True))
        if request.path.startswith("/rest/v2/cluster/"):
            return await self._cluster_rest(request.method, request.path.removeprefix("/rest/v2/cluster"))
        if request.path == "/rest/request":
            # A call of an application's REST, made by the node itself: the address filter sees 127.0.0.1.
            return await self._application_rest(request.method, request.query("_path").removeprefix(APPLICATION))
        return error_page(404, "The lab's stand-in has no such call")

    async def _cluster_rest(self, method: str, path: str) -> Response:
        known = ("GET", r"/node-count"), ("GET", r"/nodes/(\d+)/(\d+)"), ("DELETE", r"/node/([^/]+)")
        found = next((match for verb, call in known if verb == method and (match := re.fullmatch(call, path))), None)
        if found is None:
            return error_page(404, "Not found")
        if self.cluster is None:
            # The real server looks for a bean that its configuration has in a cluster only.
            return error_page(500, "No bean named 'tomcat.cluster' available")
        if method == "DELETE":
            return json_response(result(await self.cluster.registry.delete_node(urllib.parse.unquote(found[1]))))
        nodes = await self.cluster.nodes()
        if path == "/node-count":
            return json_response({"number": len(nodes)})
        first, count = int(found[1]), int(found[2])
        return json_response(nodes[first : first + count])

    async def _application_rest(self, method: str, path: str) -> Response:
        if method not in ("GET", "HEAD"):
            return Response(405)
        if path == "/rest/v2/version":
            return json_response(VERSION)
        if page_of := re.fullmatch(r"/rest/v2/broadcasts/list/(\d+)/(\d+)", path):
            first, count = int(page_of[1]), int(page_of[2])
            return json_response((await self._broadcasts())[first : first + count])
        if one := re.fullmatch(r"/rest/v2/broadcasts/([^/]+)", path):
            found = [each for each in await self._broadcasts() if each["streamId"] == one[1]]
            if found:
                return json_response(found[0])
        return error_page(404, "Not found")

    async def _broadcasts(self) -> list[dict[str, Any]]:
        """The streams that somebody publishes; those who watch are counted on this node only."""
        if self.cluster is None:
            entries = [
                {"streamId": each, "status": "broadcasting", "publishType": "RTMP"} for each in self.live_streams()
            ]
        else:
            fields = ("streamId", "status", "publishType", "originAdress")
            entries = [{name: each[name] for name in fields} for each in await self.cluster.streams()]
        return [{**each, "hlsViewerCount": self.viewers(each["streamId"])} for each in entries]

    def live_streams(self) -> list[str]:
        """The ids of the streams that somebody publishes on this node."""
        return sorted(path.stem for path in self.streams.glob("*.m3u8") if self.is_live(path.stem))

    def viewers(self, stream_id: str) -> int:
        """How many sessions watch a stream over HLS."""
        viewers = self._viewers.get(stream_id, collections.OrderedDict())
        while viewers and next(iter(viewers.values())) < time.monotonic() - VIEWER_SECONDS:
            viewers.popitem(last=False)
        return len(viewers)

    async def _settings(self) -> dict[str, Any]:
        """The application's settings; what there are besides remoteAllowedCIDR is kept and has no effect."""
        with contextlib.suppress(DatabaseError):  # without it the last ones known are obeyed
            self._changed_settings = await self._records.settings()
        return {"remoteAllowedCIDR": "127.0.0.1", **self._changed_settings}

    async def _may_use_rest(self, address: str) -> bool:
        allowed = str((await self._settings())["remoteAllowedCIDR"]).split(",")
        return any(
            ipaddress.ip_address(address) in ipaddress.ip_network(each.strip(), strict=False) for each in allowed
        )

    async def _add_first_user(self, email: str, password: str) -> bool:
        salt = secrets.token_hex(16)
        return await self._records.add_administrator(
            {"email": email, "salt": salt, "digest": digest(md5(password), salt)}
        )

    async def _change_password(self, body: bytes) -> bool:
        try:
            old, new = (json.loads(body)[key] for key in ("password", "newPassword"))
        except (ValueError, KeyError, TypeError):
            return False
        record = await self._records.administrator()
        # As it is kept, or as the web panel sends it.
        if record is None or not any(matches(each, record) for each in (old, md5(old))):
            return False
        salt = secrets.token_hex(16)
        await self._records.replace_administrator({**record, "salt": salt, "digest": digest(md5(new), salt)})
        return True

    async def _is_user(self, email: str, password: str) -> bool:
        record = await self._records.administrator()
        if record is None:
            return False
        # The web panel sends the MD5 of what is typed, here and when it makes the user, and the MD5 of what was sent is
        # kept. Who sends a password as typed is known by the MD5 of its MD5. The other way round nobody is known.
        attempts = (md5(password), md5(md5(password)))
        return any(matches(each, record) for each in attempts) and email == str(record["email"])

    async def signal(self, message: str | bytes) -> dict[str, str] | None:
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
            if await self._is_live_anywhere(stream_id):
                return {"command": "error", "definition": "streamIdInUse"}
            return {"command": "start", "streamId": stream_id}
        if command in ("play", "getStreamInfo") and not await self._is_live_anywhere(stream_id):
            return {"command": "error", "error_code": "404", "definition": "no_stream_exist", "streamId": stream_id}
        if command == "play":
            # Where the real server would offer WebRTC media, which the stand-in cannot carry.
            return {"command": "error", "definition": "server_error_check_logs", "streamId": stream_id}
        return None


def forward(origin: str, path: str) -> Response:
    """Has nginx answer with what another node says."""
    return Response(200, headers=(("X-Accel-Redirect", f"/origin/{origin}{path}"),))


def result(success: bool, message: str = "", error_id: int = 0) -> dict[str, object]:
    """io.antmedia.rest.model.Result as JSON."""
    return {"success": success, "message": message, "dataId": "", "errorId": error_id}


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


def matches(password: str, record: dict[str, Any]) -> bool:
    """Whether a password is the one of an administrator's record."""
    return hmac.compare_digest(digest(password, record["salt"]), record["digest"])


def is_signed(token: str, secret: str, now: float) -> bool:
    """Whether a JSON Web Token was signed by HMAC-SHA256 with the secret, and has not expired."""
    try:
        signed, _, signature = token.rpartition(".")
        header, claims = (json.loads(from_base64(part)) for part in signed.split("."))
        mac = hmac.digest(secret.encode(), signed.encode(), "sha256")
        right = header["alg"] == "HS256" and hmac.compare_digest(mac, from_base64(signature))
        return bool(right and now < claims.get("exp", now + 1))
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def from_base64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
