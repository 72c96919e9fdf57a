"""How often Python looks for garbage in cycles: rarely, since the program ends in seconds with nearly all that it made.

The SDK makes many small objects for each resource, and Python's default is to look through them, and through the
hundred thousand objects of imported modules, again and again: a quarter of a preview of 100 nodes.
"""

from __future__ import annotations

import gc
from typing import Final

NEW_OBJECTS: Final = 100_000
"""How many have to come until the young ones are looked through; Python's default is 700."""


def collect_rarely() -> None:
    """From now on; what is there by now is not looked at again."""
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS)
