"""An OCSP responder in a thread, made of the standard library's HTTP server and cryptography's answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from tests.pki import DAY, NOW, Pair, Wanted, make_leaf

HOUR = timedelta(hours=1)
MUST_STAPLE = x509.TLSFeature([x509.TLSFeatureType.status_request])
SIGNER = Wanted(names=(), common_name="Signer", purposes=(ExtendedKeyUsageOID.OCSP_SIGNING,))


def asking(url: str) -> x509.AuthorityInformationAccess:
    """Return the extension that names a responder."""
    location = x509.UniformResourceIdentifier(url)
    return x509.AuthorityInformationAccess([x509.AccessDescription(AuthorityInformationAccessOID.OCSP, location)])


@dataclass(frozen=True)
class Says:
    """What an answer is like; the defaults make a good one of the issuer's.

    Args:
        status: of the certificate.
        since: when it was so.
        until: when the next answer is due.
        signer: who signs, with its certificate in the answer; ``None`` for the issuer.
        encoding: how it tells whose it is.
        digest: what the certificate is named with.
    """

    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD
    since: datetime = NOW - HOUR
    until: datetime | None = NOW + DAY
    signer: Pair | None = None
    encoding: ocsp.OCSPResponderEncoding = ocsp.OCSPResponderEncoding.HASH
    digest: hashes.HashAlgorithm = field(default_factory=hashes.SHA1)


def answer(leaf: Pair, issuer: Pair, says: Says) -> bytes:
    """Return an answer about ``leaf``, DER."""
    revoked = says.status is ocsp.OCSPCertStatus.REVOKED
    signer = says.signer or issuer
    builder = (
        ocsp.OCSPResponseBuilder()
        .add_response(
            leaf.certificate,
            issuer.certificate,
            says.digest,
            says.status,
            says.since,
            says.until,
            NOW - DAY if revoked else None,
            x509.ReasonFlags.key_compromise if revoked else None,
        )
        .responder_id(says.encoding, signer.certificate)
    )
    if says.signer is not None:
        builder = builder.certificates([signer.certificate])
    return builder.sign(signer.key, hashes.SHA256()).public_bytes(Encoding.DER)


def refusal() -> bytes:
    return ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER).public_bytes(Encoding.DER)


class Responder:
    """Serves on loopback.

    Attributes:
        port: where.
        asked: the questions that came.
        reply: makes what goes on the wire behind the status line of a question.
    """

    def __init__(self) -> None:
        self.asked: list[ocsp.OCSPRequest] = []
        self.body = b""
        self.status = 200
        self.headers = {"Content-Type": "application/ocsp-response"}
        self.over = Event()
        self.holds = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = False
        self.port = int(self._server.server_address[1])
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/ocsp"

    def leaf(self, issuer: Pair, *extensions: x509.ExtensionType, names: tuple[str, ...] = ("mx.example.net",)) -> Pair:
        """Return a leaf that names this responder."""
        return make_leaf(issuer, Wanted(names=names, extensions=(asking(self.url), *extensions)))

    def say(self, leaf: Pair, issuer: Pair, says: Says | None = None) -> None:
        """Answer so from now on."""
        self.body = answer(leaf, issuer, says or Says())

    def close(self) -> None:
        """Serve nobody any more; twice does no harm."""
        self.over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        responder = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                octets = self.rfile.read(int(self.headers["Content-Length"]))
                responder.asked.append(ocsp.load_der_ocsp_request(octets))
                if responder.holds:
                    responder.over.wait(30)
                self.send_response(responder.status)
                for name, value in responder.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(responder.body)))
                self.end_headers()
                self.wfile.write(responder.body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def handle(self) -> None:
                try:
                    super().handle()
                except ConnectionError:
                    return  # the asker has given up

        return Handler
