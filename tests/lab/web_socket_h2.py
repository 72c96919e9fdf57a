"""web_socket_h2.py HOST PORT PATH: sends Ant Media Server's ping over a WebSocket inside HTTP/2 and prints the answer.

RFC 8441. The certificate is not checked.
"""

from __future__ import annotations

import socket
import ssl
import sys

import h2.config
import h2.connection
import h2.events
import h2.settings
from websockets.frames import Frame, Opcode

host, port, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
trusting = ssl.create_default_context()
trusting.check_hostname = False
trusting.verify_mode = ssl.CERT_NONE
trusting.set_alpn_protocols(["h2"])
ping = Frame(Opcode.TEXT, b'{"command": "ping"}').serialize(mask=True)

with trusting.wrap_socket(socket.create_connection((host, port), 10), server_hostname=host) as connection:
    connection.settimeout(10)
    state = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
    state.initiate_connection()
    connection.sendall(state.data_to_send())
    stream, received = 1, b""
    while not received.endswith(b"}"):
        data = connection.recv(65536)
        if not data:
            sys.exit("the connection was closed")
        for event in state.receive_data(data):
            if isinstance(event, h2.events.RemoteSettingsChanged):
                if h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL not in event.changed_settings:
                    sys.exit("WebSocket over HTTP/2 is not offered")
                state.send_headers(
                    stream,
                    [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", path),
                     (":authority", host), ("sec-websocket-version", "13")],
                )  # fmt: skip
            elif isinstance(event, h2.events.ResponseReceived):
                if (b":status", b"200") not in event.headers:
                    sys.exit(f"refused: {event.headers}")
                state.send_data(stream, ping)
            elif isinstance(event, h2.events.DataReceived):
                received += event.data
                state.acknowledge_received_data(event.flow_controlled_length, stream)
            elif isinstance(event, h2.events.StreamReset):
                sys.exit(f"reset: {event.error_code}")
        connection.sendall(state.data_to_send())
# An unmasked text frame shorter than 126 bytes: two bytes, then the text.
print(received[2:].decode())
