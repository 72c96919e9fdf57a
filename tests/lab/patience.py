"""patience.py HOST PORT PATH: what becomes of a client that waits. The certificate is not checked.

idle SECONDS      says nothing for so long after its handshake, then asks; prints the status line
trickle SECONDS   sends a header one byte a second, at most so long; prints "cut" when it was cut before
"""

from __future__ import annotations

import socket
import ssl
import sys
import time

host, port, path, what, seconds = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], float(sys.argv[5])
trusting = ssl.create_default_context()
trusting.check_hostname = False
trusting.verify_mode = ssl.CERT_NONE
with trusting.wrap_socket(socket.create_connection((host, port), 10), server_hostname=host) as connection:
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    if what == "idle":
        time.sleep(seconds)
        connection.sendall(request)
        connection.settimeout(10)
        print(connection.recv(100).split(b"\r\n")[0].decode())
    else:
        connection.sendall(request[:-2] + b"X-Slow: ")
        deadline = time.monotonic() + seconds
        connection.settimeout(1)
        answer = None
        while answer is None and time.monotonic() < deadline:
            try:
                connection.sendall(b"a")
                answer = connection.recv(100)
            except TimeoutError:
                continue
            except OSError:
                answer = b""
        print("not cut" if answer is None else "cut")
