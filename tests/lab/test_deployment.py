"""What `make up` deploys, used as viewers, publishers and administrators use it. The tests build on one another."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import labs
from tests.lab.deployments import DOMAIN, STREAM, Deployment, frames_played, in_background, prepare, publishing
from tests.lab.labs import CHECKOUT, eventually

THREE_KEYS = "ami-0ccc0000000001303"
PUBLIC_PORTS = [80, 443, 1935, 1936, 5080, 5443]
SCAN = (CHECKOUT / "tests/lab/scan.py").read_text()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Deployment, str]]:
    """The deployment, and what `make up` said."""
    deployment = prepare(tmp_path_factory.mktemp("deployment"))
    # An image with three types of host key, as stock images are: the pinned one must be found among them.
    deployment.edit(lambda config: config["antmedia:loadBalancer"].update(ami=THREE_KEYS))
    try:
        yield deployment, deployment.make_up()
    finally:
        deployment.lab.down()


@pytest.fixture(scope="module")
def deployment(made: tuple[Deployment, str]) -> Deployment:
    return made[0]


def test_make_up_ends_with_addresses_and_commands_that_work(made: tuple[Deployment, str]) -> None:
    deployment, said = made
    told = dict(line.split(None, 1) for line in said.replace("\\\n", "").splitlines() if line.startswith("  "))
    assert told["url"] == f"https://{DOMAIN}"
    assert told["remove"] == "make down"
    with in_background(shlex.split(told["publish"]), deployment.lab, deployment.checkout):
        eventually(lambda: deployment.run("bash", "-c", told["play"], check=False).returncode, 0, 60)
        assert "HTTP/2 200" in deployment.run("bash", "-c", told["look"]).stdout


def test_the_outputs_say_what_there_is(deployment: Deployment) -> None:
    outputs = deployment.outputs()
    assert outputs["url"] == f"https://{DOMAIN}"
    assert f"{DOMAIN} A {outputs['loadBalancerAddress']}" in outputs["dnsRecordToSet"]
    assert set(outputs["nodes"]) == {"lb-1", "origin-1", "edge-1"}
    assert outputs["nodes"]["origin-1"]["privateAddress"] == "172.30.0.32"


def test_the_pinned_host_key_is_found_on_a_host_with_three_types(deployment: Deployment) -> None:
    keys = deployment.lab.host("lb-1", "sh", "-c", "ls /etc/ssh/ssh_host_*_key").stdout.split()
    assert [Path(key).name.split("_")[2] for key in keys] == ["ecdsa", "ed25519", "rsa"]


def test_a_viewer_is_redirected_to_the_first_application(deployment: Deployment) -> None:
    assert deployment.fetch(f"https://{DOMAIN}/", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}") == (
        f"302 https://{DOMAIN}/LiveApp/"
    )
    assert deployment.fetch(f"https://{DOMAIN}/", "-L", "-o", "/dev/null", "-w", "%{http_code}") == "200"


def test_an_administrator_finds_the_dashboard_at_the_same_url(deployment: Deployment) -> None:
    assert deployment.lab.admin(
        "curl", "-sk", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}", f"https://{DOMAIN}/"
    ).stdout == "200"  # fmt: skip


@pytest.mark.parametrize(("port", "to"), [(80, ""), (5080, ":5443")])
def test_clear_http_is_redirected_to_the_port_that_speaks_tls(deployment: Deployment, port: int, to: str) -> None:
    answer = deployment.fetch(
        f"http://{DOMAIN}:{port}/LiveApp/?a=b", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}"
    )
    assert answer == f"301 https://{DOMAIN}{to}/LiveApp/?a=b"
    assert deployment.fetch(f"http://{DOMAIN}:{port}/LiveApp/", "-L", "-o", "/dev/null", "-w", "%{http_code}") == "200"


@pytest.mark.parametrize("port", [443, 5443])
def test_a_websocket_over_tls_answers(deployment: Deployment, port: int) -> None:
    program = str(CHECKOUT / "tests/lab/web_socket.py")
    answer = deployment.lab.client(sys.executable, program, f"wss://{DOMAIN}:{port}/LiveApp/websocket").stdout
    assert json.loads(answer) == {"command": "pong"}


def test_both_nodes_take_requests(deployment: Deployment) -> None:
    assert deployment.nodes_seen(8) == {"ip-172-30-0-32", "ip-172-30-0-132"}


def test_a_dashboard_login_stays_on_one_node(deployment: Deployment) -> None:
    rest = f"https://{DOMAIN}/rest/v2"
    curl = "curl -sk -m 5 -b $jar -c $jar"
    user = json.dumps({"email": "admin@antmedia.invalid", "password": deployment.password("administrator")})
    login = f"{curl} -H 'Content-Type: application/json' --data-binary @- -o /dev/null {rest}/users/authenticate"
    answers = deployment.lab.admin(
        "sh", "-c",
        # The first request opens the session, as the dashboard's does.
        f"jar=$(mktemp); {curl} -o /dev/null {rest}/authentication-status; {login}; "
        f"for i in 1 2 3 4 5 6; do {curl} -o /dev/null -w '%{{http_code}} ' {rest}/version; done; rm $jar",
        stdin=user,
    ).stdout  # fmt: skip
    assert answers.split() == ["200"] * 6
    without = deployment.lab.admin("curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", f"{rest}/version").stdout
    assert without == "403"


def test_nodes_hear_the_viewers_address_and_nothing_that_the_viewer_claims(deployment: Deployment) -> None:
    heard = json.loads(
        deployment.fetch(
            f"https://{DOMAIN}/LiveApp/echo", "-H", "X-Forwarded-For: 10.9.9.9", "-H", "X-Forwarded-Proto: http",
            "-H", "Forwarded: for=10.9.9.9", "-H", "X-Real-IP: 10.9.9.9",
        )
    )  # fmt: skip
    headers = {name.lower(): value for name, value in heard["headers"]}
    assert headers["x-forwarded-for"] == "192.0.2.10"
    assert headers["x-forwarded-proto"] == "https"
    assert "10.9.9.9" not in json.dumps(heard)


def test_a_published_stream_is_played_back_by_rtmp_and_hls(deployment: Deployment) -> None:
    with publishing(deployment, "stream1"):
        eventually(lambda: frames_played(deployment, f"{STREAM}/stream1") >= 15, True, 20)
        playlist = f"https://{DOMAIN}/LiveApp/streams/stream1.m3u8"
        eventually(lambda: deployment.fetch(playlist)[:7], "#EXTM3U", 20)
        eventually(lambda: frames_played(deployment, playlist) >= 15, True, 20)


def scan(run: Callable[..., subprocess.CompletedProcess[str]], address: str, last: int) -> list[int]:
    found: list[int] = json.loads(run("python3", "-", "1", str(last), address, stdin=SCAN).stdout)
    return found


def test_the_internet_finds_exactly_the_public_ports_of_the_firewall_table(deployment: Deployment) -> None:
    address = deployment.outputs()["loadBalancerAddress"]
    assert scan(deployment.lab.client, address, 65535) == PUBLIC_PORTS
    assert scan(deployment.lab.admin, address, 10000) == sorted([*PUBLIC_PORTS, 22, 6080])


def test_nodes_answer_the_load_balancer_and_nobody_else(deployment: Deployment) -> None:
    node = deployment.outputs()["nodes"]["origin-1"]
    assert scan(deployment.lab.client, node["publicAddress"], 10000) == []
    assert scan(deployment.lab.admin, node["publicAddress"], 10000) == []

    def lb(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return deployment.lab.host("lb-1", *command, **options)

    assert scan(lb, node["privateAddress"], 10000) == [22, 1935, 5080]

    def edge(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return deployment.lab.host("edge-1", *command, **options)

    assert scan(edge, node["privateAddress"], 10000) == []


def test_webrtc_media_reaches_nodes_and_other_datagrams_do_not(deployment: Deployment) -> None:
    address = deployment.outputs()["nodes"]["origin-1"]["publicAddress"]
    # Nobody listens on either port: what is let through is refused by the host itself.
    assert labs.probe(deployment.lab.client, address, 50000, "udp") == "refused"
    assert labs.probe(deployment.lab.client, address, 49999, "udp") == "silent"


def test_statistics_are_for_administrators_with_the_password_over_tls(deployment: Deployment) -> None:
    url = deployment.outputs()["statsUrl"]
    password = deployment.password("stats")
    code = ("curl", "-sk", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}")
    assert deployment.lab.admin(*code, url).stdout == "401"
    assert deployment.lab.admin(*code, "-u", "stats:wrong", url).stdout == "401"
    page = deployment.lab.admin("curl", "-sk", "-m", "5", "-u", f"stats:{password}", url).stdout
    assert "origin-1" in page
    assert "version 3" not in page
    assert deployment.lab.client(*code, url, check=False).stdout == "000"


def test_the_deployment_is_the_first_user_of_every_node(deployment: Deployment) -> None:
    user = {"email": "admin@antmedia.invalid", "password": deployment.password("administrator")}
    for node in ("172.30.0.32", "172.30.0.132"):
        for what, success in (("initial", False), ("authenticate", True)):
            answer = deployment.lab.host(
                "lb-1", "curl", "-s", "-m", "5", "-H", "Content-Type: application/json", "--data-binary", "@-",
                f"http://{node}:5080/rest/v2/users/{what}", stdin=json.dumps(user),
            ).stdout  # fmt: skip
            assert json.loads(answer)["success"] is success, f"{node}: {answer}"


def test_a_wrong_password_of_the_first_user_stops_the_update_and_is_not_shown(deployment: Deployment) -> None:
    deployment.edit(lambda config: config.update({"antmedia:administrator": {"password": "another-password"}}))
    failed = deployment.pulumi("up", "--yes", "--skip-preview", check=False)
    said = failed.stdout + failed.stderr
    assert failed.returncode != 0
    assert "administrator.password does not let administrator.email in" in said
    assert "another-password" not in said
    deployment.edit(lambda config: config.pop("antmedia:administrator"))
    deployment.up()


def test_what_is_secret_on_the_host_is_roots_alone(deployment: Deployment) -> None:
    listing = deployment.lab.host("lb-1", "stat", "-c", "%a %U %n", "/etc/haproxy/tls", "/etc/haproxy/tls/site.pem",
                                  "/etc/haproxy/stats-users.cfg").stdout  # fmt: skip
    assert listing.splitlines() == [
        "700 root /etc/haproxy/tls",
        "600 root /etc/haproxy/tls/site.pem",
        "600 root /etc/haproxy/stats-users.cfg",
    ]


def test_a_second_preview_is_clean_also_with_refresh(deployment: Deployment) -> None:
    deployment.pulumi("preview", "--expect-no-changes")
    deployment.pulumi("preview", "--expect-no-changes", "--refresh")


def test_running_every_step_again_restarts_nothing(deployment: Deployment) -> None:
    before = deployment.haproxy()
    urns = [
        resource["urn"]
        for resource in json.loads(deployment.pulumi("stack", "export").stdout)["deployment"]["resources"]
        if resource["type"] == "command:remote:Command"
    ]
    deployment.pulumi("up", "--yes", "--skip-preview", *(f"--target-replace={urn}" for urn in urns))
    assert len(urns) == 8 + 2 * 5, "the steps of the load balancer and of two media nodes"
    assert deployment.haproxy() == before


def test_a_changed_timeout_is_a_line_in_the_preview_and_arrives_by_reload(deployment: Deployment) -> None:
    before = deployment.haproxy()
    deployment.edit(lambda config: config["antmedia:loadBalancer"].update(timeouts={"tunnelMinutes": 90}))
    diff = deployment.pulumi("preview", "--diff", "--color", "never").stdout
    changed = [re.sub(r"\s+", " ", line).strip() for line in diff.splitlines() if "timeout tunnel" in line]
    assert changed == ["- timeout tunnel 120m", "+ timeout tunnel 90m"]
    with publishing(deployment, "reload") as sending:
        eventually(lambda: frames_played(deployment, f"{STREAM}/reload") > 0, True, 20)
        deployment.up()
        assert sending.poll() is None, "the reload cut a stream that was being published"
    after = deployment.haproxy()
    assert after["master"] == before["master"]
    assert after["worker"] != before["worker"]
    assert "timeout tunnel 90m" in deployment.lab.host("lb-1", "cat", "/etc/haproxy/haproxy.cfg").stdout


def put(deployment: Deployment, text: str) -> subprocess.CompletedProcess[str]:
    return deployment.lab.host(
        "lb-1", "/usr/local/sbin/antmedia-haproxy-put", "/etc/haproxy/haproxy.cfg", "644", stdin=text, check=False
    )


@pytest.mark.parametrize(
    ("breakage", "reason"),
    [
        (lambda text: text + "\nnonsense\n", "unknown keyword 'nonsense'"),
        # haproxy -c accepts both of these.
        (lambda text: re.sub(r"maxconn \d+", "maxconn 900000", text), "FD limit"),
        (lambda text: text.replace("bind :5080", "bind :22"), "cannot bind socket"),
    ],
    ids=["a file that is wrong", "more connections than files", "a port that is taken"],
)
def test_a_configuration_that_haproxy_refuses_leaves_the_old_one_serving(
    deployment: Deployment, breakage: Callable[[str], str], reason: str
) -> None:
    good = deployment.lab.host("lb-1", "cat", "/etc/haproxy/haproxy.cfg").stdout
    refused = put(deployment, breakage(good))
    assert refused.returncode == 1
    assert reason in refused.stderr, refused.stderr
    assert deployment.lab.host("lb-1", "cat", "/etc/haproxy/haproxy.cfg").stdout == good
    assert len(deployment.nodes_seen(4)) == 2
    assert put(deployment, good).returncode == 0


def test_a_killed_node_is_routed_around(deployment: Deployment) -> None:
    deployment.lab.command("kill", "edge-1")
    eventually(lambda: deployment.nodes_seen(8), {"ip-172-30-0-32"}, 4)  # found dead within 3 s
    deployment.lab.command("heal", "edge-1")
    eventually(lambda: len(deployment.nodes_seen(4)), 2, 60)


def test_a_third_node_changes_nothing_but_what_it_must(deployment: Deployment) -> None:
    before = deployment.haproxy()
    deployment.edit(lambda config: config["antmedia:media"]["edges"].update(count=2))
    steps = json.loads(deployment.pulumi("preview", "--json").stdout)["steps"]
    changes = {(step["op"], step["urn"].split("::")[-1]) for step in steps if step["op"] != "same"}
    own = {"edge-2", "edge-2-ready", "edge-2-server", "edge-2-administrator", "edge-2-drain", "edge-2-serve"}
    assert {name for op, name in changes if op == "create"} == own
    assert {name for op, name in changes if op != "create"} == {"dashboard", "lb-1-configure", "lb-1-verify"}
    deployment.up()
    assert deployment.nodes_seen(12) == {"ip-172-30-0-32", "ip-172-30-0-132", "ip-172-30-1-132"}
    assert deployment.haproxy()["master"] == before["master"]


def test_make_up_again_changes_nothing(deployment: Deployment) -> None:
    said = deployment.make_up()
    assert re.search(r"Resources:\n\s+\d+ unchanged\n\n", said), said


def test_make_down_leaves_nothing(deployment: Deployment) -> None:
    said = deployment.run("make", "down")
    assert "Left in the EC2 API" not in said.stderr
    assert labs.remains(deployment.lab.layout) == []
