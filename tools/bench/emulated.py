"""The engine before an emulated AWS account, as benchmarks have it.

Every host's SSH server is one that answers each command with success at once: what is measured is the engine, the
provider and the program, not the hosts.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from cluster import keys
from cluster.settings import NAMESPACE
from tests.engine.pulumi_cli import Engine
from tests.engine.sandbox import AwsApi, Namespace, SshServer

ORIGINS: Final = 0.4
"""Their share of the media nodes: that of stacks/Pulumi.lab-cluster.yaml."""

MEANING: Final = (
    "the AWS API is emulated, and hosts answer every step with success at once; "
    "ratios are medians of pairs of one run, whose order alternates"
)


@contextmanager
def sandbox() -> Iterator[tuple[Engine, AwsApi, Path]]:
    """The engine, an empty account and every host, until they are left."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        namespace = Namespace()
        stack.callback(namespace.close)
        aws = AwsApi(namespace, directory)
        stack.callback(aws.close)
        engine = Engine(namespace, directory)
        login, host = engine.ssh_keys
        ssh = SshServer(namespace, directory, host_key=host, authorized_key=keys.public_key(login))
        stack.callback(ssh.close)
        yield engine, aws, directory


def of_size(nodes: int) -> dict[str, Any]:
    """The settings of so many media nodes."""
    origins = round(nodes * ORIGINS)
    return {"origins": {"count": origins}, "edges": {"count": nodes - origins}}


def configure(engine: Engine, media: Mapping[str, Any]) -> None:
    """Such media nodes; without alarms, which terraform's configuration does not have."""
    engine.configure({f"{NAMESPACE}:media": media, f"{NAMESPACE}:alarms": False})


def seconds_of(action: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.monotonic()
    action()
    return time.monotonic() - began
