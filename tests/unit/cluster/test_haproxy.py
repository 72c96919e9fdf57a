"""The load balancer as data, and as text."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster import haproxy, render
from cluster.plan import ClusterPlan


def sections(text: str) -> dict[str, list[str]]:
    """haproxy.cfg as {section line: its lines}, comments dropped."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if not line.strip() or line.strip().startswith("#"):
            continue
        if line[0] != " ":
            lines = found[line] = []
        else:
            lines.append(line.strip())
    return found


def test_the_same_plan_always_gives_the_same_file(make_plan: Callable[..., ClusterPlan]) -> None:
    assert render.haproxy_cfg(make_plan()) == render.haproxy_cfg(make_plan())


def test_a_new_node_adds_one_line_to_each_pool_and_changes_no_other(make_plan: Callable[..., ClusterPlan]) -> None:
    def lines(edges: int) -> list[str]:
        media = {"ami": "ami-0123456789abcdef0", "edges": {"count": edges}}
        return render.haproxy_cfg(make_plan(media=media)).splitlines()

    before, after = lines(1), lines(2)
    added = [line.split()[:2] for line in after if line not in before]
    assert added == [["server", "edge-2"]] * 3
    assert [line for line in after if "edge-2" not in line] == before


def test_a_changed_timeout_changes_one_line(make_plan: Callable[..., ClusterPlan]) -> None:
    before = render.haproxy_cfg(make_plan()).splitlines()
    after = render.haproxy_cfg(make_plan(loadBalancer={"timeouts": {"tunnelMinutes": 90}})).splitlines()
    assert [(a, b) for a, b in zip(before, after, strict=True) if a != b] == [
        ("    timeout tunnel 60m", "    timeout tunnel 90m")
    ]


def test_haproxy_cfg_holds_no_secret(make_plan: Callable[..., ClusterPlan]) -> None:
    text = render.haproxy_cfg(make_plan())
    assert "password" not in text
    assert "correct-horse" not in text


def test_every_frontend_in_clear_http_redirects_to_the_port_that_speaks_tls(
    make_plan: Callable[..., ClusterPlan],
) -> None:
    found = sections(render.haproxy_cfg(make_plan()))
    assert found["frontend http from http"][-2].endswith(
        "location https://%[req.hdr(host),host_only]%[capture.req.uri] if !acme"
    )
    assert found["frontend ams-http from http"][-1].endswith(
        "location https://%[req.hdr(host),host_only]:5443%[capture.req.uri]"
    )


@given(memory_gib=st.integers(1, 1024))
def test_connections_fit_memory_and_file_limit(memory_gib: int) -> None:
    connections = haproxy.max_connections(memory_gib)
    assert connections * haproxy.MEMORY_PER_CONNECTION_KIB <= memory_gib * 1024 * 1024 / 2
    assert connections * haproxy.FILES_PER_CONNECTION + 1000 <= haproxy.FILE_LIMIT


HOW_TO_MISTAKES = {
    "reqadd is gone since 2.1": r"^\s*reqadd",
    "a forged header is appended to": r"add-header X-Forwarded",
    "$DOMAIN is not expanded": r"\$DOMAIN|\$\{",
    "http-server-close costs half of the throughput": r"http-server-close",
    "option forwardfor appends": r"option forwardfor",
    "the statistics password stands in the file": r"stats auth",
    "maxconn 2000 holds up everything at 2,000 sockets": r"maxconn 2000$",
    "timeouts of 5 s truncate slow answers": r"timeout (client|server) 5s",
}


@pytest.mark.parametrize("mistake", HOW_TO_MISTAKES)
def test_the_how_tos_mistake_is_absent(mistake: str, make_plan: Callable[..., ClusterPlan]) -> None:
    assert not re.search(HOW_TO_MISTAKES[mistake], render.haproxy_cfg(make_plan()), re.MULTILINE)


def test_no_port_is_bound_twice_and_no_pool_has_an_address_twice(make_plan: Callable[..., ClusterPlan]) -> None:
    found = sections(render.haproxy_cfg(make_plan()))
    binds = [line.split()[1] for lines in found.values() for line in lines if line.startswith("bind ")]
    assert sorted(binds) == [":1935", ":443", ":5080", ":5443", ":6080", ":80"]
    for name, lines in found.items():
        servers = [line.split()[1:3] for line in lines if line.startswith("server ")]
        assert len({n for n, _ in servers}) == len({a for _, a in servers}) == len(servers), name


def test_publishing_and_playing_have_pools_of_their_own(make_plan: Callable[..., ClusterPlan]) -> None:
    found = sections(render.haproxy_cfg(make_plan()))
    assert {"backend web from http", "backend streams from http", "backend rtmp from tcp"} <= set(found)


def test_every_pool_checks_liveness_by_http(make_plan: Callable[..., ClusterPlan]) -> None:
    for name, lines in sections(render.haproxy_cfg(make_plan())).items():
        if name.startswith("backend") and name != "backend acme from http":
            assert any("/rest/v2/liveness" in line for line in lines), name
            assert any(line.startswith("default-server check port 5080") for line in lines), name


def test_the_statistics_page_asks_for_a_login_over_tls_and_hides_the_version(
    make_plan: Callable[..., ClusterPlan],
) -> None:
    lines = sections(render.haproxy_cfg(make_plan()))["frontend stats from http"]
    assert lines[0].startswith("bind :6080 ssl crt ")
    assert "http-request auth realm statistics unless { http_auth(stats) }" in lines
    assert "stats hide-version" in lines


@pytest.mark.parametrize("mode", ["self-signed", "none"])
def test_certificate_validations_are_let_in_only_where_they_are_asked_for(
    make_plan: Callable[..., ClusterPlan], mode: str
) -> None:
    assert "acme" in render.haproxy_cfg(make_plan())
    assert "acme" not in render.haproxy_cfg(make_plan(tls={"mode": mode}))


def test_without_tls_viewers_are_served_in_the_clear_and_the_statistics_are_not(
    make_plan: Callable[..., ClusterPlan],
) -> None:
    found = sections(render.haproxy_cfg(make_plan(tls={"mode": "none"})))
    assert [line for line in found["frontend web from http"] if line.startswith("bind")] == ["bind :80", "bind :5080"]
    assert "ssl crt" in found["frontend stats from http"][0]
    assert "frontend http from http" not in found


def test_settings_for_certbot_are_harmless_for_a_shell(make_plan: Callable[..., ClusterPlan]) -> None:
    plan = make_plan(
        tls={"email": "ops@example.com", "extraNames": ["www.example.com"]},
        loadBalancer={"playName": "play.example.com"},
    )
    assert render.acme_settings(plan.settings) == (
        "names=(live.example.com www.example.com play.example.com)\n"
        "email=ops@example.com\n"
        "directory=https://acme-v02.api.letsencrypt.org/directory\n"
    )
