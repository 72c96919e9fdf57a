"""The whole answer of a WSGI application, for who changes or keeps it before it is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

Answer = tuple[str, list[tuple[str, str]], bytes]
"""Status, headers and body."""


def answer_of(app: WSGIApplication, environ: WSGIEnvironment) -> Answer:
    """What `app` answers; nothing is sent. Raises whatever `app` raises."""
    status, headers = "", list[tuple[str, str]]()

    def remember(said: str, given: list[tuple[str, str]], _: object = None) -> Callable[[bytes], object]:
        nonlocal status, headers
        status, headers = said, given
        return _never_written

    body = b"".join(app(environ, remember))
    return status, headers, body


def _never_written(_: bytes) -> object:
    raise AssertionError("neither moto nor the lab uses WSGI's write()")
