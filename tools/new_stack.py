"""`make new-stack STACK=name`: a stack file with new SSH keys and passwords as encrypted secrets.

What has to be decided is asked for, unless an option says it: ARGS="--domain live.example.com …". Everything else is
copied from another stack file. Running it again adds secrets that are missing and changes nothing that exists.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml

from cluster.settings import Mistake, SettingsError, load
from tools import render, stack_secrets

CHECKOUT: Final = Path(__file__).resolve().parent.parent
STACKS: Final = CHECKOUT / "stacks"
PULUMI: Final = CHECKOUT / "tools" / "pulumi"
NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")
REGION: Final = re.compile(r"[a-z]{2}(-[a-z]+){1,3}-\d{1,2}")
KEY_OF_SECRETS: Final = re.compile(r"(?m)^(encryptionsalt|encryptedkey|secretsprovider):.*\n?")
"""The lines of a stack file that are about the key of its own secrets."""

Values = dict[str, Any]
"""A stack file's `config:`, by full key, such as `aws:region`."""


class NewStackError(Exception):
    """The stack cannot be made. The text says what to do."""


@dataclass(frozen=True)
class Question:
    """Something that only a person knows."""

    name: str
    """Of the option, and of the answer."""
    keys: tuple[str, ...]
    """The keys of the stack file that the answer goes into, as paths. The first one's messages are shown."""
    asks: str
    """One line."""
    is_list: bool = False
    optional: bool = False
    """Left out where there is no answer."""
    examples: re.Pattern[str] | None = None
    """What stands in the worked examples, and is nobody's."""


NONE: Final = "none"
EXAMPLE_NAME: Final = re.compile(r"(.*[.@])?example\.com")

QUESTIONS: Final = (
    Question("region", ("aws:region",), "The AWS region that everything is made in."),
    Question(
        "domain",
        ("antmedia:domain",),
        "The name that viewers use. Empty: the load balancer's address; then there is no certificate by Let's Encrypt.",
        optional=True,
        examples=EXAMPLE_NAME,
    ),
    Question(
        "zone",
        ("antmedia:dns.zone",),
        "The public Route 53 zone of that name, for the program to keep its records in. Empty: you set them yourself.",
        optional=True,
        examples=EXAMPLE_NAME,
    ),
    Question(
        "admin-cidr",
        ("antmedia:adminCidrs",),
        "Who may reach SSH, the statistics and the dashboard: networks, with spaces between them. "
        "Your address now: curl https://checkip.amazonaws.com",
        is_list=True,
        examples=re.compile(r"(203\.0\.113|198\.51\.100)\..*"),
    ),
    Question(
        "ami",
        ("antmedia:media.ami",),
        "The Ant Media Server image in that region; subscribe to it in the AWS Marketplace first. "
        "Enter alone shows how to find it.",
        examples=re.compile(r"ami-0123456789abcdef0"),
    ),
    Question(
        "email",
        ("antmedia:tls.email", "antmedia:administrator.email"),
        "Where the certificate authority may write to, and who logs in to the dashboard. Empty: none, and a default.",
        optional=True,
        examples=EXAMPLE_NAME,
    ),
    Question(
        "alarm-email",
        ("antmedia:alarms.email",),
        "Who is written to when an alarm goes off, and confirms that by a first message. Empty: nobody.",
        optional=True,
        examples=EXAMPLE_NAME,
    ),
    Question(
        "backup-bucket",
        ("antmedia:database.backup.bucket",),
        "An S3 bucket of yours in that region, for a daily backup of the database. Empty: no backups.",
        optional=True,
        examples=re.compile(r"example-.*"),
    ),
)

OF_ONE_CLUSTER: Final = (
    "antmedia:tls.extraNames", "antmedia:loadBalancer.publishName", "antmedia:loadBalancer.playName",
)  # fmt: skip
"""Further names: they go with the domain, and so are not copied when it is another one."""


def stack_file(name: str, model: str) -> tuple[Path, Path | None]:
    """The new stack's file, and the one to copy; None for that where the new one exists.

    Raises:
        NewStackError: a name that cannot be used, or no such model.
    """
    if not NAME.fullmatch(name):
        raise NewStackError(
            f"{name!r} is not a name for a stack: small letters, digits and -, at most 40, a letter first."
        )
    if name == "lab" or name.startswith("lab-"):
        raise NewStackError(
            "Stacks called lab or lab-… are the lab's: `make up` makes their secrets. Choose another name."
        )
    target, source = STACKS / f"Pulumi.{name}.yaml", STACKS / f"Pulumi.{model}.yaml"
    if target.exists():
        return target, None
    if not source.exists():
        raise NewStackError(f"There is no stack file stacks/{source.name} to copy.")
    return target, source


def held(values: Values, path: str) -> Any:
    """What stands at a path; None for nothing."""
    first, *rest = path.split(".")
    found: Any = values.get(first)
    for part in rest:
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def put(values: Values, path: str, value: Any) -> None:
    """Set what stands at a path; None removes it, and the group that it leaves empty."""
    first, *rest = path.split(".", 1)
    if not rest:
        values.pop(first, None)
        if value is not None:
            values[first] = value
        return
    group = values.get(first)
    values[first] = group = dict(group) if isinstance(group, Mapping) else {}
    put(group, rest[0], value)
    if group.keys() <= {"hour"}:  # a time without a bucket is no backup
        del values[first]


