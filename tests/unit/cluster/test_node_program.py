"""antmedia-node before an HAProxy that is just being reloaded, which the real one is for milliseconds only."""

from __future__ import annotations

import importlib.util
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

from cluster.templates import TEMPLATES

pytestmark = pytest.mark.unit

PROCESSES = """#<PID>          <type>          <reloads>       <uptime>        <version>
1               master          1               0d00h00m05s     3.0.0
# workers
12              worker          0               0d00h00m01s     3.0.0
# old workers
7               worker          1               0d00h00m05s     3.0.0
# programs

"""


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program as a module, asking again at once."""
    found = importlib.util.spec_from_file_location("antmedia_node", TEMPLATES / "haproxy/node.py")
    assert found is not None
    assert found.loader is not None
    made = importlib.util.module_from_spec(found)
    monkeypatch.setitem(sys.modules, "antmedia_node", made)  # its dataclasses look themselves up
    found.loader.exec_module(made)
    monkeypatch.setattr(made, "POLL_SECONDS", 0.01)
    return made


def answering(path: Path, answers: Sequence[str]) -> None:
    """One connection after another is given its answer; an empty one is a socket that is closed."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        with listener:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    while connection.recv(100):
                        pass
                    connection.sendall(answer.encode())

    threading.Thread(target=serve, daemon=True).start()


def test_a_master_that_is_away_for_a_moment_is_not_one_without_old_workers(program: ModuleType, tmp_path: Path) -> None:
    master = tmp_path / "master.sock"
    answering(master, ["", "", PROCESSES])
    haproxy = program.Haproxy(lock="", admin="", master=str(master), state="", health="")
    assert haproxy.old() == ["7"]


def test_a_master_that_does_not_come_back_is_an_error(
    program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "RELOAD_SECONDS", 0.05)
    haproxy = program.Haproxy(lock="", admin="", master=str(tmp_path / "none.sock"), state="", health="")
    with pytest.raises(OSError, match="No such file"):
        haproxy.old()
