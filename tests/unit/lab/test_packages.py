"""The lab's own packages: what their key depends on, and the wrapper that stands for mongod."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from cluster import host_files
from lab import apt_proxy, packages


@pytest.fixture(scope="module")
def wrapper() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mongod", packages.SOURCES / "server/mongod.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_wrapper_takes_the_configuration_that_the_deployment_writes(wrapper: ModuleType) -> None:
    command = wrapper.command(host_files.database_config().text)
    assert "--listen-addr=0.0.0.0:27017" in command
    assert "--sqlite-url=file:/var/lib/antmedia-database/mongodb/" in command
    assert "--test-enable-new-auth" in command, "it asks for a login"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("security:\n  authorisation: enabled\n", "Unrecognized option: security.authorisation"),
        ("net:\n  tls:\n    mode: requireTLS\n", "Unrecognized option: net.tls.mode"),
        ("security:\n  authorization: yes please\n", "yes please"),
        ("net:\n  bindIp: 127.0.0.1,172.30.0.20\n", "listens on one address"),
    ],
)
def test_the_wrapper_refuses_what_it_does_not_do(wrapper: ModuleType, text: str, said: str) -> None:
    with pytest.raises(wrapper.ConfigError, match=said):
        wrapper.command(text)


def test_the_repositorys_name_changes_with_what_it_is_made_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = tmp_path / "repository"
    for file in filter(Path.is_file, packages.SOURCES.rglob("*")):
        copy = changed / file.relative_to(packages.SOURCES)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    monkeypatch.setattr(packages, "SOURCES", changed)
    before = packages.key()
    assert packages.key() == before
    (changed / "server/mongod.service").write_text("[Unit]\n")
    assert packages.key() != before


def test_a_missing_program_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTMEDIA_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(packages.PackagesError, match="apt-get install dpkg git gnupg"):
        packages.ensure()


def test_the_index_lists_each_package_with_its_sum(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "usr/share").mkdir(parents=True)
    (tmp_path / "pool").mkdir()
    packages._package("tools", tree, tmp_path / "pool")
    packages._index(tmp_path)
    release = (tmp_path / "dists/lab/Release").read_text()
    index = (tmp_path / "dists/lab/main/binary-amd64/Packages").read_text()
    (deb,) = (tmp_path / "pool").iterdir()
    assert f"Filename: pool/{deb.name}\nSize: {deb.stat().st_size}\n" in index
    assert "Package: mongodb-database-tools\n" in index
    assert "Suite: lab\n" in release
    assert " main/binary-amd64/Packages\n" in release


def test_the_archive_serves_the_repository_under_its_name_and_nothing_beside_it(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    (repository / "pool").mkdir(parents=True)
    (repository / "pool/a+b.deb").touch()
    (tmp_path / "secret").touch()
    archive = apt_proxy.Archive(tmp_path / "cache", ["deb.example.org"], {"packages.lab.test": repository})
    assert archive.own_file("http://packages.lab.test/pool/a%2bb.deb") == repository / "pool/a+b.deb"
    for path in ("none", "../secret", "%2e%2e/secret", "", "pool"):
        found = archive.own_file(f"http://packages.lab.test/{path}")
        assert found is not None and not found.exists(), path
    assert archive.own_file("http://deb.example.org/pool/a%2bb.deb") is None
    assert not archive.allows("http://packages.lab.test/pool/a%2bb.deb")
