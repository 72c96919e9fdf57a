"""cloud-init's configuration of every host: who may log in, and what the host shows of itself."""

from __future__ import annotations

from typing import Any, Final

from cluster.settings import Ssh

LOGIN_USER: Final = "deploy"
"""One own login on every image. Not antmedia: Ant Media Server's installer makes a system user of that name."""

SSHD_CONFIG: Final = "/etc/ssh/sshd_config.d/10-antmedia.conf"
ONLY_ED25519: Final = "HostKey /etc/ssh/ssh_host_ed25519_key\n"
"""SSH clients prefer other types of host key; an image that has them must not offer them, or the pinned key differs."""


def cloud_config(ssh: Ssh) -> dict[str, Any]:
    """Everything but the private host key: see `ssh_keys`."""
    return {
        "users": [
            {
                "name": LOGIN_USER,
                "gecos": "antmedia deployments and administrators",
                "shell": "/bin/bash",
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "lock_passwd": True,
                "ssh_authorized_keys": list(ssh.authorized_keys),
            }
        ],
        "disable_root": True,
        "ssh_pwauth": False,
        "write_files": [{"path": SSHD_CONFIG, "content": ONLY_ED25519}],
        "package_update": False,
        "package_upgrade": False,
    }


def ssh_keys(ssh: Ssh) -> dict[str, str]:
    """`ssh_keys` of the cloud-config: the one secret that user data holds (docs/decisions/host-key.md)."""
    return {"ed25519_private": ssh.host_key.get_secret_value(), "ed25519_public": ssh.host_public_key}
