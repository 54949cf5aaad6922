"""What a user can choose of a phantom, by name."""

from __future__ import annotations

from enum import Enum


class Kind(str, Enum):
    """What to make: patients, or a cylinder of water with the inserts of a test module."""

    COHORT = "cohort"
    LOW_CONTRAST = "low-contrast"
    RESOLUTION = "resolution"
    CT_NUMBER = "ct-number"
    WATER = "water"
    METAL = "metal"


class Like(str, Enum):
    """Whose folder tree a cohort has: the AAPM-Mayo challenge's, TCIA's, or PATIENT/{full_dose,low_dose}."""

    MAYO = "mayo"
    TCIA = "tcia"
    PLAIN = "plain"


class Region(str, Enum):
    """A part of the body that can be drawn."""

    THORAX = "thorax"
    ABDOMEN = "abdomen"
    PELVIS = "pelvis"
    HEAD = "head"


class BodySize(str, Enum):
    """Sizes of patients; `mixed` draws one of the others for each patient."""

    INFANT = "infant"
    CHILD = "child"
    ADULT = "adult"
    LARGE = "large"
    MIXED = "mixed"


class Arms(str, Enum):
    """Where the arms of a patient's chest or abdomen lie; `mixed` draws one of the others for each patient."""

    UP = "up"
    DOWN = "down"
    MIXED = "mixed"
