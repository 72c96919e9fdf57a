"""A request that an AWS SDK sends again is done once.

An SDK repeats what it has heard no answer to, under the same invocation id. EC2 tells most of these by their client
token, which moto does not: a second volume or address would be left that nobody knows of.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from lab.ec2.wsgi import Answer, answer_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

KEPT: Final = 512
"""Answers to remember: more than all clients of a lab can have under way at once."""


def done_once(app: WSGIApplication) -> WSGIApplication:
    """`app`, which answers one request at a time, giving a repeated one the answer that the first was given.

    What failed is done again: the SDK repeats it for that.
    """
    answers: OrderedDict[str, Answer] = OrderedDict()

    def remembering(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        invocation = environ.get("HTTP_AMZ_SDK_INVOCATION_ID", "")
        answer = answers.get(invocation) or answer_of(app, environ)
        status, headers, body = answer
        if invocation and status.startswith("2"):
            answers[invocation] = answer
            if len(answers) > KEPT:
                answers.popitem(last=False)
        start_response(status, headers)
        return [body]

    return remembering
