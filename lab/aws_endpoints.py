"""AWS's endpoints as hosts know them: `https://SERVICE.us-east-1.amazonaws.com`, in front of the emulated account.

The resolver gives 192.0.2.91 for their names; there TLS ends, with a certificate of the lab's authority. So an SDK or
`curl --aws-sigv4` on a host needs no setting, and its security groups decide whether it gets there.
"""

from __future__ import annotations

import logging
import socket
import ssl
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import layout
from lab.authority import Authority

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_REGIONAL = ("autoscaling", "cloudwatch", "ec2", "events", "kms", "logs", "monitoring", "secretsmanager", "sns", "ssm")
_BOTH = ("iam", "route53", "s3", "sts")
"""Services that have a name without a region, too."""
_DOMAIN = ".amazonaws.com"
_NAMES = ("amazonaws.com", *(f"*.{part}amazonaws.com" for part in ("", f"{layout.REGION}.", "s3.")))
_HANDSHAKE_SECONDS = 10.0


def is_endpoint(name: str) -> bool:
    """Whether a DNS name in lower case is an endpoint of the lab's account: its services, in its region only."""
    if not name.endswith(_DOMAIN):
        return False
    labels = name.removesuffix(_DOMAIN).split(".")
    regional = labels[-1] == layout.REGION
    *before, service = labels[:-1] if regional and len(labels) > 1 else labels
    if service not in (*_REGIONAL, *_BOTH) or (not regional and service not in _BOTH):
        return False
    return not before or (service == "s3" and all(before))  # a bucket's name may have dots


def serve(listening: socket.socket, app: WSGIApplication, authority: Authority) -> None:
    """Answers HTTPS on a listening socket from now on; `app` is the account's API."""
    from moto.moto_server.werkzeug_app import MotoRequestHandler
    from werkzeug.serving import ThreadedWSGIServer

    context = _context(authority)

    class QuietHandler(MotoRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002  (werkzeug's name)
            """Not a line a request."""

    class Server(ThreadedWSGIServer):
        def finish_request(self, request: Any, client_address: Any) -> None:
            # In the connection's own thread: a caller that says nothing keeps nobody waiting.
            request.settimeout(_HANDSHAKE_SECONDS)
            try:
                with context.wrap_socket(request, server_side=True) as secured:
                    secured.settimeout(None)
                    super().finish_request(secured, client_address)
            except OSError as error:
                logging.getLogger(__name__).info("%s: %s", client_address[0], error)

    host, port = listening.getsockname()[:2]
    server = Server(host, port, app, handler=QuietHandler, fd=listening.fileno())
    listening.close()
    server.ssl_context = context  # only said: so the account's answers have https in their URLs
    threading.Thread(target=server.serve_forever, name="aws endpoints", daemon=True).start()


def _context(authority: Authority) -> ssl.SSLContext:
    bucket_names = f"*.s3.{layout.REGION}.amazonaws.com"
    chain, key = authority.issue([*_NAMES, bucket_names])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as directory:  # ssl reads files only
        path = Path(directory, "pair.pem")
        path.write_text(key + chain)
        context.load_cert_chain(path)
    return context
