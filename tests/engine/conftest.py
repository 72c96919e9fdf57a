"""One deployment for the whole tier: made once, and whoever breaks it mends it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import keys
from tests import stack_files
from tests.engine import permissions
from tests.engine.pulumi_cli import Engine, Run, Trial
from tests.engine.sandbox import AwsApi, Namespace, SshCall, SshServer


@pytest.fixture(scope="session")
def namespace() -> Iterator[Namespace]:
    made = Namespace()
    yield made
    made.close()


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engine")


@pytest.fixture(scope="session")
def aws(namespace: Namespace, directory: Path) -> Iterator[AwsApi]:
    """The AWS API, as the outside sees it.

    ANTMEDIA_ENGINE_WITHOUT=PATCH,PATCH leaves out patches of lab.ec2: to see by hand which of these tests need them.
    """
    without = os.environ.get("ANTMEDIA_ENGINE_WITHOUT", "")
    running = AwsApi(namespace, directory, without.split(",") if without else ())
    yield running
    running.close()
    asked = running.calls.read_text() if running.calls.exists() else ""
    if lacking := permissions.complaint(asked):
        pytest.fail(lacking, pytrace=False)


@pytest.fixture(scope="session")
def ec2(aws: AwsApi) -> Any:
    """What a person with the AWS console would use: a boto3 client."""
    return aws.client("ec2")


@pytest.fixture(scope="session")
def engine(namespace: Namespace, directory: Path, aws: AwsApi) -> Engine:
    return Engine(namespace, directory)


@pytest.fixture(scope="module")
def tried(
    namespace: Namespace, aws: AwsApi, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Path], Trial]]:
    """Previews a file of tests/stack_files.py, for a stack that was never deployed, apart from the others' one."""
    engine = Engine(namespace, tmp_path_factory.mktemp("trials"))
    encrypted: dict[str, str] = {}

    def preview(file: Path) -> Trial:
        try:
            made = stack_files.StackFile(file)
        except yaml.YAMLError:
            return engine.try_file(file.read_text(), file.stem)
        if new := made.secrets - encrypted.keys():
            encrypted.update(engine.encrypted(new))
        return engine.try_file(made.text(encrypted.__getitem__), file.stem)

    zone = aws.client("route53").create_hosted_zone(Name="example.com", CallerReference="trials")["HostedZone"]["Id"]
    try:
        yield preview
        assert engine.export()["deployment"].get("resources", []) == [], "a preview left something in the state"
    finally:
        aws.client("route53").delete_hosted_zone(Id=zone)


@pytest.fixture(scope="session")
def ssh(engine: Engine, directory: Path) -> Iterator[SshServer]:
    login, host = engine.ssh_keys
    running = SshServer(engine.namespace, directory, host_key=host, authorized_key=keys.public_key(login))
    yield running
    running.close()


@pytest.fixture(scope="session")
def _first(engine: Engine, ssh: SshServer) -> tuple[Run, list[SshCall]]:
    run = engine.up()
    return run, ssh.calls


@pytest.fixture(scope="session")
def first_up(_first: tuple[Run, list[SshCall]]) -> Run:
    """The update that made the deployment."""
    return _first[0]


@pytest.fixture(scope="session")
def first_calls(_first: tuple[Run, list[SshCall]]) -> list[SshCall]:
    """The commands that the first update sent to hosts."""
    return _first[1]


@pytest.fixture
def destroying(engine: Engine, first_up: Run) -> Iterator[Callable[[], Run]]:
    """Destroys the deployment, which is there again for the tests that follow."""
    yield engine.destroy
    engine.up()


@pytest.fixture
def ssh_log(ssh: SshServer) -> SshServer:
    """The commands sent to hosts, from the beginning of the test on."""
    ssh.clear()
    return ssh
