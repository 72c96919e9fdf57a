"""AWS as the stack reaches it: the stack file's region, endpoints and credentials, else the person's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tools.recovery.stack import RecoveryError


@dataclass
class Account:
    """Clients of AWS services, made as they are needed. `settings` are the stack file's `aws:` values."""

    settings: Mapping[str, Any]
    _clients: dict[str, Any] = field(default_factory=dict)

    @property
    def is_emulated(self) -> bool:
        """Whether the stack file says where the API is: there what was done can be seen at once."""
        return bool(self.settings.get("endpoints"))

    @property
    def region(self) -> str:
        """As AWS calls it. Raises RecoveryError as `client` does."""
        return str(self.client("ec2").meta.region_name)

    def client(self, service: str) -> Any:
        """A client. Raises RecoveryError when the settings or the environment do not do for one."""
        if service not in self._clients:
            try:
                self._clients[service] = self._connect(service)
            except BotoCoreError as error:
                raise RecoveryError(f"AWS cannot be asked: {error}. {_CREDENTIALS}") from None
        return self._clients[service]

    def _connect(self, service: str) -> Any:
        endpoints: dict[str, str] = {}
        for each in self.settings.get("endpoints") or ():
            endpoints |= each
        endpoint = endpoints.get(service.replace("-", ""))  # as AWS's provider calls the service
        if endpoints and not endpoint:
            raise RecoveryError(f"The stack file's aws:endpoints has none for {service}: add it.")
        session = boto3.session.Session(
            aws_access_key_id=self.settings.get("accessKey"),
            aws_secret_access_key=self.settings.get("secretKey"),
            aws_session_token=self.settings.get("token"),
            profile_name=self.settings.get("profile"),
            region_name=self.settings.get("region"),
        )
        for role in self.settings.get("assumeRoles") or ():
            wanted = {"RoleArn": role["roleArn"], "RoleSessionName": role.get("sessionName") or "antmedia-recover"}
            if role.get("externalId"):
                wanted["ExternalId"] = role["externalId"]
            given = session.client("sts", endpoint_url=endpoints.get("sts")).assume_role(**wanted)["Credentials"]
            session = boto3.session.Session(
                aws_access_key_id=given["AccessKeyId"],
                aws_secret_access_key=given["SecretAccessKey"],
                aws_session_token=given["SessionToken"],
                region_name=self.settings.get("region"),
            )
        return session.client(
            service, endpoint_url=endpoint, config=Config(retries={"mode": "standard", "max_attempts": 8})
        )

    def require(self, account: str | None) -> None:
        """Fail unless the credentials are of this account (None: any): in another one nothing would be found.

        Raises:
            RecoveryError: another account, or no answer.
        """
        try:
            actual = self.client("sts").get_caller_identity()["Account"]
        except (BotoCoreError, ClientError) as error:
            raise RecoveryError(f"AWS did not answer: {error}. {_CREDENTIALS}") from None
        if account and actual != account:
            raise RecoveryError(
                f"The credentials are of the AWS account {actual}, but the stack's objects are in {account}; "
                "nothing was changed. Choose the other account (AWS_PROFILE)."
            )


_CREDENTIALS = (
    "Check that credentials are in the environment (aws sts get-caller-identity, AWS_PROFILE, aws sso login) and that "
    "aws:region is right in the stack file; nothing was changed."
)
