"""Where the page of metrics is asked for."""

import socket
from dataclasses import dataclass

PATH = "/metrics"


@dataclass(frozen=True, slots=True)
class Sockets:
    """Where the page is asked for, and where workers ask each other."""

    page: socket.socket
    workers: tuple[socket.socket, ...] = ()
    """One for each worker, by number; empty where there is only one process."""

    @property
    def url(self) -> str:
        """Where the page is."""
        host, port = self.page.getsockname()[:2]
        return f"http://[{host}]:{port}{PATH}" if ":" in host else f"http://{host}:{port}{PATH}"

    def close(self) -> None:
        """Closes all of them."""
        for one in (self.page, *self.workers):
            one.close()


def bound(address: tuple[str, int], workers: int = 1) -> Sockets:
    """The sockets, bound and not yet listened on; `ValueError` where the address cannot be had."""
    host, port = address
    try:
        page = _bound(host, port)
    except OSError as error:
        raise ValueError(f"metrics cannot be served at {host}:{port}: {error.strerror or error}") from None
    return Sockets(page, tuple(_bound("127.0.0.1", 0) for _ in range(workers)) if workers > 1 else ())


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(where)
    except OSError:
        made.close()
        raise
    return made
