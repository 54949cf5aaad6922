"""A DICOMweb service: its address, who we are to it, and one sentence for each way in which it can fail."""

from __future__ import annotations

import ipaddress
import logging
import os
import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

import requests
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.exceptions import ReadTimeoutError
from urllib3.util import Retry

from ldctpipe.dicom import exchange as bounds
from ldctpipe.dicom.exchange import Answer, TooLargeError, TooSlowError, exchange
from ldctpipe.errors import ExitCode, InputError, UsageError
from ldctpipe.progress import warn

# It logs the addresses that it asks, and those hold the patient's UIDs.
logging.getLogger("urllib3").setLevel(logging.CRITICAL)

USER, PASSWORD, TOKEN = "LDCTPIPE_PACS_USER", "LDCTPIPE_PACS_PASSWORD", "LDCTPIPE_PACS_TOKEN"
TIMEOUTS_S = (10.0, 120.0)  # to connect; between two bytes of an answer: a PACS may store a batch before it answers
_RETRIES, _RETRIES_WITHOUT_ANSWER = 4, 2
_BACK_OFF_S = 1.0
_BUSY = (429, 502, 503, 504)
_NO_SERVICE = (404, 405, 501)

GIVE_ROOT = "give the DICOMweb root of the PACS, such as https://HOST/dicom-web"
_AGAIN = "see to the server and run the same command again: images that it has already do no harm"


class PacsError(InputError):
    """The PACS can't be reached, refuses, or has not stored what was sent; says so in one sentence."""

    exit_code = ExitCode.IO


@dataclass(frozen=True)
class Service:
    """A DICOMweb service: its root, without credentials and without a slash at the end; a session that has them."""

    root: str
    session: requests.Session = field(repr=False)

    def fault(self, fault: str, remedy: str = _AGAIN) -> PacsError:
        """Return the error that says so of this service."""
        return PacsError(self.root, fault, remedy)

    def ask(self, method: str, path: str, **request: Any) -> Answer:
        """Return the answer to a request below the root, tried again if network or server are busy.

        Raises `PacsError` without an answer, or if it is too large or takes too long from first to last byte.
        """
        again = Retry(
            total=_RETRIES, read=_RETRIES_WITHOUT_ANSWER, status=0, other=0, redirect=False, allowed_methods=None,
            backoff_factor=_BACK_OFF_S, respect_retry_after_header=False,
        )  # fmt: skip
        pauses_s = tuple(_BACK_OFF_S * 2**number for number in range(_RETRIES))
        where = f"{self.root}/{path}"
        try:
            answer = exchange(self.session, method, where, again=again, pauses_s=pauses_s, busy=_BUSY, **request)
        except TooSlowError:
            raise self.fault(f"did not finish an answer within {bounds.LONGEST_EXCHANGE_S:g} s") from None
        except TooLargeError:
            raise self.fault(f"answers with more than {bounds.LARGEST_ANSWER_BYTES >> 20} MiB", GIVE_ROOT) from None
        except requests.RequestException as error:
            raise unreachable(self, error) from None
        if answer.sends_on_to is not None:
            raise self.fault(f"redirects to {_shown(answer.sends_on_to)[:200]}", "give its actual address")
        return answer


def service_at(url: str) -> Service:
    """Return the service with its root at `url`; nothing is sent yet.

    Warns where images would travel in clear. Credentials, by the first of these that is there: in the URL, a bearer
    token in LDCTPIPE_PACS_TOKEN, LDCTPIPE_PACS_USER with LDCTPIPE_PACS_PASSWORD, the user's netrc file. Certificates
    are checked against REQUESTS_CA_BUNDLE or the usual authorities. Raises `UsageError` for what is no URL of a
    DICOMweb root.
    """
    parts = _parts(url)
    host = parts.netloc.rpartition("@")[2]
    path = parts.path.rstrip("/").removesuffix("/studies")  # where the images go, and what manuals like to print
    root = urlunsplit((parts.scheme, host, path, "", ""))
    if parts.scheme == "http" and not _is_this_machine(parts.hostname or ""):
        _warn_of_clear_text(root)
    return Service(root, _session(_credentials(parts)))


