"""Why a file is left out of the CT series: the reasons, and what mends each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ldctpipe.dicom.membership import Membership


@dataclass(frozen=True)
class Rejection:
    """A reason for leaving a file out, what to do about it, and whether something is wrong with the file.

    Other files beside the CT images (a localizer, a dose report, a text file) have no fault. With `is_transient`, the
    file can't be read now: its content is unknown, and another try may succeed.
    """

    reason: str
    remedy: str
    is_fault: bool
    is_transient: bool = False


class Rejected(Exception):
    """A file can't be used; `rejection` says why, `series_uid` which series lacks it now, where that could be read.

    `member` is the series that the file belongs to, of whatever kind, where its header was read.
    """

    def __init__(self, rejection: Rejection, series_uid: str = "", member: Membership | None = None) -> None:
        self.rejection, self.series_uid, self.member = rejection, series_uid, member
        super().__init__(rejection.reason)


_EXPORT = "export it again from the scanner or the archive"

NOT_DICOM = Rejection("not a DICOM file", "give DICOM files or a folder with them", False)
NOT_DICOM_DESPITE_NAME = Rejection("not a DICOM file in spite of its name", "remove it or copy it again", True)
DAMAGED = Rejection("damaged DICOM file", "copy or export it again", True)
CHANGED = Rejection("changed while it was read", "run the same command again", True, is_transient=True)
CUT_SHORT = Rejection("cut short: the file ends before its pixel data do", "copy or export it again", True)
NO_PIXELS = Rejection(
    "no pixel data: exported without them, or cut short before them", "copy or export it again with its pixels", True
)
WRONG_LENGTH = Rejection("pixel data of a wrong length for its rows and columns", "copy or export it again", True)
LOCALIZER = Rejection("localizer", "give the axial series", False)
SCREEN = Rejection("a screen of text, not a slice (ImageType)", "give the axial series", False)
PROJECTION = Rejection(
    "a projection such as a MIP, or a rendering, not a slice (ImageType)",
    "give the series that it was made from",
    False,
)
NO_REGULAR_FILE = Rejection("a named pipe, socket or device", "give a file or a folder", True)
MULTI_FRAME = Rejection(
    "several frames in one file (enhanced CT), which is not supported yet", "export it as one file a slice", True
)
COPY = Rejection("a second copy of a slice", "nothing is lost without it", False)
SAME_UID = Rejection("the UID of another slice at a place of its own", "give each image a UID of its own", True)
SAME_UID_OTHER_PIXELS = Rejection(
    "the UID and place of another slice, but other pixels", "give each image a UID of its own", True
)
ONE_UID_FOR_ALL = Rejection(
    "different images have the same SOPInstanceUID",
    "export the series again, or give each image a UID of its own",
    True,
)
MOVING_FIELD_OF_VIEW = Rejection(
    "the field of view moves in its plane from slice to slice", "reconstruct the scan with one field of view", True
)


def several_scans(places: int) -> Rejection:
    """Return the rejection of images that lie `places` times where others do, and nothing tells the scans apart."""
    where = "one position" if places == 1 else f"{places} positions"
    return Rejection(
        f"several images at {where}, and nothing tells which belong together",
        "give each scan as a series of its own",
        True,
    )


def lacking(attribute: str) -> Rejection:
    """Return the rejection of images without an attribute in which the scans that they may be from differ."""
    return Rejection(
        f"no {attribute}, where other images of the series have different ones",
        "give each scan as a series of its own",
        True,
    )


def not_ct(kind: str) -> Rejection:
    """Return the rejection of an object of another kind ("MR", "a dose report")."""
    return Rejection(f"not a CT image ({kind})", "give the CT image series", False)


def unsupported(what: str, remedy: str = _EXPORT) -> Rejection:
    """Return the rejection of a CT image that this program must not touch."""
    return Rejection(what, remedy, True)
