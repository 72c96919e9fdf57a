"""docs/settings.md and stacks/schema.json: what they say, and that they say what the models say."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from jsonschema import Draft7Validator
from pydantic import Field, ValidationError

from cluster import mistakes
from cluster.mistakes import Guide, Section
from cluster.settings import Settings
from tests import stack_files
from tools import docs, new_stack, stack_secrets

STACKS = docs.CHECKOUT / "stacks"
STACK_FILES = sorted(STACKS.glob("Pulumi.*.yaml"))
SECRET = {"secure": "v1:AAAA:BBBB"}


@pytest.fixture(scope="module")
def validator() -> Draft7Validator:
    schema = json.loads((STACKS / "schema.json").read_text())
    Draft7Validator.check_schema(schema)
    return Draft7Validator(schema)


@pytest.fixture
def prod() -> dict[str, Any]:
    """A large stack file's content."""
    found: dict[str, Any] = stack_secrets.read(STACKS / "Pulumi.prod.yaml")
    return found


def refused(validator: Draft7Validator, content: Any) -> list[str]:
    """The places of what an editor would mark."""
    return [".".join(map(str, error.absolute_path)) for error in validator.iter_errors(content)]


@pytest.mark.parametrize("path", list(docs.outputs()), ids=lambda path: path.name)
def test_what_is_made_from_the_models_is_what_they_say_now(path: Path) -> None:
    assert path.read_text() == docs.outputs()[path], f"{path.name} is stale: run `make docs`"


def test_the_check_names_a_stale_file_and_the_command_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("docs", "stacks"):
        (tmp_path / folder).mkdir()
    monkeypatch.setattr(docs, "CHECKOUT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["docs"])
    assert docs.main() == 0
    monkeypatch.setattr(sys, "argv", ["docs", "--check"])
    capsys.readouterr()
    assert docs.main() == 0
    assert capsys.readouterr().err == ""
    (tmp_path / "docs/settings.md").write_text("old")
    assert docs.main() == 1
    said = capsys.readouterr().err
    assert "docs/settings.md" in said
    assert "run make docs" in said
    assert "schema.json" not in said
    assert (tmp_path / "docs/settings.md").read_text() == "old"


@pytest.mark.parametrize("key", list(mistakes.keys(Settings)), ids=lambda key: key.name)
def test_every_key_says_what_it_does_what_it_may_hold_and_how_it_is_put_right(key: mistakes.Key) -> None:
    assert key.sentence.endswith("."), f"{key.name}: write a sentence under it in cluster/settings.py"
    assert "None" not in key.may_hold, f"{key.name}: say in its Guide what it may hold"
    assert key.remedy
    assert key.kind is not int or key.guide.unit, f"{key.name}: give its Guide the unit of the number"
    row = f"| `{'.'.join(key.path)}` | {key.sentence} |"
    on_its_own = key.sentence if len(key.path) == 1 else row
    assert on_its_own in (docs.CHECKOUT / "docs/settings.md").read_text()


def test_a_key_without_a_sentence_is_found() -> None:
    class Undescribed(Section):
        many: Annotated[int, Field(ge=1, le=2), Guide(unit="things")] = 1

    (key,) = mistakes.keys(Undescribed)
    assert key.sentence == ""
    assert key.may_hold == "a whole number of things from 1 to 2"


@pytest.mark.parametrize("file", STACK_FILES, ids=lambda file: file.name)
def test_an_editor_is_told_of_the_schema_and_finds_no_mistake(file: Path, validator: Draft7Validator) -> None:
    assert file.read_text().splitlines()[0] == "# yaml-language-server: $schema=schema.json"
    assert refused(validator, stack_secrets.read(file)) == []


def test_a_new_stack_tells_the_editor_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_text((STACKS / "Pulumi.dev.yaml").read_text())
    monkeypatch.setattr(new_stack, "STACKS", tmp_path)
    _, copied = new_stack.stack_file("mine", "dev")
    assert copied is not None
    assert copied.read_text().startswith("# yaml-language-server: $schema=schema.json\n")


def test_encrypted_secrets_and_pulumis_own_keys_are_no_mistakes(
    validator: Draft7Validator, prod: dict[str, Any]
) -> None:
    prod["encryptionsalt"] = "v1:salt"
    for path in (*stack_secrets.MAKERS, "antmedia:databaseLogin.uri", "antmedia:tls.chain", "antmedia:license.key"):
        group, name = path.split(".")
        prod["config"].setdefault(group, {})[name] = SECRET
    assert refused(validator, prod) == []


@pytest.mark.parametrize("key", [key for key in mistakes.keys(Settings) if key.secret], ids=lambda key: key.name)
def test_a_secret_in_the_clear_is_marked(validator: Draft7Validator, prod: dict[str, Any], key: mistakes.Key) -> None:
    group, name = key.path
    prod["config"][f"antmedia:{group}"] = {name: "correct-horse-battery"}
    assert f"config.antmedia:{group}.{name}" in refused(validator, prod)


GROUPS = [(), *(key.path for key in mistakes.keys(Settings) if key.section), ("instanceTypes", "c8i.xlarge")]


@pytest.mark.parametrize("group", GROUPS, ids=".".join)
def test_an_unknown_key_is_marked_in_every_group(
    validator: Draft7Validator, prod: dict[str, Any], group: tuple[str, ...]
) -> None:
    place = prod["config"]
    for number, part in enumerate(group):
        place = place.setdefault(part if number else f"antmedia:{part}", {})
    place["antmedia:domian" if not group else "unheardOf"] = 1
    where = ".".join(["config", *([f"antmedia:{group[0]}", *group[1:]] if group else [])])
    assert any(place.startswith(where) for place in refused(validator, prod))


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("antmedia:domain", "https://live.example.com"),
        ("antmedia:adminCidrs", "203.0.113.7/32"),
        ("antmedia:adminCidrs", ["203.0.113.7"]),
        ("antmedia:adminCidrs", []),
        ("antmedia:network.zones", "2"),
        ("antmedia:network.zones", 7),
        ("antmedia:media", None),
        ("antmedia:media.ami", "latest"),
        ("antmedia:media.origins.count", 0),
        ("antmedia:media.apps", ["rest"]),
        ("antmedia:tls.mode", "letsencript"),
        ("antmedia:loadBalancer.limits", True),
        ("antmedia:loadBalancer.stickiness", "yes"),
        ("antmedia:database.backup", {"hour": 3}),
        ("antmedia:instanceTypes", {"c8i.xlarge": {"vcpus": 4}}),
    ],
)
def test_a_value_of_the_wrong_kind_is_marked(
    validator: Draft7Validator, prod: dict[str, Any], path: str, wrong: Any
) -> None:
    *above, last = path.split(".")
    place = prod["config"]
    for part in above:
        place = place[part]
    place[last] = wrong
    assert any(place.startswith(f"config.{path}") for place in refused(validator, prod))


