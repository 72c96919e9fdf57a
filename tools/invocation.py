"""What `tools/pulumi ARGS` decides before it becomes the Pulumi CLI: environment, directory, a lab stack's needs.

Commands that change a deployment it runs and watches instead: what an interrupted one has left is told, with the
command that puts it right.

Standard library only: `tools/pulumi version` works wherever a tool chain is.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.provision import cache
from tools.provision.steps import ProvisionError, complain

LAB_STACK = re.compile(r"lab(-[a-zA-Z0-9_.-]+)?")
"""The stacks that live in the lab. Every other name is a stack of the person's own backend, which this leaves alone."""
LAB_NAME = re.compile(r"[a-z][a-z0-9-]{0,11}")

# Flags of the CLI that take a value in the next word, as far as they can stand before the command.
FLAGS_WITH_VALUE = frozenset(
    (
        "-s",
        "--stack",
        "-C",
        "--cwd",
        "--color",
        "--memprofilerate",
        "--otel-traces",
        "--profiling",
        "--tracing",
        "-v",
        "--verbose",
    )
)
TAKES_CONFIG_FILE = frozenset(("up", "update", "preview", "pre", "refresh", "destroy", "down", "dn", "import", "watch"))
CONFIG_READS = frozenset((None, "get"))
TAKES_LOCK = frozenset(("up", "update", "refresh", "destroy", "down", "dn", "import", "watch"))
NEEDS_WHOLE_STATE = TAKES_LOCK - {"refresh"}
"""What would make objects a second time, or leave some behind, where the end of an earlier update is not known."""
INTERRUPTED = (
    b"is currently locked by",
    b"Another update is currently in progress",  # Pulumi Cloud's words for the same
    b"failed to load checkpoint",  # tools/recovery/sidecars.py
)
"""What the CLI says, besides much else, when the update before may have been killed."""
NAMES_STACK = frozenset(("init", "select", "rm"))
"""The subcommands of `pulumi stack` whose argument is the stack's name."""

QUICK = {
    # The heaps of CLI and plugins may grow to five times what is in use, not twice: so they are collected less often.
    "GOGC": "400",
    # Otherwise the engine asks for one difference after the other.
    "PULUMI_PARALLEL_DIFF": "true",
}
"""What makes the CLI quicker; what the person has set wins."""

PERSONAL_AWS = re.compile(r"AWS_")
"""The EC2 API of the lab is reached by the lab stack's settings; a person's account has no say in it."""


@dataclass(frozen=True)
class Arguments:
    """What matters in a command line of the CLI."""

    stack: str | None
    """From -s, --stack, or the name that `pulumi stack init|select|rm` is given."""
    command: str | None
    subcommand: str | None
    command_index: int
    """Where the command stands in the words; -1 when there is none."""
    has_config_file: bool
    has_cwd: bool


@dataclass(frozen=True)
class Lab:
    """Where a lab's things are: see `lab/lab`."""

    name: str
    state: Path

    @property
    def is_running(self) -> bool:
        return (Path("/run/netns") / self.name).exists()


@dataclass(frozen=True)
class Invocation:
    """A program to become."""

    words: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path


def parse(words: Sequence[str]) -> Arguments:
    """Find stack and command among the CLI's words; what follows `--` is not looked at."""
    stack: str | None = None
    positional: list[tuple[int, str]] = []
    has_config_file = has_cwd = False
    index = 0
    while index < len(words):
        word = words[index]
        if word == "--":
            break
        flag, equals, value = word.partition("=")
        if not word.startswith("-"):
            positional.append((index, word))
        elif flag in ("-s", "--stack"):
            stack = value if equals else next(iter(words[index + 1 : index + 2]), None)
        elif word.startswith("-s") and not word.startswith("--"):
            stack = word[2:]
        has_config_file |= flag == "--config-file"
        has_cwd |= flag == "--cwd" or (word.startswith("-C") and not word.startswith("--"))
        index += 2 if word in FLAGS_WITH_VALUE or word == "--config-file" else 1
    names = [name for _, name in positional]
    command, subcommand, argument = (*names, None, None, None)[:3]
    if command == "stack" and subcommand in NAMES_STACK and stack is None:
        stack = argument
    return Arguments(stack, command, subcommand, positional[0][0] if positional else -1, has_config_file, has_cwd)


def lab_stack(arguments: Arguments, environment: Mapping[str, str]) -> str | None:
    """The lab stack that the command is about; None for every other stack and for commands about none."""
    stack = arguments.stack or environment.get("PULUMI_STACK")
    return stack if stack and LAB_STACK.fullmatch(stack) else None


