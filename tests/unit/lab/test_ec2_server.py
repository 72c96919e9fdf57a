"""The API server: what it tells the lab, and what it answers to mistakes."""

from __future__ import annotations

import gzip
import logging
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from lab.ec2 import server
from lab.ec2.addresses import PUBLIC_NETWORK, AddressesExhaustedError, AddressPool
from tests.patience import PATIENCE
from tests.unit.lab.patch_checks import Api, error_code, start

pytestmark = pytest.mark.unit

HOSTS = [str(address) for address in PUBLIC_NETWORK.hosts()]


def test_the_lab_is_told_of_each_change_and_of_nothing_else() -> None:
    changes: list[int] = []
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    running = server.serve(sock, lambda: changes.append(1))
    api = Api(running.url)
    api.ec2.describe_vpcs()
    assert not changes
    address = api.ec2.allocate_address(Domain="vpc")
    assert len(changes) == 1
    api.ec2.describe_addresses()
    assert len(changes) == 1
    api.ec2.release_address(AllocationId=address["AllocationId"])
    assert len(changes) == 2
    running.close()


def test_what_the_api_cannot_do_is_said_at_once() -> None:
    running, api = start()
    with pytest.raises(ClientError, match="The lab's AWS API cannot do this: NotImplementedError") as failed:
        api.ec2.describe_spot_datafeed_subscription()
    assert failed.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501, "not one that clients repeat"
    running.close()


def test_what_it_cannot_do_is_said_in_the_services_own_protocol() -> None:
    running, api = start()
    with pytest.raises(ClientError, match="The lab's AWS API cannot do this") as failed:
        api.client("service-quotas").get_aws_default_service_quota(ServiceCode="ec2", QuotaCode="L-1216C47A")
    assert failed.value.response["Error"]["Code"] == "NotImplemented"
    running.close()


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"ImageId": "ami-0123456789abcdef0"}, "InvalidAMIID.NotFound"),
        ({"InstanceType": "m5.huge"}, "InvalidInstanceType.NotFound"),
    ],
)
def test_an_instance_of_an_unknown_image_or_type_is_refused(wrong: dict[str, str], code: str) -> None:
    running, api = start()
    asked = {"ImageId": "ami-0ccc0000000001302", "InstanceType": "m5.large", "MinCount": 1, "MaxCount": 1, **wrong}
    assert error_code(api.ec2.run_instances, **asked, SubnetId=api.network().subnet) == code
    running.close()


def test_requests_at_once_get_different_addresses() -> None:
    running, api = start()
    ec2 = api.ec2
    with ThreadPoolExecutor(8) as pool:
        addresses = list(pool.map(lambda _: ec2.allocate_address(Domain="vpc"), range(24)))
    for address in addresses:
        ec2.release_address(AllocationId=address["AllocationId"])
    assert len({address["PublicIp"] for address in addresses}) == len(addresses)
    running.close()


