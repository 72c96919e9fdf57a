"""What is done on a host over SSH: an ordered list of steps. The only user of pulumi-command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

NOTHING: Final = "true"
"""A command for what has nothing to do on a host."""

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
class RemoteHostArgs:
    """How to reach the host, and which incarnation of it.

    `host_public_key` is pinned: a host that shows another one is not talked to. `instance` is the resource whose
    replacement makes every step run anew.
    """

    address: pulumi.Input[str]
    user: str
    private_key: pulumi.Input[str]
    host_public_key: str
    instance: pulumi.CustomResource
    through: pulumi.Input[str] | None = None
    """The address of a host to connect through, which takes and shows the same keys; None: directly."""


class RemoteHost(pulumi.ComponentResource):
    """A host, and what is done on it."""

    steps: Mapping[str, pulumi.Resource]
    """By name, in their order."""

    def __init__(self, name: str, args: RemoteHostArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("antmedia:host:RemoteHost", name, None, opts)
        login: dict[str, Any] = {
            "user": args.user,
            "private_key": pulumi.Output.secret(args.private_key),
            "host_key": args.host_public_key,
            "dial_error_limit": DIAL_TRIES,
            "per_dial_timeout": DIAL_TIMEOUT_SECONDS,
        }
        proxy = remote.ProxyConnectionArgs(host=args.through, **login) if args.through is not None else None
        self._connection = remote.ConnectionArgs(host=args.address, proxy=proxy, **login)
        self._name = name
        self._instance = args.instance
        self._steps: dict[str, pulumi.Resource] = {}
        self.steps = self._steps
        self.register_outputs({})

    def step(self, step: Step) -> pulumi.CustomResource:
        """Adds a step, which starts when the one before has succeeded."""
        before = list(self._steps.values())[-1:]
        made = self._command(
            f"{self._name}-{step.name}",
            step,
            pulumi.ResourceOptions(parent=self, depends_on=[*before, *step.depends_on], deleted_with=self._instance),
            create=RUN_AS_ROOT,
            incarnation=[self._instance.id],
        )
        self._steps[step.name] = made
        return made

    def on_create(self, name: str, step: Step, parent: pulumi.Resource) -> pulumi.CustomResource:
        """Something that is done here for `parent`, another host, when it comes: once, not when the script changes."""
        opts = pulumi.ResourceOptions(parent=parent, depends_on=list(step.depends_on))
        return self._command(name, step, opts, create=RUN_AS_ROOT, update=NOTHING)

    def on_delete(
        self, name: str, step: Step, parent: pulumi.Resource, unless_deleted: pulumi.Resource
    ) -> pulumi.CustomResource:
        """Something that is done here for `parent`, another host, when it goes; before it is replaced, where `triggers`
        say that it is. Not where `unless_deleted` goes in the same run: with it, destroy does without.

        The script is the one of the update before: the engine deletes what it made, and does not ask the program.
        """
        opts = pulumi.ResourceOptions(
            parent=parent, depends_on=list(step.depends_on), delete_before_replace=True, deleted_with=unless_deleted
        )
        return self._command(name, step, opts, delete=RUN_AS_ROOT)

    def _command(
        self,
        name: str,
        step: Step,
        opts: pulumi.ResourceOptions,
        *,
        create: str | None = None,
        update: str | None = None,
        delete: str | None = None,
        incarnation: Sequence[pulumi.Input[str]] = (),
    ) -> pulumi.CustomResource:
        # Both plugins keep them in the clear otherwise, whatever they were made from.
        hidden = pulumi.ResourceOptions(additional_secret_outputs=["stdout", "stderr"])
        return remote.Command(
            name,
            connection=self._connection,
            create=create,
            update=update,
            delete=delete,
            stdin=with_input(step.script, step.text),
            triggers=[*incarnation, *step.triggers],
            add_previous_output_in_env=False,
            opts=pulumi.ResourceOptions.merge(opts, hidden),
        )
