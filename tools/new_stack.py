"""`make new-stack STACK=name`: a stack file to fill in, with new SSH keys and a password as encrypted secrets.

Running it again adds what is missing and changes nothing that exists.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from tools import stack_secrets

CHECKOUT: Final = Path(__file__).resolve().parent.parent
STACKS: Final = CHECKOUT / "stacks"
PULUMI: Final = CHECKOUT / "tools" / "pulumi"
NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")


class NewStackError(Exception):
    """The stack cannot be made. The text says what to do."""


def stack_file(name: str, model: str) -> Path:
    """The new stack's file, copied from a model stack's unless it exists.

    Raises:
        NewStackError: a name that cannot be used, or no such model.
    """
    if not NAME.fullmatch(name):
        raise NewStackError(
            f"{name!r} is not a name for a stack: small letters, digits and -, at most 40, a letter first."
        )
    if name == "lab" or name.startswith("lab-"):
        raise NewStackError(
            "Stacks called lab or lab-… are the lab's: `make up` makes their secrets. Choose another name."
        )
    target, source = STACKS / f"Pulumi.{name}.yaml", STACKS / f"Pulumi.{model}.yaml"
    if target.exists():
        print(f"stacks/{target.name} exists: kept as it is")
        return target
    if not source.exists():
        raise NewStackError(f"There is no stack file stacks/{source.name} to copy.")
    target.write_text(source.read_text())
    print(f"stacks/{target.name} written, a copy of stacks/{source.name}")
    return target


def main() -> int:
    """Make the stack, or say in one sentence why not."""
    parser = argparse.ArgumentParser(prog="make new-stack", description=__doc__)
    parser.add_argument("name", help="name of the new stack")
    parser.add_argument("--like", default="dev", metavar="STACK", help="the stack file to copy (dev)")
    arguments = parser.parse_args()
    pulumi = [str(PULUMI)]
    try:
        file = stack_file(arguments.name, arguments.like)
        subprocess.run([*pulumi, "stack", "select", "--create", arguments.name], check=True, cwd=CHECKOUT)
        added = stack_secrets.add_missing(pulumi, arguments.name, file, cwd=CHECKOUT, env=os.environ)
    except NewStackError as error:
        print(error, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError:
        print(
            "The stack was not made: see Pulumi's message above. If it asks for a login, first choose where the state "
            "is kept: tools/pulumi login (Pulumi Cloud), tools/pulumi login s3://BUCKET or tools/pulumi login --local.",
            file=sys.stderr,
        )
        return 1
    print(f"secrets made: {', '.join(added)}" if added else "its secrets exist: kept as they are")
    print(
        f"\nNext:\n"
        f"  1. set domain, adminCidrs and media.ami in stacks/{file.name}\n"
        f"  2. tools/pulumi preview -s {arguments.name} --diff\n"
        f"  3. tools/pulumi up -s {arguments.name}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
