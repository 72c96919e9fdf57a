"""`make review STACK=… BASE=main`: what the working tree would do to a stack, beside what BASE has.

Shows what a preview would change and what that interrupts, what policies find, and how the host files differ between
BASE's program and stack file and the working tree's. Changes nothing. Exit code 0: reviewed; 1: the preview failed, a
mandatory policy is broken, or the stack file cannot be used; what could be found out is shown all the same.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from cluster.plan import ClusterPlan
from cluster.settings import SettingsError
from tools.render import stack_plan
from tools.review import preview, rendering, report
from tools.review.rendering import ReviewError


def main() -> int:
    """Print the review. Returns the exit code."""
    arguments = _parser().parse_args()
    stack, config_file = arguments.stack, arguments.config_file
    try:
        before = rendering.of_commit(arguments.base, stack)
    except ReviewError as error:
        print(error, file=sys.stderr)
        return 1
    review = report.Review(
        stack=stack,
        base=arguments.base,
        before=before,
        after=rendering.of_working_tree(stack, config_file),
        plan=_plan(stack, config_file),
        preview=None if arguments.without_preview else preview.run(stack, config_file, arguments.policy_pack),
    )
    if arguments.json:
        print(json.dumps(report.document(review), indent=1))
    else:
        print(report.markdown(review, arguments.longest), end="")
    if not review.passed:
        print(_why(review), file=sys.stderr)
    return 0 if review.passed else 1


def _plan(stack: str, config_file: Path | None) -> ClusterPlan | None:
    try:
        return stack_plan(stack, config_file.parent if config_file else None)
    except (FileNotFoundError, SettingsError):
        return None


def _why(review: report.Review) -> str:
    if review.preview is None:
        return f"The stack file of {review.stack} cannot be used; see above."
    mandatory = [each for each in review.preview.findings or () if each.level == "mandatory"]
    if mandatory:
        many = "1 finding of a mandatory policy" if len(mandatory) == 1 else f"{len(mandatory)} of mandatory policies"
        return f"The preview failed: {many}; see above."
    return (
        "The preview failed; its message is above, and the rest of the review is what can be known without it. "
        "ARGS=--without-preview leaves it out: that takes no credentials."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make review", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("stack", help="name of the stack")
    parser.add_argument("--base", default="main", help="the branch, tag or commit to compare with (main)")
    parser.add_argument("--json", action="store_true", help="for a machine, in place of Markdown")
    parser.add_argument("--without-preview", action="store_true", help="the host files only: takes no credentials")
    parser.add_argument("--longest", type=int, metavar="CHARACTERS", help="cut the host files' diffs to this length")
    parser.add_argument("--policy-pack", type=Path, default=preview.POLICY, metavar="FOLDER", help="policies (policy/)")
    parser.add_argument("--config-file", type=Path, help="the stack's file, where it is not in stacks/")
    return parser


if __name__ == "__main__":
    sys.exit(main())
