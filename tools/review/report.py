"""A review as Markdown that reads well in a terminal too, and as JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Final

from cluster.plan import ClusterPlan
from tools.markdown import fenced
from tools.review.interruptions import Interruption, interruptions
from tools.review.preview import OPERATIONS, Change, Finding, Preview
from tools.review.rendering import FileDiff, Rendering, differences

STEP: Final = re.compile(r"([a-z]+-\d+)-(.+)")
"""The name of what is done on a host, or for it: the node's name, and the step's."""

MOST_NAMES: Final = 40
"""Of one kind and operation; a hundred nodes have more, and --json has all."""


@dataclass(frozen=True)
class Review:
    """Everything that is known of a change."""

    stack: str
    base: str
    before: Rendering
    after: Rendering
    plan: ClusterPlan | None
    """None where the stack file cannot be used."""
    preview: Preview | None
    """None where none was asked for."""

    @property
    def files(self) -> list[FileDiff] | None:
        """The host files that differ; None where they cannot be compared."""
        if self.before.files is None or self.after.files is None:
            return None
        return differences(self.base, self.before.files, self.after.files)

    @property
    def interruptions(self) -> list[Interruption]:
        """What the preview's changes interrupt."""
        return interruptions(self.preview.changes, self.plan) if self.preview and self.plan else []

    @property
    def passed(self) -> bool:
        """Whether all that was asked for could be shown, and no mandatory policy is broken, which fails a preview."""
        return self.after.files is not None and not (self.preview and self.preview.failed)


def document(review: Review) -> dict[str, Any]:
    """For a machine."""
    preview, files = review.preview, review.files
    return {
        "stack": review.stack,
        "base": review.base,
        "passed": review.passed,
        "preview": preview
        and {
            "failed": preview.failed,
            "summary": counts(preview.changes),
            "changes": [asdict(each) for each in preview.changes],
            "errors": preview.errors,
            "warnings": preview.warnings,
        },
        "interruptions": [asdict(each) for each in review.interruptions],
        "policies": preview.findings and [asdict(each) for each in preview.findings] if preview else None,
        "files": None if files is None else [asdict(each) for each in files],
        "problems": {"base": review.before.problem, "workingTree": review.after.problem},
    }


def counts(changes: Iterable[Change]) -> dict[str, int]:
    """How many of each operation; those without any left out."""
    found = [each.operation for each in changes]
    return {operation: found.count(operation) for operation in OPERATIONS if operation in found}


def markdown(review: Review, longest: int | None = None) -> str:
    """For a person. Where it would have more than `longest` characters, the diffs of host files are cut."""
    head = "\n".join(_head(review))
    if longest is not None and len(head) > longest:
        note = "\n\nThe rest is too long to be shown here.\n"
        return head[: longest - len(note)] + note
    files = "\n".join(_files(review, None if longest is None else longest - len(head)))
    return f"{head}\n{files.rstrip()}\n"


def _head(review: Review) -> Iterator[str]:
    yield f"# Review of the stack {review.stack}, compared with {review.base}"
    preview = review.preview
    if preview is None:
        yield "\nWithout a preview: what would change in AWS was not looked at."
    else:
        if preview.failed:
            yield "\n## The preview failed\n"
            yield fenced("\n\n".join(preview.errors) or "The CLI did not say why.")
        yield "\n## What changes" + (", as far as the preview came\n" if preview.failed else "\n")
        yield from _changes(preview.changes) if preview.changes or not preview.failed else ["Not known."]
        if preview.changes:
            yield "\n## What that interrupts\n"
            yield from _interruptions(review)
        if preview.findings is not None:
            yield "\n## Policies\n"
            yield from _findings(preview.findings)
        if preview.warnings:
            yield "\n## Warnings\n"
            yield from (f"- {_line(warning)}" for warning in preview.warnings)
    yield ""