def _request(url: str, body: str, *headers: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    opened = socket.create_connection((host, int(port)), PATIENCE)
    head = [
        "POST / HTTP/1.1",
        f"Host: {host}",
        "Authorization: AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/ec2/aws4_request",
    ]
    head += [f"Content-Length: {len(body)}", "Content-Type: application/x-www-form-urlencoded", *headers]
    opened.sendall("\r\n".join((*head, "", body)).encode())
    return opened


@pytest.mark.parametrize("action", ["DescribeVpcs", "DescribeInstanceTypes", "AllocateAddress&Domain=vpc"])
def test_an_answer_comes_at_once_and_fits_the_buffer_of_gos_client(action: str) -> None:
    running, _ = start()
    wanted = f"Action={action}&InstanceType.1=m5.large&Version=2016-11-15"
    with _request(running.url, wanted, "Accept-Encoding: gzip") as opened:
        first = opened.recv(1 << 20)
        head, _, body = first.partition(b"\r\n\r\n")
        assert f"content-length: {len(body)}".encode() in head.lower(), "the head came without the whole body"
        assert len(first) <= server.CLIENT_BUFFER_BYTES
        assert opened.recv(1) == b""
    running.close()


def test_a_long_answer_is_compressed_for_who_wants_it() -> None:
    running, api = start()
    for _ in range(20):
        api.ec2.allocate_address(Domain="vpc")

    def addresses(*headers: str) -> tuple[str, str]:
        with _request(running.url, "Action=DescribeAddresses&Version=2016-11-15", *headers) as opened:
            said = b"".join(iter(lambda: opened.recv(1 << 20), b""))
        head, _, body = said.partition(b"\r\n\r\n")
        return head.decode(), (gzip.decompress(body) if b"gzip" in head else body).decode()

    plain, wanted = addresses(), addresses("Accept-Encoding: gzip")
    assert "gzip" not in plain[0]
    assert "Content-Encoding: gzip" in wanted[0]
    assert plain[1] == wanted[1]
    running.close()


def test_a_repeated_request_is_logged_without_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    running, _ = start()
    with caplog.at_level(logging.WARNING):
        for attempt in (1, 2):
            _request(running.url, "Action=DescribeVpcs", f"Amz-Sdk-Request: attempt={attempt}; max=25").recv(100)
        asked = urllib.request.Request(
            running.url,
            data=b'{"SecretString": "correct-horse"}',
            headers={"Amz-Sdk-Request": "attempt=3; max=25", "X-Amz-Target": "secretsmanager.PutSecretValue",
                     "Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/secretsmanager/aws4_request"},
        )  # fmt: skip
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(asked)
    assert [record.getMessage() for record in caplog.records] == [
        "attempt 2 of POST / Action=DescribeVpcs",
        "attempt 3 of POST secretsmanager.PutSecretValue",
    ]
    running.close()


def test_a_request_that_is_sent_again_is_done_once() -> None:
    """As by the SDK for Go, which on a busy machine may lose an answer that was sent."""
    running, api = start()

    def said(action: str, invocation: str, attempt: int) -> bytes:
        headers = f"Amz-Sdk-Invocation-Id: {invocation}", f"Amz-Sdk-Request: attempt={attempt}; max=25"
        with _request(running.url, f"Action={action}&Version=2016-11-15", *headers) as opened:
            return b"".join(iter(lambda: opened.recv(1 << 20), b"")).partition(b"\r\n\r\n")[2]

    def volumes() -> int:
        return len(api.ec2.describe_volumes()["Volumes"]) - others

    others = 0
    others = volumes()  # the emulated account is one for all tests of this process
    create = "CreateVolume&AvailabilityZone=us-east-1a&Size=8"
    first = said(create, "one", 1)
    assert b"<volumeId>vol-" in first
    assert said(create, "one", 2) == first
    assert volumes() == 1
    assert said(create, "two", 1) != first
    assert b"<Error>" in said("DeleteVolume&VolumeId=vol-0123456789abcdef0", "three", 1)
    assert b"<volumeId>vol-" in said(create, "three", 2), "what failed is done again"
    assert volumes() == 3
    running.close()


def test_a_closed_server_frees_its_port() -> None:
    running, api = start()
    api.ec2.describe_vpcs()
    port = int(running.url.rpartition(":")[2])
    running.close()
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))


def test_a_port_in_use_is_explained_without_a_traceback() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ran = subprocess.run([sys.executable, "-m", "lab.ec2", "--port", port], capture_output=True, text=True)
    assert ran.returncode == 1
    assert ran.stderr == f"Cannot listen on port {port} (Address already in use): give another with --port.\n"


@given(st.sets(st.sampled_from(HOSTS), max_size=len(HOSTS) - 1), st.integers(1, 600))
def test_an_address_is_never_given_twice(in_use: set[str], times: int) -> None:
    pool, held = AddressPool(), set(in_use)
    for _ in range(min(times, len(HOSTS) - len(in_use))):
        address = pool.take(held)
        assert address in HOSTS
        assert address not in held
        held.add(address)


@given(st.lists(st.integers(0, 20), max_size=40))
def test_an_address_just_freed_comes_back_last(holds: list[int]) -> None:
    """Given and freed at once, all the others come before it."""
    pool = AddressPool()
    for hold in holds:
        for _ in range(hold):
            pool.take(())
    first = pool.take(())
    assert first not in {pool.take(()) for _ in range(len(HOSTS) - 1)}
    assert pool.take(()) == first


def test_no_address_left_is_explained() -> None:
    with pytest.raises(AddressesExhaustedError, match=r"All 254 public addresses of 198\.51\.100\.0/24 are in use"):
        AddressPool().take(HOSTS)
