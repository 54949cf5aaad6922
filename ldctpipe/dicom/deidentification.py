"""De-identified images: UIDs, dates and pseudonyms that follow from a secret key, the rest by the PS3.15 profile."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from ldctpipe.dicom.coding import DCM, code_item
from ldctpipe.dicom.confidentiality_profile import apply_profile
from ldctpipe.dicom.series import KEY_DIGITS, Series, series_key
from ldctpipe.errors import InputError, UsageError
from ldctpipe.foreign import open_file
from ldctpipe.progress import warn

_KEY_BYTES = 32
_LARGEST_KEY_BYTES = 1 << 20
_UID_BYTES = 16
_PSEUDONYM_DIGITS = 16
_CHECK_DIGITS = 4
_LONGEST_SHIFT_DAYS = 3650
_METHODS = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
)


@dataclass(frozen=True)
class Deidentifier:
    """Replacements that follow from `key` alone: alike in all files, series and runs, and unknown without the key."""

    key: bytes = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """Eight digits that tell one key from another and say nothing about either."""
        return self._digest("fingerprint", "").hex()[:8]

    def uid(self, uid: str) -> str:
        """Return the UID that stands for `uid`: `2.25.` + 128 bits of HMAC-SHA256 (form of PS3.5 §B.2)."""
        return f"2.25.{int.from_bytes(self._digest('uid', uid)[:_UID_BYTES], 'big')}"

    def pseudonym(self, patient_id: str) -> str:
        """Return what stands for a patient's number and name."""
        return f"LDCT-{self._digest('patient', patient_id).hex()[:_PSEUDONYM_DIGITS]}"

    def published_name(self, name: str) -> str:
        """Return the published name for a patient's name in a cohort; check digits tell it from any such name."""
        if self._is_published(name):
            return name
        stem = self._digest("name of a patient", name).hex()[:KEY_DIGITS]
        return stem + self._check_digits(stem)

    def _is_published(self, name: str) -> bool:
        stem, check = name[:KEY_DIGITS], name[KEY_DIGITS:]
        return len(stem) == KEY_DIGITS and hmac.compare_digest(check.encode(), self._check_digits(stem).encode())

    def _check_digits(self, stem: str) -> str:
        return self._digest("check digits of a name", stem).hex()[:_CHECK_DIGITS]

    def date_shift_days(self, patient_id: str) -> int:
        """Return by how many days all dates of a patient move: whole days back, 1 to 3650, so never into the future."""
        return -1 - int.from_bytes(self._digest("dates", patient_id), "big") % _LONGEST_SHIFT_DAYS

    def series(self, series: Series) -> Series:
        """Return `series` with other UIDs and keys, so that no file name or manifest tells its source.

        Its slices and its PatientID stay those of the source, which is what reading it needs.
        """
        frame = series.frame_of_reference_uid
        uid = self.uid(series.uid)
        is_part = series.key != series_key(series.uid)
        return replace(
            series,
            key=series_key(uid, self.uid(series.key) if is_part else ""),
            uid=uid,
            study_uid=self.uid(series.study_uid),
            frame_of_reference_uid=self.uid(frame) if frame else None,
            patient_key=self._digest("patient key", series.patient_key).hex()[:KEY_DIGITS],
            description="",
        )

    def apply(self, dataset: Dataset) -> None:
        """De-identify `dataset`, in place, as `apply_profile` says; pixels stay, and so does file meta.

        Raises `InputError` for an image that says of itself that its pixels show annotations.
        """
        _refuse_annotated_pixels(dataset)
        patient = _patient(dataset)
        apply_profile(dataset, self.uid, self.date_shift_days(patient))
        dataset.PatientID = dataset.PatientName = self.pseudonym(patient)
        _state_method(dataset)

    def _digest(self, purpose: str, text: str) -> bytes:
        return hmac.digest(self.key, f"{purpose}\0{text}".encode("utf-8", "surrogatepass"), hashlib.sha256)


def site_key(path: Path | None) -> bytes:
    """Return the key in `path`, or the user's own key, which is made where there is none yet.

    That one is `ldctpipe/deidentification.key` in $XDG_STATE_HOME, or else in ~/.local/state: 64 random hexadecimal
    digits, readable by its owner only. Raises `InputError` for a file that is missing, unreadable or holds less than
    32 bytes.
    """
    file = path or _default_key_file()
    if path is None and not file.exists():
        _make_key(file)
    try:
        with open_file(file, _LARGEST_KEY_BYTES) as stream:
            key = stream.read(_LARGEST_KEY_BYTES).strip()
        is_open = bool(file.stat().st_mode & (stat.S_IROTH | stat.S_IRGRP))
    except OSError as error:
        remedy = "give a readable file, or leave the option out to use a key of your own"
        raise InputError(file, f"the de-identification key can't be read ({error.strerror})", remedy) from None
    if len(key) < _KEY_BYTES:
        remedy = f"give a file of random text, such as `openssl rand -hex {_KEY_BYTES}` writes"
        raise InputError(file, f"holds less than {_KEY_BYTES} bytes, too short for a de-identification key", remedy)
    if is_open:
        warn(f"{file}: others can read this key and undo the de-identification; run chmod 600 on it")
    return key


def _default_key_file() -> Path:
    state = os.environ.get("XDG_STATE_HOME", "")
    try:
        folder = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    except RuntimeError:  # a container's user without a home
        remedy = "set HOME or XDG_STATE_HOME, or give --deidentification-key FILE"
        raise UsageError(None, "there is no home folder to keep the de-identification key in", remedy) from None
    return folder / "ldctpipe" / "deidentification.key"


def _make_key(file: Path) -> None:
    """Write a key whole and never over another one: two first runs at once must end with the same key."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}.partial")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(_KEY_BYTES) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        os.link(temporary, file)
    except FileExistsError:
        pass  # the other run was first
    finally:
        temporary.unlink()


def _refuse_annotated_pixels(dataset: Dataset) -> None:
    if str(dataset.get("BurnedInAnnotation") or "").strip("\0 ").upper() != "YES":
        return
    path = getattr(dataset, "filename", None)
    remedy = "have the annotations removed at the workstation, or write without de-identification"
    fault = "can't be de-identified: its pixels show annotations (BurnedInAnnotation YES)"
    raise InputError(path if isinstance(path, (str, Path)) else None, fault, remedy)


def _patient(dataset: Dataset) -> str:
    """PatientID; where there is none, the study stands for its patient, so that strangers don't become one person."""
    number = str(dataset.get("PatientID") or "").strip("\0 ")
    return number or f"study {dataset.get('StudyInstanceUID', '')}"


def _state_method(dataset: Dataset) -> None:
    """Say what was done (PS3.3 §C.7.1.1, §C.12.1.1.7 and PS3.15 §E.1.1)."""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = [meaning for _, meaning in _METHODS]
    done = [code_item(value, DCM, meaning) for value, meaning in _METHODS]
    ours = [value for value, _ in _METHODS]
    earlier = [
        item for item in dataset.get("DeidentificationMethodCodeSequence") or () if item.get("CodeValue") not in ours
    ]
    dataset.DeidentificationMethodCodeSequence = Sequence([*earlier, *done])
    dataset.LongitudinalTemporalInformationModified = "MODIFIED"
