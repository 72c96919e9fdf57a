"""`pulumi.Config` -> `Settings`. Nothing else reads the configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pulumi
from pulumi.runtime.config import CONFIG, get_config_env, is_config_secret

from cluster.settings import NAMESPACE, Settings, SettingsError, load, secrets_in_the_clear


def load_settings() -> Settings:
    """Read and validate the whole namespace.

    Raises:
        pulumi.RunError: every mistake in one message, before any resource is registered.
    """
    # pulumi.Config reads a key that one knows; finding misspelt ones takes the whole map that it reads from.
    whole: Mapping[str, str] = {**get_config_env(), **CONFIG.get()}
    prefix = f"{NAMESPACE}:"
    values = {key.removeprefix(prefix): _decoded(text) for key, text in whole.items() if key.startswith(prefix)}
    secret = [key for key in values if is_config_secret(prefix + key)]
    elsewhere = [key for key in whole if not key.startswith(prefix)]
    for warning in secrets_in_the_clear(values, secret):
        pulumi.log.warn(warning)
    try:
        settings = load(values, now=datetime.now(UTC), secret=secret, elsewhere=elsewhere)
    except SettingsError as error:
        raise pulumi.RunError(f"stack {pulumi.get_stack()}: {error}") from None
    for warning in settings.warnings:
        pulumi.log.warn(warning)
    return settings


def _decoded(text: str) -> Any:
    """The engine hands over lists and groups as JSON, everything else as it is written; a key left empty as no text."""
    if not text:
        return None
    if text[:1] in ("{", "["):
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            pass
    return text
