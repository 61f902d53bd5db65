"""A certificate authority of the tests, whom only those trust who are told to."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme


class Authority:
    """Its files, for an endpoint, and TLS for servers that it vouches for."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self.file = str(folder / "ca.pem")
        self.client_cert = str(folder / "client.pem")
        self._authority.cert_pem.write_to_path(self.file)
        client = self._authority.issue_cert("facade@example.org")
        client.private_key_and_cert_chain_pem.write_to_path(self.client_cert)

    def server(
        self, name: str = "127.0.0.1", asks: ssl.VerifyMode = ssl.CERT_NONE
    ) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(name).configure_cert(context)
        self._authority.configure_trust(context)
        context.verify_mode = asks
        return context
