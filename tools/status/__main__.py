"""`make status STACK=…`: nodes, sessions, old workers and the certificate of a deployment, from the hosts themselves.

On a terminal the screen is drawn anew every few seconds, until Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from typing import Final

from tools.provision.steps import ProvisionError
from tools.recover import enter_lab, report
from tools.recovery.stack import RecoveryError, Stack
from tools.ssh import access
from tools.status.gather import everything
from tools.status.report import document, screen

PAUSE_SECONDS: Final = 3
CLEAR: Final = "\x1b[H\x1b[J"
"""The cursor to the top, and away with what is below it."""


def main() -> int:
    """0 when the load balancer was asked, 1 when not."""
    parser = argparse.ArgumentParser(prog="make status", description=__doc__)
    parser.add_argument("stack", help="name of the stack")
    parser.add_argument("--once", action="store_true", help="one screen, on a terminal as well")
    parser.add_argument(
        "--json", action="store_true", help="one JSON document instead; docs/operations.md has its keys"
    )
    arguments = parser.parse_args()
    stack = Stack(arguments.stack)
    try:
        enter_lab("tools.status", stack.name, sys.argv[1:])
        with access(stack) as hosts:
            while True:
                seen = document(stack.name, hosts.nodes, *everything(hosts), datetime.now(UTC))
                if arguments.json or arguments.once or not sys.stdout.isatty():
                    print(json.dumps(seen, indent=2) if arguments.json else screen(seen))
                    return 0
                print(f"{CLEAR}{screen(seen)}", flush=True)
                time.sleep(PAUSE_SECONDS)
    except (RecoveryError, ProvisionError) as error:
        return report(error)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
