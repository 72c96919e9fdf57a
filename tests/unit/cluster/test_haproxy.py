"""The load balancer as data, and as text."""

from __future__ import annotations

import copy
import dataclasses
import posixpath
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster import capacity, haproxy, host_files, render
from cluster.haproxy import Balance, Pool, Route, Server, load_balancer
from cluster.plan import ClusterPlan, plan
from cluster.settings import load
from tests.unit.cluster.conftest import VALID
from tests.unit.cluster.haproxy_text import of_kind, sections
from tools.render import stack_plan

GOLDEN = Path(__file__).parent / "golden"
Make = Callable[..., ClusterPlan]


def test_the_same_plan_always_gives_the_same_file(make_plan: Make) -> None:
    assert render.haproxy_cfg(make_plan()) == render.haproxy_cfg(make_plan())


@pytest.mark.parametrize("stack", ["lab", "dev", "prod"])
def test_the_stacks_files_are_as_they_were_last_looked_at(stack: str) -> None:
    expected = GOLDEN / f"{stack}.haproxy.cfg"
    assert render.haproxy_cfg(stack_plan(stack)) == expected.read_text(), (
        f"read the difference, then: make render STACK={stack} >{expected.relative_to(Path.cwd())}"
    )


def test_a_new_node_adds_one_line_to_each_pool_and_changes_no_other(make_plan: Make) -> None:
    def lines(edges: int) -> list[str]:
        media = {"ami": "ami-0123456789abcdef0", "edges": {"count": edges}}
        return render.haproxy_cfg(make_plan(media=media)).splitlines()

    before, after = lines(1), lines(2)
    added = [line.split()[:2] for line in after if line not in before]
    pools = [pool.name for pool in every_pool(load_balancer(make_plan()))]
    assert added == [["server", "edge-2"]] * len(pools)
    assert [line for line in after if "edge-2" not in line] == before


def test_a_changed_timeout_changes_one_line(make_plan: Make) -> None:
    before = render.haproxy_cfg(make_plan()).splitlines()
    after = render.haproxy_cfg(make_plan(loadBalancer={"timeouts": {"tunnelMinutes": 90}})).splitlines()
    assert [(a, b) for a, b in zip(before, after, strict=True) if a != b] == [
        ("    timeout tunnel 120m", "    timeout tunnel 90m")
    ]


@given(memory_gib=st.integers(1, 1024))
def test_connections_of_two_workers_fit_memory_and_file_limit(memory_gib: int) -> None:
    connections = capacity.max_connections(memory_gib)
    assert connections >= capacity.MEDIA_MINIMUM
    assert 2 * connections * capacity.MEMORY_PER_CONNECTION_KIB <= memory_gib * 1024 * 1024 * 0.75
    assert (connections + capacity.RESERVE) * 2 + 100 <= capacity.FILE_LIMIT


def every_pool(lb: haproxy.LoadBalancer) -> tuple[Pool, ...]:
    return (lb.nodes, *lb.pools, lb.rtmp)


COUNTS = st.integers(1, 100)


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    """Settings that are right, of every kind that shapes haproxy.cfg."""
    mode = draw(st.sampled_from(["letsencrypt", "self-signed", "none"]))
    balancer: dict[str, Any] = {
        "clearHttp": draw(st.sampled_from(["serve"] if mode == "none" else ["redirect", "serve"])),
        "stickiness": draw(st.booleans()),
        "limits": draw(st.sampled_from([False, {}, {"connections": 10}])),
        "instanceType": draw(st.sampled_from(["t3.small", "c6i.8xlarge"])),
    }
    for name in ("publishName", "playName"):
        if draw(st.booleans()):
            balancer[name] = f"{name.lower()}.example.com"
    media = {
        **VALID["media"],
        "origins": {"count": draw(COUNTS)},
        "edges": {"count": draw(COUNTS)},
        "apps": draw(st.lists(st.from_regex(r"\A(?!rest\Z)[A-Za-z][A-Za-z0-9_-]{0,9}\Z"), min_size=1, max_size=4)),
    }
    if draw(st.booleans()):
        media |= {"edition": "community", "origins": {"count": 1}}
        del media["edges"]
    return {**copy.deepcopy(VALID), "tls": {"mode": mode}, "loadBalancer": balancer, "media": media}


