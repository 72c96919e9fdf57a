"""A media node of either image in a lab, used as viewers, publishers, administrators and a load balancer use it."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lab import images
from tests.lab.labs import Instance, Lab, Network, eventually, from_anywhere

STAND_IN = "ami-0ddd0000000000001"
ANOTHER_STAND_IN = "ami-0ddd0000000000003"
"""The same image under another id."""

AMS = "ami-0ddd0000000000002"
HOME = "/usr/local/antmedia"
AGAIN = "systemctl reset-failed antmedia; systemctl start antmedia"
"""Also when it was started often of late."""

LIVENESS_SECONDS = 40.0
"""From RunInstances to the first answer, on a busy machine. On an idle one: stand-in 2 s, real server 5 s."""

ADMINISTRATOR = {"email": "admin@example.org", "password": "one"}


@dataclass(frozen=True)
class Answer:
    """What HTTP gave back; names of headers are in lower case, the last of several counts."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def session(self) -> str:
        """The session that the answer opens, or nothing."""
        return self.headers.get("set-cookie", "").partition(";")[0].removeprefix("JSESSIONID=")


Run = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Media:
    """A booted media node that anybody may reach on its two ports."""

    lab: Lab
    host: Instance

    @property
    def address(self) -> str:
        return self.host.public

    def ask(self, path: str, *options: str, session: str = "", body: object = None) -> Answer:
        """A request of a viewer on the internet."""
        return self._ask(self.lab.client, self.host.public, path, *options, session=session, body=body)

    def ask_as_load_balancer(self, path: str, *options: str, session: str = "") -> Answer:
        """A request from a private address, as a load balancer's are: the node's own, so no other host is needed."""
        return self._ask(self.host.run, self.host.private, path, *options, session=session)

    def ask_from_the_node(self, path: str) -> Answer:
        """A request on the node itself, by its loopback address."""
        return self._ask(self.host.run, "127.0.0.1", path)

    def _ask(self, run: Run, address: str, path: str, *options: str, session: str = "", body: object = None) -> Answer:
        more = list(options)
        if session:
            more += ["--header", f"Cookie: JSESSIONID={session}"]
        if body is not None:
            text = body if isinstance(body, str) else json.dumps(body)
            more += ["--header", "Content-Type: application/json", "--data", text]
        done = run(
            "curl", "--silent", "--include", "--globoff", "--max-time", "30", *more, f"http://{address}:5080{path}",
            check=False,
        )  # fmt: skip
        if done.returncode:
            return Answer(0, {}, f"curl exit {done.returncode} {done.stderr}")
        head, _, text = done.stdout.replace("\r\n", "\n").partition("\n\n")
        first, *lines = head.splitlines()
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return Answer(int(first.split()[1]), headers, text)

    def log_in(self) -> str:
        """The session of the administrator, who is made if there is none."""
        self.ask("/rest/v2/users/initial", body=ADMINISTRATOR)
        answer = self.ask("/rest/v2/users/authenticate", body=ADMINISTRATOR)
        assert answer.json["success"], answer
        return answer.session

    def forget_users(self) -> None:
        """Makes the node one that nobody has claimed."""
        self.host.run("sh", "-c", f"systemctl stop antmedia; rm -f {HOME}/server.db; {AGAIN}")

    def publisher(self, stream: str, seconds: int) -> list[str]:
        """The command that publishes a test picture and tone in real time."""
        source = ["-f", "lavfi", "-i", "testsrc=size=320x240:rate=25", "-f", "lavfi", "-i", "sine"]
        encoders = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-pix_fmt", "yuv420p", "-c:a", "aac"]
        target = ["-t", str(seconds), "-f", "flv", f"rtmp://{self.address}/LiveApp/{stream}"]
        return ["ffmpeg", "-loglevel", "error", "-re", *source, *encoders, *target]

    @contextmanager
    def publishing(self, stream: str) -> Iterator[str]:
        """Publishes from the viewer's address while the block runs, which starts when there is a playlist."""
        command = ["ip", "netns", "exec", self.lab.layout.client_namespace, *self.publisher(stream, seconds=300)]
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
            try:
                eventually(lambda: self.ask(playlist(stream)).status, 200, 30.0)
                yield stream
            finally:
                process.terminate()
                process.wait()

    def codecs(self, url: str) -> list[str]:
        """The codecs of a stream that was fetched and decoded for two seconds."""
        waiting = ("-rw_timeout", "15000000")  # a player that hears nothing would wait for ever

        def plays() -> bool:
            play = ("ffmpeg", "-loglevel", "error", *waiting, "-i", url, "-t", "2", "-f", "null", "-")
            return self.lab.client(*play, check=False).returncode == 0

        eventually(plays, True, 60.0)
        shown = self.lab.client("ffprobe", "-loglevel", "error", "-show_streams", "-of", "json", url).stdout
        return sorted(each["codec_name"] for each in json.loads(shown)["streams"])


def playlist(stream: str) -> str:
    return f"/LiveApp/streams/{stream}.m3u8"


def launch(network: Network, ami: str) -> Media:
    """A node of an image, running and ready."""
    images.ensure(images.for_ami(ami))
    group = network.group(f"media-{ami}", ingress=(from_anywhere("tcp", 5080), from_anywhere("tcp", 1935)))
    started = time.monotonic()
    node = Media(network.lab, network.launch(f"media-{ami}", group, ImageId=ami))
    eventually(lambda: node.ask("/rest/v2/liveness").status, 200, LIVENESS_SECONDS)
    print(f"\n{images.for_ami(ami)}: {time.monotonic() - started:.1f} s from RunInstances to liveness")
    node.host.ready()
    eventually(lambda: node.host.run("systemctl", "is-active", "antmedia", check=False).stdout.strip(), "active", 60.0)
    return node


def calls_out(node: Media) -> Callable[[], int]:
    """Counts from now on the packets with which the host opens or asks for something elsewhere."""
    namespace = node.lab.layout.host_namespace(node.host.id)
    rules = """
        table inet calls {
            chain out {
                type filter hook output priority filter
                oifname != "lo" ct direction original counter
            }
        }
    """
    nft = ["ip", "netns", "exec", namespace, "nft"]
    subprocess.run([*nft, "-f", "-"], input=rules, text=True, check=True)

    def count() -> int:
        listed = subprocess.run(
            [*nft, "-j", "list", "table", "inet", "calls"], capture_output=True, text=True, check=True
        )
        rule = next(each["rule"] for each in json.loads(listed.stdout)["nftables"] if "rule" in each)
        return next(int(each["counter"]["packets"]) for each in rule["expr"] if "counter" in each)

    return count
