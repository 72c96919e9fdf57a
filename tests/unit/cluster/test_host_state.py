"""What a host is to have, and how what was seen there differs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster import host_files, host_state, render
from cluster.addressing import Role
from cluster.host_files import Kind
from cluster.host_state import INSTALLED, Deployed, Expected, Finding, What, digest, expected, findings, request
from cluster.plan import ClusterPlan, Node, plan
from cluster.settings import load
from tests.unit.cluster.conftest import NOW, VALID

DEPLOYED = Deployed(
    "198.51.100.1", "arn:aws:secretsmanager:x", "vol-0123456789abcdef0", stats_password="$6$salt$" + "h" * 86
)
SECRETS = ("correct-horse-battery", "horse-battery-correct", "battery-horse-correct", "a-licence-key")
CLUSTER = plan(
    load({**VALID, "license": {"key": "a-licence-key"}, "database": {"backup": {"bucket": "my-backups"}}}, now=NOW),
    project="antmedia",
    stack="test",
)
NODES = (CLUSTER.load_balancer, CLUSTER.media[0], CLUSTER.nodes[-1])
"""One of each kind."""


def as_it_is_to_be(wanted: Expected) -> dict[str, Any]:
    """What the inspection would answer on a host that differs in nothing."""
    seen: dict[str, Any] = {"files": {}, "properties": {}, "packages": {}, "units": {}}
    for left in wanted.values():
        for file in left.files:
            held = {
                "kind": file.kind.value,
                "mode": file.mode,
                "owner": file.owner,
                "group": file.owner,
                "digest": digest(file.content or ""),
                "text": None,
            }
            seen["files"][file.path] = None if file.kind is Kind.ABSENT else held
        for unit in left.units:
            state = seen["units"].setdefault(unit.name, {"enabled": "enabled", "active": "active"})
            if unit.enabled is False:
                state |= {"enabled": "disabled", "active": "inactive"}
        seen["packages"] |= dict.fromkeys(left.packages, INSTALLED)
        for each in left.properties:
            seen["properties"].setdefault(each.file, {})[each.name] = digest(each.value)
    return seen


def wanted(node: Node) -> Expected:
    return expected(CLUSTER, node, DEPLOYED)


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.name)
def test_a_host_as_it_is_to_be_does_not_differ(node: Node) -> None:
    assert findings(node.name, wanted(node), as_it_is_to_be(wanted(node))) == []


SPOILT: dict[What, Callable[[dict[str, Any]], list[tuple[Any, Any, Any]]]] = {
    What.PRESENCE: lambda seen: [(seen["files"], path, None) for path, held in seen["files"].items() if held],
    What.CONTENT: lambda seen: [(held, "digest", digest("x")) for held in seen["files"].values() if held],
    What.MODE: lambda seen: [(held, "mode", 0o4777) for held in seen["files"].values() if held],
    What.OWNER: lambda seen: [(held, "group", "nogroup") for held in seen["files"].values() if held],
    What.PACKAGE: lambda seen: [(seen["packages"], name, "hold ok installed") for name in seen["packages"]],
    What.ENABLED: lambda seen: [
        (unit, "enabled", "masked" if unit["enabled"] == "enabled" else "enabled") for unit in seen["units"].values()
    ],
    What.ACTIVE: lambda seen: [
        (unit, "active", "failed" if unit["active"] == "active" else "active") for unit in seen["units"].values()
    ],
    What.PROPERTY: lambda seen: [(held, name, digest("x")) for held in seen["properties"].values() for name in held],
}
"""For each kind of finding, the places of an answer that lead to one, and to nothing else."""


def unsaid(node: Node, what: What, before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether the program leaves open what was changed: the content that the host decides, and how some units start."""
    left = wanted(node).values()
    if what is What.CONTENT:
        changed = {path for path, held in after["files"].items() if held != before["files"][path]}
        decided = {file.path for each in left for file in each.files if file.content is not None}
        return not changed & decided
    if what in (What.ENABLED, What.ACTIVE):
        changed = {name for name, state in after["units"].items() if state != before["units"][name]}
        units = [unit for each in left for unit in each.units if unit.name in changed]
        return all((unit.enabled if what is What.ENABLED else unit.active) is None for unit in units)
    return False


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(NODES), st.sampled_from(list(SPOILT)), st.data())
def test_one_change_is_one_finding_of_its_kind(node: Node, what: What, data: st.DataObject) -> None:
    before = as_it_is_to_be(wanted(node))
    after = copy.deepcopy(before)
    places = SPOILT[what](after)
    if not places:
        return
    place, key, value = data.draw(st.sampled_from(places))
    place[key] = value
    found = findings(node.name, wanted(node), after)
    assert [each.what for each in found] == ([] if unsaid(node, what, before, after) else [what])


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.name)
def test_neither_the_question_nor_a_finding_holds_a_secret(node: Node) -> None:
    spoilt = as_it_is_to_be(wanted(node))
    for change in SPOILT.values():
        for place, key, value in change(spoilt):
            place[key] = value
    empty = dict.fromkeys(spoilt["files"])
    said = repr((request(wanted(node)), findings(node.name, wanted(node), {**spoilt, "files": empty})))
    for held in spoilt["files"].values():
        if held:
            held["text"] = "\n".join(SECRETS)
    secret = {file.path for left in wanted(node).values() for file in left.files if file.secret}
    found = [each for each in findings(node.name, wanted(node), spoilt) if each.subject in secret]
    said += repr(found)
    for word in (*SECRETS, DEPLOYED.stats_password or "", VALID["ssh"]["privateKey"], VALID["ssh"]["hostKey"]):
        assert word not in said


