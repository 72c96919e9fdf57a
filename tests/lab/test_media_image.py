"""A booted `media` host is what clients, load balancers and operators expect of an Ant Media Server node."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lab import images
from tests.lab.labs import Instance, Lab, Network, eventually, from_anywhere

MEDIA = "ami-0ddd0000000000001"
LIVENESS_SECONDS = 20.0
"""From RunInstances to the first answer at the public address, on a busy machine; the boot itself takes 1.5 s."""

WEBSOCKET = """\
import sys
from websockets.sync.client import connect

with connect(sys.argv[1], open_timeout=5) as socket:
    for message in sys.argv[2:]:
        socket.send(message)
        print(socket.recv(timeout=5))
"""


@pytest.fixture(scope="module")
def node(lab: Lab, network: Network) -> Iterator[Instance]:
    """A media node that anybody may reach on its two ports."""
    images.ensure(images.for_ami(MEDIA))
    group = network.group("media", ingress=(from_anywhere("tcp", 5080), from_anywhere("tcp", 1935)))
    started = time.monotonic()
    made = launch(network, group)
    eventually(lambda: liveness(lab, made), 200, LIVENESS_SECONDS)
    print(f"\nmedia node: {time.monotonic() - started:.1f} s from RunInstances to liveness")
    made.ready()
    yield made


def launch(network: Network, group: str) -> Instance:
    run = network.lab.ec2().run_instances(
        ImageId=MEDIA,
        InstanceType="t3.small",
        MinCount=1,
        MaxCount=1,
        NetworkInterfaces=[
            {"DeviceIndex": 0, "SubnetId": network.subnet, "AssociatePublicIpAddress": True, "Groups": [group]}
        ],
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "media"}]}],
    )
    return Instance(network.lab, "media", run["Instances"][0]["InstanceId"])


def curl(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    return lab.client("curl", "--silent", "--max-time", "10", *arguments, check=False)


def liveness(lab: Lab, node: Instance) -> int:
    code = curl(lab, "--output", "/dev/null", "--write-out", "%{http_code}", f"{base(node)}/rest/v2/liveness").stdout
    return int(code or 0)


def base(node: Instance) -> str:
    return f"http://{node.public}:5080"


def get_json(lab: Lab, node: Instance, path: str, *arguments: str) -> Any:
    done = curl(lab, *arguments, base(node) + path)
    assert done.returncode == 0, f"{path}: curl exit {done.returncode} {done.stderr}"
    return json.loads(done.stdout)


def publish(lab: Lab, node: Instance, stream: str, seconds: int) -> subprocess.Popen[bytes]:
    """Publishes a test picture and tone from the viewer's address, in real time."""
    source = ["-f", "lavfi", "-i", "testsrc=size=320x240:rate=25", "-f", "lavfi", "-i", "sine"]
    encoders = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    target = ["-t", str(seconds), "-f", "flv", f"rtmp://{node.public}/LiveApp/{stream}"]
    namespace = lab.layout.client_namespace
    command = ["ip", "netns", "exec", namespace, "ffmpeg", "-loglevel", "error", "-re", *source, *encoders, *target]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def stream(lab: Lab, node: Instance) -> Iterator[str]:
    """The id of a stream that is being published."""
    publisher = publish(lab, node, "published", seconds=120)
    eventually(lambda: curl(lab, "--fail", f"{base(node)}/LiveApp/streams/published.m3u8").returncode, 0, 10.0)
    yield "published"
    publisher.terminate()
    publisher.wait()


def codecs(lab: Lab, url: str) -> list[str]:
    """The codecs of a stream that was fetched and decoded for two seconds."""
    lab.client("ffmpeg", "-loglevel", "error", "-i", url, "-t", "2", "-f", "null", "-", seconds=30)
    shown = lab.client("ffprobe", "-loglevel", "error", "-show_streams", "-of", "json", url, seconds=30).stdout
    return sorted(each["codec_name"] for each in json.loads(shown)["streams"])


def talk(lab: Lab, node: Instance, *messages: dict[str, str]) -> list[dict[str, str]]:
    """The answers to messages on one WebSocket."""
    texts = [json.dumps(message) for message in messages]
    url = f"ws://{node.public}:5080/LiveApp/websocket"
    said = lab.client(sys.executable, "-c", WEBSOCKET, url, *texts).stdout
    return [json.loads(line) for line in said.splitlines()]


def test_the_host_boots_without_a_failed_unit(node: Instance) -> None:
    eventually(lambda: node.run("systemctl", "is-system-running", check=False).stdout.strip(), "running", 20.0)
    status = json.loads(node.run("cloud-init", "status", "--format", "json").stdout)
    assert status["extended_status"] == "done", status


def test_the_service_is_healthy_soon_after_boot(node: Instance) -> None:
    shown = node.run("systemctl", "show", "antmedia", "-P", "ActiveEnterTimestampMonotonic").stdout
    booted = node.run("systemctl", "show", "-P", "UserspaceTimestampMonotonic").stdout
    assert (int(shown) - int(booted)) / 1e6 < LIVENESS_SECONDS