def takes_config_file(arguments: Arguments) -> bool:
    """Whether the lab's stack file, values and secrets together, is to be handed to the command."""
    if arguments.has_config_file:
        return False
    if arguments.command == "config":
        return arguments.subcommand in CONFIG_READS
    return arguments.command in TAKES_CONFIG_FILE


def lab_from(environment: Mapping[str, str]) -> Lab:
    """The lab that ANTMEDIA_LAB names, `lab` without it. Raises ProvisionError for an impossible name."""
    name = environment.get("ANTMEDIA_LAB") or "lab"
    if not LAB_NAME.fullmatch(name):
        raise ProvisionError(f"ANTMEDIA_LAB is {name!r}; a lab's name is up to 12 of a-z, 0-9 and -, a letter first.")
    return Lab(name, Path(environment.get("ANTMEDIA_LAB_STATE") or "/var/lib/antmedia") / name)


def running_lab(environment: Mapping[str, str]) -> Lab:
    """The same, ready to be entered. Raises ProvisionError when it does not run, and without root."""
    lab = lab_from(environment)
    if not lab.is_running:
        raise ProvisionError("The lab is not running: make up")
    if os.geteuid() != 0:
        raise ProvisionError("The lab's stack is deployed from inside the lab's network, which takes root: use sudo.")
    return lab


