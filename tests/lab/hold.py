"""hold.py HOST PORT COUNT [tcp]: opens connections one after another and holds them until its standard input ends.

Prints how many are open, and says "refused" when two in turn were not opened: there may be room a moment
later, when another connection ends. With TLS, unless it is told tcp.
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
refused = 0
while len(held) < count and refused < 2:
    try:
        opened = socket.create_connection((host, port), 10)
        held.append(opened if "tcp" in sys.argv[4:] else trusting.wrap_socket(opened, server_hostname=host))
        refused = 0
    except OSError:
        refused += 1
print(len(held), "refused" if refused else "all", flush=True)
sys.stdin.read()
