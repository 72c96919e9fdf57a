"""What is read from HAProxy's answers, and what `make status` makes of it.

haproxy_answers.txt is what HAProxy 3.0.11 said in the scene that the tests tell: five nodes, one does not answer
(edge-3), one is drained (edge-1), one in maintenance (origin-2); one reload that worked, with an RTMP connection to
origin-1 held before it and another one after it, and one that failed.
"""

from __future__ import annotations

import json
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tools import status as command
from tools.live import answers
from tools.live.screen import screen, span
from tools.live.status import NotAnsweringError, Status, status
from tools.recovery.stack import RecoveryError, Stack

GATHERED = Path(__file__).with_name("haproxy_answers.txt").read_text()
TIME = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
ROLES = {"lb-1": "lb", "db-1": "db"} | {
    name: name.partition("-")[0] for name in ("origin-1", "origin-2", "edge-1", "edge-2", "edge-3")
}
OUTPUTS: dict[str, Any] = {
    "certificate": {"mode": "letsencrypt", "names": ["live.example.test"]},
    "nodes": {
        name: {"role": role, "privateAddress": "172.30.0.9", "publicAddress": "198.51.100.4"}
        for name, role in ROLES.items()
    },
}
IMAGES = {name: f"ami-of-{name}" for name in ROLES}


def looked(gathered: str = GATHERED, outputs: dict[str, Any] = OUTPUTS, time: datetime = TIME) -> Status:
    return status("mine", time, outputs, IMAGES, gathered)


def shown(seen: Status) -> str:
    console = Console(width=command.PLAIN_WIDTH, highlight=False, force_terminal=False)
    with console.capture() as captured:
        console.print(screen(seen))
    return captured.get()


def test_each_node_has_the_state_of_its_pool() -> None:
    states = {node.name: node.state for node in looked().nodes}
    assert states == {
        "db-1": None,
        "origin-1": "up",
        "origin-2": "maint",
        "edge-1": "drain",
        "edge-2": "up",
        "edge-3": "down",
    }


@pytest.mark.parametrize(
    ("status_said", "state"),
    [("UP 1/2", "up"), ("DOWN 1/2", "down"), ("NOLB", "drain"), ("MAINT", "drain"), ("no check", "unknown")],
)
def test_a_node_with_sessions_is_told_by_what_haproxy_calls_it(status_said: str, state: str) -> None:
    """origin-1 has two sessions: in maintenance, as a deployment drains it, it is one that drains."""
    gathered = re.sub(r"(?m)^(nodes,origin-1(?:,[^,]*){15}),UP,", rf"\1,{status_said},", GATHERED)
    assert gathered != GATHERED
    assert {node.name: node.state for node in looked(gathered).nodes}["origin-1"] == state


def test_sessions_of_old_workers_count_and_their_connections_by_rtmp_too() -> None:
    nodes = {node.name: node for node in looked().nodes}
    assert (nodes["origin-1"].sessions, nodes["origin-1"].rtmp_connections) == (2, 2)
    assert (nodes["edge-2"].sessions, nodes["edge-2"].rtmp_connections) == (0, 0)
    (old,) = looked().load_balancer.old_workers
    assert (old.pid, old.age_seconds, old.sessions) == (33, 8, 1)


@pytest.mark.parametrize("answer", ["", "Can't find the target PID matching the prefix '@!33'\nsecond line\n"])
def test_an_old_worker_that_ends_while_it_is_asked_has_no_sessions(answer: str) -> None:
    before, _, _ = GATHERED.partition("=== statistics 33\n")
    seen = looked(f"{before}=== statistics 33\n{answer}")
    assert [worker.sessions for worker in seen.load_balancer.old_workers] == [0]
    assert {node.name: node.sessions for node in seen.nodes}["origin-1"] == 1


def test_the_last_health_check_says_how_long_it_took_or_why_it_failed() -> None:
    nodes = {node.name: node for node in looked().nodes}
    good, bad = nodes["origin-1"].last_check, nodes["edge-3"].last_check
    assert good and (good.outcome, good.http_status, good.said) == ("L7OK", 200, None)
    assert good.milliseconds is not None
    assert bad and (bad.outcome, bad.http_status, bad.said) == ("L4CON", None, "Connection refused")
    assert nodes["origin-2"].last_check is None, "nothing is checked in maintenance"


def test_a_check_that_is_under_way_does_not_change_the_outcome_of_the_last() -> None:
    check = {node.name: node.last_check for node in looked(GATHERED.replace(",L7OK,", ",* L7OK,")).nodes}["origin-1"]
    assert check and check.outcome == "L7OK"


def test_a_reload_that_failed_is_not_the_last_one() -> None:
    seen = looked().load_balancer
    assert (seen.version, seen.uptime_seconds) == ("3.0.11-1+deb13u5", 8)
    assert (seen.last_reload_seconds, seen.reloads, seen.failed_reloads) == (5, 1, 1)
    assert (seen.connections, seen.max_connections) == (1, 4500)