def tool_environment(chain: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of the CLI with the tool chain's programs and plugins, and the person's own login."""
    own_home = environment.get("PULUMI_HOME") or str(Path(environment.get("HOME", "/")) / ".pulumi")
    result = {
        **QUICK,
        **environment,
        "PATH": f"{chain / 'bin'}{os.pathsep}{environment.get('PATH', os.defpath)}",
        "PULUMI_HOME": str(chain / "home"),
        "PULUMI_CREDENTIALS_PATH": environment.get("PULUMI_CREDENTIALS_PATH") or own_home,
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }
    # Without its compiled files, importing pulumi_aws takes three seconds longer, each time.
    result.pop("PYTHONDONTWRITEBYTECODE", None)
    return result


def lab_environment(lab: Lab, environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` turned to the lab's own backend, passphrase and EC2 API. Secrets go by file, never by argument."""
    result = {name: value for name, value in environment.items() if not PERSONAL_AWS.match(name)}
    for name in ("SSH_AUTH_SOCK", "PULUMI_CONFIG_PASSPHRASE", "PULUMI_ACCESS_TOKEN"):
        result.pop(name, None)
    return {
        **result,
        "AWS_EC2_METADATA_DISABLED": "true",
        "PULUMI_BACKEND_URL": f"file://{lab.state / 'pulumi'}",
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(lab.state / "passphrase"),
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }


def project_directory(start: Path, checkout: Path) -> Path:
    """`start` when it is in a Pulumi project, else the checkout."""
    return start if any((folder / "Pulumi.yaml").is_file() for folder in (start, *start.parents)) else checkout


def prepare_stack_file(stack: str, checkout: Path, environment: Mapping[str, str]) -> Path:
    """The file with the stack's values and the lab's secrets, made by tools/lab_stack.py. Raises ProvisionError."""
    python = checkout / ".venv" / "bin" / "python"
    if not python.exists():
        raise ProvisionError("There is no Python environment here yet: make tools")
    done = subprocess.run(
        [python, "-m", "tools.lab_stack", stack], cwd=checkout, env=dict(environment), stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise ProvisionError(f"The settings of the stack {stack} could not be prepared.")
    return Path(done.stdout.strip())


def plan(words: Sequence[str], environment: Mapping[str, str], start: Path, checkout: Path) -> Invocation:
    """Decide what `tools/pulumi WORDS` becomes. Raises ProvisionError with a sentence."""
    chain = cache.root() / "toolchain" / "current"
    program = chain / "bin" / "pulumi"
    if not program.exists():
        raise ProvisionError("There is no tool chain yet: make tools")
    arguments = parse(words)
    directory = start if arguments.has_cwd else project_directory(start, checkout)
    result = tool_environment(chain.resolve(), environment)
    stack = lab_stack(arguments, environment)
    if stack is None:
        return Invocation((str(program), *words), result, directory)

    lab = running_lab(environment)
    result = lab_environment(lab, result)
    (lab.state / "pulumi").mkdir(parents=True, exist_ok=True)
    words = list(words)
    if takes_config_file(arguments):
        file = prepare_stack_file(stack, checkout, result)
        at = arguments.command_index + 1
        words[at:at] = ["--config-file", str(file)]
    return Invocation(("ip", "netns", "exec", lab.name, str(program), *words), result, directory)


def unfinished(words: Sequence[str], invocation: Invocation) -> str | None:
    """A sentence on what an interrupted update left in the stack's state; None when nothing, or when that is not known.

    `words` are the CLI's, for the stack that they name.
    """
    arguments = parse(words)
    if arguments.has_cwd:  # another project, of which this knows nothing
        return None
    named = [f"--stack={arguments.stack}"] if arguments.stack else []
    at = invocation.words.index(_program(invocation)) + 1
    asked = subprocess.run(
        [*invocation.words[:at], "stack", "export", "--non-interactive", *named],
        cwd=invocation.directory,
        env=dict(invocation.environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    try:
        operations = json.loads(asked.stdout)["deployment"].get("pending_operations") or ()
        urns = [operation["resource"]["urn"].split("::") for operation in operations]
        names = ", ".join(f"{operation['type']} {urn[-1]}" for operation, urn in zip(operations, urns, strict=True))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if not urns:
        return None
    stack = urns[0][0].rpartition(":")[2]
    return (
        f"An update of the stack {stack} has not ended ({names}). Wait for it if it is running; "
        f"if it was interrupted: make recover STACK={stack}"
    )


def _program(invocation: Invocation) -> str:
    return next(word for word in invocation.words if Path(word).name == "pulumi")


def supervise(words: Sequence[str], invocation: Invocation) -> int:
    """Run a command that changes the deployment; after a failure, say whether the stack is to be recovered.

    Raises:
        ProvisionError: an earlier update was interrupted; nothing was run.
    """
    arguments = parse(words)
    if arguments.command in NEEDS_WHOLE_STATE and (left := unfinished(words, invocation)):
        raise ProvisionError(left)
    process = subprocess.Popen(
        invocation.words,
        cwd=invocation.directory,
        env=dict(invocation.environment),
        stderr=subprocess.PIPE,
        preexec_fn=_end_with_parent,
    )
    # A terminal's Ctrl-C reaches the CLI as well, which then ends in order: only waiting is left to do here.
    interrupts: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: process.send_signal(number))
    said = bytearray()
    # What the CLI leaves behind when it is killed may hold the other end open for ever.
    copying = threading.Thread(target=_copy, args=(process, said), daemon=True)
    copying.start()
    code = process.wait()
    copying.join(1.0)
    if code and any(words in said for words in INTERRUPTED):
        stack = arguments.stack or os.environ.get("PULUMI_STACK") or "NAME"
        print(
            f"\nIf no update of the stack runs any more, the one before was interrupted: make recover STACK={stack}",
            file=sys.stderr,
        )
    elif code and (left := unfinished(words, invocation)):
        print(f"\n{left}", file=sys.stderr)
    elif code and interrupts:
        stack = arguments.stack or os.environ.get("PULUMI_STACK") or "NAME"
        print(f"\nInterrupted. What was half made is found and deleted by: make recover STACK={stack}", file=sys.stderr)
    return code if code >= 0 else 128 - code


def _copy(process: subprocess.Popen[bytes], said: bytearray) -> None:
    assert process.stderr is not None
    while chunk := os.read(process.stderr.fileno(), 1 << 16):
        said += chunk
        sys.stderr.buffer.write(chunk)
        sys.stderr.buffer.flush()


PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _end_with_parent() -> None:
    """In the CLI, before it starts: it ends in order when what started it is killed. Linux only."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def main(words: Sequence[str], checkout: Path) -> int:
    """Become the CLI, or run it and return its exit code; 1, after a sentence on stderr, when that cannot be."""
    try:
        invocation = plan(words, os.environ, Path.cwd(), checkout)
        if parse(words).command in TAKES_LOCK and not {"-h", "--help"} & set(words):
            return supervise(words, invocation)
        os.chdir(invocation.directory)
        sys.stdout.flush()
        os.execvpe(invocation.words[0], invocation.words, dict(invocation.environment))
    except ProvisionError as error:
        return complain(error)
    except FileNotFoundError as error:
        return complain(ProvisionError(f"{error.filename} is missing (ip comes with iproute2)."))
    except PermissionError as error:
        return complain(ProvisionError(f"{error.strerror}: {error.filename}"))
