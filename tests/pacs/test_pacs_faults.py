"""What goes wrong between here and a PACS, over real sockets: one sentence each, no secret, nothing lost silently."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pydicom
import pytest
from orthanc import Orthanc, free_port
from small_dicom import STUDY_UID

from ldctpipe.dicom import dicomweb, pacs
from ldctpipe.dicom.pacs import PacsError, check, push
from ldctpipe.errors import ExitCode, UsageError

Answer = tuple[int, dict[str, str], bytes]
Script = Callable[[str, str, bytes], Answer]
JSON = {"Content-Type": "application/dicom+json; charset=utf-8"}


@contextmanager
def server(script: Script, certificate: Path | None = None) -> Iterator[str]:
    """Serve what `script` (method, path, body → status, headers, body) returns; yield the address.

    By https with the certificate and key in the file `certificate`, where one is given.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers, answer = script(self.command, self.path, body)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(answer))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    service = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        service.socket = context.wrap_socket(service.socket, server_side=True)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    yield f"http{'s' if certificate else ''}://127.0.0.1:{service.server_port}/dicom-web"
    service.shutdown()
    service.server_close()


def stored(paths: list[Path]) -> bytes:
    """Return a query's answer that lists all of `paths`."""
    uids = [str(pydicom.dcmread(path).SOPInstanceUID) for path in paths]
    return json.dumps([{"00080018": {"vr": "UI", "Value": [uid]}} for uid in uids]).encode()


def answer_of(sequence: str, reason: str, codes: list[int]) -> bytes:
    results = pydicom.Dataset()
    items = []
    for code in codes:
        items.append(pydicom.Dataset())
        setattr(items[-1], reason, code)
    setattr(results, sequence, items)
    return results.to_json().encode()


def refusal(files: list[Path], url: str, sent: list[int] | None = None) -> str:
    with pytest.raises(PacsError) as caught:
        push(files, url, on_sent=(sent if sent is not None else []).append)
    assert caught.value.exit_code is ExitCode.IO
    sentence = str(caught.value)
    uids = [str(pydicom.dcmread(path).SOPInstanceUID) for path in files]
    assert "\n" not in sentence and not [uid for uid in [STUDY_UID, *uids] if uid in sentence]
    return sentence


@pytest.mark.usefixtures("quick")
def test_nobody_listens(ours: list[Path]) -> None:
    sentence = refusal(ours, f"http://127.0.0.1:{free_port()}/dicom-web")

    assert "can't be reached (0 of 6 images were taken); check the address" in sentence


@pytest.mark.parametrize("path", ["", "/dicom", "/app", "/dicom-web/series"])
def test_a_wrong_path(orthanc: Orthanc, ours: list[Path], path: str) -> None:
    assert "give the DICOMweb root of the PACS" in refusal(ours, orthanc.root + path)
    assert orthanc.series_of(STUDY_UID) == {}


def test_a_check_sees_a_wrong_path_before_anything_is_sent(orthanc: Orthanc) -> None:
    check(orthanc.url)
    with pytest.raises(PacsError, match="give the DICOMweb root"):
        check(f"{orthanc.root}/dicom")


def test_the_address_of_the_studies_is_as_good_as_the_root(orthanc: Orthanc, ours: list[Path]) -> None:
    push(ours, f"{orthanc.url}/studies/", on_sent=lambda _: None)

    assert list(orthanc.series_of(STUDY_UID).values()) == [6]


@pytest.mark.usefixtures("quick")
def test_a_server_that_dies_in_the_middle_and_the_push_that_mends_it(
    orthanc: Orthanc, ours: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacs, "_BATCH_FILES", 2)

    def kill(_: int) -> None:
        orthanc.kill()

    with pytest.raises(PacsError, match=r"can't be reached \(2 of 6 images were taken\)"):
        push(ours, orthanc.url, on_sent=kill)
    orthanc.start()
    assert list(orthanc.series_of(STUDY_UID).values()) == [2]
    push(ours, orthanc.url, on_sent=lambda _: None)
    assert list(orthanc.series_of(STUDY_UID).values()) == [6]


