"""The CLI's automatic logs, which hold secrets, are not kept."""

from __future__ import annotations

from pathlib import Path

from tools.provision import cli_logs


def test_where_logs_would_be_is_a_file_and_those_of_before_are_gone(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "pulumi-1.log").write_text("secrets")
    for _ in range(2):
        cli_logs.switch_off(tmp_path)
        assert logs.is_file()
