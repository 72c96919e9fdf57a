"""Stands in for the SSH server of every host: `python -m tests.engine.ssh_server DIRECTORY`, on port 22.

The directory holds `host_key`, `authorized_key` and, while commands are to fail, `ssh-failures.json`. Each command is
appended to `ssh-calls.jsonl` there.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import asyncssh


class Server(asyncssh.SSHServer):
    """Also the way to hosts that nobody reaches from outside: here they are all the same one."""

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        """Lets a client go on to wherever it wants."""
        return True


async def serve(directory: Path) -> None:
    failures, calls = directory / "ssh-failures.json", directory / "ssh-calls.jsonl"

    async def answer(process: asyncssh.SSHServerProcess[str]) -> None:
        command, stdin = process.command or "", await process.stdin.read()
        fault: dict[str, Any] = json.loads(failures.read_text()) if failures.exists() else {}
        failed = bool(fault) and re.search(fault["pattern"], f"{command}\n{stdin}") is not None
        call = {
            "address": process.get_extra_info("sockname")[0],
            "user": process.get_extra_info("username"),
            "command": command,
            "stdin": stdin,
            "exit": fault["status"] if failed else 0,
        }
        with calls.open("a") as log:
            log.write(json.dumps(call) + "\n")
        if failed:
            process.stderr.write(fault["message"] + "\n")
        process.exit(call["exit"])

    await asyncssh.create_server(
        Server,
        "0.0.0.0",
        22,
        server_host_keys=[str(directory / "host_key")],
        authorized_client_keys=str(directory / "authorized_key"),
        process_factory=answer,
    )
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
