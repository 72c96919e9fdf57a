"""How the commands talk to a running controller: one JSON object each way over a Unix socket."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lab.layout import LabError, Layout

Request = Mapping[str, Any]


def serve(lab: Layout, handle: Callable[[Request], Any]) -> None:
    """Answers on the lab's control socket from now on; what `handle` raises as LabError becomes the asker's error."""
    listening = socket.socket(socket.AF_UNIX)
    with _short_path(lab.control_socket) as path:
        listening.bind(path)
    lab.control_socket.chmod(0o600)
    listening.listen(16)

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            request = json.loads(connection.makefile().readline() or "{}")
            try:
                reply = {"result": handle(request)}
            except LabError as error:
                reply = {"error": str(error)}
            connection.sendall(json.dumps(reply).encode() + b"\n")

    def accept() -> None:
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=answer, args=(connection,), name="control", daemon=True).start()

    threading.Thread(target=accept, name="control", daemon=True).start()


def ask(lab: Layout, **request: Any) -> Any:
    """What the lab's controller answers. Raises LabError with its reason, or when no controller runs."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            with _short_path(lab.control_socket) as path:
                connection.connect(path)
            connection.sendall(json.dumps(request).encode() + b"\n")
            reply = json.loads(connection.makefile().readline())
    except (OSError, ValueError) as error:
        if isinstance(error, PermissionError):
            raise LabError("The lab belongs to root: run the command as root.") from error
        raise LabError(f"The lab {lab.name!r} is not running: start it with lab/lab up.") from error
    if "error" in reply:
        raise LabError(reply["error"])
    return reply["result"]


class _short_path:  # noqa: N801
    """A path that fits a Unix socket's 107 bytes, however deep the state directory is."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> str:
        self._descriptor = os.open(self._path.parent, os.O_PATH)
        return f"/proc/self/fd/{self._descriptor}/{self._path.name}"

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
