"""`make review`: what would change, whom it interrupts, how host files differ."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.markdown import fenced
from tools.render import stack_plan
from tools.review import rendering
from tools.review.interruptions import (
    ADDED,
    ADDRESS,
    BALANCER_REPLACED,
    BALANCER_RESIZED,
    FIREWALL,
    RELOADED,
    REMOVED,
    REPLACED,
    SERVERS,
    VOLUME_GROWN,
    VOLUME_LOST,
    Row,
    interruptions,
    table,
)  # fmt: skip
from tools.review.preview import Change, Finding, Preview, read
from tools.review.rendering import Rendering, ReviewError
from tools.review.report import Review, counts, document, markdown

CHECKOUT = Path(__file__).resolve().parents[3]
INSTANCE = "aws:ec2/instance:Instance"
COMMAND = "command:remote:Command"
VOLUME = "aws:ebs/volume:Volume"
PROD = stack_plan("prod")
URN = "urn:pulumi:prod::antmedia::antmedia:media:MediaNodes$"


def event(op: str, kind: str, name: str, *, custom: bool = True, inputs: Any = None, **more: Any) -> str:
    """A line as the CLI prints it."""
    state = {"type": kind, "urn": f"{URN}{kind}::{name}", "custom": custom, "inputs": inputs or {}}
    step = {"op": op, "urn": state["urn"], "type": kind, "old": None, "new": state, "detailedDiff": None, **more}
    return json.dumps({"sequence": 1, "timestamp": 1, "resourcePreEvent": {"metadata": step, "planning": True}})


def diagnostic(severity: str, message: str, **more: Any) -> str:
    found = {"severity": severity, "message": message, "color": "never", **more}
    return json.dumps({"sequence": 1, "timestamp": 1, "diagnosticEvent": found})


def replaced(*nodes: str, instance: bool = True) -> list[Change]:
    """What a preview has for media nodes that are replaced, or whose servers are started again."""
    kinds = [(INSTANCE, "")] if instance else []
    return [Change("replace", kind, node + end) for node in nodes for kind, end in [*kinds, (COMMAND, "-drain")]]


def rows(changes: list[Change]) -> list[Row | None]:
    return [each.row for each in interruptions(changes, PROD)]


def review(changes: list[Change], **more: Any) -> Review:
    preview = Preview(failed=False, changes=tuple(changes), findings=None, errors=())
    same = Rendering({"haproxy.cfg": "a\n"})
    return Review(**{
        "stack": "prod", "base": "main", "before": same, "after": same, "plan": PROD, "preview": preview,
        **more,
    })  # fmt: skip


def test_a_replacement_is_counted_once_and_components_and_what_stays_are_not() -> None:
    differing = {path: {"diffKind": "update"} for path in ("ami", "tags.Name", "tags['Role']", "publicIp")}
    lines = [
        "Installing policy pack antmedia...",
        event("same", INSTANCE, "lb-1"),
        event("create", "antmedia:host:RemoteHost", "edge-2", custom=False),
        event("update", "pulumi:pulumi:Stack", "antmedia-prod"),
        event("delete-replaced", INSTANCE, "edge-1"),
        event("replace", INSTANCE, "edge-1", inputs={"ami": "ami-1", "tags": {}}, detailedDiff=differing),
        event("create-replacement", INSTANCE, "edge-1"),
        event("update", COMMAND, "lb-1-configure", inputs={"stdin": "a text"}, diffs=["stdin"]),
    ]
    preview = read(lines, failed=False, said="", has_policy=False)
    assert preview.changes == (
        Change("replace", INSTANCE, "edge-1", ("ami", "tags")),
        Change("update", COMMAND, "lb-1-configure", ("stdin",)),
    )
    assert counts(preview.changes) == {"update": 1, "replace": 1}
    assert preview.findings is None, "there is no policy pack"


def test_a_failed_preview_keeps_the_engines_message_and_the_commands() -> None:
    lines = [diagnostic("error", "stack prod: 1 mistake\n"), diagnostic("info", "x"), "{half a line"]
    preview = read(lines, failed=True, said="error: preview failed\n", has_policy=False)
    assert preview.errors == ("stack prod: 1 mistake", "error: preview failed")
    assert not review([], preview=preview).passed
    text = markdown(review([], preview=preview))
    assert "Not known." in text, "nothing seen is not nothing to change"
    assert text.index("stack prod: 1 mistake") < text.index("## What changes in host files"), "the rest is shown too"


def test_findings_of_policies_are_shown_with_level_and_resource() -> None:
    policy = {"policyName": "no-open-ssh", "enforcementLevel": "mandatory", "message": "Port 22\nis open.\n"}
    lines = [json.dumps({"policyEvent": {**policy, "resourceUrn": f"{URN}{INSTANCE}::lb-1"}})]
    preview = read(lines, failed=True, said="", has_policy=True)
    assert preview.findings == (Finding("no-open-ssh", "mandatory", "lb-1", "Port 22\nis open."),)
    assert "- **mandatory** no-open-ssh: lb-1: Port 22 is open." in markdown(review([], preview=preview))


def test_the_section_on_policies_is_there_only_with_a_policy_pack() -> None:
    assert "## Policies" not in markdown(review([]))
    preview = read([], failed=False, said="", has_policy=True)
    assert "## Policies\n\nNo findings." in markdown(review([], preview=preview))


def test_nodes_are_replaced_in_the_turns_of_the_rollout() -> None:
    """prod: two origins and four edges, one of each at a time."""
    nodes = [f"origin-{n}" for n in (1, 2)] + [f"edge-{n}" for n in (1, 2, 3, 4)]
    (found,) = interruptions(replaced(*nodes), PROD)
    assert found.row is REPLACED
    assert found.turns == (("origin-1", "edge-1"), ("origin-2", "edge-2"), ("edge-3",), ("edge-4",))
    assert found.minutes == 30


def test_a_node_that_is_left_alone_takes_no_turn() -> None:
    (found,) = interruptions(replaced("edge-1", "edge-4"), PROD)
    assert found.turns == (("edge-1",), ("edge-4",))
    both = interruptions([Change("create", INSTANCE, "edge-1"), *replaced("edge-4")], PROD)
    assert {each.row: each.turns for each in both} == {REPLACED: (("edge-4",),), ADDED: ()}


def test_servers_that_start_again_are_told_from_nodes_that_are_replaced() -> None:
    found = interruptions([*replaced("edge-1"), *replaced("edge-2", instance=False)], PROD)
    assert {each.row: each.turns for each in found} == {REPLACED: (("edge-1",),), SERVERS: (("edge-2",),)}


def test_a_removed_node_is_drained_although_the_plan_has_it_no_more() -> None:
    (found,) = interruptions([Change("delete", INSTANCE, "edge-5")], PROD)
    assert (found.row, found.what) == (REMOVED, ("edge-5",))


@pytest.mark.parametrize(
    ("change", "row"),
    [
        (Change("replace", INSTANCE, "lb-1"), BALANCER_REPLACED),
        (Change("update", INSTANCE, "lb-1", ("instanceType",)), BALANCER_RESIZED),
        (Change("update", COMMAND, "lb-1-configure", ("stdin",)), RELOADED),
        (Change("update", VOLUME, "database", ("size",)), VOLUME_GROWN),
        (Change("delete", VOLUME, "database"), VOLUME_LOST),
        (Change("replace", "aws:ec2/eip:Eip", "public-address"), ADDRESS),
        (Change("delete", "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", "lb-ssh-x"), FIREWALL),
        (Change("replace", "aws:ec2/vpc:Vpc", "vpc"), None),
    ],
)
def test_whom_a_change_interrupts_is_told(change: Change, row: Row | None) -> None:
    assert rows([change]) == [row]
    said = markdown(review([change]))
    assert (row.notices if row else "is not known here") in said


def test_what_nobody_notices_is_said_to_be_that() -> None:
    changes = [
        Change("update", INSTANCE, "lb-1", ("tags", "tagsAll")),
        Change("update", VOLUME, "database", ("tags",)),
        Change("replace", COMMAND, "lb-1-verify"),
        Change("create", "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule", "lb-ssh-x"),
    ]
    assert rows(changes) == []
    assert "Nobody notices." in markdown(review(changes))


def test_the_operations_manual_has_the_same_rows() -> None:
    assert table() in (CHECKOUT / "docs/operations.md").read_text()


def test_steps_are_listed_by_node_and_nodes_with_the_same_steps_together() -> None:
    steps = [
        Change("create", COMMAND, f"{node}-{step}") for node in ("edge-1", "edge-2") for step in ("ready", "serve")
    ]
    said = markdown(review([*steps, Change("update", INSTANCE, "lb-1", ("tags", "userData"))]))
    assert "- **create** 4 steps on hosts: edge-1, edge-2 (ready, serve)" in said
    assert "- **update** 1 Instance: lb-1 (tags, userData)" in said
    assert "create 4, update 1" in said


def test_haproxy_cfg_is_the_first_of_the_files_that_differ() -> None:
    before = {"a.sh": "1\n", "haproxy.cfg": "1\n", "same.sh": "1\n", "old.sh": "1\n"}
    after = {"a.sh": "2\n", "haproxy.cfg": "2\n", "same.sh": "1\n", "new.sh": "1\n"}
    found = rendering.differences("main", before, after)
    assert [each.name for each in found] == ["haproxy.cfg", "a.sh", "new.sh", "old.sh"]
    assert found[0].text == "--- haproxy.cfg  main\n+++ haproxy.cfg  working tree\n@@ -1 +1 @@\n-1\n+2"
    assert found[2].text.startswith("--- /dev/null\n")
    assert "+++ /dev/null\n" in found[3].text


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of this project whose last commit had another program and another stack file."""
    made = tmp_path_factory.mktemp("review") / "clone"
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    made.mkdir()
    for name in ("cluster", "templates", "stacks", "tools/__init__.py", "tools/render.py"):
        target = made / name
        target.parent.mkdir(exist_ok=True)
        subprocess.run(["cp", "-r", CHECKOUT / name, target], check=True)
    template = made / "templates/haproxy/haproxy.cfg.j2"
    template.write_text("# from the base's own templates\n" + template.read_text())
    stack = made / "stacks/Pulumi.dev.yaml"
    stack.write_text(stack.read_text().replace("t3.small", "t3.medium"))
    (made / "stacks/Pulumi.wrong.yaml").write_text("config:\n  antmedia:domian: x\n")
    (made / ".gitignore").write_text("__pycache__\n")
    for words in (
        ["init", "-q", "-b", "base"],
        ["add", "."],
        ["commit", "-q", "-m", "x"],
        ["tag", "-a", "-m", "", "v1"],
    ):
        subprocess.run([*git, *words], cwd=made, check=True)
    subprocess.run(["git", "rm", "-rq", "cluster"], cwd=made, check=True)
    subprocess.run([*git, "commit", "-q", "-m", "without a program"], cwd=made, check=True)
    return made


