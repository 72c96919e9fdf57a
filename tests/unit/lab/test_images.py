"""Images of the lab's hosts: named by what they are made of, built once and whole, found by AMI id."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from lab import images
from tests.patience import PATIENCE

CHECKOUT = pathlib.Path(images.__file__).resolve().parents[1]

BASE = """\
description = "a base"
suite = "trixie"
amis = ["ami-0aaa0000000000001"]
packages = ["b", "a"]
[files]
"/etc/one" = "one"
"""

CHILD = """\
parent = "base"
packages = []
"""

# Builds a tree out of nothing, so that what is tested is how a build starts, ends and fails.
BUILD = """\
#!/bin/bash
set -eu
step=$1 tree=$2
case $step in
bootstrap) mkdir -p "$tree/etc"; echo started >>"$COUNT"; eval "${DURING:-}" ;;
finish) echo done >"$tree/etc/finished" ;;
esac
"""


@pytest.fixture
def recipes(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A folder with two small recipes, and a cache of its own."""
    folder = tmp_path / "image"
    (folder / "base").mkdir(parents=True)
    (folder / "child").mkdir()
    (folder / "base/recipe.toml").write_text(BASE)
    (folder / "base/one").write_text("1\n")
    (folder / "child/recipe.toml").write_text(CHILD)
    write_build(folder)
    monkeypatch.setattr(images, "RECIPES", folder)
    monkeypatch.setenv("ANTMEDIA_CACHE", str(tmp_path / "cache"))
    return folder


def write_build(folder: pathlib.Path, during: str = "") -> None:
    """The build script of the tests; `during` is shell that runs in the middle of a build."""
    count = folder.parent / "count"
    text = BUILD.replace('"$COUNT"', f'"{count}"').replace('eval "${DURING:-}"', during or ":")
    (folder / "build.sh").write_text(text)
    (folder / "build.sh").chmod(0o755)


@pytest.fixture
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.fail("building images needs root: run the tests with sudo")


def append(text: str) -> Callable[[pathlib.Path], None]:
    def edit(path: pathlib.Path) -> None:
        path.write_text(path.read_text() + text)

    return edit


def replace(old: str, new: str) -> Callable[[pathlib.Path], None]:
    def edit(path: pathlib.Path) -> None:
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return edit


@pytest.mark.parametrize(
    ("file", "edit"),
    [
        ("base/one", append("more\n")),
        ("base/one", lambda path: path.chmod(0o755)),
        ("base/recipe.toml", replace('"b", "a"', '"b", "a", "c"')),
        ("base/recipe.toml", replace('"b", "a"', '"b"')),
        ("base/recipe.toml", replace("/etc/one", "/etc/two")),
        ("base/recipe.toml", replace("trixie", "forky")),
        ("base/setup.sh", lambda path: path.write_text("#!/bin/sh\n")),
        ("build.sh", append("# more\n")),
    ],
    ids=["content", "mode", "package added", "package gone", "path in the image", "suite", "setup script", "build"],
)
def test_a_change_of_what_goes_into_an_image_changes_its_key_and_its_childrens(
    recipes: pathlib.Path, file: str, edit: Callable[[pathlib.Path], None]
) -> None:
    before = images.key("base"), images.key("child")
    edit(recipes / file)
    after = images.key("base"), images.key("child")
    assert before[0] != after[0]
    assert before[1] != after[1]


@pytest.mark.parametrize(
    ("file", "edit"),
    [
        ("base/recipe.toml", replace("a base", "another description")),
        ("base/recipe.toml", replace('"b", "a"', '"a", "b"')),
        ("base/recipe.toml", replace("ami-0aaa0000000000001", "ami-0aaa0000000000002")),
        ("base/README", lambda path: path.write_text("not named in the recipe\n")),
        ("base/one", lambda path: os.utime(path, (1, 1))),
        ("child/recipe.toml", replace("[]", '["z"]')),
    ],
    ids=["description", "order of packages", "AMI id", "file beside the recipe", "time", "child"],
)
def test_nothing_else_changes_the_key(recipes: pathlib.Path, file: str, edit: Callable[[pathlib.Path], None]) -> None:
    before = images.key("base")
    edit(recipes / file)
    assert images.key("base") == before


def test_an_image_is_built_once_and_then_found(recipes: pathlib.Path, as_root: None) -> None:
    tree = images.ensure("base")
    assert tree == recipes.parent / f"cache/images/base-{images.key('base')}"
    assert (tree / "etc/finished").exists()
    assert (tree / "etc/one").read_text() == "1\n"
    assert images.ensure("base") == tree
    assert builds(recipes) == 1


