"""The load balancer in front of an origin and two edges, from the clients' side. The tests build on one another."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import labs
from tests.lab.deployments import DOMAIN, Deployment, frames_played, prepare, publishing
from tests.lab.labs import CHECKOUT, eventually
from tests.unit.cluster.certificates import provide

PUBLISH, PLAY = "publish.example.test", "play.example.test"
ORIGINS, EDGES = {"ip-172-30-0-32"}, {"ip-172-30-0-132", "ip-172-30-1-132"}
MAX_CONNECTIONS = 1000
TLS_PORTS = (443, 5443, 5080)
CODE = ("-o", "/dev/null", "-w", "%{http_code}")


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    made = prepare(tmp_path_factory.mktemp("balancer"))
    certificate = provide([DOMAIN, PUBLISH, PLAY])

    def configure(config: dict[str, Any]) -> None:
        config["antmedia:media"]["edges"].update(count=2)
        config["antmedia:tls"] = {"mode": "provided", "chain": certificate.chain, "key": certificate.key}
        config["antmedia:loadBalancer"].update(publishName=PUBLISH, playName=PLAY, maxConnections=MAX_CONNECTIONS)

    made.edit(configure)
    try:
        made.make_up()
        yield made
    finally:
        made.lab.down()


def program(deployment: Deployment, name: str, *arguments: str, **options: Any) -> str:
    """What a program of tests/lab prints on a viewer's machine."""
    return deployment.lab.client(sys.executable, str(CHECKOUT / "tests/lab" / name), *arguments, **options).stdout


def node(deployment: Deployment, url: str, *options: str) -> str:
    """The node that answered."""
    head = deployment.fetch(url, "-o", "/dev/null", "-D", "-", *options)
    found = re.search(r"(?im)^x-node: (\S+)", head)
    assert found, head
    return found[1]


# ---- protocols


@pytest.mark.parametrize("port", TLS_PORTS)
@pytest.mark.parametrize(("option", "version"), [("--http1.1", "1.1"), ("--http2", "2")])
def test_https_is_spoken_in_both_versions(deployment: Deployment, port: int, option: str, version: str) -> None:
    url = f"https://{DOMAIN}:{port}/LiveApp/"
    assert deployment.fetch(url, option, "-o", "/dev/null", "-w", "%{http_code} %{http_version}") == f"200 {version}"


@pytest.mark.parametrize("port", TLS_PORTS)
def test_a_websocket_answers_in_both_versions_of_http(deployment: Deployment, port: int) -> None:
    said = program(deployment, "web_socket.py", f"wss://{DOMAIN}:{port}/LiveApp/websocket")
    assert json.loads(said) == {"command": "pong"}
    said = program(deployment, "web_socket_h2.py", DOMAIN, str(port), "/LiveApp/websocket")
    assert json.loads(said) == {"command": "pong"}


@pytest.mark.parametrize(
    "base", [f"rtmp://{DOMAIN}", f"rtmps://{DOMAIN}:443", f"rtmps://{DOMAIN}:5443", f"rtmps://{DOMAIN}:1936"]
)
def test_a_stream_is_published_and_played(deployment: Deployment, base: str) -> None:
    name = "s" + re.sub(r"\D", "", base)
    with publishing(deployment, name, base=f"{base}/LiveApp"):
        eventually(lambda: frames_played(deployment, f"{base}/LiveApp/{name}") >= 15, True, 40)


def test_rtmps_and_https_share_a_port_for_every_client(deployment: Deployment) -> None:
    url = f"https://{DOMAIN}/LiveApp/"
    with publishing(deployment, "shared", base=f"rtmps://{DOMAIN}:443/LiveApp") as sending:
        ask = f"for i in $(seq 50); do curl -sk -m 5 -o /dev/null -w '%{{http_code}} ' {url}; done"
        answers = deployment.lab.client("sh", "-c", ask).stdout
        assert answers.count("200") == 50, answers
        assert sending.poll() is None


@pytest.mark.parametrize("port", TLS_PORTS)
def test_who_says_nothing_for_long_is_treated_like_any_other(deployment: Deployment, port: int) -> None:
    for path, status in (("/LiveApp/", "200"), ("/rest/v2/version", "403"), ("/index.html", "403")):
        said = program(deployment, "patience.py", DOMAIN, str(port), path, "idle", "7")
        assert said.split()[1] == status, f"{path}: {said}"


def test_a_header_that_trickles_in_is_cut(deployment: Deployment) -> None:
    assert program(deployment, "patience.py", DOMAIN, "443", "/LiveApp/", "trickle", "40").strip() == "cut"


