"""The commands of the lab: `lab/lab COMMAND`. See docs/lab.md."""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from lab import cgroups, cleanup, control, faults, forward, hosts, images, layout, packages
from lab.layout import LabError, Layout

CHECKOUT = Path(__file__).resolve().parent.parent
# Program: the Debian package that has it.
NEEDED = {
    "ip": "iproute2",
    "nft": "nftables",
    "systemd-nspawn": "systemd-container",
    "nsenter": "util-linux",
    "mount": "mount",
}
_LAST_LINES = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit code is its own, or that of the command it ran."""
    options = _parser().parse_args(arguments)
    try:
        lab = layout.layout(options.lab)
        return int(options.run(lab, options))
    except (LabError, images.ImageError, packages.PackagesError) as error:
        text = str(error)
        print(text[0].upper() + text[1:], file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:
        print(_sentence(error), file=sys.stderr)
        return 1


def _sentence(error: OSError) -> str:
    if error.filename is None:
        return f"The lab cannot go on: {error.strerror or error}."
    way_out = "make room, or choose" if error.errno == errno.ENOSPC else "choose"
    return (
        f"The lab cannot use {error.filename} ({error.strerror}): {way_out} another place with ANTMEDIA_LAB_STATE "
        "(running labs) or ANTMEDIA_CACHE (images and packages)."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lab/lab", description="AWS on one machine; see docs/lab.md.")
    parser.add_argument("--lab", metavar="NAME", help="which lab (default: $ANTMEDIA_LAB, or lab)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: object, description: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=description, description=description)
        added.set_defaults(run=run)
        return added

    up = command("up", _up, "start the lab; does nothing when it runs")
    up.add_argument("--foreground", action="store_true", help="stay; Ctrl-C removes the lab")
    up.add_argument(
        "--image", action="append", metavar="NAME", help="have only these images ready (default: all without jars)"
    )
    up.add_argument("--notify", type=int, help=argparse.SUPPRESS)
    command("down", _down, "stop the lab and remove everything that belongs to it")
    status = command("status", _status, "list the hosts")
    status.add_argument("--json", action="store_true", help="one JSON array")
    for visitor, description in (
        ("client", "run a command as a viewer on the internet (192.0.2.10)"),
        ("admin", "run a command as an admin on the internet (192.0.2.20)"),
    ):
        added = command(visitor, _visitor, description)
        added.set_defaults(visitor=visitor)
        added.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    host = command("host", _host, "run a command on a host as root")
    host.add_argument("name", help="Name tag or instance id")
    host.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    console = command("console", _console, "show a host's boot log")
    console.add_argument("name", help="Name tag or instance id")
    for kind, description in zip(
        faults.KINDS,
        (
            "cut a host's power; EC2 goes on calling it running",
            "stop all processes of a host",
            "cut a host's network",
            "undo kill, pause and cut",
        ),
        strict=True,
    ):
        added = command(kind, _fault, description)
        added.set_defaults(kind=kind)
        added.add_argument("name", help="Name tag or instance id")
    name = command("dns", _dns, "give a name an address in the lab's DNS")
    name.add_argument("name")
    what = name.add_mutually_exclusive_group(required=True)
    what.add_argument("address", nargs="?", help="an IPv4 address; - forgets what was set by hand")
    what.add_argument("--none", action="store_true", help="the name does not exist")
    server = command("acme", _acme, "look at and disturb the ACME server, https://acme.lab.test/dir")
    server.add_argument(
        "action",
        choices=("root", "orders", "stop", "start", "lifetime"),
        help="root: print the certificate to trust; orders: what it did, as JSON; stop, start: refuse connections and "
        "take them again; lifetime: how long certificates are good, before its first use",
    )
    server.add_argument("seconds", nargs="?", type=int, help="the lifetime (default: 90 days)")
    into = command("forward", _forward, "make the load balancer reachable from this machine's browser")
    into.add_argument(
        "--port",
        action="append",
        metavar="LOCAL[:REMOTE]",
        help="port of 127.0.0.1 and of the load balancer (default: 8443:443, 5443:5443 and 1935:1935)",
    )
    into.add_argument("--admin", action="store_true", help="connect from the admin's address, not a viewer's")
    command("alarms", _alarms, "list CloudWatch's alarms and their states")
    command("objects", _objects, "list what exists in the account, as JSON")
    logs = command("logs", _logs, "show the controller's log")
    logs.add_argument("--follow", action="store_true", help="go on showing it")
    return parser


# ---- up and down


def _up(lab: Layout, options: argparse.Namespace) -> int:
    _require_root()
    missing = hosts.missing_programs(NEEDED)
    if missing:
        to_install = " ".join(sorted(set(missing.values())))
        raise LabError(f"The lab needs {', '.join(missing)}: install them with apt-get install {to_install}.")
    if cleanup.holder(lab) is not None:
        if options.foreground:
            raise LabError(f"The lab {lab.name!r} is running already: stop it with lab/lab down.")
        print(f"the lab {lab.name!r} is running already")
        return 0
    if options.notify is None:
        every = {name: images.recipe(name) for name in images.names()}
        # One with jars takes Maven and a minute more, and few labs have such a host: it is built for the first of them.
        usual = [name for name, what in every.items() if (what.amis or what.unpack) and not what.jars]
        for name in options.image or usual:
            images.ensure(name)
        if not options.image:
            packages.ensure()
    if not options.foreground:
        return _up_in_background(lab)
    prefix = [] if cgroups.is_delegated(lab) else cgroups.delegation(lab)
    if prefix:
        command = [*prefix, *_python("--lab", lab.name, "up", "--foreground")]
        os.execvp(command[0], command)
    return _controller(lab, options.notify)


def _python(*arguments: str) -> list[str]:
    """The command line of one of the lab's commands, from whatever directory."""
    program = "import sys; sys.path[0] = sys.argv.pop(1); from lab.__main__ import main; sys.exit(main())"
    return [sys.executable, "-c", program, str(CHECKOUT), *arguments]


