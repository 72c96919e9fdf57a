"""What the metadata service answers, for every setting of an instance's options."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import metadata
from lab.ec2.model import Instance, InstanceProfile
from lab.ec2.roles import Credentials
from lab.metadata import Response, Tokens
from tests.unit.lab.accounts import OPTIONS, group, instance

TOKEN = "x-aws-ec2-metadata-token"
SECONDS = "x-aws-ec2-metadata-token-ttl-seconds"


def _ask(caller: Instance | None, path: str, tokens: Tokens, method: str = "GET", **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return metadata.answer(method, path, named, caller, [group("sg-a"), group("sg-b")], tokens)


def _token(caller: Instance, tokens: Tokens, seconds: str = "60") -> Response:
    return metadata.answer("PUT", "/latest/api/token", {SECONDS: seconds}, caller, [], tokens)


def _read(caller: Instance, path: str) -> Response:
    tokens = Tokens()
    token = _token(caller, tokens).body.decode()
    return metadata.answer("GET", path, {TOKEN: token}, caller, [group("sg-a"), group("sg-b")], tokens)


def test_nobody_but_an_instance_is_answered() -> None:
    assert _ask(None, "/latest/meta-data/", Tokens()).status == 404


@given(http_tokens=st.sampled_from(["required", "optional"]), endpoint=st.sampled_from(["enabled", "disabled"]))
def test_the_options_decide_about_requests_without_token(http_tokens: str, endpoint: str) -> None:
    options = dataclasses.replace(OPTIONS, http_tokens=http_tokens, http_endpoint=endpoint)
    expected = 403 if endpoint == "disabled" else 401 if http_tokens == "required" else 200
    assert _ask(instance(1, options=options), "/latest/meta-data/", Tokens()).status == expected


def test_a_wrong_token_is_refused_even_where_none_is_needed() -> None:
    lenient = instance(1, options=dataclasses.replace(OPTIONS, http_tokens="optional"))
    assert metadata.answer("GET", "/latest/meta-data/", {TOKEN: "x"}, lenient, [], Tokens()).status == 401


def test_a_token_is_good_for_its_instance_and_its_time() -> None:
    now = [0.0]
    tokens = Tokens(clock=lambda: now[0])
    token = _token(instance(1), tokens, "10").body.decode()

    def status(caller: Instance) -> int:
        return metadata.answer("GET", "/latest/meta-data/", {TOKEN: token}, caller, [], tokens).status

    assert (status(instance(1)), status(instance(2))) == (200, 401)
    now[0] = 9.9
    assert status(instance(1)) == 200
    now[0] = 10.0
    assert status(instance(1)) == 401


@pytest.mark.parametrize("seconds", ["", "0", "21601", "-1", "1.5", "many", "999999999"])
def test_a_token_needs_a_time_to_live_within_ec2s_limits(seconds: str) -> None:
    assert _token(instance(1), Tokens(), seconds).status == 400


def test_a_token_travels_as_far_as_the_hop_limit_and_nothing_else_is_limited() -> None:
    far = instance(1, options=dataclasses.replace(OPTIONS, http_put_response_hop_limit=3))
    assert _token(far, Tokens()).ip_ttl == 3
    assert _read(far, "/latest/meta-data/instance-id").ip_ttl is None


def test_a_forwarded_request_gets_no_token() -> None:
    headers = {SECONDS: "60", "x-forwarded-for": "10.0.0.9"}
    assert metadata.answer("PUT", "/latest/api/token", headers, instance(1), [], Tokens()).status == 403


def test_the_tree_says_what_the_instance_is() -> None:
    caller = instance(7, "sg-a", public_ip="198.51.100.7", public_key="ssh-ed25519 AAAA", key_name="mine")
    for path, expected in {
        "instance-id": caller.id,
        "local-ipv4": "10.0.0.7",
        "public-ipv4": "198.51.100.7",
        "local-hostname": "ip-10-0-0-7.ec2.internal",
        "placement/availability-zone": "us-east-1a",
        "security-groups": "sg-a",
        "public-keys/": "0=mine",
        "public-keys/0/openssh-key": "ssh-ed25519 AAAA\n",
        f"network/interfaces/macs/{caller.mac}/vpc-id": "vpc-1",
    }.items():
        assert _read(caller, f"/latest/meta-data/{path}").body.decode() == expected, path
    document = json.loads(_read(caller, "/latest/dynamic/instance-identity/document").body)
    assert (document["instanceId"], document["privateIp"]) == (caller.id, "10.0.0.7")


def test_what_an_instance_has_not_is_not_there() -> None:
    for path in ("public-ipv4", "public-keys", "tags", "tags/instance/Name", "nothing", "instance-id/more"):
        assert _read(instance(1), f"/latest/meta-data/{path}").status == 404, path
    assert _read(instance(1), "/latest/user-data").status == 404
    assert _read(instance(1), "/1999-01-01/meta-data/").status == 404


def test_tags_are_there_when_the_options_say_so() -> None:
    shown = instance(1, options=dataclasses.replace(OPTIONS, instance_metadata_tags="enabled"))
    assert _read(shown, "/latest/meta-data/tags/instance/Name").body == b"host-1"


PROFILE = InstanceProfile(
    "arn:aws:iam::123456789012:instance-profile/lb", "AIPA1", "arn:aws:iam::123456789012:role/p/lb"
)


def _credentials(role_arn: str, instance_id: str) -> Credentials:
    return Credentials(
        f"ASIA {role_arn}", "secret", f"token {instance_id}", "2026-11-01T00:00:00Z", "2026-11-01T06:00:00Z"
    )


def _iam(caller: Instance, path: str) -> Response:
    lenient = dataclasses.replace(caller, metadata_options=dataclasses.replace(OPTIONS, http_tokens="optional"))
    return metadata.answer("GET", f"/latest/meta-data/{path}", {}, lenient, [], Tokens(), _credentials)


def test_an_instance_with_a_profile_gets_credentials_of_its_role() -> None:
    caller = instance(1, profile=PROFILE)
    assert _iam(caller, "iam/security-credentials/").body == b"lb"
    given = json.loads(_iam(caller, "iam/security-credentials/lb").body)
    assert given == {
        "Code": "Success",
        "LastUpdated": "2026-11-01T00:00:00Z",
        "Type": "AWS-HMAC",
        "AccessKeyId": f"ASIA {PROFILE.role_arn}",
        "SecretAccessKey": "secret",
        "Token": f"token {caller.id}",
        "Expiration": "2026-11-01T06:00:00Z",
    }
    assert json.loads(_iam(caller, "iam/info").body)["InstanceProfileArn"] == PROFILE.arn
    assert _iam(caller, "iam/security-credentials/other").status == 404


def test_an_instance_without_a_profile_or_role_gets_none() -> None:
    assert _iam(instance(1), "iam/security-credentials/").status == 404
    assert b"iam" not in _iam(instance(1), "").body
    without_role = instance(1, profile=dataclasses.replace(PROFILE, role_arn=None))
    assert _iam(without_role, "iam/security-credentials/").status == 404


def test_a_directory_lists_its_entries() -> None:
    listed = _read(instance(1), "/latest/meta-data/").body.decode().splitlines()
    assert "instance-id" in listed and "placement/" in listed
    assert _read(instance(1), "/latest").body.decode().splitlines() == ["dynamic/", "meta-data/"]


@given(st.binary(min_size=1, max_size=200))
def test_user_data_is_given_byte_for_byte(user_data: bytes) -> None:
    assert _read(instance(1, user_data=user_data), "/latest/user-data").body == user_data


@given(st.text(max_size=60), st.sampled_from(["GET", "PUT", "HEAD", "POST", "DELETE"]))
def test_any_path_has_an_answer(path: str, method: str) -> None:
    assert _ask(instance(1), f"/{path}", Tokens(), method).status in (200, 400, 401, 403, 404, 405)
