"""The Pulumi CLI's automatic logs, which the tool chain does not keep.

The CLI writes all that it does into PULUMI_HOME/logs, secrets included, up to 500 MB, encrypted with the stack's
passphrase once the stack is known. That takes half of its processor time, and there is no setting for it; it only does
without where it cannot make the folder. `-v=9 --logtostderr` still shows what is asked for.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

_WHY: Final = "A file, so that the CLI keeps no logs of its own here: see tools/provision/cli_logs.py.\n"


def switch_off(home: Path) -> None:
    """Put a file where the folder would be; logs that are there are removed."""
    logs = home / "logs"
    if logs.is_dir():
        shutil.rmtree(logs)
    if not logs.exists():
        logs.write_text(_WHY)
