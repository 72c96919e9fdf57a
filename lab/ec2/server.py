"""Serves the AWS API on a socket: moto in this process, with the lab's patches, one thread per request."""

from __future__ import annotations

import gzip
import io
import json
import logging
import re
import socket
import threading
import uuid
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from lab.ec2 import backend, cbor, model, patches, repeats
from lab.ec2.calls import Calls
from lab.ec2.wsgi import answer_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

OBJECTS_PATH = "/lab/objects"
"""GET: `lab.ec2.model.objects()` as JSON, for who runs the server in another process."""

_LOG = logging.getLogger(__name__)
_READS = re.compile(rb"(?:^|&)Action=(?:Describe|Get|List)")
_ATTEMPT = re.compile(r"attempt=(\d+)")

CLIENT_BUFFER_BYTES = 4096
"""What Go's net/http reads from a connection at once. The AWS SDK for Go closes a request's body when the head of the
answer is there. If its writer has not looked at the body's end by then (a fast server, a busy machine), that counts as
a failed write: the connection is closed, what was not read of the answer is lost, and the request is sent again, which
makes two addresses of one. So an answer is sent at once, and made to fit. Seen with SDK 1.41.5, smithy-go 1.24.2."""

_HEAD_BYTES = 600  # an upper bound of the status line and headers


def _nothing() -> None:
    """Nobody waits for changes."""


class Server:
    """A running API server: `url` is where and `app` what answers. What it holds stays until the process ends."""

    def __init__(self, sock: socket.socket, app: WSGIApplication) -> None:
        from moto.moto_server.werkzeug_app import MotoRequestHandler
        from werkzeug.serving import make_server

        class QuietHandler(MotoRequestHandler):
            wbufsize = 1 << 16  # stock: the head is sent by itself, before the body

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                """Not a line a request: a deployment makes hundreds."""

        host, port = sock.getsockname()[:2]
        self.url = f"http://{host}:{port}"
        self.app = app
        # The socket may live in another network namespace: it is used as it is, its address is never opened again.
        self._server = make_server(host, port, app, threaded=True, request_handler=QuietHandler, fd=sock.fileno())
        sock.close()
        self._thread = threading.Thread(target=self._server.serve_forever, name=f"aws-api-{port}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops answering and closes the socket; requests under way are answered first."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve(
    sock: socket.socket,
    after_change: Callable[[], None] = _nothing,
    *,
    calls: Calls | None = None,
    without: Collection[str] = (),
) -> Server:
    """Answers AWS requests on `sock`, which is listening already, and owns it from now on.

    `after_change` is called after each request that may have changed something, when its answer is made, outside of
    any lock. `calls` is told of each request. `without` names patches to leave out: the tests use it to prove that
    each one is needed.
    """
    patches.apply(without)
    with backend.LOCK:
        model.remember_defaults()
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    app: WSGIApplication = DomainDispatcherApplication(create_backend_app)
    if "rpc_v2_cbor" not in without:
        app = cbor.rpc_v2_cbor(app)
    return Server(sock, _one_at_a_time(app, after_change, calls))


def _one_at_a_time(app: WSGIApplication, after_change: Callable[[], None], calls: Calls | None) -> WSGIApplication:
    """moto is not thread-safe: two RunInstances at once would be given the same address."""
    once = repeats.done_once(app)

    def locked(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length) if length else b""
        environ["wsgi.input"] = io.BytesIO(body)
        if environ["PATH_INFO"] == OBJECTS_PATH:
            found = json.dumps(model.objects()).encode()
            start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(found)))])
            return [found]
        is_change = environ["REQUEST_METHOD"] not in ("GET", "HEAD") and not _READS.search(body)
        attempt = _ATTEMPT.match(environ.get("HTTP_AMZ_SDK_REQUEST", ""))
        if attempt and attempt[1] != "1":
            # Nothing is lost between a client and this server: a repeated request is a mistake here, or a busy machine.
            _LOG.warning("attempt %s of %s %s", attempt[1], environ["REQUEST_METHOD"], _about(environ, body))
        with backend.LOCK:
            if calls:
                calls.note(environ, body)
            try:
                # What only reads is not remembered: its answers are the long ones.
                answer = list((once if is_change else app)(environ, start_response))
            except Exception as error:
                # Stock: 500, which every AWS SDK repeats for minutes. This answer is final and says what it is about.
                _LOG.exception("%s %s", environ["REQUEST_METHOD"], _about(environ, body))
                return _not_implemented(error, environ, start_response)
        if is_change:
            after_change()
        return answer

    return _compressed(locked)


def _compressed(app: WSGIApplication) -> WSGIApplication:
    """Long answers are compressed for clients that want it."""

    def compressing(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if "gzip" not in environ.get("HTTP_ACCEPT_ENCODING", ""):
            return app(environ, start_response)
        status, headers, answer = answer_of(app, environ)
        if len(answer) > CLIENT_BUFFER_BYTES - _HEAD_BYTES:
            answer = gzip.compress(answer, compresslevel=1)
            headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
            headers += [("Content-Length", str(len(answer))), ("Content-Encoding", "gzip")]
        start_response(status, headers)
        return [answer]

    return compressing


def _about(environ: WSGIEnvironment, body: bytes) -> str:
    """What a request asks for, without what only its service may see: a secret's value is in a JSON body."""
    target = environ.get("HTTP_X_AMZ_TARGET")
    return target or f"{environ['PATH_INFO']} {body[:200].decode('utf-8', 'replace') if b'Action=' in body else ''}"


def _not_implemented(error: Exception, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    message = f"The lab's AWS API cannot do this: {type(error).__name__}: {error}"
    kind = environ.get("CONTENT_TYPE", "")
    if "json" in kind:
        answer = json.dumps({"__type": "NotImplemented", "message": message}).encode()
        start_response("501 Not Implemented", [("Content-Type", kind), ("Content-Length", str(len(answer)))])
        return [answer]
    message = escape(message)
    answer = (
        f"<Response><Errors><Error><Code>NotImplemented</Code><Message>{message}</Message></Error></Errors>"
        f"<RequestID>{uuid.uuid4()}</RequestID></Response>"
    ).encode()
    start_response("501 Not Implemented", [("Content-Type", "text/xml"), ("Content-Length", str(len(answer)))])
    return [answer]
