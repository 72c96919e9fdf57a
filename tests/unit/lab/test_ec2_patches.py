"""The lab's EC2 API does what AWS does, and each difference from stock moto is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from lab.ec2 import patches
from tests.patience import PATIENCE
from tests.unit.lab.patch_checks import CHECKS, Api, start

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    running, api = start()
    yield api
    running.close()


@pytest.fixture(scope="module")
def failures_without() -> dict[str, str | None]:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.unit.lab.patch_checks"],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    found: dict[str, str | None] = json.loads(ran.stdout)
    return found


def test_every_patch_has_a_check() -> None:
    assert set(CHECKS) == {*patches.PATCHES, "rpc_v2_cbor"}


@pytest.mark.parametrize("patch", CHECKS)
def test_the_api_does_as_aws_does(patch: str, api: Api) -> None:
    CHECKS[patch](api)


@pytest.mark.parametrize("patch", CHECKS)
def test_the_patch_is_needed(patch: str, failures_without: dict[str, str | None]) -> None:
    assert failures_without[patch], f"{patch}: stock moto does this by now; delete the patch"