def test_a_child_is_its_parents_tree_and_more(recipes: pathlib.Path, as_root: None) -> None:
    tree = images.ensure("child")
    assert (tree / "etc/one").read_text() == "1\n"
    (tree / "etc/one").write_text("changed\n")
    assert (images.ensure("base") / "etc/one").read_text() == "1\n"


UNPACKED = """\
parent = "base"
unpack = ["tool", "library"]
"""


@pytest.fixture
def unpacked(recipes: pathlib.Path) -> pathlib.Path:
    """A third recipe, whose tree is not a system; its script notes what it was asked for."""
    (recipes / "tool").mkdir()
    (recipes / "tool/recipe.toml").write_text(UNPACKED)
    (recipes / "unpack.sh").write_text('#!/bin/bash\nset -eu\nmkdir "$1"\necho "${@:2}" >"$1/asked"\n')
    (recipes / "unpack.sh").chmod(0o755)
    return recipes


def test_an_unpacked_tree_holds_its_packages_alone(unpacked: pathlib.Path, as_root: None) -> None:
    tree = images.ensure("tool")
    assert [path.name for path in tree.iterdir()] == ["asked"]
    assert (tree / "asked").read_text() == f"{images.path('base')} library tool\n"


@pytest.mark.parametrize(
    ("file", "edit"),
    [
        ("tool/recipe.toml", replace('"library"', '"other"')),
        ("unpack.sh", append("# more\n")),
        ("base/recipe.toml", replace("trixie", "forky")),
    ],
    ids=["package", "script", "parent"],
)
def test_a_change_of_what_is_unpacked_changes_the_trees_key(
    unpacked: pathlib.Path, file: str, edit: Callable[[pathlib.Path], None]
) -> None:
    before, others = images.key("tool"), images.key("child")
    edit(unpacked / file)
    assert images.key("tool") != before
    assert (images.key("child") == others) is (not file.startswith("base/"))


def test_a_recipe_that_unpacks_is_nothing_else(unpacked: pathlib.Path) -> None:
    append('packages = ["c"]\n')(unpacked / "tool/recipe.toml")
    with pytest.raises(images.ImageError, match="no packages, no jars and no files"):
        images.recipe("tool")


WITH_JARS = """\
parent = "base"
jars = "/opt/lib"
"""

FETCH = """\
import pathlib, sys
command, lock, folder = sys.argv[1:]
pathlib.Path(folder).mkdir(parents=True)
(pathlib.Path(folder) / "asked").write_text(command + " " + pathlib.Path(lock).read_text())
"""