@given(values=configurations())
def test_every_configuration_is_sound(values: dict[str, Any]) -> None:
    made = plan(load(values, now=datetime(2026, 11, 22, tzinfo=UTC)), project="antmedia", stack="test")
    lb, text = load_balancer(made), render.haproxy_cfg(made)
    addresses = {str(node.address) for node in made.media}
    for pool in every_pool(lb):
        assert {server.address for server in pool.servers} == addresses, f"{pool.name} lacks a node"
        assert any(not server.backup for server in pool.servers), f"{pool.name} has backups only"
    binds = [words[1] for _, words in of_kind(text, "bind")]
    assert len(binds) == len(set(binds)), "an address is bound twice"
    backends = {name.split()[1] for name in sections(text) if name.startswith("backend")}
    used = {words[1] for keyword in ("use_backend", "default_backend") for _, words in of_kind(text, keyword)}
    assert used <= backends
    assert backends - used <= {"addresses"}, "a backend that nothing leads to"
    for section, lines in sections(text).items():
        acls = {line.split()[1] for line in lines if line.startswith("acl ")}
        for line in lines:
            if line.startswith("use_backend") and "{" not in line:
                assert {word.removeprefix("!") for word in line.split()[3:]} <= acls, f"{section}: {line}"
    assert "password" not in text
    assert "correct-horse" not in text
    assert ("Strict-Transport-Security max-age" in text) == (
        values["tls"]["mode"] == "letsencrypt" and values["loadBalancer"]["clearHttp"] == "redirect"
    )


def test_two_listeners_on_one_port_are_refused(make_plan: Make) -> None:
    with pytest.raises(ValueError, match="two listeners on port 443"):
        dataclasses.replace(load_balancer(make_plan()), stats_port=443)


def test_a_route_to_an_unknown_pool_is_refused(make_plan: Make) -> None:
    with pytest.raises(ValueError, match="leads to the pool nowhere"):
        dataclasses.replace(load_balancer(make_plan()), routes=(Route(("websocket",), "nowhere"),))


@pytest.mark.parametrize(("what", "second"), [("name", ("a", "10.0.0.2")), ("address", ("b", "10.0.0.1"))])
def test_a_server_twice_in_a_pool_is_refused(what: str, second: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match=f"has the {what} .* twice"):
        Pool("p", (Server("a", "10.0.0.1", 5080), Server(*second, 5080)))


def routes_of(made: ClusterPlan) -> dict[tuple[str, ...], str]:
    return {route.conditions: route.pool for route in load_balancer(made).routes}


def test_what_is_published_goes_to_origins_and_what_is_played_to_where_it_is(make_plan: Make) -> None:
    routes = routes_of(make_plan())
    assert {routes[name,] for name in ("rest", "!application", "websocket", "to_origin")} == {"origins"}
    assert (routes["whip",], routes["whep",]) == ("whip", "whep")
    assert routes["to_edge",] == "edges"
    assert routes["stream", "reading"] == "edges", "the nodes of a cluster fetch what they lack"
    alone = routes_of(make_plan(database={"mode": "none"}))
    assert alone["stream", "reading"] == "origins", "nodes that are no cluster have what was published to them"


def test_names_of_their_own_lead_publishers_and_players(make_plan: Make) -> None:
    assert ("to_play",) not in routes_of(make_plan())
    named = {"publishName": "in.example.com", "playName": "out.example.com"}
    routes = routes_of(make_plan(loadBalancer=named))
    assert (routes["to_publish",], routes["to_play",]) == ("origins", "edges")


def test_origins_and_edges_stand_in_for_each_other(make_plan: Make) -> None:
    pools = {pool.name: pool for pool in every_pool(load_balancer(make_plan()))}
    preferred = dict.fromkeys(("origins", "whip", "rtmp"), "origin-1") | dict.fromkeys(("edges", "whep"), "edge-1")
    for name, first in preferred.items():
        assert [server.name for server in pools[name].servers if not server.backup] == [first], name
    assert not any(server.backup for server in pools["nodes"].servers)
    assert pools["whip"].balance is pools["whep"].balance is Balance.RESOURCE


