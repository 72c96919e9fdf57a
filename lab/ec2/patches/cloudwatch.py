"""CloudWatch's alarms."""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from lab.ec2 import backend  # noqa: F401  (moto's settings come first)

_COMPARISONS: Final[dict[str, Callable[[float, float], bool]]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}

_LOOKED_BACK_PERIODS: Final = 2
"""How many more periods than it needs an alarm looks at, for values that are missing. CloudWatch's manual says that the
number varies; its examples have two."""


def _now() -> datetime:
    return datetime.now(UTC)


def alarm_goes_by_its_metric() -> None:
    """An alarm's state follows the metric, by whole periods, and it begins without data; a changed alarm keeps it.

    Stock: every alarm is OK for ever, unless SetAlarmState says otherwise. Without this the lab shows no alarm that
    would be raised on AWS. Only alarms on one metric with a plain statistic are evaluated, each time that data arrive
    or somebody looks; what an alarm does is not done. How missing data count: CloudWatch's manual, "Configuring how
    CloudWatch alarms treat missing data".
    """
    from moto.cloudwatch.models import CloudWatchBackend
    from moto.cloudwatch.responses import CloudWatchResponse

    stock_put_alarm = CloudWatchBackend.put_metric_alarm

    def put_metric_alarm(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = self.alarms.get(kwargs["name"])
        alarm = stock_put_alarm(self, *args, **kwargs)
        if before is None:
            alarm.state_value = "INSUFFICIENT_DATA"
        else:
            for attribute in ("state_value", "state_reason", "state_updated_timestamp", "history"):
                setattr(alarm, attribute, getattr(before, attribute))
        return alarm

    def evaluating(stock: Callable[[Any], Any], *, afterwards: bool) -> Callable[[Any], Any]:
        def answer(self: Any) -> Any:
            if not afterwards:
                evaluate(self.cloudwatch_backend)
            answered = stock(self)
            if afterwards:
                evaluate(self.cloudwatch_backend)
            return answered

        return answer

    CloudWatchBackend.put_metric_alarm = put_metric_alarm  # type: ignore[method-assign]
    CloudWatchResponse.put_metric_data = evaluating(  # type: ignore[method-assign,assignment]
        CloudWatchResponse.put_metric_data, afterwards=True
    )
    CloudWatchResponse.describe_alarms = evaluating(  # type: ignore[method-assign,assignment]
        CloudWatchResponse.describe_alarms, afterwards=False
    )


def evaluate(cloudwatch: Any) -> None:
    """Brings every alarm of moto's backend up to the present."""
    for alarm in cloudwatch.alarms.values():
        if not alarm.metric_name or alarm.statistic not in ("Minimum", "Maximum", "Average", "Sum", "SampleCount"):
            continue
        values = _values(alarm, cloudwatch.metric_data)
        state = _state(alarm, values)
        if state != alarm.state_value:
            newest = ", ".join("none" if value is None else f"{value:g}" for value in values)
            alarm.update_state(f"{alarm.statistic} of the last periods, newest first: {newest}", "{}", state)


def _values(alarm: Any, data: list[Any]) -> list[float | None]:
    """The statistic of each whole period that is looked at, newest first; None where there was no value."""
    from moto.cloudwatch.models import Statistics

    seconds = int(alarm.period)
    end = datetime.fromtimestamp(_now().timestamp() // seconds * seconds, UTC)
    wanted = {(dimension.name, dimension.value) for dimension in alarm.dimensions}
    by_period: dict[int, list[Any]] = {}
    for datum in data:
        if (datum.namespace, datum.name) != (alarm.namespace, alarm.metric_name):
            continue
        if {(dimension.name, dimension.value) for dimension in datum.dimensions} != wanted:
            continue
        at = datum.timestamp if datum.timestamp.tzinfo else datum.timestamp.replace(tzinfo=UTC)
        # A period has its first moment, and not its end.
        number = (end - at - timedelta(microseconds=1)) // timedelta(seconds=seconds)
        by_period.setdefault(number, []).append(datum)
    found: list[float | None] = []
    for number in range(int(alarm.evaluation_periods) + _LOOKED_BACK_PERIODS):
        statistics = Statistics([alarm.statistic], end)
        statistics.metric_data = by_period.get(number, [])
        value = statistics.get_statistics_for_type(alarm.statistic) if statistics.metric_data else None
        found.append(None if value is None else float(value))
    return found


def _state(alarm: Any, values: list[float | None]) -> str:
    periods = int(alarm.evaluation_periods)
    needed = int(alarm.datapoints_to_alarm or periods)
    breaches = _COMPARISONS[alarm.comparison_operator]
    real = [value for value in values if value is not None][:periods]
    breaching = sum(breaches(value, float(alarm.threshold)) for value in real)
    if len(real) < periods:
        match alarm.treat_missing_data:
            case "breaching":
                breaching += periods - len(real)
            case "ignore":
                return str(alarm.state_value)
            case "notBreaching":
                pass
            case _:
                if not real:
                    return "INSUFFICIENT_DATA"
                needed = min(needed, len(real))
    return "ALARM" if breaching >= needed else "OK"


PATCHES = (alarm_goes_by_its_metric,)
