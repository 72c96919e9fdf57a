"""The proof of every listener, in the shell that runs it: what answers late is waited for, what never does is named."""

from __future__ import annotations

import subprocess
from pathlib import Path

from cluster import render
from tests.config.test_host_files import cluster

LISTENER = """
cd "$1"
rtmp() {
  echo >>tried
  [ "$(wc -l <tried)" -gt "$2" ] || complain "port $1 does not speak RTMP"
}
"""


def soon(folder: Path, silent: int) -> subprocess.CompletedProcess[str]:
    """The script's own waiting, before a listener that does not answer its first sessions."""
    functions = render.haproxy_verify(cluster())
    assert "soon rtmp 1935 TCP" in functions
    assert "listener_seconds=60" in functions
    functions = functions.replace("listener_seconds=60", "listener_seconds=3")
    script = f"{functions}\n{LISTENER}\nsoon rtmp 1935 {silent}\necho proven"
    return subprocess.run(["bash", "-c", script, "verify", folder], capture_output=True, text=True)


def test_a_server_that_is_slow_to_begin_is_waited_for(tmp_path: Path) -> None:
    done = soon(tmp_path, 1)
    assert (done.stdout, done.stderr, done.returncode) == ("proven\n", "", 0)


def test_a_server_that_never_answers_is_named(tmp_path: Path) -> None:
    done = soon(tmp_path, 10_000)
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr == "verify: after 3 s port 1935 does not speak RTMP\n"
