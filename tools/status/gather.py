"""Asks the hosts of a deployment, all at once, each for a few seconds."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from cluster import database, haproxy
from cluster.render import TEMPLATES
from tools.recovery.stack import RecoveryError
from tools.ssh import Access

SECONDS: Final = 8
FILES: Final = (haproxy.ADMIN_SOCKET, haproxy.MASTER_SOCKET, haproxy.CERTIFICATE)
PARALLEL: Final = 8
"""sshd begins to refuse at 10 logins at once (MaxStartups), and the load balancer is asked besides."""
SERVICES: Final = {"origin": "antmedia", "edge": "antmedia", "db": database.UNIT}


def program() -> str:
    """tools/status/probe.py with the module that it imports, for the standard input of Python on the load balancer."""
    node = (TEMPLATES / "haproxy/node.py").read_text()
    probe = Path(__file__).with_name("probe.py").read_text()
    return (
        "import sys, types\n"
        "home = sys.modules['templates.haproxy'] = types.ModuleType('templates.haproxy')\n"
        "sys.modules['templates'] = types.ModuleType('templates')\n"
        "home.node = sys.modules['node'] = types.ModuleType('node')\n"
        f"exec({node!r}, home.node.__dict__)\n"
        f"exec({probe!r})\n"
    )


def balancer(access: Access) -> dict[str, Any]:
    """What the probe printed.

    Raises:
        RecoveryError: the load balancer was not reached, or did not answer in time.
    """
    name = next(name for name, each in access.nodes.items() if each["role"] == "lb")
    again = f"Is it running, and is this machine's address in adminCidrs? A host that died: make repair NODE={name}"
    try:
        done = access.run(name, f"sudo python3 - {' '.join(FILES)}", program(), SECONDS)
    except subprocess.TimeoutExpired:
        raise RecoveryError(f"{name} did not answer in {SECONDS} s. {again}") from None
    if done.returncode:
        raise RecoveryError(f"{name} was not asked: {done.stderr.strip()}. {again}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def host(access: Access, name: str) -> dict[str, Any] | None:
    """Another host's uptime and its service's state; None when it does not say."""
    asked = f"cat /proc/uptime; systemctl is-active {SERVICES[access.nodes[name]['role']]} || true"
    try:
        done = access.run(name, asked, "", SECONDS)
    except subprocess.TimeoutExpired:
        return None
    lines = done.stdout.split("\n")
    return {"uptime": lines[0], "service": lines[1]} if done.returncode == 0 and len(lines) > 1 else None


def everything(access: Access) -> tuple[dict[str, Any], Mapping[str, dict[str, Any] | None]]:
    """The load balancer's answer, and those of the others by name. Raises RecoveryError."""
    others = [name for name, each in access.nodes.items() if each["role"] in SERVICES]
    with ThreadPoolExecutor(PARALLEL) as pool:
        answers = pool.map(lambda name: host(access, name), others)
        return balancer(access), dict(zip(others, answers, strict=True))