def test_browsers_are_told_to_use_tls(deployment: Deployment) -> None:
    for path in ("/", "/LiveApp/"):
        head = deployment.fetch(f"https://{DOMAIN}{path}", "-o", "/dev/null", "-D", "-").lower()
        assert head.count("strict-transport-security") == 1
        assert "strict-transport-security: max-age=63072000\n" in head.replace("\r", "")
    dashboard = deployment.lab.admin(
        "curl", "-sk", "-m", "5", "-o", "/dev/null", "-D", "-", f"https://{DOMAIN}/"
    ).stdout
    assert re.findall(r"(?im)^strict-transport-security: (.*?)\r?$", dashboard) == ["max-age=63072000"]


# ---- who may see what


@pytest.mark.parametrize(
    "path",
    ["/rest/v2/version", "/LiveApp/rest/v2/broadcasts/list/0/5", "/index.html", "/LiveApp/..;/rest/v2/version",
     "/LiveApp/../rest/v2/version", "/LiveApp/%72est/v2/broadcasts", "/LiveApp//rest/v2", "//rest/v2/version",
     "/LiveApp;x/rest/v2", "/LiveApp%2frest", "/LiveApp/%2e%2e/rest/v2/version", "/Other/"],
)  # fmt: skip
def test_dashboard_and_rest_are_refused_to_viewers(deployment: Deployment, path: str) -> None:
    head = deployment.fetch(f"https://{DOMAIN}{path}", "--path-as-is", "-o", "/dev/null", "-D", "-")
    assert re.match(r"HTTP/2 40[03] ", head), head
    assert "x-node" not in head.lower(), "a node was asked"


def test_administrators_reach_dashboard_and_rest_on_an_origin(deployment: Deployment) -> None:
    since = now(deployment)
    # Both refusals are the node's: nobody is logged in, and an application's REST is for 127.0.0.1 until it is opened.
    paths = {"/": "200", "/rest/v2/version": "403", "/LiveApp/rest/v2/broadcasts/list/0/5": "403"}
    for path in paths:
        deployment.lab.admin("curl", "-sk", "-m", "5", "-o", "/dev/null", f"https://{DOMAIN}{path}")
    eventually(lambda: len(logged(deployment, since)), len(paths), 10)
    assert {entry["path"]: entry["status"] for entry in logged(deployment, since)} == paths
    assert {entry["node"] for entry in logged(deployment, since)} == {"origin-1"}


# ---- routing


@pytest.mark.parametrize(
    ("host", "query", "nodes"),
    [(DOMAIN, "?target=origin", ORIGINS), (DOMAIN, "?target=edge", EDGES), (PUBLISH, "", ORIGINS), (PLAY, "", EDGES),
     (PUBLISH, "?target=edge", EDGES)],
)  # fmt: skip
def test_a_websocket_reaches_the_kind_of_node_that_was_asked_for(
    deployment: Deployment, host: str, query: str, nodes: set[str]
) -> None:
    headers = ("-H", "Upgrade: websocket", "-H", "Connection: Upgrade", "-H", "Sec-WebSocket-Version: 13",
               "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")  # fmt: skip
    since = now(deployment)
    for _ in range(4):
        deployment.lab.client(
            "curl", "-sk", "--http1.1", "-m", "1", *headers, f"https://{host}/LiveApp/websocket{query}", check=False
        )
    eventually(lambda: len(logged(deployment, since, media="websocket")) >= 4, True, 10)
    kinds = {"origin" if nodes is ORIGINS else "edge"}
    assert {entry["node"].split("-")[0] for entry in logged(deployment, since, media="websocket")} == kinds


def test_a_websocket_without_a_wish_reaches_an_origin(deployment: Deployment) -> None:
    since = now(deployment)
    program(deployment, "web_socket.py", f"wss://{DOMAIN}/LiveApp/websocket")
    eventually(lambda: len(logged(deployment, since, media="websocket")), 1, 10)
    (entry,) = logged(deployment, since, media="websocket")
    assert entry["pool"] == "origins"


def test_every_request_of_a_webrtc_session_reaches_one_node(deployment: Deployment) -> None:
    for kind, nodes in (("whip", ORIGINS), ("whep", EDGES)):
        seen = {}
        for number in range(12):
            url = f"https://{DOMAIN}/LiveApp/{kind}/stream{number}"
            answered = {node(deployment, url, "-X", "POST", "-d", "sdp")}
            answered |= {node(deployment, f"{url}/abc123", "-X", method) for method in ("PATCH", "DELETE")}
            assert len(answered) == 1, f"{url} was answered by {answered}"
            seen[number] = answered.pop()
        assert set(seen.values()) == nodes


