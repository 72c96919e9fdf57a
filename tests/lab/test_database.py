"""The managed database on real hosts: who gets in, what outlives what, and that a backup can be put back.

The whole stack, because the way to the database is through its load balancer.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.database import account_name
from tests.lab.deployments import Deployment, prepare
from tests.lab.labs import eventually

ADDRESS = "172.30.0.20"
BUCKET = "backups"
MOUNT = "/var/lib/antmedia-database"

CLIENT = """
import json, sys, pymongo
user, password, action = json.load(sys.stdin)
login = {"username": user, "password": password} if user else {}
client = pymongo.MongoClient("127.0.0.1", 27017, serverSelectionTimeoutMS=20000, **login)
streams = client.LiveApp.broadcast
try:
    if action == "write":
        streams.create_index("streamId")
        streams.insert_many([{"streamId": f"stream{n}"} for n in range(300)])
    elif action == "spoil":
        streams.delete_many({"streamId": {"$ne": "stream7"}})
    print(json.dumps([streams.count_documents({}), sorted(streams.index_information())]))
except pymongo.errors.OperationFailure as error:
    print(json.dumps(error.code))
"""


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    made = prepare(tmp_path_factory.mktemp("database"), "lab-cluster")

    def one_node_of_each_kind(config: dict[str, Any]) -> None:
        for group in ("origins", "edges"):
            config["antmedia:media"][group]["count"] = 1

    made.edit(one_node_of_each_kind)
    try:
        made.make_up()
        yield made
    finally:
        made.lab.down()


def ask(deployment: Deployment, action: str, user: str | None = None, password: str | None = None) -> Any:
    """What the database answers on its own host: how many documents and which indexes, or an error's code."""
    known = deployment.password("databaseLogin") if password is None else password
    name = account_name("antmedia", known) if user is None else user
    said = deployment.lab.host("db-1", "python3", "-c", CLIENT, stdin=json.dumps([name, known, action])).stdout
    return json.loads(said)


def on_host(deployment: Deployment, *command: str) -> str:
    return deployment.lab.host("db-1", *command).stdout.strip()


WHOLE = [300, ["_id_", "streamId_1"]]


def test_the_media_nodes_login_lets_in(deployment: Deployment) -> None:
    assert ask(deployment, "write") == WHOLE


@pytest.mark.parametrize(
    ("user", "password", "code"), [("", "", 13), ("antmedia", "not-the-password", 18), ("root", "x", 18)]
)
def test_nobody_gets_in_without_the_login(deployment: Deployment, user: str, password: str, code: int) -> None:
    assert ask(deployment, "read", user, password) == code


def reaches(deployment: Deployment, host: str) -> bool:
    """Whether a TCP connection from a host to the database's port is taken."""
    connect = f"exec 3<>/dev/tcp/{ADDRESS}/27017"
    done = deployment.lab.host(host, "timeout", "3", "bash", "-c", connect, check=False)
    return done.returncode == 0


def test_media_nodes_reach_it_and_the_load_balancer_does_not(deployment: Deployment) -> None:
    assert reaches(deployment, "origin-1")
    assert reaches(deployment, "edge-1")
    assert not reaches(deployment, "lb-1")


def test_no_password_is_in_a_process_list_a_log_or_a_file_that_others_may_read(deployment: Deployment) -> None:
    password = deployment.password("databaseLogin")
    administrator = on_host(deployment, "cat", f"{MOUNT}/accounts/administrator")
    for command in (["ps", "-eo", "args"], ["journalctl", "--no-pager"]):
        said = on_host(deployment, *command)
        assert password not in said
        assert administrator not in said
    found = on_host(deployment, "find", f"{MOUNT}/accounts", "/etc/antmedia", "-printf", "%m %u %y\n").splitlines()
    assert set(found) <= {"700 root d", "600 root f"}


def test_it_never_starts_without_its_volume(deployment: Deployment) -> None:
    unit = on_host(deployment, "systemd-escape", "--path", "--suffix=mount", MOUNT)
    try:
        on_host(deployment, "systemctl", "stop", unit)
        assert deployment.lab.host("db-1", "systemctl", "is-active", "mongod", check=False).stdout.strip() == "inactive"
        on_host(deployment, "mv", f"/etc/systemd/system/{unit}", "/root/")
        on_host(deployment, "systemctl", "daemon-reload")
        assert deployment.lab.host("db-1", "systemctl", "start", "mongod", check=False).returncode != 0
    finally:
        deployment.lab.host("db-1", "mv", f"/root/{unit}", "/etc/systemd/system/", check=False)
        on_host(deployment, "systemctl", "daemon-reload")
        on_host(deployment, "systemctl", "restart", "mongod")
    eventually(lambda: ask(deployment, "read"), WHOLE, 20)


def test_a_host_that_boots_again_has_its_data(deployment: Deployment) -> None:
    deployment.lab.command("kill", "db-1")
    deployment.lab.command("heal", "db-1")
    deployment.lab.wait_for_host("db-1")
    assert ask(deployment, "read") == WHOLE


