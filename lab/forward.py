"""TCP from this machine's loopback into a lab, and what a browser needs to use it."""

from __future__ import annotations

import contextlib
import errno
import signal
import socket
import ssl
import threading
from collections.abc import Sequence

from lab import control, network
from lab.layout import LabError, Layout

DEFAULT_PORTS = ("8443:443", "5443:5443", "1935:1935")
_CONNECT_SECONDS = 10.0
_CHUNK = 1 << 16


class Relay:
    """Listens on 127.0.0.1 and passes each connection on to `target`, opened from inside a lab's namespace."""

    def __init__(self, namespace: str, target: tuple[str, int], port: int = 0) -> None:
        """`port` 0 takes a free one. Raises OSError when the port cannot be had."""
        self._namespace, self._target = namespace, target
        self._listening = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, name=f"relay {self.port}", daemon=True).start()

    def close(self) -> None:
        """Takes no more connections; those under way end by themselves."""
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(caller,), daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        try:
            inside = network.connect(self._namespace, self._target, _CONNECT_SECONDS)
        except OSError:
            caller.close()
            return
        join(caller, inside)


def join(caller: socket.socket, inside: socket.socket) -> None:
    """Passes bytes both ways until both ends have said all; closes both sockets."""
    with caller, inside:
        inside.settimeout(None)
        back = threading.Thread(target=_pass_on, args=(inside, caller), daemon=True)
        back.start()
        _pass_on(caller, inside)
        back.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def parse_port(text: str) -> tuple[int, int]:
    """`8443:443` or `443` as (local, remote). Raises LabError."""
    local, colon, remote = text.partition(":")
    with contextlib.suppress(ValueError):
        ports = int(local), int(remote if colon else local)
        if all(0 < port < 65536 for port in ports):
            return ports
    raise LabError(f"{text!r} is not a pair of ports: use LOCAL:REMOTE, such as 8443:443.")


def run(lab: Layout, ports: Sequence[str] | None, namespace: str) -> int:
    """Forwards until Ctrl-C. Raises LabError for a port in use or a lab without a load balancer."""
    elastic = control.ask(lab, ask="elastic")
    if len(elastic) != 1:
        raise LabError(
            "There is no load balancer to forward to: no Elastic IP is in use. Deploy first, with make up."
            if not elastic
            else f"Several Elastic IPs are in use ({', '.join(elastic)}): only one can be the load balancer's."
        )
    address = elastic[0]
    relays: dict[int, Relay] = {}
    pairs = [parse_port(port) for port in ports or DEFAULT_PORTS]
    for local, remote in pairs:
        try:
            relays[remote] = Relay(namespace, (address, remote), local)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            raise LabError(
                f"Port {local} of 127.0.0.1 is in use: take another, such as "
                f"lab/lab forward {' '.join(_instead(pairs, local))}"
            ) from error
        print(f"127.0.0.1:{local} -> {address}:{remote}")
    if 443 in relays:
        _explain(lab, relays[443].port)
    print("Ctrl-C ends it.", flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()
    return 0


def _explain(lab: Layout, port: int) -> None:
    try:
        pem = ssl.get_server_certificate(("127.0.0.1", port), timeout=_CONNECT_SECONDS)
    except OSError as error:
        print(f"Nothing answers over TLS on port 443 yet ({error}).")
        return
    path = lab.certificate
    path.write_text(pem)
    names = certificate_names(pem)
    name = next((name for name in names if not name.startswith("*")), "localhost")
    print(
        f"\n  https://{name}:{port}/\n\n"
        f"The certificate is in {path}; it is for {', '.join(names) or 'no name'}.\n"
        f"  curl --cacert {path} --resolve {name}:{port}:127.0.0.1 https://{name}:{port}/\n"
        f"  chromium --host-resolver-rules='MAP {name} 127.0.0.1' https://{name}:{port}/   (accept it there)\n"
        f"For every program of this machine: add '127.0.0.1 {name}' to /etc/hosts, and trust the certificate with\n"
        f"  cp {path} /usr/local/share/ca-certificates/{lab.name}-lab.crt && update-ca-certificates\n"
    )


def certificate_names(pem: str) -> list[str]:
    """The DNS names and addresses that a certificate is for; its common name when it lists none."""
    from cryptography import x509

    certificate = x509.load_pem_x509_certificate(pem.encode())
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return [str(name.value) for name in names]
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return [str(name.value) for name in common]


def _instead(pairs: Sequence[tuple[int, int]], taken: int) -> list[str]:
    return [f"--port {_free_port(local) if local == taken else local}:{remote}" for local, remote in pairs]


def _free_port(taken: int) -> int:
    for port in range(taken + 1, min(taken + 100, 65536)):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
