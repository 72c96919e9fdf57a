"""Each difference from stock moto, as a named function that says what moto does wrong and what breaks without it.

Every one has a check in tests/unit/lab/test_ec2_patches.py that passes with it and fails with all the others but not
it: when a later moto makes a patch needless, that test says so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from lab.ec2.patches import cloudwatch, elastic_ip, flow_log, instance, route53, security_group, vpc

PATCHES: dict[str, Callable[[], None]] = {
    patch.__name__: patch
    for module in (instance, elastic_ip, security_group, vpc, flow_log, route53, cloudwatch)
    for patch in module.PATCHES
}

_applied: set[str] = set()


def apply(without: Collection[str] = ()) -> None:
    """Changes moto in this process, once: a second call does nothing. `without` names patches to leave out."""
    for name, patch in PATCHES.items():
        if name not in without and name not in _applied:
            _applied.add(name)
            patch()