def _up_in_background(lab: Layout) -> int:
    started = time.monotonic()
    reading, writing = os.pipe()
    arguments = ["--lab", lab.name, "up", "--foreground", "--notify", str(writing)]
    command = [*cgroups.delegation(lab), *_python(*arguments)]
    environment = {**os.environ, "ANTMEDIA_CACHE": str(images.cache_root().absolute())}
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, pass_fds=[writing], start_new_session=True, cwd="/", env=environment
    )
    os.close(writing)
    ready = False
    try:
        with os.fdopen(reading) as progress:
            for line in progress:
                ready = ready or line == "ready\n"
                print(f"{time.monotonic() - started:7.1f} s  lab {lab.name}: {line}", end="", flush=True)
    except KeyboardInterrupt:
        child.send_signal(signal.SIGTERM)
        child.wait()
        raise
    if ready:
        return 0
    child.wait()
    with contextlib.suppress(FileNotFoundError):
        print("".join(lab.log.read_text().splitlines(keepends=True)[-_LAST_LINES:]), file=sys.stderr, end="")
    raise LabError(f"The controller of the lab {lab.name!r} did not start: the lines above say why.")


def _controller(lab: Layout, notify: int | None) -> int:
    from lab import controller  # loads the emulator: not for the other commands

    class Elapsed(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return f"{record.relativeCreated / 1000:8.2f} s  {super().format(record)}"

    handler = logging.StreamHandler()
    handler.setFormatter(Elapsed("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    log = logging.getLogger("lab")
    waiting = os.fdopen(notify, "w") if notify is not None else None

    def announce(text: str) -> None:
        log.info(text)
        if waiting and not waiting.closed:
            with contextlib.suppress(OSError):
                print(text, file=waiting, flush=True)

    def ready() -> None:
        announce("ready")
        if waiting:
            waiting.close()

    try:
        controller.Controller(lab, announce, log_to_file=notify is not None).run(ready)
        # Nothing is left to be put in order, and tearing down the interpreter with the emulator takes up to a second.
        sys.stderr.flush()
        os._exit(0)
    except LabError as error:
        if waiting is None:
            raise
        announce(str(error))
        return 1
    except OSError as error:
        if waiting is None:
            raise
        announce(_sentence(error))
        return 1
    except Exception:
        if waiting is None:
            raise
        for line in traceback.format_exc().splitlines()[-_LAST_LINES:]:
            announce(line)
        return 1


def _down(lab: Layout, options: argparse.Namespace) -> int:
    _require_root()
    started = time.monotonic()
    ran = cleanup.holder(lab) is not None
    cleanup.stop_controller(lab)
    with cleanup.hold(lab) as free:
        if not free:
            raise LabError(f"The lab {lab.name!r} is being started by somebody else: try again when it is ready.")
        left = cleanup.remove_leftovers(lab)
    what = "stopped" if ran else f"removed {len(left)} leftovers" if left else "was not running"
    print(f"{time.monotonic() - started:7.1f} s  lab {lab.name}: {what}")
    return 0


def _require_root() -> None:
    if os.geteuid() != 0:
        raise LabError("The lab makes network namespaces and hosts, which only root may: run the command with sudo.")


# ---- looking


def _status(lab: Layout, options: argparse.Namespace) -> int:
    found = control.ask(lab, ask="status")
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    rows: list[tuple[str, ...]] = [("NAME", "INSTANCE", "EC2 STATE", "HOST", "PRIVATE", "PUBLIC", "UPTIME")]
    for host in found:
        uptime = host["uptime_seconds"]
        up_for = "-" if uptime is None else f"{uptime // 60} min {uptime % 60:02} s"
        cells = (host[key] for key in ("name", "instance", "state", "host", "private", "public"))
        rows.append((*(str(cell or "-") for cell in cells), up_for))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _alarms(lab: Layout, options: argparse.Namespace) -> int:
    for alarm in control.ask(lab, ask="alarms"):
        print(f"{alarm['state']:18} {alarm['name']:40} {alarm['reason']}")
    return 0


def _objects(lab: Layout, options: argparse.Namespace) -> int:
    print(json.dumps(control.ask(lab, ask="objects"), indent=2))
    return 0


def _console(lab: Layout, options: argparse.Namespace) -> int:
    instance = control.ask(lab, ask="host", host=options.name)["instance"]
    return _show(lab.hosts / instance / "console.log", f"{options.name} has not booted yet.")


_TERMINAL_CODES = re.compile(r"\x1b(?:\[[0-9;?!]*[A-Za-z]|\][^\a\x1b]*(?:\a|\x1b\\)|[()][A-Z0-9]|[A-Z0-9=>])|\r")


def _logs(lab: Layout, options: argparse.Namespace) -> int:
    if options.follow and lab.log.exists():
        os.execvp("tail", ["tail", "-n", "+1", "-F", str(lab.log)])
    return _show(lab.log, f"The lab {lab.name!r} has no log: it is not running, or it runs in the foreground.")


def _show(path: Path, otherwise: str) -> int:
    try:
        sys.stdout.write(_TERMINAL_CODES.sub("", path.read_text(errors="replace")))
    except FileNotFoundError as error:
        raise LabError(otherwise) from error
    return 0


# ---- doing


def _visitor(lab: Layout, options: argparse.Namespace) -> int:
    _require_root()
    namespace = lab.client_namespace if options.visitor == "client" else lab.admin_namespace
    if cleanup.holder(lab) is None:
        raise LabError(f"The lab {lab.name!r} is not running: start it with lab/lab up.")
    command = _command(options.command)
    os.execvp("ip", ["ip", "netns", "exec", namespace, *command])


def _host(lab: Layout, options: argparse.Namespace) -> int:
    _require_root()
    command = _command(options.command)
    found = control.ask(lab, ask="host", host=options.name)
    leader = hosts.leader(Path(found["cgroup"]) / found["instance"])
    if leader is None:
        raise LabError(f"{options.name} is off: see lab/lab status.")
    enter = hosts.enter_command(leader, command)
    os.execvp(enter[0], enter)


def _command(words: Sequence[str]) -> list[str]:
    command = list(words[1:] if words[:1] == ["--"] else words)
    if not command:
        raise LabError("Say which command to run, after two dashes: lab/lab client -- curl http://example.test/")
    return command


def _fault(lab: Layout, options: argparse.Namespace) -> int:
    print(control.ask(lab, ask="fault", kind=options.kind, host=options.name))
    return 0


def _dns(lab: Layout, options: argparse.Namespace) -> int:
    address = None if options.address == "-" else options.address
    control.ask(lab, ask="name", name=options.name, address=address, exists=not options.none)
    return 0


def _acme(lab: Layout, options: argparse.Namespace) -> int:
    if (options.seconds is None) == (options.action == "lifetime"):
        raise LabError("Use lab/lab acme lifetime SECONDS; the other actions take no number.")
    answer = control.ask(lab, ask="acme", action=options.action, seconds=options.seconds)
    if options.action == "orders":
        print(json.dumps(answer, indent=2))
    elif answer is not None:
        print(answer, end="")
    return 0


def _forward(lab: Layout, options: argparse.Namespace) -> int:
    _require_root()
    return forward.run(lab, options.port, lab.admin_namespace if options.admin else lab.client_namespace)


if __name__ == "__main__":
    sys.exit(main())