def test_each_node_is_checked_once_and_every_pool_goes_by_it(make_plan: Make) -> None:
    text = render.haproxy_cfg(make_plan())
    assert [section for section, _ in of_kind(text, "http-check")] == ["backend nodes from node"] * 2
    for section, words in of_kind(text, "server"):
        if section not in ("backend nodes from node", "backend acme from http", "backend tls-inside from tcp"):
            assert f"nodes/{words[1]}" in words, section


def test_administrators_alone_reach_what_is_no_application(make_plan: Make) -> None:
    lines = sections(render.haproxy_cfg(make_plan(media={**VALID["media"], "apps": ["LiveApp", "Other"]})))
    rules = lines["defaults node from http"]
    assert "acl application path,url_dec -m reg ^/(LiveApp|Other)(/|$)" in rules
    # In this order: what is plain or an administrator's passes, and what is left is looked at closely.
    last = ["http-request allow if administrator", "http-request deny deny_status 403 if !application",
            "http-request deny deny_status 403 if application_rest"]  # fmt: skip
    assert [rule for rule in rules if rule in last] == last
    for section in lines:
        if section.startswith("backend") and section.endswith("from http"):
            assert section.split()[1] in ("to-tls", "acme"), f"{section} serves a node without the rules"


def disguised(path: str, make_plan: Make) -> bool:
    """Whether the rule of haproxy.cfg takes a path (decoded) for one that seems another."""
    rules = sections(render.haproxy_cfg(make_plan()))["defaults node from http"]
    pattern = next(rule for rule in rules if rule.startswith("acl disguised")).split("-m reg ")[1].strip("'")
    return re.search(pattern, path) is not None


@pytest.mark.parametrize(
    "path",
    ["/LiveApp/../rest/v2", "/LiveApp/..;/rest", "/LiveApp/./rest", "//rest", "/LiveApp;x/rest", "/LiveApp\\rest",
     "/LiveApp/rest;a=b/v2", "/LiveApp/..", "/LiveApp/;jsessionid=1/../rest", "/LiveApp/\x01"],
)  # fmt: skip
def test_a_path_that_seems_another_is_seen(path: str, make_plan: Make) -> None:
    assert disguised(path, make_plan)
    assert not plain(path, make_plan)


def plain(path: str, make_plan: Make) -> bool:
    """Whether the rule of haproxy.cfg lets a path pass without a closer look."""
    rules = sections(render.haproxy_cfg(make_plan()))["defaults node from http"]
    (pattern,) = (rule.split()[5] for rule in rules if rule.startswith("http-request allow if { path_reg "))
    return re.search(pattern, path) is not None


@pytest.mark.parametrize(
    "path",
    ["/", "/rest/v2/version", "/index.html", "/LiveApp/rest", "/LiveApp/rest/v2", "/LiveApp/%72est", "/LiveApp%2frest",
     "/LiveAppX/", "/LiveApp", "/x/LiveApp/", "/LiveApp/%2e%2e/rest", "/LiveApp/a//b", "/LiveApp/.well-known"],
)  # fmt: skip
def test_only_plain_paths_of_viewers_pass_without_a_closer_look(path: str, make_plan: Make) -> None:
    assert not plain(path, make_plan)
    assert plain("/LiveApp/", make_plan)
    assert plain("/LiveApp/streams/a_b-c.d~1/x.m3u8", make_plan)
    assert plain("/LiveApp/restful", make_plan)


@given(path=st.from_regex(r"\A/[A-Za-z0-9_/.,~=:@+;%\\-]*\Z"))
def test_no_plain_path_is_another_one_for_a_node(path: str) -> None:
    made = plan(load(copy.deepcopy(VALID), now=datetime(2026, 11, 22, tzinfo=UTC)), project="p", stack="s")
    for tried in (path, f"/LiveApp{path}", f"/LiveApp{path}rest/v2"):
        if plain(tried, lambda: made):
            as_a_node_reads_it = posixpath.normpath(unquote(tried).split(";")[0]).split("/")
            assert as_a_node_reads_it[1] == "LiveApp"
            assert as_a_node_reads_it[2:3] != ["rest"]


