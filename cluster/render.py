"""Plan -> text of every file and script for hosts. Reads nothing but templates/; holds no secrets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import jinja2

from cluster import addressing, capacity, database, firewall, haproxy, monitoring
from cluster.cloud_init import LOGIN_USER
from cluster.plan import ClusterPlan, Node
from cluster.settings import Settings

_MEDIA: Final = {
    "home": "/usr/local/antmedia",
    "port": firewall.AMS_HTTP,
    "health_path": haproxy.HEALTH_PATH,
    "rest": f"http://127.0.0.1:{firewall.AMS_HTTP}/rest/v2",
    "patience_seconds": 300,
    "login_pause_seconds": 10,
    "licence_patience_seconds": 60,
    "most_nodes": 2 * addressing.MAX_NODES_PER_ROLE,
}
"""What the scripts for media nodes know of Ant Media Server."""

TEMPLATES: Final = Path(__file__).resolve().parent.parent / "templates"


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        comment_start_string="{*",  # the usual one begins bash's ${#array[@]}
        comment_end_string="*}",
        autoescape=False,
    )


def _render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)


def haproxy_cfg(plan: ClusterPlan) -> str:
    """The load balancer's haproxy.cfg, complete."""
    return _render("haproxy/haproxy.cfg.j2", lb=haproxy.load_balancer(plan), paths=haproxy)


def host_ready() -> str:
    """Script: wait until cloud-init has finished; main reads the public keys that may log in, one a line."""
    return _render("host/ready.sh.j2", user=LOGIN_USER)


def authorized_keys(settings: Settings) -> str:
    """What `host_ready` reads."""
    return "".join(f"{key}\n" for key in settings.ssh.authorized_keys)


def haproxy_install() -> str:
    """Script: packages, the unit's drop-in, and the program that puts a file in place."""
    return _render("haproxy/install.sh.j2", paths=haproxy, capacity=capacity)


def self_signed_certificate(*, placeholder: bool) -> str:
    """Script: a self-signed certificate for the names that main reads, one a line; a placeholder replaces none."""
    return _render("certbot/self-signed.sh.j2", paths=haproxy, placeholder=placeholder)


def provided_certificate() -> str:
    """Script: the chain and the key that main reads."""
    return _render("certbot/provided.sh.j2", paths=haproxy)


def acme_certificate() -> str:
    """Script: certbot, and what looks after the certificate; main reads its settings."""
    return _render("certbot/install.sh.j2", paths=haproxy)


def acme_settings(settings: Settings) -> str:
    """The settings that `acme_certificate` reads, as assignments for bash; `address` and `store` are to be added."""
    return _render("certbot/certificate.conf.j2", tls=settings.tls, names=settings.names)


def haproxy_stats_login() -> str:
    """Script: the login of the statistics page; user and password are the two lines that main reads."""
    return _render("haproxy/stats-login.sh.j2", paths=haproxy)


def media_server(plan: ClusterPlan) -> str:
    """Script: licence and cluster mode of a media node; main reads two lines, licence key and database URI."""
    return _render("media/server.sh.j2", **_MEDIA, clustered=plan.forms_cluster)


def first_administrator() -> str:
    """Script: the first user of a node's dashboard; main reads two lines, e-mail address and password."""
    return _render("media/administrator.sh.j2", **_MEDIA)


def media_joined(node: Node) -> str:
    """Script: waits until the node is in the cluster's own list; main reads two lines, e-mail address and password."""
    return _render("media/joined.sh.j2", **_MEDIA, address=node.address)


def media_licence() -> str:
    """Script: what the licence service says; main reads three lines, e-mail address, password and licence key."""
    return _render("media/licence.sh.j2", **_MEDIA)


def haproxy_configure() -> str:
    """Script: the haproxy.cfg that main reads, checked, moved into place, reloaded, rolled back if it fails."""
    return _render("haproxy/configure.sh.j2", paths=haproxy)


def node_drain(node: Node, minutes: int) -> str:
    """Script for the load balancer: no new session goes to a node, and those that it has end, or are cut in the end."""
    return _render("haproxy/node.sh.j2", paths=haproxy, what="drain", node=node.name, patience=minutes)


def node_serve(node: Node) -> str:
    """Script for the load balancer: a node takes sessions again, once it answers its health check."""
    return _render(
        "haproxy/node.sh.j2", paths=haproxy, what="serve", node=node.name, patience=_MEDIA["patience_seconds"]
    )


def node_forget(node: Node) -> str:
    """Script for the load balancer: the cluster's list loses a node that is gone; main reads e-mail and password."""
    return _render(
        "media/forget.sh.j2",
        **{**_MEDIA, "rest": f"http://$peer:{firewall.AMS_HTTP}/rest/v2"},
        paths=haproxy,
        node=node,
        pool=haproxy.HEALTH_POOL,
    )


def haproxy_verify(plan: ClusterPlan) -> str:
    """Script: every listener answers and every server is up, seen from the load balancer itself."""
    first = plan.media[0]
    return _render(
        "haproxy/verify.sh.j2",
        lb=haproxy.load_balancer(plan),
        paths=haproxy,
        clustered=plan.forms_cluster,
        **{**_MEDIA, "rest": f"http://{first.address}:{firewall.AMS_HTTP}/rest/v2"},
    )


def database_volume() -> str:
    """Script: the data volume, whose id main reads, with a file system, mounted."""
    return _render("mongodb/volume.sh.j2", paths=database)


def database_install(settings: Settings) -> str:
    """Script: the repository that the settings name, and its packages."""
    return _render("mongodb/install.sh.j2", source=settings.database.package_source)


def database_configure() -> str:
    """Script: the server's configuration; started again only when it has changed."""
    return _render("mongodb/configure.sh.j2", paths=database)


def database_accounts() -> str:
    """Script: the accounts; main reads two lines, name and password of the media nodes' one."""
    return _render("mongodb/accounts.sh.j2", paths=database, what="provide")


def database_retire() -> str:
    """Script: the media nodes' accounts before this one go; main reads the same two lines."""
    return _render("mongodb/accounts.sh.j2", paths=database, what="retire")


def database_backup() -> str:
    """Script: the program for backups and its timer; main reads `database_backup_settings`, or nothing for none."""
    return _render("mongodb/backup.sh.j2", paths=database)


def database_backup_settings(plan: ClusterPlan) -> str:
    """Where the backups go and when, as assignments for bash; empty where there are none."""
    backup = plan.settings.database.backup
    if backup is None:
        return ""
    return f"bucket={backup.bucket}\nprefix={database.backup_prefix(plan)}\nhour={backup.hour}\n"


def database_verify() -> str:
    """Script: the database runs, from its own volume."""
    return _render("mongodb/verify.sh.j2", paths=database)


def metrics(plan: ClusterPlan, node: Node) -> str:
    """Script: the load balancer or the database's host publishes its metrics; or stops, where nothing is watched."""
    return _render(
        "monitoring/install.sh.j2",
        wanted=node in monitoring.publishing(plan),
        names=monitoring,
        namespace=monitoring.namespace(plan),
        stack=plan.stack,
        node=node,
        roles=[role.value for role in monitoring.roles(plan)],
        balancer=node is plan.load_balancer,
        paths=haproxy,
        tls_port=firewall.STATS,
        database=database,
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
    "database-backup.sh": lambda _: database_backup(),
    "database-verify.sh": lambda _: database_verify(),
    "metrics.sh": lambda plan: metrics(plan, plan.load_balancer),
    "database-metrics.sh": lambda plan: metrics(plan, plan.database) if plan.database else "",
}
"""What `make render FILE=…` can show."""
