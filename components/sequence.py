"""What has to wait for something in this update, although it does not depend on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

import pulumi


def once_there(resources: Sequence[pulumi.Resource], value: str) -> Awaitable[str]:
    """An input that has its value when the resources exist: what takes it is registered, and touched, after them.

    `depends_on` would write the order into the state, where the next update of only some resources finds it: the engine
    then puts what waited before into the new state with all that it waited for, also what is to be replaced, and
    refuses the state in the end. An order that differs from update to update must not be written down.
    """

    there = [resource.urn for resource in resources]  # now: what joins the list later is not waited for

    async def wait() -> str:
        if not pulumi.runtime.is_dry_run():  # a preview touches nothing
            await asyncio.gather(*(urn.future() for urn in there))
        return value

    return wait()