def test_segments_follow_their_playlist(deployment: Deployment) -> None:
    for target in ("edge", "origin"):
        since, jar = now(deployment), f"/tmp/{deployment.lab.name}-{target}"
        stream = f"https://{DOMAIN}/LiveApp/streams/x"
        deployment.fetch(f"{stream}.m3u8?target={target}", "-c", jar, "-o", "/dev/null")
        deployment.fetch(f"{stream}[1-6].ts", "-b", jar, "-o", "/dev/null")
        Path(jar).unlink()
        eventually(lambda since=since: len(logged(deployment, since, method="GET")), 7, 10)  # type: ignore[misc]
        assert {entry["node"].split("-")[0] for entry in logged(deployment, since, method="GET")} == {target}


def test_a_request_is_a_line_in_the_journal(deployment: Deployment) -> None:
    since = now(deployment)
    deployment.fetch(f"https://{DOMAIN}/LiveApp/?token=hush", "-o", "/dev/null")
    eventually(lambda: len(logged(deployment, since, path="/LiveApp/")), 1, 10)
    (entry,) = logged(deployment, since, path="/LiveApp/")
    assert entry["protocol"] == "HTTP/2.0"
    assert (entry["method"], entry["status"]) == ("GET", "200")
    assert entry["client"].startswith("192.0.2.10:")
    assert entry["node"] in {"origin-1", "edge-1", "edge-2"}
    assert int(entry["response_ms"]) >= 0
    assert int(entry["total_ms"]) >= int(entry["response_ms"])
    assert "hush" not in json.dumps(entry)


def now(deployment: Deployment) -> str:
    """The load balancer's time, for `logged`."""
    return deployment.lab.host("lb-1", "date", "+@%s.%N").stdout.strip()


def logged(deployment: Deployment, since: str, **wanted: str) -> list[dict[str, str]]:
    """The lines of HAProxy's journal since a time whose fields are as wanted."""
    lines = deployment.lab.host(
        "lb-1", "journalctl", "-u", "haproxy", "--since", since, "--no-pager", "-o", "cat"
    ).stdout.splitlines()
    found = [dict(re.findall(r"(\w+)=(\S+)", line)) for line in lines if line.startswith("client=")]
    return [entry for entry in found if all(entry.get(key) == value for key, value in wanted.items())]


def test_what_thousands_of_viewers_ask_for_is_logged_only_when_it_fails(deployment: Deployment) -> None:
    with publishing(deployment, "quiet"):
        playlist = f"https://{DOMAIN}/LiveApp/streams/quiet.m3u8"
        eventually(lambda: deployment.fetch(playlist)[:7], "#EXTM3U", 20)
        since = now(deployment)
        deployment.fetch(playlist)
        deployment.fetch(f"https://{DOMAIN}/LiveApp/streams/none.m3u8")
        eventually(lambda: len(logged(deployment, since)), 1, 10)
    (entry,) = logged(deployment, since, method="GET")
    assert (entry["path"], entry["status"]) == ("/LiveApp/streams/none.m3u8", "404")


def test_rtmp_and_rtmps_are_lines_too(deployment: Deployment) -> None:
    for protocol, base in (("rtmp", f"rtmp://{DOMAIN}"), ("rtmps", f"rtmps://{DOMAIN}:443")):
        since = now(deployment)
        with publishing(deployment, f"line{protocol}", base=f"{base}/LiveApp"):
            time.sleep(3)
        eventually(lambda since=since, p=protocol: len(logged(deployment, since, media=p)), 1, 10)  # type: ignore[misc]
        (entry,) = logged(deployment, since, media=protocol)
        assert (entry["pool"], entry["node"]) == ("rtmp", "origin-1")


def test_prometheus_is_answered_on_the_host_alone(deployment: Deployment) -> None:
    said = deployment.lab.host("lb-1", "curl", "-s", "-m", "5", "http://127.0.0.1:8404/metrics").stdout
    assert "haproxy_server_status" in said
    refused = deployment.lab.host("lb-1", "curl", "-s", "-m", "5", "http://172.30.0.10:8404/metrics", check=False)
    assert refused.returncode == 7


# ---- protection