@pytest.mark.parametrize("ref", ["base^", "v1"])
def test_base_is_rendered_by_its_own_program_from_its_own_stack_file(repository: Path, ref: str) -> None:
    before, after = rendering.of_commit(ref, "dev", repository), rendering.of_working_tree("dev")
    assert before.files is not None and after.files is not None
    (found,) = rendering.differences(ref, before.files, after.files)
    assert "-# from the base's own templates" in found.text
    assert re.search(r"^-    maxconn 26500$", found.text, re.MULTILINE)


def test_a_working_tree_like_its_base_differs_in_nothing_and_shows_no_secret() -> None:
    before, after = rendering.of_commit("HEAD", "prod"), rendering.of_working_tree("prod")
    assert before.files is not None and after.files is not None
    assert before.files.keys() == after.files.keys()
    assert "PRIVATE KEY" not in str(after.files)


@pytest.mark.parametrize("ref", ["nope", "--help", "HEAD:Makefile", ""])
def test_a_base_that_is_not_there_is_told(ref: str) -> None:
    with pytest.raises(ReviewError, match="BASE is what the working tree is compared with"):
        rendering.of_commit(ref, "dev")


def test_a_folder_that_is_no_repository_is_told(tmp_path: Path) -> None:
    with pytest.raises(ReviewError, match="not a git repository"):
        rendering.of_commit("main", "dev", tmp_path)


