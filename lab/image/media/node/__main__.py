"""Starts nginx and answers for it: `python3 -m node`, as systemd's service antmedia runs it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import pathlib
import signal
import socket
import sys
import uuid

from .answers import APPLICATION, Node
from .cluster import Cluster, say
from .messages import Request, Response, parse
from .records import DatabaseError

HOME = pathlib.Path("/usr/local/antmedia")
RUN = pathlib.Path("/run/antmedia")
NGINX = ("/usr/sbin/nginx", "-e", "stderr", "-c", str(HOME / "conf/nginx.conf"))
HTTP_PORT = 5080

BODY_MAX_BYTES = 1_000_000
"""Longest body that is read into memory. The debug path counts longer ones without keeping them."""


async def serve_connection(node: Node, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers one request or holds one WebSocket; nginx opens a connection for each."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        request = parse(head)
        if request.path == f"/{APPLICATION}/websocket" and request.header("Upgrade").lower() == "websocket":
            await serve_websocket(node, head, reader, writer)
            return
        request = await with_body(request, reader)
        if delay := request.query("delay"):
            await asyncio.sleep(min(float(delay), 3600))
        writer.write((await node.respond(request)).encode(with_body=request.method != "HEAD"))
        await writer.drain()
    except (ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        writer.write(Response(400).encode())
    except ConnectionError:
        pass
    finally:
        writer.close()


async def serve_rtmp_event(node: Node, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Tells nginx what to do with one publisher or player."""
    try:
        request = parse(await reader.readuntil(b"\r\n\r\n"))
        writer.write((await node.rtmp_event(request)).encode())
        await writer.drain()
    except (ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        writer.write(Response(400).encode())
    except ConnectionError:
        pass
    finally:
        writer.close()


async def with_body(request: Request, reader: asyncio.StreamReader) -> Request:
    """The request with its body read; of a long one only the length is kept."""
    length = left = int(request.header("Content-Length") or 0)
    kept = bytearray()
    while left:
        chunk = await reader.read(min(left, 65536))
        if not chunk:
            raise asyncio.IncompleteReadError(bytes(kept), length)
        left -= len(chunk)
        if length <= BODY_MAX_BYTES:
            kept += chunk
    return dataclasses.replace(request, body=bytes(kept), body_bytes=length)


async def serve_websocket(node: Node, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Signalling on one WebSocket until either side closes it."""
    from websockets import http11
    from websockets.frames import Frame, Opcode
    from websockets.server import ServerProtocol

    protocol = ServerProtocol()
    data = head
    while True:
        protocol.receive_data(data) if data else protocol.receive_eof()
        for event in protocol.events_received():
            if isinstance(event, http11.Request):
                response = protocol.accept(event)
                response.headers["X-Node"] = node.name
                protocol.send_response(response)
            elif isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.BINARY):
                answer = await node.signal(bytes(event.data))
                if answer is not None:
                    protocol.send_text(json.dumps(answer).encode())
        for output in protocol.data_to_send():
            if output:
                writer.write(output)
        await writer.drain()
        if not data or protocol.close_expected():
            return
        data = await reader.read(65536)


def notify_systemd(state: str) -> None:
    """Tells systemd, if it started us, what sd_notify(3) would."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(state.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)


async def answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def properties_of(file: pathlib.Path) -> dict[str, str]:
    """The settings of a Java properties file."""
    lines = (line.strip() for line in file.read_text().splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def database_uri(properties: dict[str, str]) -> str:
    """The database's address with the login, or nothing for a node on its own."""
    host, user, password = (properties.get(f"clusterdb.{name}", "") for name in ("host", "user", "password"))
    if not host or host.startswith(("mongodb://", "mongodb+srv://")):
        return host
    return f"mongodb://{user}:{password}@{host}" if user else f"mongodb://{host}"


def instance_id(file: pathlib.Path) -> str:
    """What tells this installation from others: made once, so a copied disk takes it along."""
    if not file.exists():
        file.write_text(str(uuid.uuid4()))
    return file.read_text()


def host_address() -> str:
    """The address that the host's name has, as the real server finds its own; never the loopback one."""
    try:
        address = socket.gethostbyname(socket.gethostname())
    except OSError:
        address = "127.0.0.1"
    if address.startswith("127."):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("192.0.2.1", 9))  # sends nothing: only asks which address would be used
            address = probe.getsockname()[0]
    return address


async def join_cluster(uri: str) -> Cluster:
    """This node as a member of the cluster. Raises DatabaseError."""
    from .database import Database  # takes memory that a node on its own need not have

    cluster = Cluster(Database(uri), instance_id(HOME / "conf/instanceId"), host_address())
    await cluster.join()
    return cluster


async def main() -> int:
    """Runs the node until SIGTERM (0), or until nginx ends by itself or it cannot join its cluster (1)."""
    properties = properties_of(HOME / "conf/red5.properties")
    cluster = None
    if uri := database_uri(properties):
        try:
            cluster = await join_cluster(uri)
        except DatabaseError as error:
            say(f"not joined, so the server does not start: {error}")
            return 1
    jwt = properties.get("server.jwtServerControlEnabled") == "true"
    node = Node(
        HOME,
        cluster=cluster,
        jwt_secret=properties.get("server.jwtServerSecretKey", "") if jwt else "",
        licence=properties.get("server.licence_key", ""),
    )
    code = await serve(node)
    if cluster:
        await cluster.leave()
    return code


async def serve(node: Node) -> int:
    """Answers until SIGTERM (0) or until nginx ends by itself (1)."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve_connection(node, reader, writer)

    async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve_rtmp_event(node, reader, writer)

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    (RUN / "rtmp.conf").unlink(missing_ok=True)
    (RUN / "rtmp.conf").symlink_to(HOME / f"conf/rtmp-{'cluster' if node.cluster else 'standalone'}.conf")
    await asyncio.start_unix_server(connected, RUN / "node.sock", backlog=4096)
    await asyncio.start_unix_server(asked, RUN / "rtmp.sock", backlog=4096)
    staying = asyncio.create_task(node.cluster.stay()) if node.cluster else None
    nginx = await asyncio.create_subprocess_exec(*NGINX)
    ended = asyncio.create_task(nginx.wait())
    while not ended.done() and not await answers(HTTP_PORT):
        await asyncio.sleep(0.02)
    if not ended.done():
        notify_systemd("READY=1")
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([ended, stopping], return_when=asyncio.FIRST_COMPLETED)
    if staying:
        staying.cancel()
    if ended.done():
        print(f"nginx ended by itself (exit {nginx.returncode})", file=sys.stderr)
        return 1
    nginx.terminate()
    await nginx.wait()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