@pytest.mark.parametrize("path", ["/LiveApp/", "/LiveApp/streams/a.b..c.m3u8", "/LiveApp/x;jsessionid=AB.node1"])
def test_an_ordinary_path_is_let_pass(path: str, make_plan: Make) -> None:
    assert not disguised(path, make_plan)


def test_the_statistics_page_asks_for_a_login_over_tls_and_hides_the_version(make_plan: Make) -> None:
    lines = sections(render.haproxy_cfg(make_plan()))["frontend stats from http"]
    assert lines[0].startswith("bind :6080 ssl crt ")
    assert "http-request auth realm statistics unless { http_auth(stats) }" in lines
    assert "stats hide-version" in lines


@pytest.mark.parametrize("mode", ["self-signed", "none"])
def test_certificate_validations_are_let_in_only_where_they_are_asked_for(make_plan: Make, mode: str) -> None:
    assert "acme" in render.haproxy_cfg(make_plan())
    assert "acme" not in render.haproxy_cfg(make_plan(tls={"mode": mode}))


def test_without_tls_viewers_are_served_in_the_clear_and_the_statistics_are_not(make_plan: Make) -> None:
    found = sections(render.haproxy_cfg(make_plan(tls={"mode": "none"})))
    for name, port in (("http", 80), ("ams-http", 5080)):
        lines = found[f"frontend {name} from http"]
        assert lines[0] == f"bind :{port}"
        assert lines[-1] == "default_backend nodes"
    assert "frontend tls from tcp" not in found
    assert "ssl crt" in found["frontend stats from http"][0]


def test_clear_http_is_served_where_it_is_asked_for(make_plan: Make) -> None:
    found = sections(render.haproxy_cfg(make_plan(loadBalancer={"clearHttp": "serve"})))
    assert found["frontend http from http"][-1] == "default_backend nodes"
    assert found["frontend ams-http from tcp"][-1] == "default_backend nodes"
    assert "frontend tls from tcp" in found


def test_stickiness_and_limits_can_be_switched_off(make_plan: Make) -> None:
    assert "cookie JSESSIONID prefix nocache" in render.haproxy_cfg(make_plan())
    text = render.haproxy_cfg(make_plan(loadBalancer={"stickiness": False, "limits": False}))
    for word in ("JSESSIONID", " cookie ", "stick-table", "track-sc0", "429"):
        assert word not in text, word


def test_limits_are_counted_over_ten_seconds(make_plan: Make) -> None:
    limits = {"connections": 50, "newConnectionsPerSecond": 3, "requestsPerSecond": 7}
    text = render.haproxy_cfg(make_plan(loadBalancer={"limits": limits}))
    assert "sc_conn_cur(0) gt 50 " in text
    assert "sc_conn_rate(0) gt 30 " in text
    assert "sc_http_req_rate(0) gt 70 " in text


def test_a_reload_loses_no_request_on_any_listener_for_http(make_plan: Make) -> None:
    found = sections(render.haproxy_cfg(make_plan()))
    for section in ("defaults http from common", "frontend tls from tcp", "frontend ams-http from tcp"):
        assert "option idle-close-on-response" in found[section], section


def test_media_leaves_a_reserve(make_plan: Make) -> None:
    text = render.haproxy_cfg(make_plan(loadBalancer={"maxConnections": 5000}))
    assert "maxconn 5500" in sections(text)["global"]
    for listener in ("ams-http from tcp", "tls from tcp", "rtmp from tcp"):
        assert "tcp-request connection reject if { act_conn gt 5000 }" in sections(text)[f"frontend {listener}"]


def test_settings_for_certbot_are_harmless_for_a_shell(make_plan: Make) -> None:
    made = make_plan(
        tls={"email": "ops@example.com", "extraNames": ["www.example.com"]},
        loadBalancer={"playName": "play.example.com"},
    )
    assert "".join(host_files.certificate_settings(made.settings, "198.51.100.1", "arn:x")) == (
        "names=(live.example.com www.example.com play.example.com)\n"
        "email=ops@example.com\n"
        "directory=https://acme-v02.api.letsencrypt.org/directory\n"
        "address=198.51.100.1\n"
        "store=arn:x\n"
    )