@cache
def _warn_of_clear_text(root: str) -> None:
    """Warn once in a process, however often the service is asked for."""
    warn(f"{root}: patients' images and passwords travel in clear over http; use https where others can listen")


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url.strip())
        _ = parts.port  # raises where it is no number
    except ValueError:
        raise UsageError(_shown(url), "is no address of a PACS", GIVE_ROOT) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(_shown(url), "is no address of a DICOMweb service", GIVE_ROOT)
    return parts


def _shown(url: str) -> str:
    """Return `url` as messages may show it: no user, password or query, nothing that a terminal would obey."""
    hidden = re.sub(r"^(\w*:?//)?.*@", r"\1***@", url, flags=re.DOTALL)
    hidden = re.split(r"[?#]", hidden)[0]
    return "".join(character for character in hidden if character.isprintable())


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class _Bearer(AuthBase):
    """An access token (RFC 6750); as `auth` and not as a header, so that a netrc file can't replace it."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _credentials(parts: SplitResult) -> AuthBase | None:
    """Return what authenticates us; None leaves it to requests, which looks into the netrc file."""
    if parts.username is not None:
        return _basic(unquote(parts.username), unquote(parts.password or ""))
    if token := os.environ.get(TOKEN):
        if not re.fullmatch(r"[\x21-\x7e]+", token):
            raise UsageError(None, f"{TOKEN} holds characters that no token has", "set it to the token alone")
        return _Bearer(token)
    user, password = os.environ.get(USER), os.environ.get(PASSWORD)
    if bool(user) != bool(password):
        raise UsageError(None, f"only one of {USER} and {PASSWORD} is set", "set both or neither")
    return _basic(user, password) if user and password else None


def _basic(user: str, password: str) -> HTTPBasicAuth:
    # Undecodable bytes of the environment are sent unchanged.
    user_bytes, password_bytes = (part.encode(errors="surrogateescape") for part in (user, password))
    return HTTPBasicAuth(user_bytes, password_bytes)  # UTF-8, as RFC 7617 §2.1; from str it would be Latin-1


def _session(credentials: AuthBase | None) -> requests.Session:
    """Return a session with credentials; `Service.ask` says how it asks.

    It never follows a redirection: a redirected POST would become a GET of everything that the PACS holds, or carry
    images to another host. The server's own wish for a waiting time is not heeded: it could be days.
    """
    session = requests.Session()
    session.auth = credentials
    return session


def unreachable(service: Service, error: requests.RequestException) -> PacsError:
    """Return the sentence for a request that got no answer to work with."""
    if isinstance(error, requests.exceptions.SSLError):
        return service.fault("its certificate can't be trusted", "name its authority's file in REQUESTS_CA_BUNDLE")
    if isinstance(_reason(error), ReadTimeoutError):
        return service.fault(f"gives no answer within {TIMEOUTS_S[1]:g} s")
    if isinstance(error, (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError)):
        return service.fault("breaks off its answer, or compresses it in a way that can't be unpacked")
    return service.fault("can't be reached", "check the address, the network and that the server runs")


def _reason(error: requests.RequestException) -> object:
    """Return what made the last try of `error` fail; requests keeps it inside what it wraps."""
    return getattr(error.args[0] if error.args else None, "reason", None)


def refused(service: Service, status: int) -> PacsError:
    """Return the sentence for an answer whose status is an error."""
    if status == 401:
        fault = "wants credentials that it knows"
        return service.fault(f"{fault} (401)", f"set {USER} and {PASSWORD}, or {TOKEN}")
    if status == 403:
        return service.fault(
            "does not allow this user what was asked (403)", "ask its administrator for the right to store and query"
        )
    if status == 413:
        fault = "takes no message as large as one image (413)"
        return service.fault(fault, "raise the limit of the server or of the proxy before it")
    if status in _NO_SERVICE:
        return service.fault(f"there is no DICOMweb service ({status})", GIVE_ROOT)
    return service.fault(f"answers with the error {status}")