def test_a_server_that_comes_back_while_we_wait(orthanc: Orthanc, ours: list[Path]) -> None:
    orthanc.kill()
    again = threading.Timer(1.0, orthanc.start)
    again.start()

    push(ours, orthanc.url, on_sent=lambda _: None)

    again.join()
    assert list(orthanc.series_of(STUDY_UID).values()) == [6]


@pytest.mark.usefixtures("quick")
def test_an_image_that_the_server_does_not_keep_is_missed(orthanc: Orthanc, ours: list[Path]) -> None:
    def delete_one(_: int) -> None:
        orthanc.delete(ours[1])

    with pytest.raises(PacsError, match=r"took the images, but does not list 1 of them \(6 of 6 images were taken\)"):
        push(ours, orthanc.url, on_sent=delete_one)


def test_a_file_that_is_damaged_after_it_was_looked_at(
    orthanc: Orthanc, ours: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: b"no DICOM" if path == ours[1] else read_bytes(path))

    assert "answers with the error 400" in refusal(ours, orthanc.url)


@pytest.mark.parametrize(
    ("status", "code", "meaning"),
    [
        (200, 0xA700, "did not store 2 of 6 images: out of resources (A700)"),
        (202, 0xA7FF, "out of resources (A7FF)"),
        (409, 0xC122, "its transfer syntax is not supported (C122)"),
        (409, 0xC123, "the data set can't be understood (C123)"),
        (202, 0x0122, "its SOP class is not supported (0122)"),
        (202, 0x1234, "for a reason that the standard does not know (1234)"),
    ],
)
def test_rejected_images_are_counted_with_the_reason(ours: list[Path], status: int, code: int, meaning: str) -> None:
    with server(lambda *_: (status, JSON, answer_of("FailedSOPSequence", "FailureReason", [code, code]))) as url:
        assert meaning in refusal(ours, url)


@pytest.mark.parametrize("code", [0x0111, 0xB00E])
@pytest.mark.parametrize(
    ("status", "sequence", "reason"),
    [(409, "FailedSOPSequence", "FailureReason"), (200, "ReferencedSOPSequence", "WarningReason")],
)
def test_images_that_are_there_already_are_no_fault_but_counted(
    ours: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code: int,
    status: int,
    sequence: str,
    reason: str,
) -> None:
    monkeypatch.setattr(pacs, "_BATCH_FILES", 3)
    two = answer_of(sequence, reason, [code] * 2)

    with server(lambda method, *_: (status, JSON, two) if method == "POST" else (200, JSON, stored(ours))) as url:
        push(ours, url, on_sent=lambda _: None)

    (warning,) = capsys.readouterr().err.strip().splitlines()
    assert "the server had 4 of 6 images already under the same UIDs and may have kept its own copies" in warning


def test_what_the_server_changed_is_told(ours: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    coerced = answer_of("ReferencedSOPSequence", "WarningReason", [0xB000] * 6)

    with server(lambda method, *_: (200, JSON, coerced if method == "POST" else stored(ours))) as url:
        push(ours, url, on_sent=lambda _: None)

    assert "the server changed data elements of 6 images (B000)" in capsys.readouterr().err


@pytest.mark.usefixtures("quick")
def test_a_slow_server(ours: list[Path]) -> None:
    def sleep(*_: object) -> Answer:
        time.sleep(1.5)
        return 200, {}, b""

    with server(sleep) as url:
        assert "gives no answer" in refusal(ours, url)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_images_follow_no_redirection(ours: list[Path], status: int) -> None:
    asked: list[str] = []

    def script(method: str, path: str, _: bytes) -> Answer:
        asked.append(method)
        return status, {"Location": "https://anna:s3cret@elsewhere.example/x?token=s3cret"}, b""

    with server(script) as url:
        sentence = refusal(ours, url)

    assert "redirects to https://***@elsewhere.example/x " in sentence and "s3cret" not in sentence
    assert asked == ["POST"]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("status", "headers", "body", "sentence"),
    [
        (200, {"Content-Type": "text/html"}, b"<html>hello</html>", "something that is no DICOM JSON"),
        (200, JSON, b'{"00080018": 3}', "something that is no DICOM JSON"),
        (200, JSON, b"[3]", "something that is no DICOM JSON"),
        (200, JSON, b"\xff\xfe", "something that is no DICOM JSON"),
        (204, {}, b"", "does not list 6 of them"),
        (400, {}, b"", "answers with the error 400"),
        (403, {}, b"", "does not allow this user"),
        (413, {}, b"", "takes no message as large as one image (413)"),
        (500, {}, b"secret", "answers with the error 500"),
        (503, {}, b"", "answers with the error 503"),
    ],
)
def test_every_other_answer(ours: list[Path], status: int, headers: dict[str, str], body: bytes, sentence: str) -> None:
    with server(lambda *_: (status, headers, body)) as url:
        assert sentence in refusal(ours, url)


