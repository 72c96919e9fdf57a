"""What the inspection on a host tells of files and properties, tried on this machine's."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

from cluster.host_state import digest
from tools.drift import INSPECTION


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """As on a host: the script and its question on standard input."""
    whole = {"files": {}, "salts": [], "properties": {}, "packages": [], "units": [], **request}
    done = subprocess.run(
        [sys.executable, "-"],
        input=f"{INSPECTION.read_text()}\n\nmain({whole!r})\n",
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_file_is_told_with_mode_owner_and_digest_and_with_its_text_only_if_that_differs(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("text\n")
    file.chmod(0o640)
    path = str(file)
    me = pwd.getpwuid(os.getuid()).pw_name
    same = answer({"files": {path: digest("text\n")}})["files"][path]
    assert (same["kind"], same["mode"], same["owner"]) == ("file", 0o640, me)
    assert (same["digest"], same["text"]) == (digest("text\n"), None)
    assert answer({"files": {path: digest("other")}})["files"][path]["text"] == "text\n"
    assert answer({"files": {path: None}})["files"][path]["text"] is None


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    paths = {name: str(tmp_path / name) for name in ("link", "none", "link/below")}
    found = answer({"files": {**dict.fromkeys(paths.values()), str(tmp_path): None}})["files"]
    assert found[paths["link"]]["kind"] == "neither", "a link in place of a file is not followed"
    assert found[paths["none"]] is None
    assert found[paths["link/below"]] is None
    assert found[str(tmp_path)]["kind"] == "folder"


def test_properties_are_told_by_the_digest_of_their_value(tmp_path: Path) -> None:
    file = tmp_path / "red5.properties"
    file.write_text("# c\na=1=2\na=second\nempty=\n")
    found = answer({"properties": {str(file): ["a", "empty", "none"], str(tmp_path / "none"): ["a"]}})["properties"]
    assert found == {str(file): {"a": digest("1=2")}, str(tmp_path / "none"): {}}


def test_of_a_hashed_password_only_the_salt_is_told(tmp_path: Path) -> None:
    users, empty = tmp_path / "users", tmp_path / "empty"
    users.write_text("userlist stats\n    user stats password $6$salt$hash\n")
    empty.write_text("userlist stats\n")
    asked = answer({"salts": [str(users), str(empty), str(tmp_path / "none")]})
    assert asked["salts"] == {str(users): "salt", str(empty): None, str(tmp_path / "none"): None}


def test_a_package_that_is_not_there_does_not_hide_the_others() -> None:
    found = answer({"packages": ["dpkg", "antmedia-there-is-none"]})["packages"]
    assert found == {"dpkg": "install ok installed"}
