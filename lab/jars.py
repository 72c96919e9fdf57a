"""Java packages of an image: named in its recipe, locked with their sums, fetched with this machine's Maven.

    python -m lab.jars lock NAME            what the recipe's pom.xml comes to today, into its jars.txt
    python lab/jars.py fetch LOCK FOLDER    exactly the jars of that file; a build of an image runs this

`pom.xml` says what is wanted and why; `jars.txt` says what that came to: SHA-256 and coordinates of each jar.
A build asks for the jars of the lock and for nothing else. Resolving pom.xml anew would ask repositories that
packages of others name, and give another version each time that one of their version ranges has one. Where packages
come from is Maven's own setting. What it has fetched it keeps, so a build that was interrupted does not start over.

Standard library only: a build runs it without the checkout's packages.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from xml.sax.saxutils import escape

RECIPES = pathlib.Path(__file__).resolve().parent / "image"
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
"""The plugin that puts jars into a folder, with its version: another one may name files differently."""

LINE = re.compile(r"(?P<sum>[0-9a-f]{64})  (?P<jar>[\w.-]+(:[\w.-]+){2,3})")


class JarsError(Exception):
    """The jars could not be had; the message is one sentence for a person."""


def read_lock(text: str) -> dict[str, str]:
    """Sums by coordinates: `group:artifact:version`, or with a classifier at the end. Raises JarsError."""
    sums: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        match = LINE.fullmatch(line)
        if not match or match["jar"] in sums:
            raise JarsError(f"line {number} of the lock is no sum and jar, or names a jar again: {line}")
        sums[match["jar"]] = match["sum"]
    if len({file_name(jar) for jar in sums}) != len(sums):
        raise JarsError("the lock names two jars that are one file: exclude one of them in pom.xml and lock again")
    return sums


def write_lock(sums: Mapping[str, str]) -> str:
    return "".join(f"{value}  {jar}\n" for jar, value in sorted(sums.items()))


def file_name(jar: str) -> str:
    """What the file of a jar is called: everything but its group."""
    return "-".join(jar.split(":")[1:]) + ".jar"


def flat_pom(jars: Iterable[str]) -> str:
    """A project that needs these jars and nothing that they need."""
    wanted = []
    for jar in jars:
        group, artifact, version, *classifier = (escape(part) for part in jar.split(":"))
        more = f"<classifier>{classifier[0]}</classifier>" if classifier else ""
        wanted.append(
            f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>{more}"
            "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions></dependency>"
        )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>lab</groupId>'
        "<artifactId>jars</artifactId><version>1</version><packaging>pom</packaging>"
        f"<dependencies>{''.join(wanted)}</dependencies></project>\n"
    )


def fetch(lock: pathlib.Path, folder: pathlib.Path) -> int:
    """Puts the jars of a lock into a folder, by their file names, and gives their number. Raises JarsError."""
    sums = read_lock(lock.read_text())
    with tempfile.TemporaryDirectory(prefix="jars-") as scratch:
        pom = pathlib.Path(scratch) / "pom.xml"
        pom.write_text(flat_pom(sums))
        _maven("--file", str(pom), COPY, f"-DoutputDirectory={scratch}/jars")
        for jar, expected in sums.items():
            path = pathlib.Path(scratch) / "jars" / file_name(jar)
            if not path.is_file():
                raise JarsError(f"Maven fetched {jar} under another name than {path.name}")
            if (found := _sum(path)) != expected:
                raise JarsError(
                    f"{jar} has the sum {found[:12]}…, not {expected[:12]}… as in {lock.name}: do not use it"
                )
        folder.mkdir(parents=True, exist_ok=True)
        for jar in sums:
            target = folder / file_name(jar)
            shutil.copyfile(pathlib.Path(scratch) / "jars" / file_name(jar), target)
            target.chmod(0o644)
    return len(sums)


def lock(name: str) -> int:
    """Resolves a recipe's pom.xml and writes its jars.txt; gives the number of jars. Raises JarsError."""
    pom = RECIPES / name / "pom.xml"
    if not pom.is_file():
        raise JarsError(f"the recipe {name} has no pom.xml")
    with tempfile.TemporaryDirectory(prefix="jars-") as scratch:
        layout = ("-Dmdep.useRepositoryLayout=true", "-DincludeScope=runtime")
        _maven("--file", str(pom), COPY, f"-DoutputDirectory={scratch}/jars", *layout)
        root = pathlib.Path(scratch) / "jars"
        sums = {coordinates(path.relative_to(root)): _sum(path) for path in root.rglob("*.jar")}
    text = write_lock(sums)
    read_lock(text)
    (RECIPES / name / "jars.txt").write_text(text)
    return len(sums)


def coordinates(path: pathlib.PurePath) -> str:
    """Of a jar by its place in a repository: `org/bytedeco/ffmpeg/7.1/ffmpeg-7.1-linux-x86_64.jar` and the like."""
    *group, artifact, version, file = path.parts
    classifier = file.removesuffix(".jar").removeprefix(f"{artifact}-{version}").removeprefix("-")
    return ":".join([".".join(group), artifact, version, *([classifier] if classifier else [])])


def _sum(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _maven(*arguments: str) -> None:
    if not shutil.which("mvn"):
        raise JarsError("the program mvn is missing: install it with `apt-get install maven`")
    done = subprocess.run(
        ["mvn", "--batch-mode", "--no-transfer-progress", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = [line for line in done.stdout.splitlines() if line.startswith("[ERROR]")] or done.stderr.splitlines()
        reason = said[0].removeprefix("[ERROR] ") if said else f"exit status {done.returncode} without a word"
        raise JarsError(f"Maven did not fetch all jars; check the network or its settings, and run again: {reason}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Locks or fetches; 1 and one sentence on stderr when that fails."""
    parser = argparse.ArgumentParser(prog="python -m lab.jars", description="Java packages of the lab's images.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("lock", help="write the lock of a recipe's pom.xml").add_argument("name")
    fetching = commands.add_parser("fetch", help="put the jars of a lock into a folder")
    fetching.add_argument("lock", type=pathlib.Path)
    fetching.add_argument("folder", type=pathlib.Path)
    options = parser.parse_args(arguments)
    try:
        if options.command == "lock":
            print(f"{lock(options.name)} jars in {os.path.relpath(RECIPES / options.name / 'jars.txt')}")
        else:
            print(f"{fetch(options.lock, options.folder)} jars")
    except JarsError as error:
        print(f"jars: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