def test_haproxy_that_was_never_reloaded_says_so() -> None:
    gathered = GATHERED.replace("2 [failed: 1]", "1 [failed: 1]")
    assert looked(gathered).load_balancer.last_reload_seconds is None
    assert "never reloaded, 1 reloads failed" in shown(looked(gathered))


def test_days_hours_and_minutes_of_a_process_are_counted() -> None:
    found = answers.processes(
        "31   master   0 [failed: 0]   2d03h04m05s   3.0.11\n# workers\n33   worker   0   0d00h00m03s   3.0.11\n"
    )
    assert found
    assert found.master.age == 2 * 86400 + 3 * 3600 + 4 * 60 + 5
    assert found.old == ()


def test_the_certificate_has_its_names_and_the_whole_days_that_are_left() -> None:
    seen = looked().certificate
    assert seen
    assert seen.names == ("live.example.test", "www.example.test")
    assert seen.days_left == 89  # to 24 February, 17:01
    assert seen.renewal == "valid until Feb 24 17:01:49 2027 GMT"


def test_of_a_certificate_that_nobody_renews_no_renewal_is_told() -> None:
    seen = looked(outputs={**OUTPUTS, "certificate": {"mode": "provided", "names": []}}).certificate
    assert seen and seen.renewal is None


def test_a_certificate_for_an_address_is_named_by_it() -> None:
    found = answers.certificate(
        "notAfter: Feb  4 17:01:49 2027 GMT\nSubject Alternative Name: IP Address:198.51.100.4\n"
    )
    assert found and found.names == ("198.51.100.4",)
    assert found.ends == datetime(2027, 2, 4, 17, 1, 49, tzinfo=UTC)


def test_what_is_wrong_is_told_with_what_to_do() -> None:
    (problem,) = looked().problems
    assert problem == "edge-3 is down (L4CON: Connection refused). To replace it: make repair STACK=mine NODE=edge-3."


@pytest.mark.parametrize(
    ("changed", "to", "said"),
    [
        (",UP,", ",DOWN,", "No node is up"),
        ("Issuer: /CN=live.example.test", "Issuer: /CN=antmedia self-signed", "self-signed still: valid until"),
        ("notAfter: Feb 24 17:01:49 2027", "notAfter: Dec  1 11:00:00 2026", "The certificate ends in 3 days"),
        ("notAfter: Feb 24 17:01:49 2027", "notAfter: Nov 26 11:00:00 2026", "The certificate has ended"),
        ("notAfter", "gone", "no certificate"),
        ("CurrConns: 1", "CurrConns: 4100", "4100 of 4500 connections"),
        ("nodes,edge-2,", "nodes,edge-9,", "edge-2 is not in the load balancer's pools"),
    ],
)
def test_each_thing_that_needs_somebody_is_a_problem(changed: str, to: str, said: str) -> None:
    assert changed in GATHERED
    assert not [each for each in looked().problems if said in each]
    assert [each for each in looked(GATHERED.replace(changed, to)).problems if said in each]


def test_a_node_that_haproxy_has_and_the_stack_has_not_is_shown() -> None:
    nodes = {node.name: node for node in looked(GATHERED.replace("nodes,edge-2,", "nodes,edge-9,")).nodes}
    assert (nodes["edge-9"].role, nodes["edge-9"].state, nodes["edge-2"].state) == ("unknown", "up", "unknown")


def test_haproxy_that_does_not_answer_is_no_status() -> None:
    with pytest.raises(NotAnsweringError):
        looked("=== processes\n\n=== information\n=== statistics\n")


def test_the_screen_has_every_node_and_what_is_wrong() -> None:
    lines = shown(looked()).splitlines()
    (origin,) = [line for line in lines if line.startswith("origin-1")]
    assert origin.split() == [
        "origin-1",
        "origin",
        "up",
        "8",
        "s",
        "L7OK",
        "200",
        "in",
        "0",
        "ms",
        "2",
        "2",
        "ami-of-origin-1",
    ]
    assert any(line.startswith("old workers  1 still finishing: 33 (8 s old, sessions: 1)") for line in lines)
    assert any(
        "HAProxy      3.0.11-1+deb13u5, up 8 s, reloaded 5 s ago (1 in all), 1 reloads failed" in line for line in lines
    )
    assert lines[-1].startswith("! edge-3 is down")
    assert "All is well." in shown(looked().model_copy(update={"problems": ()}))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3725, "1 h 2 min"), (86400, "1 d"), (90000, "1 d 1 h")],
)
def test_a_length_of_time_is_told_in_its_two_largest_units(seconds: int, text: str) -> None:
    assert span(seconds) == text


