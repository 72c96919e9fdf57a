"""A log of what was asked of the AWS API: for each who asks, each operation once, as `ACCESS-KEY service:Operation`.

Whether docs/iam-policy.json allows what a deployment asks for is told from it; see tests/engine/permissions.py. The
operations are those of AWS's own models (botocore's), and not always what IAM calls the action.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING

import botocore.session

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_CREDENTIAL = re.compile(r"Credential=([^/]+)/\d+/[^/]+/([^/]+)/aws4_request")
_ACTION = re.compile(rb"(?:^|&)Action=(\w+)")
_CBOR_PATH = re.compile(r"/service/\w+/operation/(\w+)$")


class Calls:
    """Appends to `log`."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._known: set[str] = set()

    def note(self, environ: WSGIEnvironment, body: bytes) -> None:
        """A signed request; others ask for nothing that is AWS's."""
        signed = _CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
        if not signed:
            return
        key, service = signed.groups()
        line = f"{key} {service}:{_operation(service, environ, body)}"
        if line not in self._known:
            self._known.add(line)
            with self._log.open("a") as log:
                log.write(f"{line}\n")


def _operation(service: str, environ: WSGIEnvironment, body: bytes) -> str:
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return str(target).rpartition(".")[2]
    if action := _ACTION.search(body):
        return action[1].decode()
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    if named := _CBOR_PATH.search(path):
        return named[1]
    return next(
        (name for verb, uri, name in _rest(service) if verb == method and uri.fullmatch(path)), f"{method} {path}"
    )


@functools.cache
def _rest(service: str) -> tuple[tuple[str, re.Pattern[str], str], ...]:
    """Method, path and name of a service's operations, for those whose requests are told by these."""
    model = botocore.session.get_session().get_service_model(service)
    found = []
    for name in model.operation_names:
        http = model.operation_model(name).http
        uri = http["requestUri"].partition("?")[0].rstrip("/")
        parts = re.split(r"\{\w+\+?\}", uri)
        found.append((http["method"], re.compile("[^/]+".join(map(re.escape, parts)) + "/?"), name))
    return tuple(found)
