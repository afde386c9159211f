# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real TLS on loopback: the key goes to nobody whose certificate is not trusted, or is of another name."""

from __future__ import annotations

import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ansible_collections.community.paperspace.plugins.module_utils._connection import Connection
from ansible_collections.community.paperspace.plugins.module_utils._errors import Refused
from ansible_collections.community.paperspace.plugins.module_utils._transport import Transport, open_session

KEY = "k3y-f0r-0ne-server"


class Handler(BaseHTTPRequestHandler):
    seen: list[str | None]

    def do_GET(self) -> None:
        self.seen.append(self.headers["Authorization"])
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *dummy: object) -> None:
        pass


class QuietServer(HTTPServer):
    def handle_error(self, *dummy: object) -> None:
        """A client that does not trust the certificate breaks off."""


def certificate(folder: Path, address: str) -> Path:
    """A file with a certificate that signs itself for the address, and with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(timezone.utc)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], tuple[int, Path]]]:
    """Starts a server whose certificate is for an address; returns its port and the certificate."""
    servers: list[HTTPServer] = []
    monkeypatch.setattr(Handler, "seen", [], raising=False)
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)

    def start(address: str) -> tuple[int, Path]:
        path = certificate(tmp_path, address)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        server = QuietServer(("127.0.0.1", 0), Handler)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server.server_port, path

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def ask(port: int, *, validate_certs: bool = True) -> object:
    connection = Connection(KEY, f"https://127.0.0.1:{port}", validate_certs=validate_certs, retries=0)
    with open_session(connection) as session:
        return Transport(connection, session=session).send("GET", "/things")


def test_a_certificate_that_nobody_vouches_for(serve: Callable[[str], tuple[int, Path]]) -> None:
    port, dummy = serve("127.0.0.1")
    with pytest.raises(Refused, match="certificate is not trusted; nothing was sent"):
        ask(port)
    assert Handler.seen == []


def test_a_certificate_of_another_address(
    serve: Callable[[str], tuple[int, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, path = serve("127.0.0.2")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    with pytest.raises(Refused, match="certificate is not trusted; nothing was sent"):
        ask(port)
    assert Handler.seen == []


def test_a_certificate_that_the_user_trusts(
    serve: Callable[[str], tuple[int, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, path = serve("127.0.0.1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    assert ask(port) == {}
    assert Handler.seen == [f"Bearer {KEY}"]


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_checks_that_the_user_has_switched_off(serve: Callable[[str], tuple[int, Path]]) -> None:
    port, dummy = serve("127.0.0.2")
    assert ask(port, validate_certs=False) == {}
    assert Handler.seen == [f"Bearer {KEY}"]