def test_what_cannot_be_compared_is_told(repository: Path) -> None:
    missing = rendering.of_commit("base^", "none", repository)
    wrong = rendering.of_commit("base^", "wrong", repository)
    no_program = rendering.of_commit("base", "dev", repository)
    assert missing.is_missing
    assert "did you mean domain?" in wrong.problem
    assert "cluster" in no_program.problem
    for before, said in ((missing, "see `make render`"), (wrong, "did you mean"), (no_program, "cannot be run")):
        reviewed = review([], before=before)
        assert said in markdown(reviewed)
        assert reviewed.passed, "the working tree is what is reviewed"
    assert not review([], after=wrong).passed


def test_without_a_preview_no_engine_and_no_credentials_are_needed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tools.review", "dev", "--base", "HEAD", "--without-preview"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=True)
    assert "Without a preview" in done.stdout
    machine = subprocess.run([*command, "--json"], cwd=CHECKOUT, env=environment, capture_output=True, check=True)
    assert json.loads(machine.stdout)["preview"] is None


def test_the_document_for_machines_has_what_the_page_has() -> None:
    found = document(review(replaced("edge-1"), after=Rendering({"haproxy.cfg": "b\n"})))
    assert found["preview"]["summary"] == {"replace": 2}
    assert found["interruptions"][0]["what"] == ("edge-1",)
    assert found["files"][0]["name"] == "haproxy.cfg"
    assert json.loads(json.dumps(found))["passed"] is True


@given(text=st.text(alphabet=st.sampled_from("`~+- \nab"), max_size=200))
def test_nothing_in_a_text_ends_its_fence(text: str) -> None:
    lines = fenced(text, "diff").split("\n")
    fence = lines[0].removesuffix("diff")
    assert set(fence) == {"`"}
    assert [line for line in lines[1:] if line.strip() == fence] == [fence]


@given(longest=st.integers(800, 9000), lines=st.integers(1, 300))
def test_a_review_that_is_too_long_is_cut_in_its_diffs_and_says_so(longest: int, lines: int) -> None:
    text = "".join(f"line {n}\n" for n in range(lines))
    after = Rendering({"haproxy.cfg": text, "a.sh": text})
    said = markdown(review([], after=after), longest)
    assert len(said) <= longest
    assert len(re.findall("^```", said, re.MULTILINE)) % 2 == 0, "a fence is left open"
    assert said == markdown(review([], after=after)) or "more lines are not shown here" in said
