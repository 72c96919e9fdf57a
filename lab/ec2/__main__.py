"""`python -m lab.ec2 --port N`: the AWS API alone, without hosts, on 127.0.0.1, until interrupted."""

from __future__ import annotations

import argparse
import logging
import signal
import socket
import sys
import threading
from pathlib import Path

from lab.ec2 import server
from lab.ec2.calls import Calls


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.ec2", description=__doc__)
    parser.add_argument("--port", type=int, default=5000, help="TCP port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--fd", type=int, help="an inherited listening socket to answer on as well")
    parser.add_argument("--calls", type=Path, metavar="FILE", help="log each operation that is asked for, once")
    parser.add_argument("--without", action="append", default=[], metavar="PATCH", help="leave out a patch, for tests")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")

    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(("127.0.0.1", arguments.port))
        sock.listen(128)
    except OSError as error:
        print(f"Cannot listen on port {arguments.port} ({error.strerror}): give another with --port.", file=sys.stderr)
        return 1

    stop = threading.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: stop.set())
    calls = Calls(arguments.calls) if arguments.calls else None
    running = [server.serve(sock, calls=calls, without=arguments.without)]
    if arguments.fd is not None:
        running.append(server.serve(socket.socket(fileno=arguments.fd), calls=calls, without=arguments.without))
    print(f"AWS API on {running[0].url}", flush=True)
    stop.wait()
    for each in running:
        each.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
