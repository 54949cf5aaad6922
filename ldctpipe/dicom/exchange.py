"""One request to a server and its answer, bounded in size and in the time of the whole exchange.

A timeout of the socket counts from byte to byte: a server that sends one a second is never late by it. So a timer cuts
the connection itself, wherever the exchange is: connecting, handshake, sending, headers, body.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

LARGEST_ANSWER_BYTES = 64 << 20  # the list of 20,000 images, verbosely
LONGEST_EXCHANGE_S = 600.0  # beside the time that sending takes
_SLOWEST_BYTES_A_S = 50_000  # of a line that images are sent over
_CHUNK_BYTES = 1 << 16
_REDIRECTIONS = (301, 302, 303, 307, 308)


class TooSlowError(Exception):
    """The exchange took too long."""


class TooLargeError(Exception):
    """The answer, unpacked, is larger than allowed."""


@dataclass(frozen=True)
class Answer:
    """The answer of a server; `content` is unpacked."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def sends_on_to(self) -> str | None:
        """The address of a redirection, which is never followed."""
        return self.headers.get("Location") if self.status in _REDIRECTIONS else None


def exchange(
    session: requests.Session,
    method: str,
    url: str,
    *,
    again: Retry,
    pauses_s: tuple[float, ...],
    busy: tuple[int, ...],
    **request: Any,
) -> Answer:
    """Return the answer to a request, which is made again after each of `pauses_s` where the status is in `busy`.

    `again` is the number of repetitions without an answer. Raises `TooSlowError`, `TooLargeError`, and
    `requests.RequestException` for all other faults.
    """
    limit_s = LONGEST_EXCHANGE_S + len(request.get("data") or b"") / _SLOWEST_BYTES_A_S
    with _Watch(limit_s).over(session, again) as watch:
        for pause_s in (*pauses_s, None):
            answer = _once(session, method, url, **request)
            if answer.status not in busy or pause_s is None or watch.ended_after(pause_s):
                break
        return answer


def _once(session: requests.Session, method: str, url: str, **request: Any) -> Answer:
    # requests would read the whole body of a redirection, however large, before it looks whether it may follow.
    with session.request(method, url, stream=True, allow_redirects=False, **request) as response:
        content = bytearray()
        for chunk in response.iter_content(_CHUNK_BYTES):
            content += chunk
            if len(content) > LARGEST_ANSWER_BYTES:
                raise TooLargeError
        return Answer(response.status_code, response.headers, bytes(content))


class _Watch:
    """Knows the connections of an exchange and cuts them when its time is over."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._sockets: list[socket.socket] = []
        self._is_over = threading.Event()
        self._lock = threading.Lock()

    @contextmanager
    def over(self, session: requests.Session, again: Retry) -> Iterator[_Watch]:
        """Watch all that `session` does in the block; what fails once the time is over raises `TooSlowError`."""
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Adapter(self, max_retries=again))
        timer = threading.Timer(self._limit_s, self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield self
            if self._is_over.is_set():  # headers that were cut look like an answer without a body
                raise TooSlowError
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            if self._is_over.is_set():
                raise TooSlowError from None
            if isinstance(error, OSError):  # those of requests are, too
                raise
            raise requests.RequestException(str(error)) from error  # of the libraries below, which slip through
        finally:
            timer.cancel()
            session.close()  # a connection that was kept would not be watched the next time
            for each in self._sockets:
                each.close()

    def watched(self, connection: socket.socket) -> socket.socket:
        """Return a new connection, which is cut with the others."""
        with self._lock:
            if self._is_over.is_set():
                connection.close()
                raise TooSlowError
            # Another handle of the same connection: TLS takes the first one away.
            self._sockets.append(connection.dup())
        return connection

    def ended_after(self, pause_s: float) -> bool:
        """Wait, and tell whether the time is over."""
        return self._is_over.wait(pause_s)

    def _cut(self) -> None:
        with self._lock:
            self._is_over.set()
            for each in self._sockets:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)


class _Adapter(HTTPAdapter):
    """Makes connections that a watch knows."""

    def __init__(self, watch: _Watch, max_retries: Retry) -> None:
        self._pools = _pools_of(watch)
        super().__init__(max_retries=max_retries)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Make the manager of direct connections."""
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Return the manager of connections by way of a proxy."""
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = self._pools
        return manager


def _pools_of(watch: _Watch) -> dict[str, type[HTTPConnectionPool]]:
    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return watch.watched(super()._new_conn())

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return watch.watched(super()._new_conn())

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}
