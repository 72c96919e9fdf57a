"""What is done on a host over SSH: an ordered list of steps. The only user of pulumi-command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pulumi
from pulumi_command import remote

DIAL_TRIES: Final = 30
"""With the plugin's growing pauses: 111 s of refused connections (measured), a booting host's share of an update."""

DIAL_TIMEOUT_SECONDS: Final = 10

RUN_AS_ROOT: Final = "sudo bash -c 'exec bash /dev/fd/3 3<&0 </dev/null'"
"""Runs the script that arrives on standard input. What the script starts finds its own standard input empty, so it
cannot swallow the script. A failure prints the command line, which this way is short, and not the script."""

_END: Final = "ANTMEDIA_END_OF_INPUT"


def with_input(script: str, text: pulumi.Input[str] | None) -> pulumi.Input[str]:
    """A script that defines `main`, followed by a call of it with `text` (whole lines) on standard input."""
    if text is None:
        return f"{script}\nmain\n"
    return pulumi.Output.concat(script, f"\nmain <<'{_END}'\n", text, f"{_END}\n")


@dataclass(frozen=True)
class Step:
    """One script. It must compare and act only on a difference: a changed connection alone runs it again.

    `script` defines a function `main`, which finds `text` (whole lines) on its standard input. Both are shown in diffs,
    unless `text` is secret, and never in errors. A change of `triggers` runs the step as a new one.
    """

    name: str
    script: str
    text: pulumi.Input[str] | None = None
    triggers: Sequence[Any] = field(default_factory=tuple)
    depends_on: Sequence[pulumi.Resource] = field(default_factory=tuple)


@dataclass(frozen=True)
class Proxy:
    """A host that leads to one that nobody reaches from outside; it takes the same user and key."""

    address: pulumi.Input[str]
    host_public_key: str


@dataclass(frozen=True)
class RemoteHostArgs:
    """How to reach the host, which incarnation of it, and what to do there.

    `host_public_key` is pinned: a host that shows another one is not talked to. `instance` is the resource whose
    replacement makes every step run anew.
    """

    address: pulumi.Input[str]
    user: str
    private_key: pulumi.Input[str]
    host_public_key: str
    instance: pulumi.CustomResource
    steps: Sequence[Step]
    proxy: Proxy | None = None


class RemoteHost(pulumi.ComponentResource):
    """A host after its steps: each one starts when the one before has succeeded."""

    last: pulumi.Resource
    """The last step: what depends on it waits for all."""

    def __init__(self, name: str, args: RemoteHostArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("antmedia:host:RemoteHost", name, None, opts)
        private_key = pulumi.Output.secret(args.private_key)
        connection = remote.ConnectionArgs(
            host=args.address,
            user=args.user,
            private_key=private_key,
            host_key=args.host_public_key,
            dial_error_limit=DIAL_TRIES,
            per_dial_timeout=DIAL_TIMEOUT_SECONDS,
            proxy=remote.ProxyConnectionArgs(
                host=args.proxy.address,
                user=args.user,
                private_key=private_key,
                host_key=args.proxy.host_public_key,
                dial_error_limit=DIAL_TRIES,
                per_dial_timeout=DIAL_TIMEOUT_SECONDS,
            )
            if args.proxy
            else None,
        )
        before: list[pulumi.Resource] = []
        for step in args.steps:
            command = remote.Command(
                f"{name}-{step.name}",
                connection=connection,
                create=RUN_AS_ROOT,
                stdin=with_input(step.script, step.text),
                triggers=[args.instance.id, *step.triggers],
                add_previous_output_in_env=False,
                opts=pulumi.ResourceOptions(
                    parent=self,
                    depends_on=[*before, *step.depends_on],
                    deleted_with=args.instance,
                    # Both plugins keep them in the clear otherwise, whatever they were made from.
                    additional_secret_outputs=["stdout", "stderr"],
                ),
            )
            before = [command]
            self.last = command
        self.register_outputs({})