def _changes(changes: Sequence[Change]) -> Iterator[str]:
    if not changes:
        yield "Nothing."
        return
    yield ", ".join(f"{operation} {count}" for operation, count in counts(changes).items())
    yield ""
    for operation in reversed(OPERATIONS):
        of_these = sorted((each for each in changes if each.operation == operation), key=lambda each: each.kind)
        for kind, group in groupby(of_these, key=lambda each: each.kind):
            resources = list(group)
            what = ("steps on hosts" if len(resources) > 1 else "step on a host") if kind == "step" else kind
            yield f"- **{operation}** {len(resources)} {what}: {_named(resources)}"


def _named(changes: Sequence[Change]) -> str:
    """Names, those with the same properties that differ together; and steps by node, nodes with the same steps too."""
    alike: dict[str, list[str]] = {}
    steps: dict[str, list[str]] = {}
    for each in changes:
        if each.kind == "step" and (found := STEP.fullmatch(each.name)):
            steps.setdefault(found[1], []).append(found[2])
        else:
            alike.setdefault(", ".join(each.properties), []).append(each.name)
    for node, names in steps.items():
        alike.setdefault(", ".join(names), []).append(node)
    return "; ".join(_some(names) + (f" ({what})" if what else "") for what, names in alike.items())


def _some(words: Sequence[str]) -> str:
    more = len(words) - MOST_NAMES
    return ", ".join(words[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _interruptions(review: Review) -> Iterator[str]:
    if review.plan is None:
        yield "Not known: the stack file cannot be rendered."
        return
    if not (found := review.interruptions):
        yield "Nobody notices."
    for each in found:
        if each.row is None:
            yield (
                f"- **{_some(each.what)}**: goes, or is replaced. What that interrupts is not known here; look at "
                f"`tools/pulumi preview -s {review.stack} --diff`"
            )
            continue
        yield f"- **{_some(each.what)}**: {each.row.happens}. Who notices: {each.row.notices}."
        if len(each.turns) > 1:
            yield f"  - in {len(each.turns)} turns: {'; then '.join(_some(turn) for turn in each.turns)}"
        if each.turns:
            yield f"  - {'each turn' if len(each.turns) > 1 else 'it'} waits for sessions, at most {each.minutes} min"


def _findings(findings: Sequence[Finding]) -> Iterator[str]:
    if not findings:
        yield "No findings."
    for each in findings:
        about = f" {each.resource}:" if each.resource else ""
        yield f"- **{each.level}** {each.policy}:{about} {_line(each.message)}"


def _line(text: str) -> str:
    return " ".join(text.split())


def _files(review: Review, room: int | None) -> Iterator[str]:
    files = review.files
    yield "## What changes in host files\n"
    if files is None:
        yield from _incomparable(review)
        return
    if not files:
        yield f"Nothing: {review.base} and the working tree make the same files."
    for each in files:
        text, note = each.text, ""
        if room is not None:
            shown = _lines_within(text, room - 200)
            room -= len(shown) + 100
            if shown != text:
                note = f"\n\n{len(text.splitlines()) - len(shown.splitlines())} more lines are not shown here."
            text = shown
        yield f"### {each.name}\n\n{fenced(text, 'diff') if text else ''}{note}\n"


def _incomparable(review: Review) -> Iterator[str]:
    for name, rendering in ((review.base, review.before), ("The working tree", review.after)):
        if rendering.problem:
            yield f"{name} cannot be rendered:\n\n{fenced(rendering.problem.strip())}\n"
        elif rendering.is_missing:
            missing = f"{name} has no stack file stacks/Pulumi.{review.stack}.yaml"
            new = rendering is review.before and review.after.files is not None
            yield f"{missing}{': all of it is new, see `make render`' if new else ''}.\n"


def _lines_within(text: str, room: int) -> str:
    """As many whole lines of a text as fit."""
    if len(text) <= room:
        return text
    return text[: max(0, text.rfind("\n", 0, max(0, room)))]
