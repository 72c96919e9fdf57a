"""What the ACME server's log says of its work, and which settings it takes when."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import acme
from lab.authority import Authority
from lab.layout import LabError, layout

pytestmark = pytest.mark.unit

# Of pebble 2.6, shortened: one order for two names that fails, one that succeeds, and a renewal of it.
LOG = """\
Pebble 2026/11/22 23:45:06 Added order "EVd29__vVLXlnfenhX1XHRd9BFYNOHG6NXx53ANmqK0" to the db
Pebble 2026/11/22 23:45:06 There are now 1 orders in the db
Pebble 2026/11/22 23:45:06 authz 0MVndZt4CE-sFisj set INVALID by completed challenge SxtnL6zpg4V5gxz32GCPOUY87
Pebble 2026/11/22 23:45:06 order EVd29__vVLXlnfen set INVALID by invalid authz 0MVndZt4CE-sFisj
Pebble 2026/11/22 23:45:06 authz SzgYOjjOxMkzDRT9 set INVALID by completed challenge 74IwmbWZAc14aE756PfrTPD7x
Pebble 2026/11/22 23:45:47 Added order "Pm2" to the db
Pebble 2026/11/22 23:45:47 authz Kk set VALID by completed challenge Zz
Pebble 2026/11/22 23:45:47 Order Pm2 is fully authorized. Processing finalization
Pebble 2026/11/22 23:45:47 Issued certificate serial 5ad1f0a3d9e3a1cf for order Pm2
Pebble 2026/11/22 23:46:01 Added order "Pm3" to the db
Pebble 2026/11/22 23:46:02 Issued certificate serial 0b6d3a4cf80c5a11 for order Pm3
"""


def test_orders_certificates_and_failed_validations_are_counted() -> None:
    assert acme.count(LOG.splitlines()) == acme.Count(orders=3, certificates=2, failed_validations=2)


def test_before_its_first_use_it_has_done_nothing() -> None:
    assert acme.count([]) == acme.Count(0, 0, 0)


def test_a_lifetime_is_a_positive_number_of_seconds(tmp_path: Path) -> None:
    server = acme.Acme(layout("unit"), Authority.make(tmp_path / "authority"), tmp_path / "cgroup")
    server.set_lifetime(3600)
    assert server.report()["lifetime_seconds"] == 3600
    with pytest.raises(LabError, match="use a positive number"):
        server.set_lifetime(0)
