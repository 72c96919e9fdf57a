"""Stack files to try: tests/bad-settings, each with one mistake, and tests/good-settings, unusual and right.

Each holds only what differs from tests/good-settings/the-least.yaml. Three tags stand for what a file in git cannot
hold: `!secret TEXT` is TEXT as an encrypted value; `!made NAME` is what MADE makes of the name, encrypted as well;
`!left-out` takes a key of the-least.yaml away.

`python -m tests.stack_files` writes the messages anew, to be read before they are committed.
"""

from __future__ import annotations

import copy
import functools
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from cluster import keys
from cluster.settings import NAMESPACE, SettingsError, load
from tests.unit.cluster.certificates import Provided, provide

TESTS = Path(__file__).resolve().parent
BAD = sorted(TESTS.glob("bad-settings/*.yaml"))
GOOD = sorted(TESTS.glob("good-settings/*.yaml"))
LEAST = TESTS / "good-settings" / "the-least.yaml"
NAME = "live.example.com"


def expected(file: Path) -> str:
    """What is to be said of a file: of a bad one the whole message, of a good one a warning, if any."""
    beside = file.with_suffix(".txt")
    return beside.read_text() if beside.exists() else ""


def told_by_the_program(file: Path) -> bool:
    """Whether the settings refuse it; otherwise Pulumi does, as no YAML, or AWS's answer."""
    return bool(re.match(r"\d+ mistakes? in the configuration", expected(file)))


@functools.cache
def made(name: str) -> str:
    """A key or a certificate, by what is special about it."""
    what, _, part = name.partition(".")
    if what in CERTIFICATES:
        text: str = getattr(_certificate(what), part)
        return text
    return SSH_KEYS[what]()


@functools.cache
def _certificate(name: str) -> Provided:
    return CERTIFICATES[name]()


def _rsa() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


_PEM = (Encoding.PEM, PrivateFormat.PKCS8)
SSH_KEYS: dict[str, Callable[[], str]] = {
    "ssh-key": keys.new_private_key,
    "another-ssh-key": keys.new_private_key,
    "third-ssh-key": keys.new_private_key,
    "public-ssh-key": lambda: keys.public_key(keys.new_private_key()),
    "rsa-ssh-key": lambda: _rsa().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode(),
}


def _with_passphrase() -> Provided:
    held = provide([NAME])
    key = load_pem_private_key(held.key.encode(), None)
    return Provided(held.chain, key.private_bytes(*_PEM, BestAvailableEncryption(b"passphrase")).decode())


CERTIFICATES: dict[str, Callable[[], Provided]] = {
    "certificate": lambda: provide([NAME]),
    "wildcard-certificate": lambda: provide(["*.example.com"]),
    "ended-certificate": lambda: provide([NAME], datetime(2020, 1, 1, tzinfo=UTC)),
    "certificate-of-another-key": lambda: Provided(provide([NAME]).chain, provide([NAME]).key),
    "certificate-and-encrypted-key": _with_passphrase,
}