@pytest.mark.usefixtures("quick")
def test_a_busy_server_is_asked_again_and_one_with_a_small_limit_gets_less_at_once(ours: list[Path]) -> None:
    images: list[int] = []

    def script(method: str, _: str, body: bytes) -> Answer:
        if method == "GET":
            return 200, JSON, stored(ours)
        images.append(body.count(b"Content-Type: application/dicom\r\n"))
        return (503 if len(images) == 1 else 413 if images[-1] > 2 else 200), {}, b""

    sent: list[int] = []
    with server(script) as url:
        push(ours, url, on_sent=sent.append)

    assert images == [6, 6, 3, 1, 1, 1, 1, 1, 1]
    assert sent == [1] * 6


def test_a_list_in_pages_is_read_to_its_end(ours: list[Path]) -> None:
    every = json.loads(stored(ours))

    def script(method: str, path: str, _: bytes) -> Answer:
        start = int(path.partition("offset=")[2] or 0)
        return 200, JSON, json.dumps(every[start : start + 4]).encode() if method == "GET" else b""

    with server(script) as url:
        push(ours, url, on_sent=lambda _: None)


def test_a_certificate_is_checked_against_the_authority_that_the_user_names(
    ours: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here to make a certificate with")
    pem = tmp_path / "own.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(pem), "-out", str(tmp_path / "certificate")]
    subprocess.run(command, check=True, capture_output=True)
    pem.write_text(pem.read_text() + (tmp_path / "certificate").read_text())

    with server(lambda *_: (200, JSON, stored(ours)), certificate=pem) as url:
        assert "its certificate can't be trusted" in refusal(ours, url)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "certificate"))
        push(ours, url, on_sent=lambda _: None)


def test_a_token_goes_along_even_where_a_netrc_file_knows_the_host(
    ours: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login anna password wrong\n")
    monkeypatch.setenv(dicomweb.TOKEN, "abc.def")
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["Authorization"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    service = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    check(f"http://127.0.0.1:{service.server_port}/dicom-web")
    service.shutdown()
    service.server_close()

    assert seen == ["Bearer abc.def"]


@pytest.mark.parametrize(
    "url",
    [
        "", "pacs", "pacs:8042/dicom-web", "ftp://pacs/dicom-web", "http://", "http:///dicom-web", "http://pacs:port/",
        "http://[::1/", "http://pacs/dicom-web?token=s3cret", "http://anna:s3cret/x@pacs/dicom-web",
        "anna:s3cret@pacs/dicom-web", "http://anna:s3cret@pacs:99999/", "https://anna:s3cret?x@pacs/",
    ],
)  # fmt: skip
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UsageError, match="is no address") as caught:
        check(url)
    assert "s3cret" not in str(caught.value)


def test_half_a_login_and_a_token_with_a_line_break(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(dicomweb.USER, "anna")
    with pytest.raises(UsageError, match="only one of LDCTPIPE_PACS_USER and LDCTPIPE_PACS_PASSWORD is set"):
        check("https://pacs.invalid/dicom-web")
    monkeypatch.setenv(dicomweb.TOKEN, "s3cret\r\nX: y")
    with pytest.raises(UsageError, match="holds characters that no token has") as caught:
        check("https://pacs.invalid/dicom-web")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://127.0.0.1/x", False), ("http://localhost:8042/x", False), ("http://[::1]/x", False),
        ("https://pacs.example/x", False), ("http://pacs.example/x", True), ("http://192.168.1.4/x", True),
    ],
)  # fmt: skip
def test_images_in_clear_over_a_network_are_warned_of(
    url: str, warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    dicomweb.service_at(url.replace("//", "//anna:s3cret@"))

    shown = capsys.readouterr().err
    assert ("travel in clear" in shown) == warned
    assert "s3cret" not in shown and "anna" not in shown