@pytest.fixture
def with_jars(recipes: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A recipe with jars; the program that would fetch them notes what it was asked for."""
    (recipes / "java").mkdir()
    (recipes / "java/recipe.toml").write_text(WITH_JARS)
    (recipes / "java/jars.txt").write_text("the lock\n")
    (recipes / "fetch.py").write_text(FETCH)
    monkeypatch.setattr(images, "JARS", recipes / "fetch.py")
    monkeypatch.setattr(shutil, "which", lambda program: f"/usr/bin/{program}")
    return recipes


def test_an_image_has_the_jars_of_its_lock_in_their_folder(with_jars: pathlib.Path, as_root: None) -> None:
    tree = images.ensure("java")
    assert (tree / "opt/lib/asked").read_text() == "fetch the lock\n"
    assert (tree / "etc/finished").exists()


@pytest.mark.parametrize(
    ("file", "edit"),
    [
        ("java/jars.txt", append("another\n")),
        ("java/recipe.toml", replace("/opt/lib", "/opt/jars")),
        ("fetch.py", append("# more\n")),
    ],
    ids=["lock", "folder", "program"],
)
def test_a_change_of_the_jars_changes_the_images_key(
    with_jars: pathlib.Path, file: str, edit: Callable[[pathlib.Path], None]
) -> None:
    before, others = images.key("java"), images.key("child")
    edit(with_jars / file)
    assert images.key("java") != before
    assert images.key("child") == others


def test_a_recipe_with_jars_needs_their_lock(with_jars: pathlib.Path) -> None:
    (with_jars / "java/jars.txt").unlink()
    with pytest.raises(images.ImageError, match=r"jars.txt exist \(python -m lab.jars lock java\)"):
        images.recipe("java")


def test_jars_that_cannot_be_had_are_no_fault_of_the_debian_archive(with_jars: pathlib.Path, as_root: None) -> None:
    (with_jars / "fetch.py").write_text("raise SystemExit('jars: no; Connection timed out')\n")
    with pytest.raises(images.ImageError, match="could not be built: jars: no; Connection timed out"):
        images.ensure("java")
    assert not images.path("java").exists()


def test_maven_is_asked_for_before_a_build_that_needs_it(
    with_jars: pathlib.Path, monkeypatch: pytest.MonkeyPatch, as_root: None
) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None if program == "mvn" else f"/usr/bin/{program}")
    assert images.ensure("base").is_dir()
    with pytest.raises(images.ImageError, match="apt-get install maven"):
        images.ensure("java")


def test_two_builds_of_one_image_at_once_make_one(recipes: pathlib.Path, as_root: None) -> None:
    write_build(recipes, during="sleep 0.5")
    both = [start_build(recipes), start_build(recipes)]
    paths = {process.communicate(timeout=PATIENCE)[0].strip() for process in both}
    assert paths == {str(images.path("base"))}
    assert builds(recipes) == 1


def test_a_killed_build_leaves_no_image_and_no_process_and_the_next_one_cleans_up(
    recipes: pathlib.Path, as_root: None
) -> None:
    write_build(recipes, during="sleep 987.25")
    process = start_build(recipes)
    eventually(lambda: builds(recipes) == 1 and sleeping("987.25"))
    process.send_signal(signal.SIGKILL)
    process.wait()
    eventually(lambda: not sleeping("987.25"))
    assert not images.path("base").exists()
    assert left_behind(recipes), "the test did not kill the build in its middle"

    write_build(recipes)
    assert (images.ensure("base") / "etc/finished").exists()
    assert not left_behind(recipes)


def test_an_interrupted_build_cleans_up_by_itself(recipes: pathlib.Path, as_root: None) -> None:
    write_build(recipes, during="sleep 986.25")
    process = start_build(recipes)
    eventually(lambda: builds(recipes) == 1 and sleeping("986.25"))
    process.send_signal(signal.SIGINT)
    process.wait(timeout=PATIENCE)
    eventually(lambda: not sleeping("986.25"))
    assert not left_behind(recipes)
    assert not images.path("base").exists()


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("dpkg: cannot write: No space left on device", "is full: make room"),
        ("E: Temporary failure resolving 'example.net'", "check the network"),
        ("setup: cloud-init is not as expected", "setup: cloud-init is not as expected"),
    ],
)
def test_a_failed_build_says_in_one_sentence_why_and_leaves_nothing_but_its_log(
    recipes: pathlib.Path, as_root: None, output: str, said: str
) -> None:
    write_build(recipes, during=f'echo "{output}"; exit 1')
    with pytest.raises(images.ImageError, match=said) as failure:
        images.ensure("base")
    assert "\n" not in str(failure.value)
    assert not images.path("base").exists()
    assert not left_behind(recipes)
    assert output in images.path("base").with_suffix(".log").read_text()


def test_without_root_the_message_names_sudo(recipes: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(images.ImageError, match="sudo"):
        images.ensure("base")


def test_a_missing_program_is_named_with_its_package(
    recipes: pathlib.Path, monkeypatch: pytest.MonkeyPatch, as_root: None
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(images.ImageError, match="apt-get install debootstrap"):
        images.ensure("base")


def test_too_small_a_disk_is_refused_before_anything_is_written(
    recipes: pathlib.Path, monkeypatch: pytest.MonkeyPatch, as_root: None
) -> None:
    monkeypatch.setattr(images, "BUILD_NEEDS_BYTES", 10**18)
    with pytest.raises(images.ImageError, match="make room or set ANTMEDIA_CACHE"):
        images.ensure("base")
    assert not (recipes.parent / "count").exists()


def test_prune_removes_trees_of_older_recipes_only(recipes: pathlib.Path, as_root: None) -> None:
    older = images.ensure("base")
    (recipes / "base/one").write_text("2\n")
    current = images.ensure("base")
    assert images.prune() == [older]
    assert not older.exists()
    assert current.is_dir()


def test_the_fixed_ami_ids_stand_for_their_images() -> None:
    assert images.for_ami("ami-0ccc0000000001302") == "debian-13"
    assert images.for_ami("ami-0ccc0000000001303") == "debian-13-three-keys"
    assert images.for_ami("ami-0ddd0000000000001") == "media"
    assert images.for_ami("ami-0ddd0000000000002") == "media-ams"


def test_no_two_images_share_an_ami_id() -> None:
    ids = [ami for name in images.names() for ami in images.recipe(name).amis]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"ami-[0-9a-f]{17}", ami) for ami in ids)


def test_an_unknown_ami_id_is_answered_with_those_that_exist() -> None:
    with pytest.raises(images.ImageError, match=r"no image for ami-0123.*ami-0ccc0000000001302 \(debian-13\)"):
        images.for_ami("ami-0123")


def test_an_unknown_image_is_answered_with_those_that_exist() -> None:
    with pytest.raises(images.ImageError, match=r"debian-13, .*media"):
        images.ensure("ubuntu")


def test_a_recipe_with_a_mistake_is_refused(recipes: pathlib.Path) -> None:
    (recipes / "base/recipe.toml").write_text('suite = "trixie"\nparent = "child"\n')
    with pytest.raises(images.ImageError, match="either suite or parent"):
        images.recipe("base")
    (recipes / "base/recipe.toml").write_text('suite = "trixie"\npackage = ["a"]\n')
    with pytest.raises(images.ImageError, match=r"\(not package\)"):
        images.recipe("base")
    (recipes / "base/recipe.toml").write_text('suite = "trixie"\n[files]\n"/etc/x" = "missing"\n')
    with pytest.raises(images.ImageError, match="must exist"):
        images.recipe("base")


def test_no_recipe_names_an_archive_host() -> None:
    for path in images.RECIPES.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            assert "debian.org" not in path.read_text(), f"{path}: images come from the machine's own archive"


DEB822 = """\
# a comment
Types: deb
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main
Signed-By: {keyring}

Types: deb deb-src
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main
"""


@pytest.fixture
def apt(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    (tmp_path / "apt/sources.list.d").mkdir(parents=True)
    yield tmp_path / "apt"


def test_the_archive_is_read_from_deb822_sources(apt: pathlib.Path, tmp_path: pathlib.Path) -> None:
    keyring = tmp_path / "keyring.gpg"
    keyring.write_bytes(b"")
    (apt / "sources.list.d/debian.sources").write_text(DEB822.format(keyring=keyring))
    archive = images.debian_archive({}, apt)
    assert archive == images.Archive("http://mirror.example/debian", "http://mirror.example/security", keyring)


def test_the_archive_is_read_from_one_line_sources(apt: pathlib.Path) -> None:
    (apt / "sources.list.d/other.list").write_text("deb https://vendor.example/apt tool main\n")
    (apt / "sources.list").write_text(
        "deb [arch=amd64] http://mirror.example/debian trixie main\n"
        "# deb http://old.example/debian bullseye main\n"
        "deb http://mirror.example/debian-security trixie-security main\n"
    )
    archive = images.debian_archive({}, apt)
    assert (archive.main, archive.security) == (
        "http://mirror.example/debian",
        "http://mirror.example/debian-security",
    )


def test_a_machine_without_debian_sources_is_told_what_to_set(apt: pathlib.Path) -> None:
    (apt / "sources.list").write_text("deb http://ubuntu.example/ubuntu noble main\n")
    with pytest.raises(images.ImageError, match="set ANTMEDIA_DEBIAN_MIRROR"):
        images.debian_archive({}, apt)
    archive = images.debian_archive({"ANTMEDIA_DEBIAN_MIRROR": "http://mirror.example/debian/"}, apt)
    assert archive.main == "http://mirror.example/debian"
    assert archive.security == "http://mirror.example/debian-security"


def test_the_list_shows_every_image_and_builds_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setenv("ANTMEDIA_CACHE", str(tmp_path))
    assert images.main(["--list"]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()] == images.names()
    assert shown.count("not built") == len(images.names())
    assert not list(tmp_path.iterdir())


def test_the_command_says_what_is_wrong_without_a_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lab.images", "nonsense"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no image named 'nonsense'")
    assert "Traceback" not in done.stderr


def builds(recipes: pathlib.Path) -> int:
    count = recipes.parent / "count"
    return len(count.read_text().splitlines()) if count.exists() else 0


def start_build(recipes: pathlib.Path) -> subprocess.Popen[str]:
    program = (
        "import pathlib, sys; from lab import images; "
        "images.RECIPES = pathlib.Path(sys.argv[1]); print(images.ensure('base'))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, str(recipes)], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    )


def left_behind(recipes: pathlib.Path) -> list[pathlib.Path]:
    return list((recipes.parent / "cache/images").glob(".*.building"))


def sleeping(seconds: str) -> bool:
    """Whether a process of this test's build is there; its argument is nobody else's."""
    for entry in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if entry.read_bytes() == f"sleep\0{seconds}\0".encode():
                return True
        except OSError:
            continue
    return False


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