def test_limits_may_be_switched_off(validator: Draft7Validator, prod: dict[str, Any]) -> None:
    prod["config"]["antmedia:loadBalancer"]["limits"] = False
    assert refused(validator, prod) == []


@pytest.mark.parametrize("key", ["antmedia:adminCidrs", "antmedia:media"])
def test_what_only_a_person_can_decide_must_be_there(
    validator: Draft7Validator, prod: dict[str, Any], key: str
) -> None:
    without = copy.deepcopy(prod)
    del without["config"][key]
    assert refused(validator, without) == ["config"]


def test_a_misplaced_key_is_marked(validator: Draft7Validator, prod: dict[str, Any]) -> None:
    assert refused(validator, {**prod, "antmedia:domain": "live.example.com"}) == [""]


def test_other_namespaces_are_nobodys_business(validator: Draft7Validator, prod: dict[str, Any]) -> None:
    prod["config"] |= {"aws:defaultTags": {"tags": {"Team": "video"}}, "aws:profile": "video"}
    assert refused(validator, prod) == []


AGAINST_THE_EDITOR = {
    "groups-in-json": "Pulumi takes a group as JSON in a text; nobody is told to write one so",
    "name-that-is-encrypted": "any value may be encrypted; only secrets should be",
    "password-in-the-clear": "taken with a warning",
}


@pytest.mark.parametrize("file", stack_files.GOOD, ids=lambda file: file.stem)
def test_an_editor_marks_nothing_in_an_unusual_file_that_is_right(file: Path, validator: Draft7Validator) -> None:
    assert bool(refused(validator, stack_files.StackFile(file).content)) == (file.stem in AGAINST_THE_EDITOR)


def wrong_by_itself(file: Path) -> bool:
    """Whether a key of the file is unknown, or one value of the wrong kind, out of range or none of the choices."""
    if not stack_files.told_by_the_program(file):
        return False
    try:
        Settings.model_validate(stack_files.StackFile(file).configuration()[0])
    except ValidationError as error:
        # What remains is checked by rules of ours, which not every pattern can say, or is a secret not yet made.
        kinds = {detail["type"] for detail in error.errors()} - {"missing"}
        return bool(kinds) and "value_error" not in kinds
    return False


@pytest.mark.parametrize(
    "file", [file for file in stack_files.BAD if wrong_by_itself(file)], ids=lambda file: file.stem
)
def test_an_editor_marks_what_the_settings_refuse_for_its_key_kind_or_range(
    file: Path, validator: Draft7Validator
) -> None:
    assert refused(validator, stack_files.StackFile(file).content)


def test_the_page_shows_a_stack_file_that_is_right_as_far_as_it_goes(validator: Draft7Validator) -> None:
    shown = docs.INTRODUCTION.partition("```yaml\n")[2].partition("```")[0]
    missing = [error.message for error in validator.iter_errors(yaml.safe_load(shown))]
    assert all("is a required property" in message for message in missing), missing
