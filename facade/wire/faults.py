"""What connections say of their failures: one set of sentences, whichever client was at work.

Sentences name host and port, never a path, a header or a credential.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from typing import Final

from facade.wire.site import Site
from facade.wire.upstream import ConnectionFault, ConnectTimeout, Garbled, NotLocal

_REASONS: Final = (  # the first that fits
    ((socket.gaierror, UnicodeError), "its name cannot be resolved"),
    (ConnectionRefusedError, "the connection was refused"),
    (ssl.SSLCertVerificationError, "its certificate is not trusted ({0.verify_message})"),
    (ssl.SSLEOFError, "the TLS handshake was broken off"),
    (ssl.SSLError, "the TLS handshake failed ({0.reason})"),
)


def not_asked(site: Site, error: ValueError) -> ConnectionFault:
    """The fault for a request that must not be sent; the error says why."""
    return ConnectionFault(f"{site.name} was not asked: {error}", sent=False)


def not_local(site: Site) -> ConnectionFault:
    """The fault for a request that may be sent to local upstreams only."""
    return NotLocal(f"{site.name} was not asked: it is not local", sent=False)


def not_reached(site: Site, error: BaseException, *, sent: bool) -> ConnectionFault:
    """The fault for an error on the way. `sent`: on an earlier way the request had gone out."""
    for cause in _causes(error):
        if isinstance(cause, TimeoutError):
            why = f"no connection within {site.connect_timeout:g} s"
            return ConnectTimeout(f"cannot connect to {site.name}: {why}", sent=sent)
        if why := _reason(cause):
            return ConnectionFault(f"cannot connect to {site.name}: {why}", sent=sent)
    return ConnectionFault(f"cannot connect to {site.name}: {error}", sent=sent)


def cut(site: Site, error: Exception | None, *, answered: bool) -> ConnectionFault:
    """The fault for a connection that ended. `answered`: a byte of an answer had come."""
    if isinstance(error, ssl.SSLError):
        said = f"broke TLS off ({error.reason})"
    elif answered:
        said = "closed the connection in the middle of its answer"
    else:
        said = "closed the connection before it answered"
    return ConnectionFault(f"{site.name} {said}", sent=True)


def garbled(site: Site) -> ConnectionFault:
    """The fault for an answer that cannot be taken apart."""
    return Garbled(f"{site.name} answered with what is not valid HTTP", sent=True)


def overlong(site: Site, most: int) -> ConnectionFault:
    """The fault for an answer of which `most` bytes have no content: its head, above all."""
    return Garbled(f"{site.name} answered with over {most} bytes without content", sent=True)


def _reason(cause: BaseException) -> str:
    for kind, why in _REASONS:
        if isinstance(cause, kind):
            return why.format(cause)
    return os.strerror(cause.errno) if isinstance(cause, OSError) and cause.errno else ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what led to it; of several failed addresses the first."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        else:
            error = error.__cause__ or error.__context__
