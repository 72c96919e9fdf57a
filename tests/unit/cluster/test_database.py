"""How media nodes find the database."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from cluster import database, host_files, render
from cluster.plan import ClusterPlan
from tests.unit.cluster.conftest import VALID


def test_the_managed_database_is_reached_at_its_fixed_address_with_a_login(
    make_plan: Callable[..., ClusterPlan],
) -> None:
    found = re.fullmatch(r"mongodb://antmedia-([0-9a-f]{8}):horse-battery-correct@172.30.0.20:27017", uri(make_plan()))
    assert found
    own = {"password": "horse-battery-correct", "user": "media"}
    assert uri(make_plan(databaseLogin=own)).startswith(f"mongodb://media-{found[1]}:")


def test_another_password_is_another_account(make_plan: Callable[..., ClusterPlan]) -> None:
    names = {database.account(make_plan(databaseLogin={"password": f"a-password-{n}"}).settings)[0] for n in range(9)}
    assert len(names) == 9


def uri(plan: ClusterPlan) -> str:
    return database.uri(plan) or ""


def test_the_uri_of_an_external_database_is_passed_on_as_it_is(make_plan: Callable[..., ClusterPlan]) -> None:
    uri = "mongodb+srv://user:p%40ss@cluster0.example.com/?retryWrites=true"
    assert database.uri(make_plan(database={"mode": "external"}, databaseLogin={"uri": uri})) == uri


def test_the_community_edition_connects_to_nothing(make_plan: Callable[..., ClusterPlan]) -> None:
    assert database.uri(make_plan(media={**VALID["media"], "edition": "community"})) is None


def test_no_host_file_holds_the_login(make_plan: Callable[..., ClusterPlan]) -> None:
    for name, text in render.HOST_FILES.items():
        assert "horse-battery-correct" not in text(make_plan()), name


def test_the_database_wants_a_login_and_keeps_its_data_on_its_volume() -> None:
    script = render.database_configure()
    assert "\nsecurity:\n  authorization: enabled\n" in script
    assert f"\n  dbPath: {database.DATA}\n" in script
    assert database.DATA.startswith(database.VOLUME + "/")
    assert f"RequiresMountsFor={database.VOLUME}\n" in script


def test_a_volume_is_formatted_at_one_place_only_and_only_when_it_is_empty() -> None:
    script = render.database_volume()
    assert script.count("mkfs") == 1
    empty = script[script.index("    2)") : script.index("    *)")]
    assert "mkfs.ext4" in empty


def test_packages_come_from_the_named_repository_and_no_key_but_its_own_is_trusted_for_it(
    make_plan: Callable[..., ClusterPlan],
) -> None:
    key = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----\n"
    source = {
        "url": "http://packages.example.com/x",
        "suite": "s/t",
        "component": "c",
        "packages": ["a1", "b2"],
        "key": key,
    }
    script = render.database_install(make_plan(database={"packageSource": source}).settings)
    assert "URIs: http://packages.example.com/x\nSuites: s/t\nComponents: c\n" in script
    assert f"|| true\n{key}ANTMEDIA_END_OF_FILE\n" in script
    assert "Signed-By: /etc/apt/keyrings/antmedia-database.asc\n" in script
    assert "python3-pymongo a1 b2\n" in script


@pytest.mark.parametrize("hour", [3, 23])
def test_backups_go_below_a_prefix_of_the_stacks_own_at_their_hour(
    make_plan: Callable[..., ClusterPlan], hour: int
) -> None:
    backup = {"bucket": "my-backups", "hour": hour}
    settings, _, timer = host_files.backup_files(make_plan(database={"backup": backup}))
    assert settings.text == "bucket=my-backups\nprefix=antmedia/test/\n"
    assert f"\nOnCalendar=*-*-* {hour}:00:00 UTC\n" in timer.text


def test_without_backups_their_settings_and_their_timer_are_taken_away(make_plan: Callable[..., ClusterPlan]) -> None:
    script = render.database_backup(make_plan())
    for path in (database.BACKUP_SETTINGS, f"/etc/systemd/system/{host_files.BACKUP_TIMER}"):
        assert f"\n  rm -f {path}\n" in script
