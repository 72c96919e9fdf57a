"""A lab comes and goes as a whole; its hosts do what EC2 says and what a person does to them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import cleanup
from tests.lab.labs import CHECKOUT, Instance, Lab, Network, eventually, from_anywhere, make_network, probe, remains
from tests.patience import PATIENCE

CLIENT = "192.0.2.10"
NewLab = Callable[[], Lab]


@pytest.fixture(scope="module")
def instance(network: Network) -> Iterator[Instance]:
    group = network.group("faults", ingress=(from_anywhere("tcp", 8000),))
    yield network.launch("target", group).ready()


def _host_state(lab: Lab, name: str) -> str:
    return next(str(host["host"]) for host in lab.status() if host["name"] == name)


def test_status_lists_hosts_with_their_addresses(instance: Instance, lab: Lab) -> None:
    found = next(host for host in lab.status() if host["instance"] == instance.id)
    assert (found["name"], found["state"], found["host"]) == ("target", "running", "running")
    assert (found["private"], found["public"]) == (instance.private, instance.public)
    assert 0 < found["uptime_seconds"] < 3600
    assert instance.id in lab.command("status").stdout


def test_a_command_on_a_host_keeps_its_input_and_exit_code(instance: Instance) -> None:
    done = instance.run("sh", "-c", "cat; exit 7", stdin="some input", check=False)
    assert (done.stdout, done.returncode) == ("some input", 7)


def test_the_boot_log_can_be_read(instance: Instance, lab: Lab) -> None:
    assert "Debian GNU/Linux 13" in lab.command("console", "target").stdout


def test_an_unknown_host_is_answered_with_those_there_are(instance: Instance, lab: Lab) -> None:
    done = lab.command("host", "targte", "--", "true", check=False)
    assert done.returncode == 1 and "targte" in done.stderr and "target" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_cut_host_is_silent_until_healed(instance: Instance, lab: Lab) -> None:
    instance.serve(8000)
    assert probe(lab.client, instance.public, 8000) == CLIENT
    lab.command("cut", "target")
    assert _host_state(lab, "target") == "cut"
    assert probe(lab.client, instance.public, 8000) == "silent"
    lab.command("heal", "target")
    assert probe(lab.client, instance.public, 8000) == CLIENT


def test_a_paused_host_takes_connections_and_says_nothing(instance: Instance, lab: Lab) -> None:
    lab.command("pause", "target")
    assert _host_state(lab, "target") == "paused"
    assert probe(lab.client, instance.public, 8000) == "silent"
    lab.command("heal", "target")
    assert probe(lab.client, instance.public, 8000) == CLIENT


def test_a_killed_host_boots_again_with_its_disk(instance: Instance, lab: Lab) -> None:
    instance.run("sh", "-c", "echo kept > /root/kept")
    boot = instance.run("cat", "/etc/machine-id").stdout
    lab.command("kill", "target")
    assert _host_state(lab, "target") == "killed"
    assert probe(lab.client, instance.public, 8000) == "silent", "a dead machine says nothing, not even a refusal"
    assert lab.ec2().describe_instances(InstanceIds=[instance.id])["Reservations"][0]["Instances"][0]["State"]["Name"]
    lab.command("heal", "target")
    instance.ready()
    assert instance.run("cat", "/root/kept").stdout == "kept\n"
    assert instance.run("cat", "/etc/machine-id").stdout == boot


def test_a_host_that_reboots_itself_comes_back(instance: Instance, lab: Lab) -> None:
    before = instance.run("stat", "-c", "%Z", "/proc/1").stdout
    instance.run("systemctl", "reboot", check=False)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        done = instance.run("stat", "-c", "%Z", "/proc/1", check=False)
        if done.returncode == 0 and done.stdout != before:
            break
        time.sleep(0.2)
    instance.ready()
    assert instance.run("stat", "-c", "%Z", "/proc/1").stdout != before


def test_a_stopped_instance_keeps_its_disk_and_a_terminated_one_leaves_nothing(network: Network, lab: Lab) -> None:
    made = network.launch("brief").ready()
    made.run("sh", "-c", "echo kept > /root/kept")
    lab.ec2().stop_instances(InstanceIds=[made.id])
    eventually(lambda: _host_state(lab, "brief"), "off", seconds=5.0)
    assert lab.command("host", "brief", "--", "true", check=False).returncode == 1
    lab.ec2().start_instances(InstanceIds=[made.id])
    eventually(lambda: _host_state(lab, "brief"), "running", seconds=5.0)
    made.ready()
    assert made.run("cat", "/root/kept").stdout == "kept\n"
    lab.ec2().terminate_instances(InstanceIds=[made.id])
    eventually(lambda: (lab.layout.hosts / made.id).exists(), False, seconds=5.0)
    assert not (Path("/run/netns") / lab.layout.host_namespace(made.id)).exists()


def test_starting_a_running_lab_changes_nothing(lab: Lab) -> None:
    before = lab.controller()
    assert "running already" in lab.command("up", "--image", "debian-13").stdout
    assert lab.controller() == before


def test_what_a_deployment_leaves_is_listed(network: Network, lab: Lab) -> None:
    group = network.group("left-over")
    assert any(group in ids for ids in lab.objects().values())
    lab.ec2().delete_security_group(GroupId=group)
    assert not any(group in ids for ids in lab.objects().values())


def test_a_stopped_lab_leaves_nothing(new_lab: NewLab) -> None:
    made = new_lab()
    make_network(made, "10.60").launch("one").ready()
    assert remains(made.layout), "while it runs there is something to see"
    made.down()
    assert remains(made.layout) == []


@pytest.mark.parametrize("clean", ["down", "up"])
def test_a_killed_controller_leaves_nothing_for_long(new_lab: NewLab, clean: str) -> None:
    made = new_lab()
    make_network(made, "10.60").launch("one").ready()
    (made.layout.state / "pulumi").mkdir()
    controller = made.controller()
    os.kill(controller, signal.SIGKILL)
    eventually(lambda: cleanup.holder(made.layout), None, seconds=5.0)
    assert "is not running" in made.command("status", check=False).stderr
    if clean == "up":
        made.command("up", "--image", "debian-13")
        assert made.status() == [], "a fresh lab is empty"
        assert not (made.layout.state / "pulumi").exists(), "no deployment's state outlives what it describes"
    made.down()
    assert remains(made.layout) == []


def test_ctrl_c_removes_a_lab_in_the_foreground(new_lab: NewLab) -> None:
    made = new_lab()
    made.down()
    running = subprocess.Popen(
        [sys.executable, "-m", "lab", "--lab", made.name, "up", "--foreground", "--image", "debian-13"],
        cwd=CHECKOUT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stderr is not None
    while "ready" not in (line := running.stderr.readline()):
        assert line, "it ended before it was ready"
    running.send_signal(signal.SIGINT)
    assert running.wait(timeout=PATIENCE) == 0
    assert remains(made.layout) == []


def test_two_labs_live_side_by_side(lab: Lab, new_lab: NewLab, instance: Instance) -> None:
    """Even with the same addresses: each is a world of its own."""
    other = new_lab()
    prefix = instance.private.rsplit(".", 2)[0]
    network = make_network(other, prefix)
    twin = network.launch("twin", network.group("twin", ingress=(from_anywhere("tcp", 8000),))).ready()
    assert twin.private == instance.private
    twin.run("sh", "-c", "echo of the other lab > /root/whose")
    assert instance.run("cat", "/root/whose", check=False).returncode != 0
    other.down()
    assert _host_state(lab, "target") == "running"
    assert remains(other.layout) == []


def test_labs_with_names_that_begin_alike_do_not_touch_each_other(lab: Lab) -> None:
    """`t` would own everything of `t-1a2b3c` if names were matched by their beginning."""
    before = json.dumps([host["instance"] for host in lab.status()])
    shorter = Lab(lab.name[:1])
    shorter.command("down")
    assert json.dumps([host["instance"] for host in lab.status()]) == before
    assert (Path("/run/netns") / lab.name).exists()
