"""A request that an AWS SDK sends again is done once.

An SDK repeats what it has heard no answer to, under the same invocation id. EC2 tells most of these by their client
token, which moto does not: a second volume or address would be left that nobody knows of.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

KEPT: Final = 512
"""Answers to remember: more than all clients of a lab can have under way at once."""


def done_once(app: WSGIApplication) -> WSGIApplication:
    """`app`, which answers one request at a time, giving a repeated one the answer that the first was given.

    What failed is done again: the SDK repeats it for that.
    """
    answers: OrderedDict[str, tuple[str, list[tuple[str, str]], list[bytes]]] = OrderedDict()

    def remembering(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        invocation = environ.get("HTTP_AMZ_SDK_INVOCATION_ID", "")
        if invocation in answers:
            status, headers, body = answers[invocation]
            start_response(status, headers)
            return body
        status, headers = "", []

        def keep(said: str, given: list[tuple[str, str]], exc_info: Any = None, /) -> Any:
            nonlocal status, headers
            status, headers = said, given
            return start_response(said, given)

        body = list(app(environ, keep))
        if invocation and status.startswith("2"):
            answers[invocation] = status, headers, body
            if len(answers) > KEPT:
                answers.popitem(last=False)
        return body

    return remembering