@contextlib.contextmanager
def holding(deployment: Deployment, host: str, port: int, count: int, *more: str) -> Iterator[tuple[int, str]]:
    """Connections that a viewer holds: how many were opened, and whether all were."""
    command = [
        sys.executable, "-m", "lab", "--lab", deployment.lab.name, "client", "--",
        sys.executable, str(CHECKOUT / "tests/lab/hold.py"), host, str(port), str(count), *more,
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        opened, said = running.stdout.readline().split()
        yield int(opened), said
        running.communicate()


@pytest.fixture
def patient(deployment: Deployment) -> Iterator[None]:
    """Connections that are opened one by one to fill it last until the last one is open, also on a busy machine."""
    deployment.edit(lambda config: config["antmedia:loadBalancer"].update(timeouts={"requestSeconds": 60}))
    deployment.up()
    yield
    deployment.edit(lambda config: config["antmedia:loadBalancer"].pop("timeouts"))
    deployment.up()


@pytest.mark.usefixtures("patient")
def test_when_media_is_full_statistics_and_validations_still_answer(deployment: Deployment) -> None:
    with holding(deployment, DOMAIN, 443, MAX_CONNECTIONS + 50) as (opened, said):
        assert said == "refused"
        assert MAX_CONNECTIONS - 20 <= opened <= MAX_CONNECTIONS + 1
        media = deployment.lab.client("curl", "-sk", "-m", "5", f"https://{DOMAIN}:5443/LiveApp/", check=False)
        assert media.returncode != 0, "one more viewer was let in"
        assert deployment.fetch(f"http://{DOMAIN}/LiveApp/", *CODE) == "301"
        statistics = deployment.lab.admin("curl", "-sk", "-m", "5", *CODE, f"https://{DOMAIN}:6080/haproxy_stats")
        assert statistics.stdout == "401"
    eventually(lambda: deployment.fetch(f"https://{DOMAIN}/LiveApp/", *CODE), "200", 20)


def test_a_refused_configuration_cuts_no_stream(deployment: Deployment) -> None:
    good = deployment.lab.host("lb-1", "cat", "/etc/haproxy/haproxy.cfg").stdout
    with publishing(deployment, "kept", base=f"rtmps://{DOMAIN}:443/LiveApp") as sending:
        eventually(lambda: len(connections(deployment, "rtmp")) > 0, True, 20)
        for wrong in (
            good + "\nnonsense\n",
            re.sub(r"\n    maxconn 1500\n", "\n    maxconn 900000\n", good),
            good.replace("bind :5443", "bind :22"),
        ):
            assert wrong != good
            put = deployment.lab.host(
                "lb-1", "/usr/local/sbin/antmedia-haproxy-put", "/etc/haproxy/haproxy.cfg", "644",
                stdin=wrong, check=False,
            )  # fmt: skip
            assert put.returncode == 1
            assert deployment.fetch(f"https://{DOMAIN}/LiveApp/", *CODE) == "200"
            assert sending.poll() is None, "a stream was cut"


def connections(deployment: Deployment, pool: str) -> list[str]:
    """The sessions that HAProxy's newest worker has to a pool."""
    said = deployment.lab.host("lb-1", "sh", "-c", "echo show sess | socat - /run/haproxy/admin.sock").stdout
    return [line for line in said.splitlines() if f" be={pool} " in line]


# ---- health


def test_a_dead_node_gets_nothing_new_and_what_it_had_is_served_by_others(deployment: Deployment) -> None:
    since = now(deployment)
    deployment.lab.command("pause", "edge-2")
    asked = (
        f"for i in $(seq 60); do curl -sk -m 20 -o /dev/null -w '%{{http_code}} ' https://{DOMAIN}/LiveApp/; "
        "sleep 0.1; done"
    )
    answers = deployment.lab.client("sh", "-c", asked).stdout.split()
    journal = deployment.lab.host(
        "lb-1", "journalctl", "-u", "haproxy", "--since", since, "--no-pager", "-o", "short-unix"
    ).stdout
    down = re.search(r"^(\d+\.\d+) .*Server nodes/edge-2 is DOWN", journal, re.MULTILINE)
    assert down, journal
    entries = [(float(line.split()[0]), dict(re.findall(r"(\w+)=(\S+)", line))) for line in journal.splitlines()]
    after = [entry for at, entry in entries if at - int(entry.get("total_ms", 0)) / 1000 > float(down[1])]
    assert after
    assert not [entry for entry in after if entry.get("node") == "edge-2"], "a dead node was asked"
    print(f"down {float(down[1]) - float(since[1:]):.1f} s after it fell silent; {answers.count('200')} of 60 answered")
    deployment.lab.command("heal", "edge-2")
    eventually(lambda: len(up(deployment)), 3, 60)


def up(deployment: Deployment) -> set[str]:
    said = deployment.lab.host("lb-1", "sh", "-c", "echo show stat | socat - /run/haproxy/admin.sock").stdout
    rows = [line.split(",") for line in said.splitlines()]
    return {row[1] for row in rows if row[0] == "nodes" and row[1] != "BACKEND" and row[17] == "UP"}


def test_what_health_checks_found_survives_a_reload(deployment: Deployment) -> None:
    deployment.lab.command("kill", "edge-2")
    eventually(lambda: up(deployment), {"origin-1", "edge-1"}, 20)
    deployment.lab.host("lb-1", "touch", "/etc/haproxy/haproxy.cfg")
    text = deployment.lab.host("lb-1", "cat", "/etc/haproxy/haproxy.cfg").stdout
    put = ("/usr/local/sbin/antmedia-haproxy-put", "/etc/haproxy/haproxy.cfg", "644")
    assert "reloading" in deployment.lab.host("lb-1", *put, stdin=text + "# changed\n").stdout
    assert up(deployment) == {"origin-1", "edge-1"}, "the reload took a dead node for a living one"
    deployment.lab.host("lb-1", *put, stdin=text)
    deployment.lab.command("heal", "edge-2")
    eventually(lambda: len(up(deployment)), 3, 60)


def test_edges_stand_in_for_the_origin(deployment: Deployment) -> None:
    deployment.lab.command("kill", "origin-1")
    eventually(lambda: up(deployment), {"edge-1", "edge-2"}, 20)
    assert node(deployment, f"https://{DOMAIN}/LiveApp/?target=origin") in EDGES
    with publishing(deployment, "standin", base=f"rtmp://{DOMAIN}/LiveApp") as sending:
        time.sleep(3)
        assert sending.poll() is None


def test_with_all_nodes_down_clients_are_told_so_at_once(deployment: Deployment) -> None:
    for name in ("edge-1", "edge-2"):
        deployment.lab.command("kill", name)
    eventually(lambda: up(deployment), set[str](), 20)
    answer = deployment.fetch(f"https://{DOMAIN}/LiveApp/", "-D", "-")
    assert re.match(r"HTTP/2 503 ", answer), answer
    assert re.search(r"(?im)^retry-after: 5\r?$", answer)
    assert "No media server answers" in answer
    assert labs.probe(deployment.lab.client, DOMAIN, 1935) in ("closed", "ECONNRESET"), "a publisher is left waiting"
    for name in ("origin-1", "edge-1", "edge-2"):
        deployment.lab.command("heal", name)
    eventually(lambda: len(up(deployment)), 3, 60)


# ---- limits


def test_one_address_may_not_take_all(deployment: Deployment) -> None:
    deployment.edit(lambda config: config["antmedia:loadBalancer"].update(limits={"connections": 20}))
    deployment.up()
    with holding(deployment, DOMAIN, 443, 40) as (opened, said):
        assert said == "refused"
        assert opened <= 20
        administrator = deployment.lab.admin("curl", "-sk", "-m", "5", *CODE, f"https://{DOMAIN}/LiveApp/").stdout
        assert administrator == "200", "other addresses were refused too"
    limits = {"requestsPerSecond": 5}
    deployment.edit(lambda config: config["antmedia:loadBalancer"].update(limits=limits))
    deployment.up()
    asked = f"curl -sk -m 20 -o /dev/null -w '%{{http_code}} ' 'https://{DOMAIN}/LiveApp/?[1-80]'"
    answers = deployment.lab.client("sh", "-c", asked).stdout.split()
    assert set(answers) == {"200", "429"}
    assert answers.count("200") >= 45


def test_clear_http_is_served_where_it_is_asked_for(deployment: Deployment) -> None:
    deployment.edit(lambda config: config["antmedia:loadBalancer"].update(clearHttp="serve", limits=False))
    deployment.up()
    for port in (80, 5080):
        head = deployment.fetch(f"http://{DOMAIN}:{port}/LiveApp/", "-o", "/dev/null", "-D", "-")
        assert re.match(r"HTTP/1.1 200 ", head)
        assert "strict-transport" not in head.lower()
        assert deployment.fetch(f"http://{DOMAIN}:{port}/rest/v2/version", *CODE) == "403"
    for port in TLS_PORTS:
        head = deployment.fetch(f"https://{DOMAIN}:{port}/LiveApp/", "-o", "/dev/null", "-D", "-")
        assert re.match(r"HTTP/2 200 ", head)
        assert "strict-transport" not in head.lower()
    deployment.pulumi("preview", "--expect-no-changes")
