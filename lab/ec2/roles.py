"""Credentials of IAM roles, as the metadata service gives them to instances."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, field

from lab.ec2 import REGION, backend

_LIFETIME = datetime.timedelta(hours=6)
_RENEWED_BEFORE_END = datetime.timedelta(hours=1)
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Credentials:
    """Keys that the emulated account knows as the role's: GetCallerIdentity tells the role and the instance. What the
    role's policies allow is not checked: every key may do everything."""

    access_key_id: str
    secret_access_key: str
    token: str
    issued: str
    """ISO 8601, UTC; so is `expiration`."""
    expiration: str


@dataclass
class RoleCredentials:
    """Gives each instance credentials of a role, the same ones for hours, and new ones an hour before they end."""

    clock: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC)
    _held: dict[tuple[str, str], tuple[datetime.datetime, Credentials]] = field(default_factory=dict)

    def give(self, role_arn: str, instance_id: str) -> Credentials:
        """The instance's credentials of the role, good for at least one more hour."""
        now = self.clock()
        with backend.LOCK:
            end, given = self._held.get((role_arn, instance_id), (now, None))
            if given is not None and end - now > _RENEWED_BEFORE_END:
                return given
            made = backend.service("sts", "aws").assume_role(
                region_name=REGION,
                role_session_name=instance_id,
                role_arn=role_arn,
                policy="",
                duration=int(_LIFETIME.total_seconds()),
                external_id="",
            )
            end = now + _LIFETIME
            given = Credentials(
                made.access_key_id,
                made.secret_access_key,
                made.session_token,
                now.strftime(_TIME),
                end.strftime(_TIME),
            )
            self._held[role_arn, instance_id] = end, given
            return given
