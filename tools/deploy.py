"""`make up` and `make down`: the lab, and the stack in it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from lab import images
from lab.layout import layout

CHECKOUT: Final = Path(__file__).resolve().parent.parent
PULUMI: Final = str(CHECKOUT / "tools" / "pulumi")
LAB: Final = str(CHECKOUT / "lab" / "lab")

AMI: Final = re.compile(r"\bami-[0-9a-f]{17}\b")
SHOWN: Final = ("url", "rtmpUrl", "rtmpsUrl", "hlsUrl", "webSocketUrl", "statsUrl", "loadBalancerAddress")


def is_lab_stack(stack: str) -> bool:
    """Whether a stack belongs into the lab, by its name."""
    return stack == "lab" or stack.startswith("lab-")


def deployed(backend: Path) -> list[str]:
    """The stacks that have resources in a backend that is a folder."""

    def resources(state: Path) -> object:
        return (json.loads(state.read_text())["checkpoint"].get("latest") or {}).get("resources")

    return sorted(state.stem for state in (backend / ".pulumi/stacks/antmedia").glob("*.json") if resources(state))


def build_images(stack: str) -> None:
    """What the stack's instances boot from, where it is not there yet: with its progress, and before a host waits."""
    for ami in sorted(set(AMI.findall((CHECKOUT / "stacks" / f"Pulumi.{stack}.yaml").read_text()))):
        images.ensure(images.for_ami(ami))


def up(stack: str) -> int:
    """Start the lab where it does not run, deploy, and say what can be done now. Returns the exit code."""
    began = time.monotonic()
    build_images(stack)
    subprocess.run([LAB, "up"], check=True)
    if others := [other for other in deployed(layout().state / "pulumi") if other != stack]:
        print(
            f"The lab has the stack {others[0]}, and room for one: they have the same addresses. "
            f"First: make down STACK={others[0]}",
            file=sys.stderr,
        )
        return 1
    subprocess.run(
        [PULUMI, "up", "-s", stack, "--yes", "--skip-preview", "--suppress-outputs"], check=True, cwd=CHECKOUT
    )
    found = subprocess.run(
        [PULUMI, "stack", "output", "-s", stack, "--json"], check=True, cwd=CHECKOUT, capture_output=True, text=True
    )
    print(f"\nThe stack {stack} serves, after {time.monotonic() - began:.0f} s.\n")
    print(closing_words(stack, json.loads(found.stdout)))
    return 0


def closing_words(stack: str, outputs: dict[str, Any]) -> str:
    """The addresses, and a command each to publish, to play and to look."""
    stream = f"{outputs['rtmpUrl']}/stream1"
    rows = [f"  {name:20} {outputs[name]}" for name in SHOWN if outputs.get(name)]
    return "\n".join(
        [
            *rows,
            "",
            "A viewer's machine on the lab's internet: lab/lab client -- COMMAND; an administrator's: lab/lab admin.",
            "",
            "  publish  lab/lab client -- ffmpeg -re -f lavfi -i testsrc=size=640x360:rate=25 -f lavfi -i sine \\",
            f"             -c:v libx264 -preset ultrafast -g 50 -c:a aac -f flv {stream}",
            f"  play     lab/lab client -- ffmpeg -i {stream} -t 5 -f null -",
            f"  look     lab/lab client -- curl -kiL {outputs['url']}",
            "  browse   lab/lab forward",
            "  remove   make down" + ("" if stack == "lab" else f" STACK={stack}"),
        ]
    )


def down(stack: str) -> int:
    """Destroy the stack, show that nothing is left, stop the lab. Returns the exit code."""
    status = subprocess.run([LAB, "status", "--json"], capture_output=True, text=True, check=False)
    if status.returncode == 0:
        others = [other for other in deployed(layout().state / "pulumi") if other != stack]
        if others:
            print(f"The lab has the stack {others[0]}: make down STACK={others[0]}", file=sys.stderr)
            return 1
        subprocess.run([PULUMI, "destroy", "-s", stack, "--yes", "--skip-preview"], check=True, cwd=CHECKOUT)
        left = json.loads(subprocess.run([LAB, "objects"], check=True, capture_output=True, text=True).stdout)
        if left:
            print(f"Left in the EC2 API, and dropped with the lab: {json.dumps(left)}", file=sys.stderr)
    subprocess.run([LAB, "down"], check=True)
    return 1 if status.returncode == 0 and left else 0


def main() -> int:
    """`up STACK` or `down STACK`."""
    command, stack = sys.argv[1:3]
    if not is_lab_stack(stack):
        verb = {"up": "up", "down": "destroy"}[command]
        print(
            f"make {command} is for the lab's stacks (lab, lab-…). For {stack}: tools/pulumi {verb} -s {stack}",
            file=sys.stderr,
        )
        return 2
    try:
        return {"up": up, "down": down}[command](stack)
    except FileNotFoundError as error:
        print(f"There is no stack file {Path(error.filename).relative_to(CHECKOUT)}.", file=sys.stderr)
        return 1
    except images.ImageError as error:
        print(error, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        # What failed has said why; a second message would only hide it.
        return error.returncode or 1
    except KeyboardInterrupt:
        print(f"\nInterrupted. To go on: make {command}", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
