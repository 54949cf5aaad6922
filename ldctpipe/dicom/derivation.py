"""What a derived image says about its making: the attributes that writing adds, changes and removes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset, FileDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import UID

from ldctpipe.dicom.coding import DCM, code_item
from ldctpipe.dicom.headers import CODING_SCHEME
from ldctpipe.dicom.series import Series
from ldctpipe.dicom.uids import uid_of

PROJECT = "ldctpipe"
_LONG_STRING_CHARACTERS = 64
_SHORT_TEXT_CHARACTERS = 1024
_FIRST_DATASET_GROUP = 0x0008
_PIXEL_DATA = 0x7FE00010
_TEXT = ("LO", "LT", "PN", "SH", "ST", "UC", "UT")

# They describe the instance or the bytes that the source had, not those of the derived image.
_NOT_CARRIED_OVER = (
    "InstanceCreationDate",
    "InstanceCreationTime",
    "InstanceCreatorUID",
    "IconImageSequence",
    "MACParametersSequence",
    "DigitalSignaturesSequence",
    "DataSetTrailingPadding",
    "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries",
)


@dataclass(frozen=True)
class Derivation:
    """How derived images were made, as their headers say it.

    `settings` is text with everything that changes pixels; with the source UIDs, `weights_sha256` and
    `software_version` it makes the new UIDs, so the same job gives the same UIDs. `series_suffix` is what the series
    description gets in brackets. `run_time` is one for a run, so that resuming writes identical bytes; None leaves it
    out.
    """

    description: str
    code_value: str
    code_meaning: str
    series_suffix: str
    equipment_model: str
    software_version: str
    weights_sha256: str | None
    settings: str
    run_time: datetime | None

    def uid(self, *source: str) -> UID:
        """Return the UID of what this derivation makes from `source` (a UID, and what tells parts under it apart)."""
        method = (self.code_value, self.software_version, self.weights_sha256 or "", self.settings)
        return uid_of(PROJECT, *source, *method)


def mark_as_derived(dataset: FileDataset, series: Series, derivation: Derivation, *, keep_private: bool) -> None:
    """Turn the attributes of a source image, in place, into those of an image derived from it; pixels stay.

    Follows PS3.3 §C.7.6.1.1.2 (image type), §C.12.1 (contributing equipment, coding scheme), §C.12.2 (references).
    """
    source_class, source_uid = dataset.SOPClassUID, dataset.SOPInstanceUID
    source_series_uid = dataset.SeriesInstanceUID
    for keyword in _NOT_CARRIED_OVER:
        if keyword in dataset:
            delattr(dataset, keyword)
    _drop_unwritable(dataset)
    if not keep_private:
        _drop_private(dataset)
    dataset.ImageType = ["DERIVED", "SECONDARY", *(_values(dataset, "ImageType")[2:] or ["AXIAL"])]
    dataset.SOPInstanceUID = derivation.uid(source_uid)
    dataset.SeriesInstanceUID = derivation.uid(series.uid, series.key)
    dataset.SeriesDescription = _series_description(dataset, derivation)
    dataset.SeriesNumber = series.derived_number
    _describe(dataset, derivation)
    _refer_to_source(dataset, source_class, source_uid, source_series_uid)
    _append(dataset, "ContributingEquipmentSequence", _equipment(derivation))


def _drop_unwritable(dataset: Dataset) -> None:
    """Drop attributes of damaged headers that can't be parsed or encoded, or lie in groups no dataset may have.

    Text stays the source's bytes where the encoding stays: decoding would change what its character set can't hold.
    """
    for tag in list(dataset.keys()):
        raw = dataset.get_item(tag)
        if tag.group < _FIRST_DATASET_GROUP or (tag != _PIXEL_DATA and not _is_writable(dataset, tag)):
            del dataset[tag]
        elif dataset[tag].VR == "SQ":
            for item in dataset[tag].value:
                _drop_unwritable(item)
        elif raw.is_raw and raw.VR in _TEXT and len(raw.value or b"") % 2 == 0:
            dataset[tag] = raw


def _is_writable(dataset: Dataset, tag: BaseTag) -> bool:
    trial = DicomBytesIO()
    trial.is_little_endian, trial.is_implicit_VR = True, False
    try:
        write_data_element(trial, dataset[tag], dataset.get("SpecificCharacterSet"))
    except Exception:  # noqa: BLE001 - a parser of foreign bytes fails in any way there is
        return False
    return True


def _drop_private(dataset: Dataset) -> None:
    """Drop private attributes at every depth; pydicom's own way would decode all text."""
    for tag in list(dataset.keys()):
        if tag.is_private:
            del dataset[tag]
        elif (element := dataset.get_item(tag)).VR == "SQ":
            for item in element.value:
                _drop_private(item)


