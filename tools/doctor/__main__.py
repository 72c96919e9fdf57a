"""`make doctor STACK=…`: whether a deployment serves, as seen from this machine, and what to do where it does not; and
whether AWS would let it be made or grow, also before the first `up`. Nothing is changed.

Exit code 0 when nothing failed, 2 when something did, 1 when it could not look.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live

from cluster.plan import plan
from tools.doctor import account, outside
from tools.doctor.screen import line, summary
from tools.doctor.target import target
from tools.doctor.verdicts import Check, Verdict, exit_code
from tools.provision.steps import ProvisionError
from tools.recover import enter_lab, project_name, report
from tools.recovery.account import Account
from tools.recovery.stack import RecoveryError, Stack

AT_ONCE: Final = 16
SUBNET: Final = "aws:ec2/subnet:Subnet"


def everything(stack: Stack, authorities: str | None) -> list[Check]:
    """What to look at, in the order in which it is shown. Raises RecoveryError."""
    state = stack.export()
    cluster = plan(stack.settings(), project=project_name(), stack=stack.name)
    nodes = state.outputs.get("nodes") or {}
    aws = Account(stack.configuration())
    found = list(outside.checks(target(cluster, state.outputs), authorities)) if nodes else []
    return [*found, *account.checks(cluster, aws, nodes, state.id_of(SUBNET))]


def looked(checks: Sequence[Check], console: Console) -> list[Verdict]:
    """Looks at everything, shown in place as it comes in on a terminal, and line by line elsewhere."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        verdicts: list[Future[Verdict]] = [pool.submit(check.look) for check in checks]

        def screen() -> Group:
            return Group(
                *(
                    line(check, verdict.result() if verdict.done() else None)
                    for check, verdict in zip(checks, verdicts, strict=True)
                )
            )

        try:
            if console.is_terminal and not console.is_dumb_terminal:
                with Live(screen(), console=console, auto_refresh=False, vertical_overflow="visible") as shown:
                    for _ in as_completed(verdicts):
                        shown.update(screen(), refresh=True)
            else:
                for check, verdict in zip(checks, verdicts, strict=True):
                    console.print(line(check, verdict.result()), soft_wrap=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return [verdict.result() for verdict in verdicts]


def document(stack: str, checks: Sequence[Check], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """For a machine."""
    return {
        "stack": stack,
        "findings": [
            {"check": check.title, "result": verdict.result.value, "saw": verdict.saw, "remedy": verdict.remedy}
            for check, verdict in zip(checks, verdicts, strict=True)
        ],
    }


def main() -> int:
    """See above."""
    parser = argparse.ArgumentParser(
        prog="make doctor", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("stack", help="name of the stack")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--ca-file", metavar="FILE", help="certificates, in PEM, that are trusted besides the system's")
    arguments = parser.parse_args()
    stack = Stack(arguments.stack)
    console = Console(highlight=False, quiet=arguments.json)
    try:
        enter_lab("tools.doctor", stack.name, sys.argv[1:])
        checks = everything(stack, arguments.ca_file)
        verdicts = looked(checks, console)
    except (RecoveryError, ProvisionError) as error:
        return report(error)
    except KeyboardInterrupt:
        return 130
    if arguments.json:
        print(json.dumps(document(stack.name, checks, verdicts), indent=2))
    console.print(f"\n{summary(verdicts)}")
    return exit_code(verdicts)


if __name__ == "__main__":
    sys.exit(main())
