"""hold.py HOST PORT COUNT [tcp]: opens connections one after another and holds them until its standard input ends.

Prints how many were opened, at once, and says "refused" when one was not. With TLS, unless it is told tcp.
"""

from __future__ import annotations

import socket
import ssl
import sys

host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
trusting = ssl.create_default_context()
trusting.check_hostname = False
trusting.verify_mode = ssl.CERT_NONE
held: list[socket.socket] = []
said = "all"
for _ in range(count):
    try:
        opened = socket.create_connection((host, port), 10)
        held.append(opened if "tcp" in sys.argv[4:] else trusting.wrap_socket(opened, server_hostname=host))
    except OSError:
        said = "refused"
        break
print(len(held), said, flush=True)
sys.stdin.read()
