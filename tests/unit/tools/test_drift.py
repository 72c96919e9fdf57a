"""What `make drift` makes of what hosts answer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from cluster import host_files
from cluster.host_state import Deployed, Finding, What, expected
from cluster.plan import ClusterPlan, Node, plan
from cluster.settings import load
from tests.unit.cluster.conftest import HOST_KEY, NOW, PRIVATE_KEY, VALID
from tests.unit.cluster.test_host_state import as_it_is_to_be
from tools import drift
from tools.drift import Inspector, UnreachableError
from tools.recovery.stack import RecoveryError, Stack, State

STACK = Stack("mine")
ADDRESS = "198.51.100.1"
DEPLOYED = Deployed(ADDRESS, None, None)


def state(*nodes: str, **deployment: Any) -> State:
    """Of a stack with these nodes and, for each, a step `configure`."""
    outputs = {
        "loadBalancerAddress": ADDRESS,
        "nodes": {
            name: {"role": name.partition("-")[0], "privateAddress": "172.30.0.1", "publicAddress": ADDRESS}
            for name in nodes
        },
    }
    steps = [f"urn:pulumi:mine::antmedia::command:remote:Command::{name}-configure" for name in nodes]
    resources = [
        {"urn": "urn:pulumi:mine::antmedia::pulumi:pulumi:Stack::x", "type": "pulumi:pulumi:Stack", "outputs": outputs},
        *({"urn": urn, "type": "command:remote:Command", "id": "c"} for urn in steps),
    ]
    return State({"deployment": {"resources": resources, **deployment}})


@pytest.fixture
def cluster() -> ClusterPlan:
    settings = load({**VALID, "tls": {"mode": "self-signed"}, "database": {"mode": "none"}}, now=NOW)
    return plan(settings, project="antmedia", stack="mine")


Ask = Callable[..., list[Finding]]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, cluster: ClusterPlan) -> Ask:
    """Inspects the cluster; those that `answers` names answer so, every other host differs in nothing."""

    def run(answers: Mapping[str, Any] | None = None, nodes: tuple[str, ...] = ()) -> list[Finding]:
        def seen(_: Inspector, node: Node, request: Mapping[str, Any]) -> Mapping[str, Any]:
            found = (answers or {}).get(node.name)
            if isinstance(found, Exception):
                raise found
            as_planned = as_it_is_to_be(expected(cluster, node, DEPLOYED))
            return {**as_planned, "salts": {}, **(found or {})}

        monkeypatch.setattr(Inspector, "_seen", seen)
        return drift.inspect(cluster, state(*(nodes or [each.name for each in cluster.nodes])), STACK)

    return run


def test_a_deployment_as_it_is_to_be_differs_in_nothing(ask: Ask, cluster: ClusterPlan) -> None:
    assert ask() == []
    assert drift.text([], [], cluster) == f"Nothing differs on {len(cluster.nodes)} hosts.\n"


def test_what_no_step_mends_has_a_command_of_its_own(ask: Ask, cluster: ClusterPlan) -> None:
    there = as_it_is_to_be(expected(cluster, cluster.load_balancer, DEPLOYED))["packages"]
    (found,) = ask({"lb-1": {"packages": {**there, "socat": "hold ok installed"}}})
    assert found.remedy == 'make ssh STACK=mine NODE=lb-1 ARGS="-- sudo apt-mark unhold socat"'


def test_a_host_that_does_not_answer_is_a_difference_with_its_remedy(ask: Ask) -> None:
    (found,) = ask({"edge-1": UnreachableError("Connection timed out")})
    assert (found.node, found.what, found.found) == ("edge-1", What.HOST, "Connection timed out")
    assert found.remedy == "has the host died? Then: make repair STACK=mine NODE=edge-1"


def test_without_the_load_balancer_the_others_are_not_called_dead(ask: Ask, cluster: ClusterPlan) -> None:
    timed_out = UnreachableError("Connection timed out")
    found = ask({node.name: timed_out for node in cluster.nodes})
    (first, *others) = found
    assert "adminCidrs" in first.remedy
    assert "make repair STACK=mine NODE=lb-1" in first.remedy
    assert {each.found for each in others} == {"not asked: the way to it is lb-1"}
    assert {each.remedy for each in others} == {"mend lb-1"}


def test_nodes_that_only_one_of_stack_file_and_deployment_has_are_told(ask: Ask, cluster: ClusterPlan) -> None:
    there = [node.name for node in cluster.nodes if node.name != "origin-1"]
    found = ask(nodes=(*there, "edge-9"))
    assert [(each.node, each.expected, each.found) for each in found] == [
        ("origin-1", "in the stack file", "not deployed"),
        ("edge-9", "not in the stack file", "deployed"),
    ]
    assert {each.remedy for each in found} == {"tools/pulumi up -s mine"}


def test_a_stack_without_hosts_cannot_be_looked_at(cluster: ClusterPlan) -> None:
    with pytest.raises(RecoveryError, match="has no hosts"):
        drift.inspect(cluster, State({}), STACK)


def test_one_command_runs_the_steps_again_that_mend(cluster: ClusterPlan) -> None:
    found = [
        Finding("lb-1", What.CONTENT, "/etc/haproxy/haproxy.cfg", "a", "b", step="configure"),
        Finding("lb-1", What.ACTIVE, "haproxy.service", "active", "inactive", step="configure"),
        Finding("edge-1", What.MODE, "/x", "644", "600", step="configure"),
        Finding("edge-1", What.MODE, "/x", "644", "600", step="new-in-the-program"),
        Finding("edge-2", What.MODE, "/etc/ssh/sshd_config.d/10-antmedia.conf", "644", "600"),
        Finding("lb-1", What.PACKAGE, "socat", "install ok installed", "hold ok installed", remedy="by hand"),
    ]
    assert drift.mending(found, state("lb-1", "edge-1", "edge-2"), STACK) == [
        "tools/pulumi up -s mine --replace '**::lb-1-configure' --replace '**::edge-1-configure'",
        "make repair STACK=mine NODE=edge-2",
        "by hand",
    ]


def test_every_finding_is_a_sentence_under_its_host(cluster: ClusterPlan) -> None:
    found = [
        Finding("lb-1", What.CONTENT, "/a", "what the program puts there", "something else", diff="-x\n+y"),
        Finding("lb-1", What.MODE, "/b", "644", "600"),
        Finding("edge-1", What.ACTIVE, "antmedia.service", "active", "failed"),
        Finding("edge-2", What.HOST, "edge-2", "answers", "Connection timed out", remedy="R"),
    ]
    assert drift.text(found, ["M"], cluster) == (
        "lb-1\n"
        "  /a holds something else; expected: what the program puts there\n"
        "    -x\n"
        "    +y\n"
        "  /b has the mode 600; expected: 644\n"
        "edge-1\n"
        "  antmedia.service is failed; expected: active\n"
        "edge-2\n"
        "  Connection timed out; expected: answers\n"
        "\n"
        "What mends it:\n"
        "  M\n"
    )


def test_the_password_of_the_statistics_page_is_compared_with_the_salt_of_the_host(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = host_files.STATS_USERS.path
    arguments: list[str] = []
    real = subprocess.run

    def run(command: list[str], **options: Any) -> Any:
        arguments.extend(command)
        return real(command, **options)

    monkeypatch.setattr(subprocess, "run", run)
    assert [(each.what, each.subject) for each in ask({"lb-1": {"salts": {users: "0123456789abcdef"}}})] == [
        (What.CONTENT, users)
    ]
    assert VALID["stats"]["password"] not in arguments
    hashed = drift._hashed(VALID["stats"]["password"], "0123456789abcdef")
    assert hashed.startswith("$6$0123456789abcdef$")
    assert len(hashed) == len("$6$0123456789abcdef$") + 86


def test_the_question_goes_by_standard_input_and_what_ssh_says_is_told(
    monkeypatch: pytest.MonkeyPatch, cluster: ClusterPlan, tmp_path: Path
) -> None:
    ran: list[tuple[list[str], str]] = []
    answers = [
        subprocess.CompletedProcess([], 0, '{"files": {}}', ""),
        subprocess.CompletedProcess([], 255, "", "noise\nssh: connect to host: Connection refused\n"),
        subprocess.CompletedProcess([], 0, "Welcome!", ""),
    ]

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        ran.append((command, options["input"]))
        return answers[len(ran) - 1]

    monkeypatch.setattr(subprocess, "run", run)
    inspector = Inspector(cluster, state("lb-1").outputs["nodes"], DEPLOYED, tmp_path)
    assert inspector._seen(cluster.load_balancer, {"files": {}}) == {"files": {}}
    assert ran[0][0][-4:] == [f"deploy@{ADDRESS}", "sudo", "python3", "-"]
    assert "BatchMode=yes" in ran[0][0]
    assert ran[0][1].endswith("\nmain({'files': {}})\n")
    for said in ("Connection refused", "not what was asked"):
        with pytest.raises(UnreachableError, match=said):
            inspector._seen(cluster.load_balancer, {"files": {}})


def command_line(monkeypatch: pytest.MonkeyPatch, held: State, *words: str) -> int:
    """`tools.drift mine WORDS` where the stack has this state and the valid configuration."""
    config = {
        **{f"antmedia:{key}": {"objectValue": value} for key, value in VALID.items() if isinstance(value, dict | list)},
        "antmedia:domain": {"value": VALID["domain"]},
        "antmedia:ssh": {"objectValue": {"privateKey": PRIVATE_KEY, "hostKey": HOST_KEY}, "secret": True},
        "aws:region": {"value": "us-east-1"},
    }

    def pulumi(_: Stack, *arguments: str, **__: Any) -> str:
        return json.dumps(held.document if arguments[:2] == ("stack", "export") else config)

    monkeypatch.setattr(Stack, "pulumi", pulumi)
    monkeypatch.setattr(sys, "argv", ["drift", "mine", *words])
    return drift.main()


def test_the_exit_code_tells_a_difference_from_not_having_looked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(drift, "inspect", lambda *_: [])
    assert command_line(monkeypatch, state("lb-1")) == 0
    found = Finding("lb-1", What.MODE, "/b", "644", "600", step="configure")
    monkeypatch.setattr(drift, "inspect", lambda *_: [found])
    capsys.readouterr()
    assert command_line(monkeypatch, state("lb-1"), "--json") == 2
    told = json.loads(capsys.readouterr().out)
    assert told["findings"][0]["found"] == "600"
    assert told["mend"] == ["tools/pulumi up -s mine --replace '**::lb-1-configure'"]
    urn = "urn:pulumi:mine::antmedia::command:remote:Command::lb-1-configure"
    unfinished = {"type": "creating", "resource": {"urn": urn, "type": "command:remote:Command"}}
    assert command_line(monkeypatch, state("lb-1", pending_operations=[unfinished])) == 1
    assert "make recover STACK=mine" in capsys.readouterr().err