def test_the_json_document_has_the_documented_keys() -> None:
    documented = (Path(command.__file__).parents[1] / "docs/status.md").read_text()
    document = json.loads(looked().model_dump_json(by_alias=True))

    def keys(value: Any) -> set[str]:
        if isinstance(value, dict):
            return value.keys() | {key for each in value.values() for key in keys(each)}
        return {key for each in value for key in keys(each)} if isinstance(value, list) else set()

    assert {"loadBalancer", "oldWorkers", "lastCheck", "daysLeft", "rtmpConnections"} <= keys(document)
    assert not {key for key in keys(document) if f"`{key}`" not in documented}


def test_a_stack_without_a_load_balancer_is_told_what_is_next() -> None:
    with pytest.raises(RecoveryError, match=r"The stack mine has no hosts. Next: tools/pulumi up -s mine"):
        command.entrance(Stack("mine"), {})


@pytest.mark.parametrize(
    ("shell", "said"),
    [
        ("echo 'ssh: connect: timed out' >&2; exit 255", r"cannot be reached: ssh: connect: timed out\. .*make repair"),
        ("echo 'sudo: no' >&2; exit 1", r"does not say how it is: sudo: no\."),
        ("exit 0", r"HAProxy on it does not answer.*make ssh STACK=mine NODE=lb-1"),
    ],
)
def test_what_keeps_it_from_being_seen_is_one_sentence_and_a_remedy(shell: str, said: str) -> None:
    watched = command.Watched("mine", OUTPUTS, IMAGES, "lb-1", ("bash", "-c", f"cat >/dev/null; {shell}"))
    with pytest.raises(RecoveryError, match=said):
        watched.look()


def test_nodes_are_in_the_order_of_their_roles_and_numbers() -> None:
    hosts = {
        f"{role}-{number}": {**OUTPUTS["nodes"]["edge-1"], "role": role}
        for role in ("db", "edge")
        for number in (10, 9)
    }
    seen = looked(outputs={**OUTPUTS, "nodes": {**hosts, **OUTPUTS["nodes"]}})
    order = ["origin-1", "origin-2", "edge-1", "edge-2", "edge-3", "edge-9", "edge-10", "db-1", "db-9", "db-10"]
    assert [node.name for node in seen.nodes] == order


def test_a_narrow_terminal_cuts_nothing_off() -> None:
    console = Console(width=80, highlight=False, force_terminal=False)
    with console.capture() as captured:
        console.print(screen(looked()))
    said = captured.get()
    assert "…" not in said
    assert max(map(len, said.splitlines())) <= 80
    for whole in ("origin-1", "drain", "sessions"):
        assert whole in said


def test_a_terminal_is_not_taken_when_the_first_look_gets_no_answer() -> None:
    def look() -> Status:
        raise RecoveryError("It cannot be reached.")

    console = Console(force_terminal=True)
    with console.capture() as captured, pytest.raises(RecoveryError):
        command.watch(look, console, 0)
    assert captured.get() == ""


def test_a_terminal_is_shown_the_last_screen_while_there_is_no_answer() -> None:
    looks = iter((looked(), RecoveryError("It cannot be reached."), KeyboardInterrupt()))

    def look() -> Status:
        found = next(looks)
        if isinstance(found, BaseException):
            raise found
        return found

    console = Console(width=command.PLAIN_WIDTH, height=40, force_terminal=True, record=True)
    with console.capture() as captured:
        command.watch(look, console, 0)
    last = captured.get().rpartition("stack mine")[2]
    assert "edge-3" in last
    assert "It cannot be reached." in last


def test_the_answers_are_gathered_one_by_one_and_one_that_is_missing_is_empty(tmp_path: Path) -> None:
    socat = tmp_path / "socat"
    socat.write_text(
        "#!/bin/bash\nread -r asked\n"
        'case $asked in "show proc") printf "1 master\\n# old workers\\n33  worker\\n34  worker\\n# programs\\n" ;;\n'
        '"show info") exit 1 ;; *) echo "${@: -1} $asked" ;; esac\n'
    )
    socat.chmod(0o755)
    done = subprocess.run(
        ["bash", "-s", "--", "/admin", "/master", "/site.pem", str(tmp_path / "none")],
        input=command.GATHER, capture_output=True, text=True, check=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
    )  # fmt: skip
    said = answers.sections(done.stdout)
    assert said == {
        "processes": "1 master\n# old workers\n33  worker\n34  worker\n# programs\n",
        "information": "",
        "statistics": "UNIX-CONNECT:/admin show stat\n",
        "certificate": "UNIX-CONNECT:/admin show ssl cert /site.pem\n",
        "renewal": "",
        "statistics 33": "UNIX-CONNECT:/master @!33 show stat\n",
        "statistics 34": "UNIX-CONNECT:/master @!34 show stat\n",
    }