def test_a_published_stream_plays_over_rtmp_and_hls(lab: Lab, node: Instance, stream: str) -> None:
    assert codecs(lab, f"rtmp://{node.public}/LiveApp/{stream}") == ["aac", "h264"]
    assert codecs(lab, f"{base(node)}/LiveApp/streams/{stream}.m3u8") == ["aac", "h264"]


def test_hls_segments_last_two_seconds(lab: Lab, node: Instance, stream: str) -> None:
    eventually(
        lambda: curl(lab, f"{base(node)}/LiveApp/streams/{stream}.m3u8").stdout.count("#EXTINF:2.0") > 1, True, 10
    )


def test_an_ended_stream_has_no_playlist(lab: Lab, node: Instance) -> None:
    publish(lab, node, "short", seconds=4).wait(timeout=30)
    url = f"{base(node)}/LiveApp/streams/short.m3u8"
    assert curl(lab, "--fail", url).returncode == 0
    eventually(lambda: curl(lab, "--output", "/dev/null", "--write-out", "%{http_code}", url).stdout, "404", 20.0)


def test_signalling_answers_on_one_websocket(lab: Lab, node: Instance, stream: str) -> None:
    answers = talk(
        lab,
        node,
        {"command": "ping"},
        {"command": "play", "streamId": "nobody"},
        {"command": "publish", "streamId": stream},
        {"command": "publish", "streamId": "free"},
    )
    assert answers == [
        {"command": "pong"},
        {"command": "error", "error_code": "404", "definition": "no_stream_exist", "streamId": "nobody"},
        {"command": "error", "definition": "streamIdInUse"},
        {"command": "start", "streamId": "free"},
    ]


def test_a_silent_websocket_stays_open(lab: Lab, node: Instance) -> None:
    program = WEBSOCKET.replace(
        "        socket.send(message)", "        import time; time.sleep(5); socket.send(message)"
    )
    url = f"ws://{node.public}:5080/LiveApp/websocket"
    assert json.loads(lab.client(sys.executable, "-c", program, url, '{"command": "ping"}').stdout) == {
        "command": "pong"
    }


def test_the_echo_shows_the_viewers_address_and_headers(lab: Lab, node: Instance) -> None:
    shown = get_json(lab, node, "/LiveApp/echo?x=1", "--header", "X-Forwarded-For: 203.0.113.9", "--http1.1")
    assert shown["peer"] == "192.0.2.10"
    assert shown["target"] == "/LiveApp/echo?x=1"
    assert ["X-Forwarded-For", "203.0.113.9"] in shown["headers"]
    assert shown["node"] == node.run("hostname").stdout.strip()


def test_a_large_upload_arrives_whole(lab: Lab, node: Instance) -> None:
    command = f"head -c 20000000 /dev/zero | curl --silent --max-time 20 -T - {base(node)}/LiveApp/echo"
    assert json.loads(lab.client("sh", "-c", command).stdout)["bodyBytes"] == 20_000_000


def test_the_first_administrator_survives_a_restart_of_the_service(lab: Lab, node: Instance) -> None:
    body = ["--data", '{"email": "admin@example.org", "password": "one"}', "--header", "Content-Type: application/json"]
    assert get_json(lab, node, "/rest/v2/first-login-status")["success"]
    assert get_json(lab, node, "/rest/v2/users/initial", *body)["success"]
    node.run("systemctl", "restart", "antmedia")
    assert not get_json(lab, node, "/rest/v2/first-login-status")["success"]
    assert not get_json(lab, node, "/rest/v2/users/initial", *body)["success"]
    assert get_json(lab, node, "/rest/v2/users/authenticate", *body)["success"]


def test_a_stopped_service_refuses_both_ports_and_comes_back(lab: Lab, node: Instance) -> None:
    node.run("systemctl", "stop", "antmedia")
    for port in (5080, 1935):
        assert curl(lab, f"http://{node.public}:{port}/").returncode == 7, f"port {port} is still open"
    node.run("systemctl", "start", "antmedia")
    assert liveness(lab, node) == 200, "systemctl start returned before the node answers"


def test_a_crashed_part_brings_the_whole_service_back(lab: Lab, node: Instance) -> None:
    before = node.run("systemctl", "show", "antmedia", "-P", "MainPID").stdout
    node.run("sh", "-c", "kill -9 $(cat /run/antmedia/nginx.pid)")
    eventually(
        lambda: (
            liveness(lab, node) == 200
            and node.run("systemctl", "is-active", "antmedia", check=False).stdout.strip() == "active"
            and node.run("systemctl", "show", "antmedia", "-P", "MainPID").stdout != before
        ),
        True,
        20.0,
    )


def test_the_host_has_ant_media_servers_account(node: Instance) -> None:
    fields = node.run("getent", "passwd", "antmedia").stdout.strip().split(":")
    assert fields[5:] == ["/usr/local/antmedia/", "/bin/false"]
