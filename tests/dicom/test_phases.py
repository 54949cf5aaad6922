"""Several scans under one UID: what is split, what stays one volume, and what is said about the rest."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_dicom import body, write_ct

from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.grouping import series_of
from ldctpipe.dicom.headers import Header, header_of
from ldctpipe.dicom.series import Series


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> Header:
    """The header of one image, to be varied: what lies in files is tested where reading is."""
    return header_of(write_ct(tmp_path_factory.mktemp("phases") / "image", body()))


def scan(header: Header, positions_mm: Iterable[float], **attributes: Any) -> list[Header]:
    """Headers at `positions_mm` with UIDs of their own."""
    name = ".".join(str(int.from_bytes(str(value).encode(), "big")) for value in attributes.values())
    return [
        replace(header, path=Path(f"/nowhere/{name}.{z_mm}"), sop_uid=f"1.2.{name}.{round(100 * z_mm)}", **place)
        for z_mm in positions_mm
        for place in [{"origin_mm": (-10, -20, z_mm), **attributes}]
    ]


def positions(headers: list[Header]) -> list[list[float]]:
    found, _ = series_of(headers)
    return sorted([round(float(z), 6) for z in series.positions_mm] for series in found)


def only(headers: list[Header]) -> Series:
    (series,), _ = series_of(headers)
    return series


def test_a_slice_taken_again_goes_apart_from_a_scan_that_counts_slices(header: Header) -> None:
    counted = [one for index in range(30) for one in scan(header, [5.0 * index], acquisition_number=str(index))]
    again = scan(header, [50.0], acquisition_number="99")

    assert positions(counted + again) == [[5.0 * index for index in range(30)], [50.0]]


def test_a_rotation_taken_again_is_a_series_and_the_scan_another(header: Header) -> None:
    def rotation(number: int, first_mm: float) -> list[Header]:
        return scan(header, [first_mm + 5 * index for index in range(4)], acquisition_number=str(number))

    rotations = [one for number in range(10) for one in rotation(number, 20.0 * number)]

    assert list(map(len, positions(rotations + rotation(99, 60)))) == [40, 4]


def test_acquisitions_shifted_by_less_than_a_slice_are_two_volumes(header: Header) -> None:
    first, second = [3.0 * index for index in range(10)], [3.0 * index + 1 for index in range(10)]
    headers = scan(header, first, acquisition_number="1") + scan(header, second, acquisition_number="2")

    assert positions(headers) == [first, second]


def test_a_slice_that_nothing_tells_from_another_refuses_its_scan_only(header: Header) -> None:
    first, second = [3.0 * index for index in range(10)], [3.0 * index + 1 for index in range(10)]
    headers = scan(header, first, acquisition_number="1") + scan(header, second, acquisition_number="2")
    headers += [replace(headers[4], sop_uid="1.2.99")]

    found, left_out = series_of(headers)

    assert not left_out
    assert {(series.refusal and series.refusal.reason, len(series.slices)) for series in found} == {
        ("several images at one position, and nothing tells which belong together", 11),
        (None, 10),
    }


def test_stations_that_follow_each_other_stay_one_volume(header: Header) -> None:
    stations = [[3.0 * (index + 10 * number) for index in range(10)] for number in range(3)]
    headers = [one for number, z in enumerate(stations) for one in scan(header, z, acquisition_number=str(number))]

    assert len(only(headers).slices) == 30
    assert not only(headers).warnings


def test_stations_that_share_a_place_lose_no_image_and_take_none_of_another(header: Header) -> None:
    stations = [[3.0 * (index + 9 * number) for index in range(10)] for number in range(3)]
    headers = [one for number, z in enumerate(stations) for one in scan(header, z, acquisition_number=str(number))]

    assert positions(headers) == stations


def test_a_chest_beside_two_phases_of_the_abdomen_belongs_to_neither(header: Header) -> None:
    chest, abdomen = [3.0 * index for index in range(20, 40)], [3.0 * index for index in range(20)]
    headers = scan(header, chest, acquisition_number="1")
    headers += scan(header, abdomen, acquisition_number="2") + scan(header, abdomen, acquisition_number="3")

    assert positions(headers) == [abdomen, abdomen, chest]


@pytest.mark.parametrize("attribute", ["cardiac_phase", "trigger_time", "acquisition_time", "temporal_position"])
@pytest.mark.parametrize("slices", [1, 2, 12])
def test_each_attribute_that_tells_phases_is_enough(header: Header, attribute: str, slices: int) -> None:
    places = [3.0 * index for index in range(slices)]
    headers = [one for value in ("0", "35", "75") for one in scan(header, places, **{attribute: value})]

    found, left_out = series_of(headers)

    assert [len(series.slices) for series in found] == [slices] * 3
    assert not left_out


def test_phases_of_phases_are_told_apart_too(header: Header) -> None:
    places = [3.0 * index for index in range(5)]
    headers = [
        one
        for number in "12"
        for phase in ("30", "70")
        for one in scan(header, places, acquisition_number=number, cardiac_phase=phase)
    ]

    assert positions(headers) == [places] * 4


def test_times_that_run_through_scans_do_not_tell_them_apart(header: Header) -> None:
    """Each time stands for three slices, in either of two scans that nothing else tells apart."""
    headers = [
        one
        for start in (100, 200)
        for index in range(20)
        for one in scan(
            header,
            [6.0 * index + z for z in (0, 3, 6, 9)][: 4 if index < 19 else 2],
            acquisition_time=str(start + index),
        )
    ]
    unique = list({(one.acquisition_time, one.position_mm): one for one in headers}.values())

    (series,), left_out = series_of(unique)

    assert "nothing tells which belong together" in (series.denoising_refusal or "")
    assert (len(series.slices), left_out) == (len(unique), [])


def test_attributes_of_phases_are_read_from_the_file(tmp_path: Path) -> None:
    given = {"NominalPercentageOfCardiacPhase": 35, "TriggerTime": "350.5", "AcquisitionTime": "101010.5"}

    found = header_of(write_ct(tmp_path / "a", body(), **given))

    assert (found.cardiac_phase, found.trigger_time, found.acquisition_time) == ("35.0", "350.5", "101010.5")


def test_thousands_of_images_of_different_kinds_take_a_moment(header: Header) -> None:
    headers = [
        replace(one, pixel_spacing_mm=(0.5 + index / 2000, 0.7))
        for index, one in enumerate(scan(header, [3.0 * index for index in range(2000)]))
    ]
    started = time.process_time()

    found, _ = series_of(headers)

    assert time.process_time() - started < 5
    assert 500 < len(found) <= 2000


def test_kinds_have_a_tolerance_wherever_the_values_lie(header: Header) -> None:
    for index in range(300):
        spacing_mm = 0.3 + index * 0.0037
        pair = [
            replace(one, pixel_spacing_mm=(spacing_mm * factor, spacing_mm))
            for one, factor in zip(scan(header, [0.0, 3.0]), (1, 1.0009), strict=True)
        ]
        assert len(only(pair).slices) == 2


def test_strangers_without_a_patient_number_stay_strangers(header: Header) -> None:
    nobody = replace(header, patient_id="")
    headers = [replace(nobody, study_uid=f"1.5.{n}", series_uid=f"1.6.{n}", sop_uid=f"1.7.{n}") for n in "123"]
    headers.append(replace(headers[0], series_uid="1.6.9", sop_uid="1.7.9"))

    found, _ = series_of(headers)

    assert len({series.patient_key for series in found}) == 3
    assert found[0].patient_key != "" and {series.patient_id for series in found} == {""}


@pytest.mark.parametrize("compressed", [False, True])
def test_a_namesake_with_other_pixels_refuses_the_series(tmp_path: Path, compressed: bool) -> None:
    from pydicom import dcmread
    from pydicom.uid import RLELossless

    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        path = write_ct(tmp_path / name, body(seed), SeriesDescription=f"written by {name}")
        if compressed and name != "a":
            image = dcmread(path)
            image.compress(RLELossless, generate_instance_uid=False)
            image.save_as(path)

    found = discover(tmp_path)

    assert [(skip.path.name, skip.reason) for skip in found.skipped] == [("b", "a second copy of a slice")]
    assert found.series[0].denoising_refusal == "different images have the same SOPInstanceUID"
    assert [image.path.name for image in found.series[0].slices] == ["a", "c"]
