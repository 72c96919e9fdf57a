"""Plan -> text of every script for hosts. Reads nothing but templates/; holds no secrets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from cluster import addressing, database, firewall, haproxy, host_files, monitoring
from cluster.plan import ClusterPlan, Node
from cluster.settings import Settings
from cluster.templates import rendered

_MEDIA: Final = {
    "home": host_files.MEDIA_HOME,
    "settings": host_files.RED5_PROPERTIES,
    "initialized": host_files.MEDIA_INITIALIZED,
    "port": firewall.AMS_HTTP,
    "health_path": haproxy.HEALTH_PATH,
    "rest": f"http://127.0.0.1:{firewall.AMS_HTTP}/rest/v2",
    "patience_seconds": 300,
    "login_pause_seconds": 10,
    "licence_patience_seconds": 60,
    "most_nodes": 2 * addressing.MAX_NODES_PER_ROLE,
}
"""What the scripts for media nodes know of Ant Media Server."""

_CERTIFICATE: Final = {
    "paths": haproxy,
    "file": host_files.CERTIFICATE,
    "timer": host_files.CERTIFICATE_TIMER,
}


def haproxy_cfg(plan: ClusterPlan) -> str:
    """The load balancer's haproxy.cfg, complete."""
    return host_files.haproxy_config(plan).text


def host_ready() -> str:
    """Script: wait until cloud-init has finished; main reads the public keys that may log in, one a line."""
    return rendered("host/ready.sh.j2", file=host_files.AUTHORIZED_KEYS)


def authorized_keys(settings: Settings) -> str:
    """What `host_ready` reads."""
    return host_files.authorized_keys(settings).text


def haproxy_install() -> str:
    """Script: packages, the unit's drop-in, and the program that puts a file in place."""
    return rendered(
        "haproxy/install.sh.j2",
        paths=haproxy,
        packages=host_files.HAPROXY_PACKAGES,
        folder=host_files.CERTIFICATE_FOLDER,
        files=[host_files.haproxy_drop_in(), host_files.haproxy_put(), host_files.haproxy_node()],
    )


def self_signed_certificate(*, placeholder: bool) -> str:
    """Script: a self-signed certificate for the names that main reads, one a line; a placeholder replaces none."""
    return rendered("certbot/self-signed.sh.j2", **_CERTIFICATE, placeholder=placeholder)


def provided_certificate() -> str:
    """Script: the chain and the key that main reads, as `host_files.provided_certificate` has them."""
    return rendered("certbot/provided.sh.j2", **_CERTIFICATE, state=host_files.CERTIFICATE_STATE)


def acme_certificate() -> str:
    """Script: certbot, and what looks after the certificate; main reads `host_files.certificate_settings`."""
    return rendered(
        "certbot/install.sh.j2",
        paths=haproxy,
        packages=host_files.CERTIFICATE_PACKAGES,
        settings=host_files.CERTIFICATE_SETTINGS,
        folders=[host_files.SETTINGS_FOLDER, host_files.CERTIFICATE_STATE],
        files=[host_files.certificate_program(), *host_files.certificate_units()],
        timer=host_files.CERTIFICATE_TIMER,
        certbot_timer=host_files.CERTBOT_TIMER,
    )


def haproxy_stats_login() -> str:
    """Script: the login of the statistics page; user and password are the two lines that main reads."""
    return rendered("haproxy/stats-login.sh.j2", paths=haproxy, file=host_files.stats_users("$user", "$hashed"))


def media_server(plan: ClusterPlan) -> str:
    """Script: licence and cluster mode of a media node; main reads two lines, licence key and database URI."""
    return rendered("media/server.sh.j2", **_MEDIA, clustered=plan.forms_cluster)


def first_administrator() -> str:
    """Script: the first user of a node's dashboard; main reads two lines, e-mail address and password."""
    return rendered("media/administrator.sh.j2", **_MEDIA)


def media_joined(node: Node) -> str:
    """Script: waits until the node is in the cluster's own list; main reads two lines, e-mail address and password."""
    return rendered("media/joined.sh.j2", **_MEDIA, address=node.address)


def media_licence() -> str:
    """Script: what the licence service says; main reads three lines, e-mail address, password and licence key."""
    return rendered("media/licence.sh.j2", **_MEDIA)


def haproxy_configure() -> str:
    """Script: the haproxy.cfg that main reads, checked, moved into place, reloaded, rolled back if it fails."""
    return rendered("haproxy/configure.sh.j2", paths=haproxy, file=host_files.HAPROXY_CONFIG)


def node_drain(node: Node, minutes: int) -> str:
    """Script for the load balancer: no new session goes to a node, and those that it has end, or are cut in the end."""
    return rendered("haproxy/node.sh.j2", paths=haproxy, what="drain", node=node.name, patience=minutes)


def node_serve(node: Node) -> str:
    """Script for the load balancer: a node takes sessions again, once it answers its health check."""
    return rendered(
        "haproxy/node.sh.j2", paths=haproxy, what="serve", node=node.name, patience=_MEDIA["patience_seconds"]
    )


