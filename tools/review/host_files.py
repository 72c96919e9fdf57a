"""Print every host file of a stack as one JSON document, by the program in the tree that PYTHONPATH names.

usage: host_files.py STACK [FOLDER]     FOLDER has the stack file, where it is not the tree's own stacks/

A program of its own, so that two trees can be rendered side by side, each by its own code:
{"files": {NAME: TEXT}}, or {"problem": SENTENCE} where the stack file cannot be rendered, or {} where there is none.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from cluster.render import HOST_FILES
from cluster.settings import SettingsError
from tools.render import stack_plan


def rendered(stack: str, *folder: Path) -> dict[str, Any]:
    """What is printed."""
    try:
        plan = stack_plan(stack, *folder)
    except FileNotFoundError:
        return {}
    except SettingsError as error:
        return {"problem": str(error)}
    return {"files": {name: make(plan) for name, make in HOST_FILES.items()}}


if __name__ == "__main__":
    print(json.dumps(rendered(sys.argv[1], *map(Path, sys.argv[2:]))))
