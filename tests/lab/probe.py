"""probe.py PROTOCOL ADDRESS PORT [SECONDS]: what say_who.py there answers, or `refused`, `silent`, an errno's name."""

import errno
import socket
import sys

protocol, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
seconds = float(sys.argv[4]) if len(sys.argv) > 4 else 1.5
kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
with socket.socket(type=kind) as probe:
    probe.settimeout(seconds)
    try:
        probe.connect((address, port))
        if protocol == "udp":
            probe.send(b"who\n")
        print(probe.recv(100).decode().strip())
    except TimeoutError:
        print("silent")
    except OSError as error:
        number = error.errno or 0
        print("refused" if number == errno.ECONNREFUSED else errno.errorcode.get(number, "unknown"))