def node_forget(node: Node) -> str:
    """Script for the load balancer: the cluster's list loses a node that is gone; main reads e-mail and password."""
    return rendered(
        "media/forget.sh.j2",
        **{**_MEDIA, "rest": f"http://$peer:{firewall.AMS_HTTP}/rest/v2"},
        paths=haproxy,
        node=node,
        pool=haproxy.HEALTH_POOL,
    )


def haproxy_verify(plan: ClusterPlan) -> str:
    """Script: every listener answers and every server is up, seen from the load balancer itself."""
    first = plan.media[0]
    return rendered(
        "haproxy/verify.sh.j2",
        lb=haproxy.load_balancer(plan),
        paths=haproxy,
        clustered=plan.forms_cluster,
        **{**_MEDIA, "rest": f"http://{first.address}:{firewall.AMS_HTTP}/rest/v2"},
    )


def database_volume() -> str:
    """Script: the data volume, whose id main reads, with a file system, mounted."""
    return rendered(
        "mongodb/volume.sh.j2",
        paths=database,
        packages=host_files.VOLUME_PACKAGES,
        mount=host_files.database_mount("$1"),
    )


def database_install(settings: Settings) -> str:
    """Script: the repository that the settings name, and its packages."""
    source = settings.database.package_source
    return rendered(
        "mongodb/install.sh.j2",
        packages=host_files.database_packages(source),
        files=[host_files.package_key(source), host_files.package_source(source)],
    )


def database_configure() -> str:
    """Script: the server's configuration; started again only when it has changed."""
    return rendered(
        "mongodb/configure.sh.j2",
        paths=database,
        drop_in=host_files.database_drop_in(),
        files=[host_files.ACCOUNTS, host_files.DATA, host_files.database_config(), host_files.database_drop_in()],
    )


def database_accounts() -> str:
    """Script: the accounts; main reads two lines, name and password of the media nodes' one."""
    return rendered("mongodb/accounts.sh.j2", paths=database, program=host_files.accounts_program(), what="provide")


def database_retire() -> str:
    """Script: the media nodes' accounts before this one go; main reads the same two lines."""
    return rendered("mongodb/accounts.sh.j2", paths=database, what="retire")


def database_backup(plan: ClusterPlan) -> str:
    """Script: the program for backups, and its timer where there are to be any."""
    return rendered(
        "mongodb/backup.sh.j2",
        paths=database,
        backup=plan.settings.database.backup,
        prefix=database.backup_prefix(plan),
        timer=host_files.BACKUP_TIMER,
        files=[
            host_files.SETTINGS_FOLDER,
            host_files.BACKUP_STATE,
            host_files.database_program(),
            *host_files.backup_files(plan),
        ],
    )


def database_verify() -> str:
    """Script: the database runs, from its own volume."""
    return rendered("mongodb/verify.sh.j2", paths=database)


def metrics(plan: ClusterPlan, node: Node) -> str:
    """Script: the load balancer or the database's host publishes its metrics; or stops, where nothing is watched."""
    return rendered(
        "monitoring/install.sh.j2",
        wanted=node in monitoring.publishing(plan),
        program=monitoring.PROGRAM,
        timer=host_files.METRICS_TIMER,
        files=host_files.metrics_files(plan, node),
    )


HOST_FILES: Final[Mapping[str, Callable[[ClusterPlan], str]]] = {
    "haproxy.cfg": haproxy_cfg,
    "verify.sh": haproxy_verify,
    "ready.sh": lambda _: host_ready(),
    "install.sh": lambda _: haproxy_install(),
    "self-signed.sh": lambda _: self_signed_certificate(placeholder=False),
    "placeholder.sh": lambda _: self_signed_certificate(placeholder=True),
    "provided.sh": lambda _: provided_certificate(),
    "certbot.sh": lambda _: acme_certificate(),
    "stats-login.sh": lambda _: haproxy_stats_login(),
    "server.sh": media_server,
    "administrator.sh": lambda _: first_administrator(),
    "joined.sh": lambda plan: media_joined(plan.media[0]),
    "licence.sh": lambda _: media_licence(),
    "drain.sh": lambda plan: node_drain(plan.media[0], plan.settings.media.drain_minutes),
    "serve.sh": lambda plan: node_serve(plan.media[0]),
    "forget.sh": lambda plan: node_forget(plan.media[0]),
    "configure.sh": lambda _: haproxy_configure(),
    "database-volume.sh": lambda _: database_volume(),
    "database-install.sh": lambda plan: database_install(plan.settings),
    "database-configure.sh": lambda _: database_configure(),
    "database-accounts.sh": lambda _: database_accounts(),
    "database-retire.sh": lambda _: database_retire(),
    "database-backup.sh": database_backup,
    "database-verify.sh": lambda _: database_verify(),
    "metrics.sh": lambda plan: metrics(plan, plan.load_balancer),
    "database-metrics.sh": lambda plan: metrics(plan, plan.database) if plan.database else "",
}
"""What `make render FILE=…` can show."""
