"""Real hosts use AWS's endpoints with the credentials of their role."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.lab.labs import Instance, Lab, Network, from_anywhere

SILENCE = 28  # curl: timed out

# A host's script, with nothing but what a stock image has. $1: service, the rest: curl's arguments.
CALL = """
set -eu
token=$(curl -sSf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token)
read_metadata() { curl -sSf -H "X-aws-ec2-metadata-token: $token" "http://169.254.169.254/latest/meta-data/$1"; }
role=$(read_metadata iam/security-credentials/)
given=$(read_metadata "iam/security-credentials/$role")
field() { printf %s "$given" | python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
service=$1
shift
keys=$(field AccessKeyId):$(field SecretAccessKey)
exec curl -sS --max-time 10 --aws-sigv4 "aws:amz:us-east-1:$service" --user "$keys" \\
    -H "X-Amz-Security-Token: $(field Token)" "$@"
"""


@pytest.fixture(scope="module")
def node(lab: Lab, network: Network) -> Iterator[Instance]:
    """A host that may reach the internet over HTTPS only, with the role `roles-node`."""
    iam = lab.api("iam")
    trust = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    both = {"InstanceProfileName": "roles-node", "RoleName": "roles-node"}
    iam.create_role(RoleName="roles-node", AssumeRolePolicyDocument=policy)
    iam.create_instance_profile(InstanceProfileName="roles-node")
    iam.add_role_to_instance_profile(**both)
    group = network.group("roles-node", egress=(from_anywhere("tcp", 443),))
    yield network.launch("roles-node", group, IamInstanceProfile={"Name": "roles-node"}).ready()
    iam.remove_role_from_instance_profile(**both)
    iam.delete_instance_profile(InstanceProfileName="roles-node")
    iam.delete_role(RoleName="roles-node")


@pytest.fixture(scope="module")
def closed(network: Network) -> Instance:
    """A host without a role, whose groups let nothing out."""
    return network.launch("roles-closed", network.group("roles-closed", egress=())).ready()


def _call(host: Instance, service: str, *arguments: str) -> str:
    return host.run("sh", "-c", CALL, "call", service, *arguments).stdout


def _secrets(host: Instance, operation: str, **request: str) -> dict[str, str]:
    headers = ("-H", "Content-Type: application/x-amz-json-1.1", "-H", f"X-Amz-Target: secretsmanager.{operation}")
    url = "https://secretsmanager.us-east-1.amazonaws.com/"
    found: dict[str, str] = json.loads(_call(host, "secretsmanager", *headers, "--data", json.dumps(request), url))
    return found


def test_a_host_is_known_by_its_role(node: Instance) -> None:
    said = _call(node, "sts", "https://sts.us-east-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15")
    assert f"<Arn>arn:aws:sts::123456789012:assumed-role/roles-node/{node.id}</Arn>" in said


def test_a_host_stores_a_secret_and_reads_it_back(lab: Lab, node: Instance) -> None:
    secrets = lab.api("secretsmanager")
    secrets.create_secret(Name="roles/certificate", SecretString="none yet")
    try:
        version = "0" * 32
        _secrets(node, "PutSecretValue", SecretId="roles/certificate", SecretString="chain", ClientRequestToken=version)
        assert _secrets(node, "GetSecretValue", SecretId="roles/certificate")["SecretString"] == "chain"
        assert secrets.get_secret_value(SecretId="roles/certificate")["SecretString"] == "chain"
        assert "roles/certificate" in lab.objects()["secrets"]
    finally:
        secrets.delete_secret(SecretId="roles/certificate", ForceDeleteWithoutRecovery=True)
    assert "secrets" not in lab.objects()


def test_a_host_stores_a_file_in_a_bucket(lab: Lab, node: Instance) -> None:
    lab.api("s3").create_bucket(Bucket="roles")
    node.run("sh", "-c", "cat >/tmp/file", stdin="content\n")
    try:
        for url in ("https://roles.s3.us-east-1.amazonaws.com/one", "https://s3.us-east-1.amazonaws.com/roles/two"):
            _call(node, "s3", "--upload-file", "/tmp/file", url)
            assert _call(node, "s3", url) == "content\n"
    finally:
        for key in ("one", "two"):
            lab.api("s3").delete_object(Bucket="roles", Key=key)
        lab.api("s3").delete_bucket(Bucket="roles")


def test_without_an_egress_rule_no_endpoint_answers(closed: Instance) -> None:
    for url in ("https://secretsmanager.us-east-1.amazonaws.com/", "https://acme.lab.test/dir"):
        assert closed.run("curl", "-sS", "--max-time", "2", url, check=False).returncode == SILENCE


def test_a_host_without_a_profile_has_no_credentials_until_it_gets_one(
    lab: Lab, node: Instance, closed: Instance
) -> None:
    def role() -> str:
        seconds = "X-aws-ec2-metadata-token-ttl-seconds: 60"
        token = closed.run("curl", "-sS", "-X", "PUT", "-H", seconds, "http://169.254.169.254/latest/api/token").stdout
        url = "http://169.254.169.254/latest/meta-data/iam/security-credentials/"
        return closed.run("curl", "-sS", "-w", " %{http_code}", "-H", f"X-aws-ec2-metadata-token: {token}", url).stdout

    assert role() == " 404"
    profile = {"Name": "roles-node"}
    associated = lab.ec2().associate_iam_instance_profile(InstanceId=closed.id, IamInstanceProfile=profile)
    assert role() == "roles-node 200"
    association = associated["IamInstanceProfileAssociation"]["AssociationId"]
    lab.ec2().disassociate_iam_instance_profile(AssociationId=association)
    assert role() == " 404"


def test_another_region_has_no_endpoint(node: Instance) -> None:
    assert node.run("getent", "hosts", "secretsmanager.eu-west-1.amazonaws.com", check=False).returncode == 2
