"""The database as data: where it listens, where it keeps what, and how media nodes log in."""

from __future__ import annotations

import hashlib
from typing import Final

from cluster.plan import ClusterPlan
from cluster.settings import MONGODB_URI, DatabaseMode, Settings

PORT: Final = 27017

CONFIG: Final = "/etc/mongod.conf"
UNIT: Final = "mongod.service"
OWNER: Final = "mongodb"
"""The account that MongoDB's packages make for the server."""

VOLUME: Final = "/var/lib/antmedia-database"
"""Where the data volume is mounted. It has a file system of its own, which outlives the host."""
MOUNT_UNIT: Final = r"var-lib-antmedia\x2ddatabase.mount"
"""What systemd-escape makes of `VOLUME`."""
DEVICE: Final = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_"
"""The name that udev gives to an EBS volume on every instance type built on Nitro, but for the volume's id without its
hyphen."""
DATA: Final = f"{VOLUME}/mongodb"
ACCOUNTS: Final = f"{VOLUME}/accounts"
"""The administrator's login and the one of the media nodes, for root alone. On the volume: they belong to the data, and
with them a password can be changed, also on a new host."""

ADMINISTRATOR: Final = "antmedia-administrator"
"""The account that makes the other one, dumps and restores. Its password is made on the host and never leaves it."""

ROLES: Final = ("readWriteAnyDatabase", "dbAdminAnyDatabase")
"""What media nodes may: Ant Media Server keeps a database for each application, and drops it with the application."""

PROGRAM: Final = "/usr/local/sbin/antmedia-database"
ACCOUNTS_PROGRAM: Final = "/usr/local/sbin/antmedia-database-accounts"
BACKUP_SETTINGS: Final = "/etc/antmedia/database-backup.conf"
BACKUP_STATE: Final = "/var/lib/antmedia-database-backup"


def uri(plan: ClusterPlan) -> str | None:
    """What Ant Media Server connects to, login included: a secret. None where there is no database.

    The password stands in it as it is: settings take no character that would have to be encoded.
    """
    login = plan.settings.database_login
    match plan.settings.database_mode:
        case DatabaseMode.MANAGED:
            assert plan.database
            user, password = account(plan.settings)
            return f"mongodb://{user}:{password}@{plan.database.address}:{PORT}"
        case DatabaseMode.EXTERNAL:
            assert login.uri
            return login.uri.get_secret_value()
        case DatabaseMode.NONE:
            return None


def account(settings: Settings) -> tuple[str, str]:
    """Name and password of the media nodes' account."""
    login = settings.database_login
    assert login.password
    password = login.password.get_secret_value()
    return account_name(login.user, password), password


def account_name(user: str, password: str) -> str:
    """Each password has an account of its own, so that nodes go from one to the next in turn, and none is refused."""
    return f"{user}-{hashlib.sha256(password.encode()).hexdigest()[:8]}"


def external_ports(settings: Settings) -> list[int]:
    """The ports of the hosts that `databaseLogin.uri` names; behind a name of mongodb+srv, the usual one."""
    assert settings.database_login.uri
    found = MONGODB_URI.fullmatch(settings.database_login.uri.get_secret_value())
    assert found
    if found["srv"]:
        return [PORT]
    return sorted({int(host.partition(":")[2] or PORT) for host in found["hosts"].split(",")})


def backup_prefix(plan: ClusterPlan) -> str:
    """Where a stack's backups are in the bucket; each one's name is its time."""
    return f"{plan.project}/{plan.stack}/"
