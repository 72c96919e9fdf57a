"""Java packages of an image: exactly those of the lock, and refused when they are not."""

from __future__ import annotations

import hashlib
import pathlib
import re
import string
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import images, jars

JAVA = {"org.a:one:1.0": b"first", "org.b.c:two-more:2.1-beta:linux-x86_64": b"second"}
"""Jars by coordinates."""

MAVEN = """\
#!/usr/bin/env python3
# Stands in for Maven: copies what the project needs out of a repository that the test made.
import pathlib, re, shutil, sys
argument = {key: value for key, _, value in (part.partition("=") for part in sys.argv)}
project = pathlib.Path(sys.argv[sys.argv.index("--file") + 1]).read_text()
target = pathlib.Path(argument["-DoutputDirectory"])
repository = pathlib.Path(__file__).parent / "repository"
if argument.get("-Dmdep.useRepositoryLayout"):
    shutil.copytree(repository, target)
    raise SystemExit
target.mkdir(parents=True)
for dependency in re.findall("<dependency>.*?</dependency>", project):
    group, artifact, version, classifier = (
        (re.findall(f"<{part}>(.*?)</{part}>", dependency) or [""])[0]
        for part in ("groupId", "artifactId", "version", "classifier")
    )
    name = "-".join(filter(None, (artifact, version, classifier))) + ".jar"
    file = repository / group.replace(".", "/") / artifact / version / name
    if not file.exists():
        print("[INFO] looking")
        print(f"[ERROR] Could not find artifact {group}:{artifact}")
        print("[ERROR] Re-run Maven")
        raise SystemExit(1)
    shutil.copy(file, target)
"""


@pytest.fixture
def machine(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A machine whose Maven knows the two jars."""
    for jar, content in JAVA.items():
        place(tmp_path, jar).parent.mkdir(parents=True)
        place(tmp_path, jar).write_bytes(content)
    (tmp_path / "mvn").write_text(MAVEN)
    (tmp_path / "mvn").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def place(machine: pathlib.Path, jar: str) -> pathlib.Path:
    group, artifact, version = jar.split(":")[:3]
    return machine / "repository" / group.replace(".", "/") / artifact / version / jars.file_name(jar)


def lock_file(machine: pathlib.Path) -> pathlib.Path:
    path = machine / "jars.txt"
    path.write_text(jars.write_lock({jar: hashlib.sha256(content).hexdigest() for jar, content in JAVA.items()}))
    return path


def test_the_jars_of_a_lock_come_under_their_file_names(machine: pathlib.Path) -> None:
    assert jars.fetch(lock_file(machine), machine / "lib") == 2
    assert {path.name: path.read_bytes() for path in (machine / "lib").iterdir()} == {
        "one-1.0.jar": b"first",
        "two-more-2.1-beta-linux-x86_64.jar": b"second",
    }


def test_a_jar_with_another_sum_stops_the_build_and_none_is_left(machine: pathlib.Path) -> None:
    lock = lock_file(machine)
    place(machine, "org.a:one:1.0").write_bytes(b"forged")
    with pytest.raises(jars.JarsError, match=r"^org.a:one:1.0 has the sum .* do not use it$"):
        jars.fetch(lock, machine / "lib")
    assert not (machine / "lib").exists()


def test_what_maven_says_is_passed_on_in_one_sentence(
    machine: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = lock_file(machine)
    place(machine, "org.a:one:1.0").unlink()
    assert jars.main(["fetch", str(lock), str(machine / "lib")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("jars: Maven did not fetch all jars; check the network")
    assert said.endswith("run again: Could not find artifact org.a:one\n")


def test_without_maven_its_package_is_named(machine: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(jars.JarsError, match="apt-get install maven"):
        jars.fetch(lock_file(machine), machine / "lib")


def test_a_recipe_is_locked_to_what_its_project_comes_to(
    machine: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine / "image/java").mkdir(parents=True)
    (machine / "image/java/pom.xml").write_text("<project/>")
    monkeypatch.setattr(jars, "RECIPES", machine / "image")
    assert jars.lock("java") == 2
    assert (machine / "image/java/jars.txt").read_text() == lock_file(machine).read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x  org.a:one:1.0\n", "line 1 of the lock is no sum and jar"),
        (f"{'0' * 64}  one.jar\n", "line 1 of the lock is no sum and jar"),
        (f"{'0' * 64}  org.a:one:1.0\n{'1' * 64}  org.a:one:1.0\n", "line 2 .* names a jar again"),
        (f"{'0' * 64}  org.a:one:1.0\n{'1' * 64}  org.b:one:1.0\n", "two jars that are one file"),
    ],
    ids=["no sum", "no coordinates", "twice", "same file"],
)
def test_a_lock_with_a_mistake_is_refused(text: str, said: str) -> None:
    with pytest.raises(jars.JarsError, match=said):
        jars.read_lock(text)


word = st.text(string.ascii_letters + string.digits + "_.-", min_size=1, max_size=8).filter(
    lambda text: text.strip(".")
)


@given(st.dictionaries(st.lists(word, min_size=3, max_size=4).map(":".join), st.binary(max_size=3), max_size=5))
def test_a_lock_is_read_as_it_was_written(content: dict[str, bytes]) -> None:
    sums = {jar: hashlib.sha256(data).hexdigest() for jar, data in content.items()}
    if len({jars.file_name(jar) for jar in sums}) == len(sums):
        assert jars.read_lock(jars.write_lock(sums)) == sums


@pytest.mark.parametrize("name", [name for name in images.names() if images.recipe(name).jars])
def test_the_lock_of_a_recipe_is_that_of_its_project(name: str) -> None:
    locked = jars.read_lock(images.recipe(name).jar_lock.read_text())
    tag = "{http://maven.apache.org/POM/4.0.0}"
    project = ElementTree.parse(images.RECIPES / name / "pom.xml")
    for dependency in project.iter(f"{tag}dependency"):
        parts = [dependency.findtext(tag + part) for part in ("groupId", "artifactId", "version", "classifier")]
        jar = ":".join(part for part in parts if part)
        assert jar in locked, f"{jar} is in pom.xml and not in jars.txt: run python -m lab.jars lock {name}"


def test_no_project_names_a_repository() -> None:
    for path in images.RECIPES.glob("*/pom.xml"):
        assert not re.search("<(plugin)?[rR]epositor", path.read_text()), (
            f"{path}: where to fetch is the machine's setting"
        )