def _series_description(dataset: Dataset, derivation: Derivation) -> str:
    suffix = f" [{derivation.series_suffix}]"[:_LONG_STRING_CHARACTERS]
    source = _text(dataset, "SeriesDescription")
    return (source[: _LONG_STRING_CHARACTERS - len(suffix)] + suffix).strip()


def _values(dataset: Dataset, keyword: str) -> list[str]:
    """Each value of the attribute; pydicom gives a single one as text, not as a list."""
    value = dataset.get(keyword)
    return list(value) if isinstance(value, MultiValue) else [str(value)] if value else []


def _text(dataset: Dataset, keyword: str) -> str:
    """The attribute as one text: a backslash in free text makes several values of it."""
    value = dataset.get(keyword)
    return " ".join(value) if isinstance(value, MultiValue) else str(value or "")


def _describe(dataset: Dataset, derivation: Derivation) -> None:
    earlier = _text(dataset, "DerivationDescription")
    text = f"{derivation.description}; before: {earlier}" if earlier else derivation.description
    dataset.DerivationDescription = text[:_SHORT_TEXT_CHARACTERS]
    _append(
        dataset,
        "DerivationCodeSequence",
        code_item(derivation.code_value, CODING_SCHEME, derivation.code_meaning),
    )
    scheme = Dataset()
    scheme.CodingSchemeDesignator = CODING_SCHEME
    scheme.CodingSchemeName = f"{PROJECT} derivation codes"
    scheme.CodingSchemeResponsibleOrganization = PROJECT
    known = {item.get("CodingSchemeDesignator") for item in dataset.get("CodingSchemeIdentificationSequence") or ()}
    if CODING_SCHEME not in known:
        _append(dataset, "CodingSchemeIdentificationSequence", scheme)


def _refer_to_source(dataset: Dataset, source_class: UID, source_uid: UID, source_series_uid: UID) -> None:
    purpose = code_item("121322", DCM, "Source image for image processing operation")
    source = _reference(source_class, source_uid)
    source.SpatialLocationsPreserved = "YES"
    source.PurposeOfReferenceCodeSequence = Sequence([purpose])
    dataset.SourceImageSequence = Sequence([source])
    of_series = Dataset()
    of_series.SeriesInstanceUID = source_series_uid
    of_series.ReferencedInstanceSequence = Sequence([_reference(source_class, source_uid)])
    _append(dataset, "ReferencedSeriesSequence", of_series)


def _reference(sop_class: UID, sop_instance: UID) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class
    item.ReferencedSOPInstanceUID = sop_instance
    return item


def _equipment(derivation: Derivation) -> Dataset:
    weights = [derivation.weights_sha256] if derivation.weights_sha256 else []
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = Sequence([code_item("109102", DCM, "Processing Equipment")])
    item.Manufacturer = PROJECT
    item.ManufacturerModelName = derivation.equipment_model[:_LONG_STRING_CHARACTERS]
    item.SoftwareVersions = [derivation.software_version, *weights]
    if derivation.run_time:
        item.ContributionDateTime = derivation.run_time.strftime("%Y%m%d%H%M%S.%f%z")
    said = (
        f"{derivation.description}; weights SHA-256 {derivation.weights_sha256}" if weights else derivation.description
    )
    item.ContributionDescription = said[:_SHORT_TEXT_CHARACTERS]
    return item


def _append(dataset: Dataset, keyword: str, item: Dataset) -> None:
    setattr(dataset, keyword, Sequence([*(dataset.get(keyword) or ()), item]))
