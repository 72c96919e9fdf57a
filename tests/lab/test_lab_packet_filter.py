"""The kernel takes every ruleset that security groups can lead to."""

from __future__ import annotations

import subprocess

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab import packet_filter
from lab.ec2.model import SecurityGroup, Vpc
from lab.packet_filter import Member
from tests.unit.lab import accounts


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(accounts.drawn(), st.sets(st.sampled_from(["v000000000001", "v000000000002"])))
def test_the_kernel_takes_every_ruleset_twice(account: tuple[list[Member], list[SecurityGroup]], cut: set[str]) -> None:
    """Twice: the second one replaces the first, as a changed rule does."""
    ruleset = packet_filter.ruleset(*account, [Vpc(accounts.VPC, "10.0.0.0/16")], cut)
    done = subprocess.run(["unshare", "--net", "nft", "-f", "-"], input=ruleset * 2, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stderr}\n{ruleset}"