class StackFile:
    """One of the files, put together with the-least.yaml.

    Raises:
        yaml.YAMLError: it is no YAML.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        least, own = (yaml.compose(path.read_text(), yaml.SafeLoader) for path in (LEAST, file))
        self._tree = _merged(least, own)

    def text(self, encrypted: Callable[[str], str]) -> str:
        """As Pulumi reads it; `encrypted` gives the cipher text of a secret."""
        tree = _with_secrets(copy.deepcopy(self._tree), encrypted)
        return yaml.serialize(tree, Dumper=yaml.SafeDumper)

    @property
    def secrets(self) -> set[str]:
        """Every text that is to be encrypted."""
        found: list[str] = []

        def kept(text: str) -> str:
            found.append(text)
            return ""

        self.text(kept)
        return set(found)

    @property
    def content(self) -> Any:
        """As an editor sees it, secrets encrypted."""
        return _value(_with_secrets(copy.deepcopy(self._tree), lambda _: "v1:AAAA:BBBB"))

    def configuration(self) -> tuple[dict[str, Any], list[str], list[str]]:
        """As the program gets it: the values of the namespace, the keys that hold secrets, the keys elsewhere."""
        content = _value(self._tree).get("config") or {}
        prefix = f"{NAMESPACE}:"
        # Without a namespace, a key is of the project's.
        whole = {key if ":" in key else prefix + key: value for key, value in content.items()}
        values = {key.removeprefix(prefix): _on_top(value) for key, value in whole.items() if key.startswith(prefix)}
        secret = [key for key, value in values.items() if _holds_secret(value)]
        return _bare(values), secret, [key for key in whole if not key.startswith(prefix)]


class _Secret(str):
    """A text that is encrypted in the file."""


def _merged(least: Any, own: Any) -> Any:
    """The nodes of `own` over those of `least`, key by key."""
    if not isinstance(least, yaml.MappingNode) or not isinstance(own, yaml.MappingNode):
        return own
    replaced = {key.value: value for key, value in own.value}
    kept = [
        (key, _merged(value, replaced[key.value]) if key.value in replaced else value) for key, value in least.value
    ]
    names = {key.value for key, _ in least.value}
    added = [(key, value) for key, value in own.value if key.value not in names]
    pairs = [(key, value) for key, value in kept + added if value.tag != "!left-out"]
    return yaml.MappingNode(own.tag, pairs, flow_style=False)


def _with_secrets(node: Any, encrypted: Callable[[str], str]) -> Any:
    if (text := _secret_text(node)) is not None:
        cipher = yaml.ScalarNode("tag:yaml.org,2002:str", encrypted(text), style='"')
        return yaml.MappingNode("tag:yaml.org,2002:map", [(_plain("secure"), cipher)], flow_style=False)
    if isinstance(node, yaml.MappingNode):
        node.value = [(key, _with_secrets(value, encrypted)) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        node.value = [_with_secrets(value, encrypted) for value in node.value]
    return node


def _plain(text: str) -> yaml.ScalarNode:
    return yaml.ScalarNode("tag:yaml.org,2002:str", text)


def _secret_text(node: Any) -> str | None:
    if node.tag == "!secret":
        return str(node.value)
    return made(node.value) if node.tag == "!made" else None


def _value(node: Any) -> Any:
    """What Pulumi's own YAML library reads: `yes` is a text there, 1_000 a number, 010 is eight."""
    if (text := _secret_text(node)) is not None:
        return _Secret(text)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        pairs = [(key.value, _value(value)) for key, value in node.value]
        inherited: Any = next((value for key, value in pairs if key == "<<"), {})
        return {**inherited, **{key: value for key, value in pairs if key != "<<"}}
    return node.value if node.style else _plain_scalar(node.value)


def _plain_scalar(text: str) -> Any:
    digits = text.replace("_", "")
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return text.lower() == "true"
    if re.fullmatch(r"[-+]?(0[bB][01]+|0[oO][0-7]+|0[xX][0-9a-fA-F]+|0|[1-9][0-9]*)", digits):
        return int(digits, 0)
    if re.fullmatch(r"0[0-7]+", digits):
        return int(digits, 8)
    if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", digits):
        number = float(digits)
        return int(number) if number.is_integer() else number
    return text


def _on_top(value: Any) -> Any:
    """Values on top reach the program as text, lists and groups as JSON, which it reads wherever it meets it."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        return json.loads(value)
    if value == "":
        return None
    return value if value is None or isinstance(value, dict | list | str) else str(value).lower()


def _holds_secret(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_secret, value.values()))
    if isinstance(value, list):
        return any(map(_holds_secret, value))
    return isinstance(value, _Secret)


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _bare(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_bare(item) for item in value]
    return str(value) if isinstance(value, _Secret) else value


def _write_messages() -> None:
    """Write the message of every bad file that the settings refuse."""
    for file in BAD:
        if expected(file) and not told_by_the_program(file):
            continue
        values, secret, elsewhere = StackFile(file).configuration()
        try:
            load(values, now=datetime.now(UTC), secret=secret, elsewhere=elsewhere)
            print(f"{file.name} is accepted")
        except SettingsError as error:
            file.with_suffix(".txt").write_text(str(error))


if __name__ == "__main__":
    _write_messages()
