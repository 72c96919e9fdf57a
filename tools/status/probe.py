"""ADMIN MASTER CERTIFICATE: runs on the load balancer, as root, and prints as one JSON object what HAProxy says.

The arguments are the sockets of its newest worker and of its master process, and the file of its certificate. The texts
go out as they are: tools/status/report.py reads them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from templates.haproxy import node


def asked(socket: str, command: str) -> str:
    """HAProxy's answer; nothing where it does not run, or where a worker has just ended."""
    try:
        return node.ask(socket, command)
    except OSError:
        return ""


def main(admin: str, master: str, certificate: str) -> None:
    """Print it."""
    processes = asked(master, "show proc")
    # The file holds the key as well: openssl lets nothing but the first certificate out.
    shown = subprocess.run(["openssl", "x509", "-in", certificate], capture_output=True, text=True, check=False)
    found = {
        "uptime": Path("/proc/uptime").read_text(),
        "processes": processes,
        "info": asked(admin, "show info"),
        "statistics": asked(admin, "show stat"),
        "old": {pid: asked(master, f"@!{pid} show info") for pid in node.old_workers(processes)},
        "certificate": shown.stdout,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
