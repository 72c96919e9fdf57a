"""A browser on this machine reaches the load balancer, and is told how."""

from __future__ import annotations

import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.lab.labs import CHECKOUT, Instance, Lab, Network, from_anywhere
from tests.patience import PATIENCE

SERVER = r"""
set -e
mkdir -p /srv/site && cd /srv/site && echo "hello from the lab" > index.html
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=media.lab.test \
    -addext subjectAltName=DNS:media.lab.test -keyout /srv/key.pem -out /srv/cert.pem 2>/dev/null
cat > /srv/serve.py <<'PROGRAM'
import http.server, ssl
server = http.server.ThreadingHTTPServer(("", 443), http.server.SimpleHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); context.load_cert_chain("/srv/cert.pem", "/srv/key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True); server.serve_forever()
PROGRAM
systemd-run --quiet --working-directory=/srv/site python3 /srv/serve.py
until ss -Hltn sport = :443 | grep -q .; do sleep 0.05; done
"""


@pytest.fixture(scope="module")
def balancer(network: Network, lab: Lab) -> Iterator[Instance]:
    made = network.launch("balancer", network.group("https", ingress=(from_anywhere("tcp", 443),))).ready()
    made.run("bash", "-c", SERVER)
    yield made


def _forward(lab: Lab, *ports: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "lab", "--lab", lab.name, "forward", *(f"--port={port}" for port in ports)],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def test_without_a_load_balancer_it_says_what_to_do_first(lab: Lab) -> None:
    done = lab.command("forward", check=False)
    assert done.returncode == 1 and "make up" in done.stderr and "Traceback" not in done.stderr


def test_the_printed_commands_open_the_site(balancer: Instance, lab: Lab) -> None:
    ec2 = lab.ec2()
    allocation = ec2.allocate_address(Domain="vpc")["AllocationId"]
    association = ec2.associate_address(AllocationId=allocation, InstanceId=balancer.id)["AssociationId"]
    port = _free_port()
    forwarding = _forward(lab, f"{port}:443")
    try:
        assert forwarding.stdout is not None
        said = ""
        while "Ctrl-C ends it" not in said:
            line = forwarding.stdout.readline()
            assert line, f"it ended: {said}{forwarding.communicate()[1]}"
            said += line
        assert f"https://media.lab.test:{port}/" in said
        curl = re.search(r"^ *(curl .*)$", said, re.M)
        assert curl is not None
        opened = subprocess.run([*shlex.split(curl[1]), "-sS", "-m", "5"], capture_output=True, text=True)
        assert opened.stdout == "hello from the lab\n", opened.stderr

        second = _forward(lab, f"{port}:443")
        _, error = second.communicate(timeout=PATIENCE)
        assert second.returncode == 1 and f"Port {port} of 127.0.0.1 is in use" in error
        assert re.search(r"forward --port \d+:443", error), "it names another"
    finally:
        forwarding.send_signal(signal.SIGINT)
        assert forwarding.wait(timeout=PATIENCE) == 0
        ec2.disassociate_address(AssociationId=association)
        ec2.release_address(AllocationId=allocation)
