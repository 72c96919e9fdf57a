"""web_socket.py URL: sends Ant Media Server's ping and prints the answer. The certificate is not checked."""

from __future__ import annotations

import ssl
import sys

from websockets.sync.client import connect

trusting = ssl.create_default_context()
trusting.check_hostname = False
trusting.verify_mode = ssl.CERT_NONE
with connect(sys.argv[1], ssl=trusting, open_timeout=10) as connection:
    connection.send('{"command": "ping"}')
    print(connection.recv(timeout=10))
