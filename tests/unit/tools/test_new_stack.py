"""`make new-stack`: what is asked, what options decide, and that a stack file is written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from tools import new_stack, stack_secrets
from tools.new_stack import NewStackError, decide, edits, held, mistakes

CHECKOUT = Path(__file__).resolve().parents[3]
ANSWERS = {
    "region": "eu-central-1",
    "domain": "live.example.com",
    "admin-cidr": "203.0.113.7/32 198.51.100.0/24",
    "ami": "ami-0aaaaaaaaaaaaaaaa",
}


def model(name: str) -> new_stack.Values:
    values: new_stack.Values = stack_secrets.read(CHECKOUT / f"stacks/Pulumi.{name}.yaml")["config"]
    return values


@pytest.mark.parametrize("name", ["", "Prod", "1st", "a b", "../x", "x" * 41])
def test_a_bad_name_for_a_new_stack_is_refused(name: str) -> None:
    with pytest.raises(NewStackError, match="is not a name for a stack"):
        new_stack.stack_file(name, "dev")


@pytest.mark.parametrize("name", ["lab", "lab-ams"])
def test_the_labs_stacks_are_not_made_by_hand(name: str) -> None:
    with pytest.raises(NewStackError, match="make up"):
        new_stack.stack_file(name, "dev")


def test_a_model_that_is_not_there_is_told() -> None:
    with pytest.raises(NewStackError, match=r"no stack file stacks/Pulumi\.none\.yaml"):
        new_stack.stack_file("mine", "none")


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_options_decide_all_that_a_stack_needs(name: str) -> None:
    values, left = decide(model(name), ANSWERS, None)
    assert left == []
    assert mistakes(values) == []
    assert values["aws:region"] == "eu-central-1"
    assert values["antmedia:adminCidrs"] == ["203.0.113.7/32", "198.51.100.0/24"]
    assert held(values, "antmedia:media.ami") == "ami-0aaaaaaaaaaaaaaaa"
    text = yaml.safe_dump(values)
    assert text.count("example") == text.count("live.example.com"), f"an example's value was copied:\n{text}"
    assert held(values, "antmedia:media.edges") == held(model(name), "antmedia:media.edges"), "the rest is the model's"


def test_without_any_answer_examples_stay_and_are_named() -> None:
    values, left = decide(model("dev"), {}, None)
    assert values == model("dev")
    assert left == ["antmedia:adminCidrs", "antmedia:media.ami"]


def test_what_may_be_left_out_can_be_given() -> None:
    more = {"zone": "example.com", "email": "me@example.org", "backup-bucket": "mine"}
    values, _ = decide(model("prod"), {**ANSWERS, **more}, None)
    assert values["antmedia:dns"] == {"zone": "example.com"}
    assert held(values, "antmedia:tls.email") == held(values, "antmedia:administrator.email") == "me@example.org"
    assert held(values, "antmedia:database.backup") == {"bucket": "mine", "hour": 3}


@pytest.mark.parametrize(
    ("option", "answer", "key"),
    [
        ("region", "europe", "aws:region"),
        ("domain", "https://live.example.com", "antmedia:domain"),
        ("admin-cidr", "0.0.0.0/0", "antmedia:adminCidrs[0]"),
        ("admin-cidr", "203.0.113.7/32 203.0.113.7", "antmedia:adminCidrs[1]"),
        ("admin-cidr", "", "antmedia:adminCidrs"),
        ("ami", "ubuntu", "antmedia:media.ami"),
        ("zone", "example.org", "antmedia:dns.zone"),
        ("email", "me", "antmedia:tls.email"),
        ("backup-bucket", "My.Bucket", "antmedia:database.backup.bucket"),
        ("domain", "", "antmedia:domain"),
    ],
)
def test_an_answer_that_cannot_be_used_is_refused_in_the_words_of_the_settings(
    option: str, answer: str, key: str
) -> None:
    with pytest.raises(NewStackError) as refused:
        decide(model("prod"), {**ANSWERS, option: answer}, None)
    assert f"  {key}\n    holds     " in str(refused.value)
    assert "    remedy    " in str(refused.value)


def test_secrets_of_the_model_are_not_copied() -> None:
    values = model("dev")
    values["antmedia:ssh"] = {"privateKey": {"secure": "v1:x"}, "hostKey": {"secure": "v1:x"}}
    values["antmedia:stats"] = {"user": "me", "password": {"secure": "v1:x"}}
    found, _ = decide(values, ANSWERS, None)
    assert "secure" not in str(found)
    assert found["antmedia:stats"] == {"user": "me"}
    text = "encryptionsalt: v1:salt\nconfig:\n  aws:region: x\nsecretsprovider: awskms://x\n"
    assert new_stack.KEY_OF_SECRETS.sub("", text) == "config:\n  aws:region: x\n"


def test_edits_set_first_and_remove_from_the_end() -> None:
    before = {"a": {"b": 1, "c": 2, "d": {"e": 1}}, "l": [1, 2, 3], "x": 1}
    after = {"a": {"b": 5, "c": 2}, "l": ["9"], "n": {"m": ["7", "8"]}, "x": 1}
    assert edits(before, after) == ({"a.b": "5", "l[0]": "9", "n.m[0]": "7", "n.m[1]": "8"}, ["a.d", "l[2]", "l[1]"])


def test_answers_of_a_stack_that_is_copied_are_offered_and_can_be_left_out() -> None:
    own, _ = decide(model("prod"), {**ANSWERS, "email": "me@example.org", "backup-bucket": "mine"}, None)
    own["antmedia:adminCidrs"] = ["192.0.2.1/32"]
    typed = iter(["", "", "", "none", "other"])
    asked: list[str] = []

    def person(prompt: str) -> str:
        asked.append(prompt)
        return next(typed)

    found, left = decide(own, {"domain": "live.example.org"}, person)
    assert asked == [
        "region [eu-central-1]: ",
        "admin-cidr [192.0.2.1/32]: ",
        "ami [ami-0aaaaaaaaaaaaaaaa]: ",
        "email [me@example.org]: ",
        "backup-bucket [mine]: ",
    ]
    assert held(found, "antmedia:tls.email") is None
    assert held(found, "antmedia:database.backup.bucket") == "other"
    assert left == []


class Terminal:
    """A person who runs `make new-stack`, in a copy of what it needs of this checkout."""

    def __init__(self, folder: Path, *words: str) -> None:
        for name in ("cluster", "tools", "stacks", "templates"):
            shutil.copytree(CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "build"))
        self.stacks = folder / "stacks"
        self.said = ""
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execv(sys.executable, [sys.executable, "-m", "tools.new_stack", *words])

    def read_until(self, text: str) -> str:
        """What is said from here on, up to `text`. Fails when that is not said."""
        before = len(self.said)
        while text not in self.said[before:]:
            assert select.select([self._descriptor], [], [], 60)[0], f"{text!r} was not said: {self.said}"
            try:
                self.said += os.read(self._descriptor, 4096).decode()
            except OSError:  # the other end is closed
                pytest.fail(f"{text!r} was not said: {self.said}")
        return self.said[before:]

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def interrupt(self) -> int:
        """Ctrl-C until it ends, since Python misses one between a prompt and its read; the exit code."""
        with contextlib.suppress(OSError):  # the other end is closed
            self.type("\x03")
            while True:
                if select.select([self._descriptor], [], [], 1)[0]:
                    self.said += os.read(self._descriptor, 4096).decode()
                else:
                    self.type("\x03")
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_a_person_is_asked_what_no_option_says_and_again_after_a_mistake_and_may_leave(tmp_path: Path) -> None:
    person = Terminal(tmp_path, "mine", "--like", "prod", "--domain", "live.example.com")
    assert "domain" not in person.read_until("region [us-east-1]: "), "an option has said it"
    person.type("europe\n")
    assert "such as eu-central-1" in person.read_until("region [us-east-1]: ")
    person.type("\n")
    assert "Route 53 zone" in person.read_until("zone: "), "an example's zone is nobody's"
    person.type("\n")
    person.read_until("admin-cidr: ")
    person.type("0.0.0.0/0\n")
    assert "the whole internet (0.0.0.0/0) is refused" in person.read_until("admin-cidr: ")
    person.type("203.0.113.7/32\n")
    person.read_until("ami: ")
    person.type("\n")
    assert "antmedia:media.ami" in person.read_until("ami: "), "there is no default"
    assert person.interrupt() == 130
    assert "no stack file was written or changed" in person.said
    assert not (person.stacks / "Pulumi.mine.yaml").exists()
