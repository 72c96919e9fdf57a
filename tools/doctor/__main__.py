"""`make doctor STACK=…`: whether a deployment serves, as seen from this machine, and what to do where it does not.

Exit code 0 when nothing failed, 2 when something did, 1 when it could not look.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from cluster.settings import SettingsError
from tools.doctor import findings
from tools.doctor.look import checks
from tools.provision.steps import ProvisionError
from tools.recover import enter_lab, report
from tools.recovery.stack import RecoveryError, Stack
from tools.render import stack_plan

PARALLEL: Final = 16


def main() -> int:
    """See above."""
    parser = argparse.ArgumentParser(prog="make doctor", description=__doc__)
    parser.add_argument("stack", help="name of the stack")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of lines")
    arguments = parser.parse_args()
    stack = Stack(arguments.stack)
    try:
        enter_lab("tools.doctor", stack.name, sys.argv[1:])
        outputs = json.loads(stack.pulumi("stack", "output", "--json", "--non-interactive"))
        if not outputs.get("nodes"):
            raise RecoveryError(f"The stack {stack.name} has no hosts. Next: {stack.next_command}")
        target = findings.target(stack_plan(stack.name), outputs)
    except FileNotFoundError:
        return report(RecoveryError(f"There is no stack file stacks/Pulumi.{stack.name}.yaml."))
    except (RecoveryError, ProvisionError, SettingsError) as error:
        return report(error)
    found = []
    with ThreadPoolExecutor(PARALLEL) as pool:
        for finding in pool.map(lambda check: check(), checks(target)):
            found.append(finding)
            if not arguments.json:
                print(findings.line(finding), flush=True)
    if arguments.json:
        shown = {"stack": stack.name, "findings": [dataclasses.asdict(each) for each in found]}
        print(json.dumps(shown, indent=2))
    return findings.exit_code(found)


if __name__ == "__main__":
    sys.exit(main())