def mistakes(values: Values, *keys: str) -> list[Mistake]:
    """What is wrong in a stack file's values, at these keys or below them; anywhere, where none is named."""
    found: list[Mistake] = []
    if not REGION.fullmatch(str(values.get("aws:region"))):
        held_now = str(values.get("aws:region"))
        remedy = "list yours with: aws ec2 describe-regions --query 'Regions[].RegionName'"
        found.append(Mistake("aws:region", held_now, "an AWS region, such as eu-central-1", remedy))
    try:
        load(render.with_stand_ins(copy.deepcopy(values)), now=datetime.now(UTC))
    except SettingsError as error:
        found.extend(error.mistakes)
    if not keys:
        return found
    return [each for each in found if any(re.match(rf"{re.escape(key)}([.\[]|$)", each.key) for key in keys)]


def with_answer(values: Values, question: Question, answer: str) -> Values:
    """The values with an answer at its keys; an empty one removes what may be left out."""
    result = copy.deepcopy(values)
    given: Any = answer.replace(",", " ").split() if question.is_list else answer.strip()
    for key in question.keys:
        put(result, key, given or (None if question.optional else given))
    return result


def suggestion(values: Values, question: Question) -> str | None:
    """The model's own answer, unless it is an example's; None for none."""
    found = next((held(values, key) for key in question.keys if held(values, key) is not None), None)
    words = [str(each) for each in found] if isinstance(found, list) else [] if found is None else [str(found)]
    if question.examples:
        words = [word for word in words if not question.examples.fullmatch(word)]
    return " ".join(words) or None


def ask(values: Values, question: Question, ask_for: Callable[[str], str]) -> Values:
    """Ask until the answer can be used; a mistake is told as it would be in a stack file."""
    default = suggestion(values, question)
    print(f"\n{question.asks}" + (f" ({NONE}: leave it out)" if default and question.optional else ""))
    while True:
        answer = ask_for(f"{question.name}{f' [{default}]' if default else ''}: ").strip() or default or ""
        answer = "" if answer == NONE and question.optional else answer
        result = with_answer(values, question, answer)
        wrong = mistakes(result, question.keys[0])
        if not wrong:
            return result
        print("\n" + "\n\n".join(map(str, wrong)) + "\n")


def decide(
    model: Values, given: Mapping[str, str | None], ask_for: Callable[[str], str] | None
) -> tuple[Values, list[str]]:
    """The new stack's values, and the keys that are still an example's.

    Args:
        given: the answers that options give, by question; None for those that are not given.
        ask_for: asks a person; None where nobody can be asked. Then examples of what may be left out are left out, if
            any answer is given at all, and others stay for the person to set.

    Raises:
        NewStackError: an answer that an option gives cannot be used.
    """
    values = copy.deepcopy(model)
    for path in _secret_paths(model):
        put(values, path, None)
    answered = {question: given.get(question.name) for question in QUESTIONS}
    # All of them first, since they are checked against one another.
    for question, answer in answered.items():
        if answer is not None:
            values = with_answer(values, question, answer)
    given_keys = [key for question, answer in answered.items() if answer is not None for key in question.keys]
    if given_keys and (wrong := mistakes(values, *given_keys)):
        raise NewStackError(_refusal(wrong))
    is_copy = ask_for is None and not any(answered.values())
    if not is_copy:
        for path in OF_ONE_CLUSTER:
            if held(values, path) is not None:
                put(values, path, None)
    left = []
    for question, answer in answered.items():
        if answer is not None:
            continue
        in_model = [key for key in question.keys if held(values, key) is not None]
        is_example = suggestion(values, question) is None
        if ask_for and (in_model or not question.optional or question.name == "domain"):
            values = ask(values, question, ask_for)
        elif in_model and is_example and question.optional and not is_copy:
            for key in in_model:
                put(values, key, None)
        elif in_model and is_example:
            left.append(in_model[0])
    if wrong := mistakes(values):
        raise NewStackError(_refusal(wrong))
    return values, left


def _refusal(wrong: Sequence[Mistake]) -> str:
    told = "\n\n".join(map(str, wrong))
    return f"With these answers the stack file cannot be used; nothing was written.\n\n{told}"


def _secret_paths(values: Any, path: str = "") -> Iterator[str]:
    """Where secrets stand, encrypted by a key of the model's own."""
    for key, value in values.items() if isinstance(values, Mapping) else ():
        here = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping) and "secure" in value:
            yield here
        else:
            yield from _secret_paths(value, here)


