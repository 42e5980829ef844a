"""Whether a TCP port can be listened on."""

from __future__ import annotations

import errno
import socket


def is_taken(address: str, port: int) -> bool:
    """Return whether something listens at ``address`` (IPv4 or IPv6, a number) already.

    False too where this process may not listen (ports below 1024, addresses of other machines): the engine,
    which has other rights, finds that out.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # as the engine does: connections that ended a moment ago do not keep a port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((address, port))
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False
