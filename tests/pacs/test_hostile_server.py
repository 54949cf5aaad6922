"""A server that answers without end, a byte at a time, or with what no program should unpack: one sentence, in time."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from ldctpipe.dicom import exchange, pacs
from ldctpipe.dicom.pacs import PacsError, check
from ldctpipe.errors import ExitCode

LIMIT_S = 0.6
Script = Callable[[socket.socket], None]


@contextmanager
def raw_server(script: Script) -> Iterator[str]:
    """Serve each connection by `script` after its request was read; yield the address."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(1 << 16)
            script(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/dicom-web"
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()


def answer(body: bytes, *headers: str, status: str = "200 OK") -> Script:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""])
    return lambda connection: connection.sendall(head.encode() + body)


def drip(start: bytes, drop: bytes) -> Script:
    def script(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(drop)
            time.sleep(0.05)

    return script


def flood(start: bytes) -> Script:
    def script(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")

    return script


def silence(_: socket.socket) -> None:
    time.sleep(5)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
NO_JSON = "something that is no DICOM JSON"
LATE = "did not finish an answer within"
BOMB = gzip.compress(b"[" + b" " * (16 << 20) + b"]")
HOSTILE = {
    "deep JSON": (answer(b"[" * 100_000 + b"]" * 100_000), NO_JSON),
    "a deep dataset": (answer(b'[{"00080018":' * 50_000), NO_JSON),
    "a number of 10,000 digits": (answer(b"[" + b"9" * 10_000 + b"]"), NO_JSON),
    "a list where a UID should be": (answer(b'[{"00080018": {"Value": [[1]]}}]'), NO_JSON),
    "null": (answer(b"null"), NO_JSON),
    "a bomb of gzip": (answer(BOMB, "Content-Encoding: gzip"), "answers with more than 1 MiB"),
    "a bomb of gzip in a redirection": (
        answer(BOMB, "Content-Encoding: gzip", "Location: http://elsewhere.example/", status="302 Found"), "1 MiB",
    ),
    "a bomb of gzip in an error": (answer(BOMB, "Content-Encoding: gzip", status="503 Busy"), "1 MiB"),
    "no gzip": (answer(b"hello", "Content-Encoding: gzip"), "can't be unpacked"),
    "chunks without end": (flood(CHUNKED), "answers with more than 1 MiB"),
    "an error without end": (flood(CHUNKED.replace(b"200 OK", b"503 Busy")), "answers with more than 1 MiB"),
    "a status that drips": (drip(b"HTTP/1.1 200 ", b"O"), LATE),
    "headers that drip": (drip(b"HTTP/1.1 200 OK\r\nX: ", b"y"), LATE),
    "a body that drips": (drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n[", b" "), LATE),
    "chunks that drip": (drip(CHUNKED, b"1\r\n \r\n"), LATE),
    "wait and wait": (drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), LATE),
    "silence": (silence, "gives no answer"),
    "a header of 1 MB": (answer(b"[]", "X: " + "y" * 1_000_000), "can't be reached"),
    "1,000 headers": (answer(b"[]", *(f"X{number}: y" for number in range(1000))), "can't be reached"),
    "a broken chunk": (lambda connection: connection.sendall(CHUNKED + b"zz\r\n"), "breaks off its answer"),
    "half a body": (lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n["), "breaks"),
    "no HTTP": (lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"), "can't be reached"),
}  # fmt: skip


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("script", "sentence"), HOSTILE.values(), ids=HOSTILE.keys())
def test_one_sentence_in_time(script: Script, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "LONGEST_EXCHANGE_S", LIMIT_S if sentence == LATE else 5.0)
    monkeypatch.setattr(exchange, "LARGEST_ANSWER_BYTES", 1 << 20)
    monkeypatch.setattr(pacs, "TIMEOUTS_S", (0.3, 0.3))
    began = time.monotonic()

    with raw_server(script) as url, pytest.raises(PacsError, match=sentence) as refusal:
        check(url)

    assert refusal.value.exit_code is ExitCode.IO
    assert time.monotonic() - began < 3
    assert len(str(refusal.value)) < 300


@pytest.mark.usefixtures("quick")
def test_a_list_without_end(ours, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacs, "_LONGEST_LISTING_S", 0.0)
    pages = iter(range(1000))

    def script(connection: socket.socket) -> None:
        answer(f'[{{"00080018": {{"Value": ["1.2.{next(pages)}"]}}}}]'.encode())(connection)

    with raw_server(script) as url, pytest.raises(PacsError, match="was not done listing"):
        pacs._found(pacs.service_at(url), "1.2", "1.3", 900)


def test_a_password_that_is_no_text_and_a_host_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LDCTPIPE_PACS_USER", "anna")
    monkeypatch.setenv("LDCTPIPE_PACS_PASSWORD", "\udcff")

    with raw_server(answer(b"[]")) as url:
        check(url)
    with pytest.raises(PacsError):
        check(f"https://{'a' * 70}.invalid/dicom-web")