def test_a_file_that_differs_is_shown_line_by_line() -> None:
    node = CLUSTER.load_balancer
    seen = as_it_is_to_be(wanted(node))
    text = render.haproxy_cfg(CLUSTER).replace("    timeout tunnel", "    timeout tunnel 1s #")
    held = seen["files"][host_files.HAPROXY_CONFIG.path]
    held |= {"digest": digest(text), "text": text}
    (found,) = findings(node.name, wanted(node), seen)
    assert (found.what, found.step) == (What.CONTENT, "configure")
    assert "\n+    timeout tunnel 1s #" in found.diff


def test_the_text_of_a_secret_file_is_not_asked_for() -> None:
    files = request(wanted(CLUSTER.load_balancer))["files"]
    assert files[host_files.STATS_USERS.path] is None
    assert files[host_files.HAPROXY_CONFIG.path] == digest(render.haproxy_cfg(CLUSTER))


def test_a_package_that_two_steps_want_is_missing_once() -> None:
    node = CLUSTER.load_balancer
    seen = as_it_is_to_be(wanted(node))
    del seen["packages"]["socat"]
    found = findings(node.name, wanted(node), seen)
    assert [(each.what, each.subject, each.found) for each in found] == [(What.PACKAGE, "socat", "not installed")]


def test_what_another_mode_of_certificates_left_is_to_be_switched_off(make_plan: Callable[..., ClusterPlan]) -> None:
    made = make_plan(tls={"mode": "self-signed"})
    left = expected(made, made.load_balancer, DEPLOYED)
    assert "certbot" not in left
    seen = as_it_is_to_be(left)
    seen["units"][host_files.CERTIFICATE_TIMER] = {"enabled": "not-found", "active": "inactive"}
    assert findings("lb-1", left, seen) == []
    seen["units"][host_files.CERTIFICATE_TIMER] = {"enabled": "enabled", "active": "active"}
    assert [each.what for each in findings("lb-1", left, seen)] == [What.ENABLED, What.ACTIVE]


def test_what_only_a_deployment_knows_is_not_compared_before_there_is_one() -> None:
    nothing = Deployed(None, None, None)
    settings_file = host_files.CERTIFICATE_SETTINGS.path
    assert request(expected(CLUSTER, CLUSTER.load_balancer, nothing))["files"][settings_file] is None
    assert request(wanted(CLUSTER.load_balancer))["files"][settings_file] is not None


def test_a_server_without_a_cluster_is_not_asked_for_a_database(make_plan: Callable[..., ClusterPlan]) -> None:
    made = make_plan(database={"mode": "none"})
    (names,) = request(expected(made, made.media[0], DEPLOYED))["properties"].values()
    assert names == ["server.licence_key"]
    left = expected(made, made.media[0], DEPLOYED)
    seen = as_it_is_to_be(left)
    seen["properties"] = {host_files.RED5_PROPERTIES.path: {}}
    assert findings("origin-1", left, seen) == [], "an empty licence key may also be none at all"


def test_what_every_script_writes_is_expected_and_nothing_else_is() -> None:
    """Each file with a known content stands in the script of the step that is said to write it, or on its input."""
    scripts = {
        "install": {
            Role.LOAD_BALANCER: render.haproxy_install(),
            Role.DATABASE: render.database_install(CLUSTER.settings),
        },
        "certbot": {Role.LOAD_BALANCER: render.acme_certificate()},
        "configure": {Role.DATABASE: render.database_configure()},
        "accounts": {Role.DATABASE: render.database_accounts()},
        "backup": {Role.DATABASE: render.database_backup(CLUSTER)},
    }
    for node in NODES:
        for step, by_role in scripts.items():
            if node.role not in by_role:
                continue
            script = by_role[node.role]
            written = [line.split()[1] for line in script.splitlines() if line.startswith("  write /")]
            files = {file.path: file for file in wanted(node)[step].files if file.kind is Kind.FILE}
            assert sorted(written) == sorted(set(files) - {host_files.CERTIFICATE_SETTINGS.path})
            for path in written:
                file = files[path]
                assert (
                    f"  write {path} {file.octal} {file.owner} <<'ANTMEDIA_END_OF_FILE' || true\n{file.text}" in script
                )


def test_a_finding_says_which_step_mends_it() -> None:
    node = CLUSTER.nodes[-1]
    seen = as_it_is_to_be(wanted(node))
    seen["files"]["/etc/mongod.conf"]["mode"] = 0o600
    (found,) = findings(node.name, wanted(node), seen)
    assert found == Finding("db-1", What.MODE, "/etc/mongod.conf", "644", "600", step="configure")


def test_an_answer_that_is_none_is_an_error() -> None:
    with pytest.raises(KeyError):
        findings("lb-1", wanted(CLUSTER.load_balancer), {})


def test_services_that_reload_run() -> None:
    node = CLUSTER.load_balancer
    seen = as_it_is_to_be(wanted(node))
    seen["units"]["haproxy.service"]["active"] = "reloading"
    assert findings(node.name, wanted(node), seen) == []
    assert host_state.MEDIA_UNIT in {unit.name for left in wanted(CLUSTER.media[0]).values() for unit in left.units}
