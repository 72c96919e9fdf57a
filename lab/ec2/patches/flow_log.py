"""VPC flow logs."""

from __future__ import annotations

from typing import Any

from lab.ec2 import backend  # noqa: F401  (moto's settings come first)


def flow_log_knows_its_log_group_by_arn() -> None:
    """A flow log whose destination is a log group's ARN has the group's name, and delivers if there is such a group.

    Stock takes the group by name only: given an ARN, as the provider gives it, delivery is told to have failed.
    """
    from moto.ec2.models.flow_logs import FlowLogsBackend

    stock_create = FlowLogsBackend.create_flow_logs

    def create_flow_logs(self: Any, **asked: Any) -> Any:
        destination = asked["log_destination"] or ""
        if asked["log_destination_type"] in (None, "cloud-watch-logs") and ":log-group:" in destination:
            asked["log_group_name"] = destination.partition(":log-group:")[2].removesuffix(":*")
        return stock_create(self, **asked)

    FlowLogsBackend.create_flow_logs = create_flow_logs  # type: ignore[method-assign,assignment]


PATCHES = (flow_log_knows_its_log_group_by_arn,)
