"""The fixtures of this tier tell right from wrong: a check that accepts everything would prove nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import images
from tests.config.conftest import IMAGE, HaproxyCheck, ProgramRunner, TextCheck

RIGHT = """\
global
    maxconn 100
defaults
    mode http
    timeout connect 1s
    timeout client 1s
    timeout server 1s
frontend https
    bind :443 ssl crt /etc/haproxy/tls/site.pem alpn h2,http/1.1
    default_backend nodes
backend nodes
    server one 127.0.0.1:5080
"""
CONFIG = "/etc/haproxy/haproxy.cfg"


def test_haproxy_accepts_a_right_configuration_without_a_warning(haproxy_check: HaproxyCheck) -> None:
    done = haproxy_check({CONFIG: RIGHT})
    assert done.returncode == 0, done.stdout
    assert "WARNING" not in done.stdout


def test_haproxy_refuses_an_unknown_keyword_and_names_the_line(haproxy_check: HaproxyCheck) -> None:
    done = haproxy_check({CONFIG: RIGHT.replace("default_backend", "reqadd")})
    assert done.returncode == 1
    assert "haproxy.cfg:10" in done.stdout


def test_haproxys_warnings_are_seen(haproxy_check: HaproxyCheck) -> None:
    done = haproxy_check({CONFIG: RIGHT.replace("    timeout client 1s\n", "")})
    assert "[WARNING]" in done.stdout


def test_haproxy_reads_several_files_together(haproxy_check: HaproxyCheck) -> None:
    users = "userlist stats\n    user admin password x\n"
    using = "frontend stats\n    bind :6080\n    http-request auth unless { http_auth(stats) }\n"
    assert haproxy_check({CONFIG: RIGHT + using}).returncode == 1
    done = haproxy_check({CONFIG: RIGHT + using, "/etc/haproxy/users.cfg": users})
    assert done.returncode == 0, done.stdout


def test_haproxy_is_that_of_debian_13(run_on_debian: ProgramRunner) -> None:
    assert run_on_debian(["haproxy", "-v"]).stdout.startswith("HAProxy version 3.0.")


def test_cloud_init_accepts_right_user_data(cloud_init_schema: TextCheck) -> None:
    done = cloud_init_schema("#cloud-config\nssh_pwauth: false\n")
    assert done.returncode == 0, done.stdout


def test_cloud_init_refuses_a_misspelled_key(cloud_init_schema: TextCheck) -> None:
    done = cloud_init_schema("#cloud-config\nssh_pwauht: false\n")
    assert done.returncode != 0
    assert "ssh_pwauht" in done.stdout


def test_shellcheck_accepts_a_right_script(shellcheck: TextCheck) -> None:
    done = shellcheck('#!/bin/bash\nset -euo pipefail\nrm -f "$1"\n')
    assert (done.returncode, done.stdout) == (0, "")


def test_shellcheck_finds_an_unquoted_variable(shellcheck: TextCheck) -> None:
    done = shellcheck("#!/bin/bash\nset -euo pipefail\nrm -f $1\n")
    assert done.returncode == 1
    assert "SC2086" in done.stdout


def test_programs_reach_no_network_and_change_no_image(run_on_debian: ProgramRunner) -> None:
    assert run_on_debian(["sh", "-c", "echo changed >/etc/hostname"]).returncode == 0
    assert run_on_debian(["sh", "-c", "cat /etc/hostname"]).returncode != 0
    assert run_on_debian(["curl", "--silent", "http://192.0.2.1/"]).returncode == 7


def test_a_file_that_cannot_be_shown_is_an_error_of_the_test_and_not_of_the_program(tmp_path: Path) -> None:
    with pytest.raises(images.ImageError, match="there is no such file"):
        images.run(IMAGE, ["true"], binds={tmp_path / "none": "/none"})
    (tmp_path / "some").write_text("")
    with pytest.raises(images.ImageError, match="cannot be entered"):
        images.run(IMAGE, ["true"], binds={tmp_path / "some": "/etc/passwd/x"})
