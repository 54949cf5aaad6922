"""The table that `ldctpipe inspect` prints: a line a series, and below it what is odd about it."""

from __future__ import annotations

from collections.abc import Sequence

from ldctpipe.data.inspection import Finding, Inspection, Range
from ldctpipe.volumes.stack_shape import LEAST_SHEAR_DEG

_HEADINGS = (
    ("key", ""), ("type", ""), ("slices", ""), ("pixels", ""), ("step", "mm"), ("pixel", "mm"), ("kernel", ""),
    ("kV", ""), ("mAs", ""), ("CTDIvol", "mGy"), ("plane", ""), ("tilt", "°"), ("gaps", ""), ("syntax", ""),
    ("denoise", ""),
)  # fmt: skip
_NUMBERS = {"slices", "step", "pixel", "kV", "mAs", "CTDIvol", "tilt"}
_UNKNOWN = "–"
_LONGEST_TEXT = 10
_WIDTH, _SHORTEST_FILE = 110, 20
_SYNTAXES = (
    ("High-Throughput", "HTJ2K"), ("JPEG 2000", "J2K"), ("JPEG-LS", "JPEG-LS"), ("JPEG Lossless", "JPEG LL"),
    ("JPEG", "JPEG"), ("RLE", "RLE"), ("Deflated", "deflated"), ("Big Endian", "big end."), ("Implicit", "implicit"),
    ("Explicit", "explicit"),
)  # fmt: skip


def as_text(inspection: Inspection) -> str:
    """Return the table, at most 120 columns wide where values have their usual lengths, and the counts below it."""
    rows = [tuple(name for name, _ in _HEADINGS), tuple(unit for _, unit in _HEADINGS)]
    lines = _aligned([*rows, *(_cells(one) for one in inspection.series)])
    text = lines[:2]
    for finding, line in zip(inspection.series, lines[2:], strict=True):
        text += [line, *(f"    {_printable(note)}" for note in _notes(finding))]
    return "\n".join([*text, "", *_counts(inspection)])


def _cells(one: Finding) -> tuple[str, ...]:
    return (
        one.key,
        _short(one.modality),
        str(one.slices or one.unusable_files),
        f"{one.rows}×{one.columns}" if one.rows else _UNKNOWN,
        _number(one.slice_spacing_mm),
        _pixel(one),
        _short(one.kernel),
        _number(one.tube_voltage_kv),
        _range(one.exposure_mas),
        _number(one.ctdi_vol_mgy),
        _plane(one),
        _tilt(one),
        _gaps(one),
        "+".join(dict.fromkeys(map(_syntax, one.transfer_syntaxes))) or _UNKNOWN,
        "yes" if one.is_denoisable else "no",
    )


def _notes(one: Finding) -> list[str]:
    refusal = [] if one.refusal is None else [f"can't be denoised: {one.refusal}"]
    return [*filter(None, [_known_by(one)]), *refusal, *one.warnings]


def _known_by(one: Finding) -> str:
    """The scanner's number and description, and a file to look at."""
    number = "" if one.series_number is None else f"series {one.series_number}"
    known = ", ".join(filter(None, (number, one.series_description)))
    room = max(_SHORTEST_FILE, _WIDTH - len(known))
    file = one.file or ""
    return ", ".join(filter(None, (known, file if len(file) <= room else f"…{file[1 - room :]}")))


def _counts(inspection: Inspection) -> list[str]:
    total, usable = len(inspection.series), sum(one.is_denoisable for one in inspection.series)
    lines = [f"{total} series, {usable} can be denoised"]
    lines += [f"left out: {count} × {_printable(reason)}" for reason, count in inspection.skipped.items()]
    return lines + [f"left out: {_printable(one.file)}: {one.reason}" for one in inspection.skipped_files or ()]


def _pixel(one: Finding) -> str:
    row, column = _number(one.row_spacing_mm), _number(one.column_spacing_mm)
    return row if row == column else f"{row}×{column}"


def _plane(one: Finding) -> str:
    return " ".join(filter(None, (one.orientation, _printable(one.patient_position or "")))) or _UNKNOWN


def _tilt(one: Finding) -> str:
    tilted = one.shear_deg is not None and one.shear_deg >= LEAST_SHEAR_DEG
    return f"{one.shear_deg:.1f}" if tilted else _UNKNOWN


def _gaps(one: Finding) -> str:
    return "uneven" if one.is_uneven else str(one.missing_slices) if one.missing_slices else _UNKNOWN


def _syntax(name: str) -> str:
    return next((short for word, short in _SYNTAXES if word in name), _short(name))


def _range(values: Range | None) -> str:
    if values is None:
        return _UNKNOWN
    low, high = f"{values.min:.0f}", f"{values.max:.0f}"
    return low if low == high else f"{low}–{high}"


def _number(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.3g}"


def _short(text: str | None) -> str:
    printable = _printable(text or "")
    return f"{printable[: _LONGEST_TEXT - 1]}…" if len(printable) > _LONGEST_TEXT else printable or _UNKNOWN


def _printable(text: str) -> str:
    """The text without what would steer a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [" ".join(map(_padded, row, widths, (name for name, _ in _HEADINGS))).rstrip() for row in rows]


def _padded(cell: str, width: int, heading: str) -> str:
    return cell.rjust(width) if heading in _NUMBERS else cell.ljust(width)
