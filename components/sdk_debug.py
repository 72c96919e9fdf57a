"""The SDK's debug lines, which are not sent to the engine unless they are asked for.

The SDK sends each line by a call of its own and waits for the answer, whether or not anybody reads it (only
`pulumi --debug` shows them): five calls for a resource, a fifth of a preview of 100 nodes.
"""

from __future__ import annotations

import os
from typing import Final

import pulumi

WANTED: Final = "ANTMEDIA_SDK_DEBUG"
"""Set to anything, all lines are sent."""


def leave_out() -> None:
    """From now on."""
    if not os.environ.get(WANTED):
        pulumi.log.debug = _unheard  # there is no setting for it


def _unheard(*_: object, **__: object) -> None:
    """Takes what pulumi.log.debug takes."""