def test_running_every_step_again_restarts_nothing_and_formats_nothing(deployment: Deployment) -> None:
    before = on_host(deployment, "systemctl", "show", "-p", "MainPID", "mongod")
    resources = json.loads(deployment.pulumi("stack", "export").stdout)["deployment"]["resources"]
    steps = [r["urn"] for r in resources if r["urn"].split("::")[-1].startswith("db-1-")]
    deployment.pulumi("up", "--yes", "--skip-preview", *(f"--target-replace={urn}" for urn in steps))
    assert on_host(deployment, "systemctl", "show", "-p", "MainPID", "mongod") == before
    assert ask(deployment, "read") == WHOLE


def test_a_bucket_that_is_not_there_stops_the_update_and_is_named(deployment: Deployment) -> None:
    deployment.edit(lambda config: config["antmedia:database"].update(backup={"bucket": "there-is-none", "hour": 4}))
    failed = deployment.pulumi("up", "--yes", "--skip-preview", check=False)
    assert failed.returncode != 0
    assert "NoSuchBucket" in failed.stdout + failed.stderr


def test_a_backup_is_made_at_once_and_then_every_day(deployment: Deployment) -> None:
    deployment.lab.api("s3").create_bucket(Bucket=BUCKET)
    deployment.edit(lambda config: config["antmedia:database"].update(backup={"bucket": BUCKET, "hour": 4}))
    deployment.up()
    assert len(backups(deployment)) == 1
    timer = on_host(deployment, "systemctl", "show", "-p", "TimersCalendar", "antmedia-database-backup.timer")
    assert "OnCalendar=*-*-* 04:00:00 UTC" in timer
    on_host(deployment, "systemctl", "start", "antmedia-database-backup.service")
    assert len(backups(deployment)) == 2
    assert on_host(deployment, "antmedia-database", "status").startswith(f"s3://{BUCKET}/antmedia/{deployment.stack}/")


def backups(deployment: Deployment) -> list[str]:
    """The names in the bucket, as AWS knows them."""
    found = deployment.lab.api("s3").list_objects_v2(Bucket=BUCKET).get("Contents", [])
    names = [entry["Key"].removeprefix(f"antmedia/{deployment.stack}/").removesuffix(".gz") for entry in found]
    assert names == on_host(deployment, "antmedia-database", "list").splitlines()
    return names


def restore(deployment: Deployment, time: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return deployment.lab.host("db-1", "antmedia-database", "restore", time, check=check)


def test_a_backup_can_be_put_back_and_a_restore_can_be_undone(deployment: Deployment) -> None:
    assert ask(deployment, "spoil") == [1, WHOLE[1]]
    restore(deployment, "latest")
    assert ask(deployment, "read") == WHOLE
    spoilt = backups(deployment)[-1]  # the restore's own, of what it found
    restore(deployment, spoilt)
    assert ask(deployment, "read") == [1, WHOLE[1]]
    restore(deployment, backups(deployment)[0])
    assert ask(deployment, "read") == WHOLE


def test_a_backup_that_is_not_there_or_damaged_changes_nothing(deployment: Deployment) -> None:
    assert restore(deployment, "2020-01-01T00-00-00Z", check=False).returncode != 0
    key = f"antmedia/{deployment.stack}/2021-01-01T00-00-00Z.gz"
    deployment.lab.api("s3").put_object(Bucket=BUCKET, Key=key, Body=b"no dump")
    damaged = restore(deployment, "2021-01-01T00-00-00Z", check=False)
    assert damaged.returncode != 0
    assert "damaged" in damaged.stderr
    assert ask(deployment, "read") == WHOLE


def test_a_changed_password_is_taken_over_and_the_old_one_refused(deployment: Deployment) -> None:
    old = deployment.password("databaseLogin")
    deployment.edit(lambda config: config.update({"antmedia:databaseLogin": {"password": "another-password"}}))
    try:
        deployment.up()
        assert ask(deployment, "read", password="another-password") == WHOLE
        assert ask(deployment, "read", password=old) == 18
    finally:
        deployment.edit(lambda config: config.pop("antmedia:databaseLogin"))
        deployment.up()
    assert ask(deployment, "read") == WHOLE


def test_a_larger_volume_is_used_without_losing_anything(deployment: Deployment) -> None:
    deployment.edit(lambda config: config["antmedia:database"].update(volumeGb=12))
    deployment.up()
    size = int(on_host(deployment, "df", "--output=size", "--block-size=G", MOUNT).split()[-1].rstrip("G"))
    assert size in (11, 12)
    assert ask(deployment, "read") == WHOLE


def test_a_replaced_host_finds_the_data_and_the_accounts(deployment: Deployment) -> None:
    before = deployment.lab.status()
    deployment.run("make", "repair", f"STACK={deployment.stack}", "NODE=db-1", "ARGS=--yes")
    instance = {host["name"]: host["instance"] for host in deployment.lab.status()}
    assert instance[f"antmedia-{deployment.stack}-db-1"] not in {host["instance"] for host in before}
    assert ask(deployment, "read") == WHOLE
    deployment.pulumi("preview", "--expect-no-changes")
