"""The official way: Pulumi's released CLI and plugins."""

from __future__ import annotations

import concurrent.futures
import hashlib
import os
import platform
import shutil
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

from tools.provision.pins import Pins
from tools.provision.steps import ProvisionError, run, say, step

RELEASES_URL = "https://github.com/pulumi/pulumi/releases/download"
DECISION_S = 4.0
"""How long finding out may take: where the releases cannot be had, name resolution often just hangs."""
NEED_GB = 2.5
"""The archive, the CLI with its language hosts, and the plugins (the AWS one alone is 0.8 GB unpacked)."""


def archive_name(version: str, system: str | None = None, machine: str | None = None) -> str:
    """The release's file for a machine, by default this one. Raises ProvisionError where Pulumi releases none."""
    system = (system or platform.system()).lower()
    machine = (machine or platform.machine()).lower()
    architecture = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(machine)
    if system not in ("linux", "darwin") or architecture is None:
        raise ProvisionError(f"Pulumi has no release for {system} on {machine}; use Linux or macOS on x86-64 or ARM64.")
    return f"pulumi-v{version}-{system}-{architecture}.tar.gz"


def published_checksum(version: str, url: str = RELEASES_URL, deadline_s: float = DECISION_S) -> str | None:
    """The SHA-256 that Pulumi publishes for this machine's archive; None when it cannot be had within the deadline."""
    name = archive_name(version)

    def fetch() -> str | None:
        with urllib.request.urlopen(f"{url}/v{version}/pulumi-{version}-checksums.txt", timeout=deadline_s) as answer:
            for line in answer.read(100_000).decode("ascii", "replace").splitlines():
                checksum, _, file = line.partition("  ")
                if file.strip() == name and len(checksum) == 64:
                    return str(checksum)
        return None

    # Name resolution knows no timeout, so the question is asked in a thread that may be left behind.
    executor = concurrent.futures.ThreadPoolExecutor(1)
    try:
        return executor.submit(fetch).result(deadline_s)
    except (OSError, ValueError, concurrent.futures.TimeoutError):
        return None
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def install(folder: Path, pins: Pins, url: str = RELEASES_URL) -> None:
    """Fill folder/bin and folder/home; what a run before has finished is kept. Raises ProvisionError."""
    if not (folder / "bin" / "pulumi").exists():
        with step(f"Pulumi's release of the CLI, {pins.cli}"):
            install_cli(folder, pins.cli, url)
    for name, version in pins.plugins.items():
        if not plugin_folder(folder / "home", name, version).exists():
            with step(f"Pulumi's release of the {name} plugin, {version}"):
                run(
                    [folder / "bin" / "pulumi", "plugin", "install", "resource", name, version],
                    f"install the {name} plugin {version}",
                    env=cli_environment(folder),
                )


def install_cli(folder: Path, version: str, url: str) -> None:
    """Download, compare with the published checksum, unpack beside the place, rename into place."""
    expected = published_checksum(version, url, deadline_s=30)
    if expected is None:
        raise ProvisionError("Pulumi's releases do not answer any more. Run this again when the network is back.")
    archive = folder / archive_name(version)
    fresh = folder / "bin.partial"
    try:
        with (
            urllib.request.urlopen(f"{url}/v{version}/{archive.name}", timeout=60) as answer,
            archive.open("wb") as file,
        ):
            shutil.copyfileobj(answer, file)
        with archive.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise ProvisionError(
                f"{archive.name} has the SHA-256 {found}, but Pulumi publishes {expected}: something changed it on the "
                "way; not installed."
            )
        shutil.rmtree(fresh, ignore_errors=True)
        with tarfile.open(archive) as content:
            content.extractall(fresh, filter="data")
    except (urllib.error.URLError, TimeoutError, tarfile.TarError) as error:
        raise ProvisionError(f"Could not download {archive.name}: {error}. Run this again.") from error
    except OSError as error:
        raise ProvisionError(f"Could not unpack {archive.name}: {error.strerror or error}.") from error
    finally:
        archive.unlink(missing_ok=True)
    (fresh / "pulumi").replace(folder / "bin")
    shutil.rmtree(fresh, ignore_errors=True)


def plugin_folder(home: Path, name: str, version: str) -> Path:
    """Where the CLI keeps a resource plugin."""
    return home / "plugins" / f"resource-{name}-v{version}"


def cli_environment(folder: Path) -> dict[str, str]:
    """The environment in which a tool chain's own CLI works on its own plugins."""
    return {
        **os.environ,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
        "PULUMI_HOME": str(folder / "home"),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }


def are_reachable(version: str) -> bool:
    """Decide between the two ways, in DECISION_S at most."""
    say("  can Pulumi's releases be had from here? ...")
    reachable = published_checksum(version) is not None
    say(f"    {'yes: they are used' if reachable else 'no: the tool chain is built from Go modules'}")
    return reachable
