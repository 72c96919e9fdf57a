"""The log of what was asked of the lab's AWS API."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.ec2.calls import Calls


def signed(service: str, method: str = "POST", path: str = "/", **headers: str) -> dict[str, str]:
    credential = f"AWS4-HMAC-SHA256 Credential=lab/20261126/us-east-1/{service}/aws4_request, Signature=x"
    return {"HTTP_AUTHORIZATION": credential, "REQUEST_METHOD": method, "PATH_INFO": path, **headers}


@pytest.mark.parametrize(
    ("environ", "body", "expected"),
    [
        (signed("ec2"), b"Action=RunInstances&Version=2016-11-15", "ec2:RunInstances"),
        (signed("iam"), b"Version=2010-05-08&Action=CreateRole", "iam:CreateRole"),
        (
            signed("secretsmanager", HTTP_X_AMZ_TARGET="secretsmanager.CreateSecret"),
            b'{"SecretString": "Action=secret"}',
            "secretsmanager:CreateSecret",
        ),
        (signed("logs", HTTP_X_AMZ_TARGET="Logs_20140328.CreateLogGroup"), b"{}", "logs:CreateLogGroup"),
        (
            signed("monitoring", path="/service/GraniteServiceVersion20100801/operation/PutMetricAlarm"),
            b"",
            "monitoring:PutMetricAlarm",
        ),
        (signed("route53", "GET", "/2013-04-01/hostedzonesbyname"), b"", "route53:ListHostedZonesByName"),
        (signed("route53", "GET", "/2013-04-01/hostedzone/Z1/rrset"), b"", "route53:ListResourceRecordSets"),
        (signed("route53", "POST", "/2013-04-01/hostedzone/Z1/rrset/"), b"<x/>", "route53:ChangeResourceRecordSets"),
        (signed("route53", "GET", "/nothing/of/the/kind"), b"", "route53:GET /nothing/of/the/kind"),
    ],
)
def test_an_operation_is_named(tmp_path: Path, environ: dict[str, str], body: bytes, expected: str) -> None:
    log = tmp_path / "calls.log"
    Calls(log).note(environ, body)
    assert log.read_text() == f"lab {expected}\n"


def test_each_is_logged_once_and_what_nobody_signed_is_not(tmp_path: Path) -> None:
    log = tmp_path / "calls.log"
    calls = Calls(log)
    for _ in range(3):
        calls.note(signed("ec2"), b"Action=DescribeVpcs")
        calls.note({"REQUEST_METHOD": "GET", "PATH_INFO": "/lab/objects"}, b"")
    calls.note(signed("ec2"), b"Action=DescribeSubnets")
    assert log.read_text() == "lab ec2:DescribeVpcs\nlab ec2:DescribeSubnets\n"