def edits(before: Values, after: Values) -> tuple[dict[str, str], list[str]]:
    """What makes one of the other, by path: the values to be set, and then what is to be removed."""
    sets: dict[str, str] = {}
    removals: list[str] = []

    def compare(old: Any, new: Any, path: str) -> None:
        if isinstance(new, Mapping):
            old = old if isinstance(old, Mapping) else {}
            for key in {**old, **new}:
                compare(old.get(key), new.get(key), f"{path}.{key}" if path else key)
        elif isinstance(new, list):
            old = old if isinstance(old, list) else []
            for n, each in enumerate(new):
                compare(old[n] if n < len(old) else None, each, f"{path}[{n}]")
            # From the end, so that none moves before it is removed.
            removals.extend(f"{path}[{n}]" for n in reversed(range(len(new), len(old))))
        elif new is None and old is not None:
            removals.append(path)
        elif new != old:
            sets[path] = str(new)

    compare(before, after, "")
    return sets, removals


@contextlib.contextmanager
def aside(target: Path) -> Iterator[Path]:
    """A Pulumi project with a copy of the stack file, which takes the file's place if the block ends well, all at once.

    So an interruption leaves the stack file as it was, or none.
    """
    build = CHECKOUT / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="new-stack-", dir=build) as made:
        project = yaml.safe_load((CHECKOUT / "Pulumi.yaml").read_text())
        kept = {key: project[key] for key in ("name", "runtime", "backend") if key in project}
        (Path(made) / "Pulumi.yaml").write_text(yaml.safe_dump(kept))
        copied = Path(made) / target.name
        if target.exists():
            shutil.copy(target, copied)
        yield copied
        if not target.exists() or copied.read_text() != target.read_text():
            copied.replace(target)


def write(file: Path, stack: str, sets: Mapping[str, str], removals: Sequence[str]) -> list[str]:
    """Make the stack, its values and its secrets, by the Pulumi CLI, which keeps a file's comments.

    Returns the secrets that were made. Raises subprocess.CalledProcessError when the CLI fails; it has said why.
    """
    pulumi, folder = [str(PULUMI)], file.parent
    subprocess.run([*pulumi, "stack", "select", "--create", stack], check=True, cwd=folder)
    config = [*pulumi, "config"]
    options = ["--stack", stack, "--path", "--non-interactive"]
    if sets:
        pairs = [word for path, value in sets.items() for word in ("--plaintext", f"{path}={value}")]
        subprocess.run([*config, "set-all", *options, *pairs], check=True, cwd=folder)
    if removals:
        subprocess.run([*config, "rm-all", *options, *removals], check=True, cwd=folder)
    return stack_secrets.add_missing(pulumi, stack, file, cwd=folder, env=os.environ)


def make(name: str, model: str, given: Mapping[str, str | None], ask_for: Callable[[str], str] | None) -> str:
    """Make the stack, and say what is next.

    Raises:
        NewStackError: it cannot be made.
        subprocess.CalledProcessError: the Pulumi CLI failed.
    """
    target, source = stack_file(name, model)
    left: list[str] = []
    sets: dict[str, str] = {}
    removals: list[str] = []
    if source:
        before: Values = stack_secrets.read(source).get("config") or {}
        after, left = decide(before, given, ask_for)
        sets, removals = edits(before, after)
    with aside(target) as copied:
        if source:
            copied.write_text(KEY_OF_SECRETS.sub("", source.read_text()))
        added = write(copied, name, sets, removals)
    if source:
        print(f"\nstacks/{target.name} written, after stacks/{source.name}")
    else:
        print(f"stacks/{target.name} exists: its values are kept as they are")
        if unused := [f"--{question}" for question, answer in given.items() if answer is not None]:
            print(f"not used: {', '.join(unused)}; change values in the file itself")
    print(f"secrets made: {', '.join(added)}" if added else "its secrets exist: kept as they are")
    first = f"set {', '.join(left)} in stacks/{target.name}, then " if left else ""
    return f"\nNext: {first}tools/pulumi preview -s {name} --diff"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make new-stack", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("name", help="name of the new stack")
    parser.add_argument("--like", default="dev", metavar="STACK", help="the stack file to copy (dev)")
    for question in QUESTIONS:
        action = "append" if question.is_list else "store"
        parser.add_argument(f"--{question.name}", action=action, metavar="…", help=question.asks)
    return parser


def main() -> int:
    """Make the stack, or say in one sentence why not."""
    arguments = _parser().parse_args()
    given: dict[str, str | None] = {}
    for question in QUESTIONS:
        answer = getattr(arguments, question.name.replace("-", "_"))
        given[question.name] = " ".join(answer) if isinstance(answer, list) else answer
    try:
        print(make(arguments.name, arguments.like, given, input if sys.stdin.isatty() else None))
    except NewStackError as error:
        print(error, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError:
        print(
            "The stack was not made: see Pulumi's message above. If it asks for a login, first choose where the state "
            "is kept: tools/pulumi login (Pulumi Cloud), tools/pulumi login s3://BUCKET or tools/pulumi login --local. "
            "If it wants a passphrase, have it in PULUMI_CONFIG_PASSPHRASE.",
            file=sys.stderr,
        )
        return 1
    except (KeyboardInterrupt, EOFError):
        print("\nInterrupted: no stack file was written or changed.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
