"""One volume is one scan: no volume holds slices of two, a scan is not shattered, and what can't be told is refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_dicom import body, write_ct, write_series

from ldctpipe.data.ingestion import ingest
from ldctpipe.data.inspection import inspect
from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.grouping import series_of
from ldctpipe.dicom.headers import Header, header_of
from ldctpipe.dicom.reading import read_volume
from ldctpipe.errors import InputError

UNTOLD = "nothing tells which belong together"


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> Header:
    return header_of(write_ct(tmp_path_factory.mktemp("scan") / "image", body()))


class Table:
    """Images as a scanner takes them: each a second after the one before, numbered on, of the scan that `run` names."""

    def __init__(self, header: Header) -> None:
        self.header, self.second, self.images, self.scans = header, 36000.0, [], {}

    def run(self, scan: str, positions_mm: Iterable[float], pause_s: float = 20, **attributes: Any) -> Table:
        self.second += pause_s
        for z_mm in positions_mm:
            self.second += 0.1
            number = len(self.images) + 1
            given = {"instance_number": number, "acquisition_time": clock(self.second), "origin_mm": (-10, -20, z_mm)}
            uid = f"1.2.{number * 7919 % 10007}"
            self.images.append(replace(self.header, path=Path(f"/no/{uid}"), sop_uid=uid, **{**given, **attributes}))
            self.scans[uid] = scan
        return self

    def without(self, **attributes: Any) -> Table:
        self.images = [replace(image, **attributes) for image in self.images]
        return self

    def volumes(self) -> list[str]:
        """The scans whose slices lie in each volume, and how many slices; refused ones apart."""
        found, left_out = series_of(self.images)
        assert not left_out
        return sorted(
            f"refused {len(one.slices)}"
            if one.refusal
            else f"{'+'.join(sorted({self.scans[image.sop_uid] for image in one.slices}))} {len(one.slices)}"
            for one in found
        )


def clock(second: float) -> str:
    second %= 86400
    return f"{int(second // 3600):02d}{int(second // 60 % 60):02d}{second % 60:06.3f}"


def steps(count: int, first_mm: float = 0.0, step_mm: float = 3.0) -> list[float]:
    return [first_mm + step_mm * index for index in range(count)]


@pytest.fixture
def table(header: Header) -> Table:
    return Table(header)


NO_TIME: dict[str, Any] = {"acquisition_time": ""}
NO_NUMBER: dict[str, Any] = {"instance_number": None}


@pytest.mark.parametrize("silent", [NO_TIME, NO_NUMBER, {}])
def test_two_phases_of_one_acquisition_are_told_by_times_or_numbers(table: Table, silent: dict) -> None:
    table.run("arterial", steps(12)).run("venous", steps(12)).without(**silent)

    assert table.volumes() == ["arterial 12", "venous 12"]


def test_phases_that_neither_times_nor_numbers_tell_apart_are_refused(table: Table) -> None:
    table.run("arterial", steps(12)).run("venous", steps(12)).without(**NO_TIME, **NO_NUMBER)

    assert table.volumes() == ["refused 24"]


def test_numbers_given_by_position_tell_nothing(table: Table) -> None:
    table.run("arterial", steps(12)).run("venous", steps(12)).without(**NO_TIME)
    by_position = sorted(table.images, key=lambda image: (image.position_mm, image.sop_uid))
    table.images = [replace(image, instance_number=number) for number, image in enumerate(by_position)]

    assert table.volumes() == ["refused 24"]


def test_numbers_that_start_anew_leave_it_to_the_times(table: Table) -> None:
    table.run("arterial", steps(12)).run("venous", steps(15, -3.0))
    table.images = [replace(image, instance_number=round(image.position_mm)) for image in table.images]

    assert table.volumes() == ["arterial 12", "venous 15"]
    assert table.without(**NO_TIME).volumes() == ["refused 27"]


def test_phases_in_opposite_directions_and_across_midnight(table: Table) -> None:
    table.second = 86390
    table.run("out", steps(12), pause_s=8).run("back", steps(12)[::-1]).run("late", steps(12))

    assert table.volumes() == ["back 12", "late 12", "out 12"]


def test_phases_whose_slices_were_taken_out_of_order(table: Table) -> None:
    odd_then_even = steps(6, 0, 6) + steps(6, 3, 6)
    table.run("first", odd_then_even).run("second", odd_then_even)

    assert table.volumes() == ["first 12", "second 12"]


@pytest.mark.parametrize("silent", [NO_TIME, NO_NUMBER, {}])
@pytest.mark.parametrize("at_mm", [9.0, 10.0, 15.0])
def test_bolus_tracking_images_go_apart(table: Table, silent: dict, at_mm: float) -> None:
    for number in range(3):
        table.run(f"bolus {number}", [at_mm])
    table.run("arterial", steps(12)).without(**silent)

    volumes = table.volumes()

    assert "arterial 12" in volumes
    assert len(volumes) == 4


@pytest.mark.parametrize("silent", [NO_TIME, NO_NUMBER, {}])
def test_time_points_of_a_cine_become_volumes(table: Table, silent: dict) -> None:
    for station in range(2):
        for time in range(5):
            table.run(f"time {time}", steps(4, 12.0 * station), pause_s=2 if time else 12)

    assert table.without(**silent).volumes() == [f"time {time} 8" for time in range(5)]


def test_a_cine_with_uneven_stations_never_mixes_time_points(table: Table) -> None:
    for station, times in enumerate((5, 4)):
        for time in range(times):
            table.run(f"station {station} time {time}", steps(4, 12.0 * station), pause_s=2)

    assert all("+" not in volume for volume in table.without(**NO_TIME).volumes())


def test_attributes_that_scans_alone_differ_in_tell_them_apart(table: Table) -> None:
    energies = {"40": ("", "40 keV"), "70": ("", "70 keV")}
    for name, marks in energies.items():
        table.run(name, steps(6), scan_marks=marks + table.header.scan_marks[2:])

    assert table.without(**NO_TIME, **NO_NUMBER).volumes() == ["40 6", "70 6"]


def numbered_by_position(images: Iterable[Header]) -> list[Header]:
    """The images as archives number them: by position, in any order where they share one."""
    ordered = sorted(images, key=lambda image: (image.position_mm, image.sop_uid))
    return [replace(image, instance_number=number) for number, image in enumerate(ordered, 1)]


@pytest.mark.parametrize("at_mm", [0.0, 15.0, 33.0])
@pytest.mark.parametrize("images", [1, 3])
def test_bolus_tracking_at_a_slice_is_refused_where_numbers_follow_positions(
    table: Table, at_mm: float, images: int
) -> None:
    for number in range(images):
        table.run(f"bolus {number}", [at_mm])
    table.run("arterial", steps(12)).without(**NO_TIME)
    table.images = numbered_by_position(table.images)

    assert table.volumes() == [f"refused {12 + images}"]


@pytest.mark.parametrize("images", [1, 3])
def test_bolus_tracking_off_the_grid_goes_apart_by_its_place_alone(table: Table, images: int) -> None:
    for number in range(images):
        table.run(f"bolus {number}", [16.1])
    table.run("arterial", steps(12)).without(**NO_TIME, **NO_NUMBER)

    assert table.volumes() == ["arterial 12", "bolus 0 1" if images == 1 else "refused 3"]


@pytest.mark.parametrize("silent", [NO_TIME, NO_NUMBER])
@pytest.mark.parametrize("at_mm", [-9.0, 60.0])
def test_an_image_beyond_a_gap_goes_apart_by_acquisition_or_pause(table: Table, silent: dict, at_mm: float) -> None:
    table.run("bolus", [at_mm], acquisition_number="7" if "acquisition_time" in silent else "1").run("scan", steps(12))

    assert table.without(**silent).volumes() == ["bolus 1", "scan 12"]


def test_two_images_of_two_scans_are_no_pair_of_slices(table: Table) -> None:
    table.run("one", [0.0], acquisition_number="1").run("other", [60.0], acquisition_number="2")

    assert table.volumes() == ["one 1", "other 1"]


@pytest.mark.parametrize("numbers", ["one", "of each rotation"])
def test_slices_missing_from_one_scan_divide_nothing(table: Table, numbers: str) -> None:
    for index, z_mm in enumerate(steps(24)):
        table.run(
            "scan", [z_mm], pause_s=0 if index % 4 else 2, acquisition_number=str(index // 4 * (numbers != "one"))
        )
    del table.images[7:14]

    assert table.volumes() == ["scan 17"]


def test_slices_reconstructed_out_of_order_are_one_scan(table: Table) -> None:
    table.run("scan", steps(10, step_mm=1.5))
    delays_s = (0, 0, 0, 0, 0.7, 0.7, 0, 0, 0.7, 1.4)
    table.images = [
        replace(image, acquisition_time="100000", content_time=clock(36060 + delay_s))
        for image, delay_s in zip(table.images, delays_s, strict=True)
    ]

    assert table.volumes() == ["scan 10"]


def test_numbers_by_position_do_not_outweigh_the_thickness(table: Table) -> None:
    for name, count, step_mm in (("thin", 50, 1.0), ("thick", 10, 5.0)):
        taken = replace(table.header.acquisition, slice_thickness_mm=step_mm)
        table.run(name, steps(count, 0, step_mm), acquisition=taken)
    table.without(**NO_TIME)
    table.images = numbered_by_position(table.images)

    assert table.volumes() == ["thick 10", "thin 50"]


@pytest.mark.parametrize("first_mm", [1.1, 26.1, 25.5])
def test_grids_that_lie_unevenly_in_each_other_are_two_scans(table: Table, first_mm: float) -> None:
    table.run("lower", steps(12)).run("upper", steps(12, first_mm)).without(**NO_TIME)
    table.images = numbered_by_position(table.images)

    assert table.volumes() == ["lower 12", "upper 12"]


def test_acquisition_numbers_that_alternate_between_two_phases_are_seen_through(table: Table) -> None:
    for phase in (0, 1):
        for index, z_mm in enumerate(steps(12)):
            table.run(f"phase {phase}", [z_mm], pause_s=0 if index else 20, acquisition_number=str((index + phase) % 2))

    assert table.volumes() == ["phase 0 12", "phase 1 12"]


def test_acquisition_numbers_that_alternate_leave_one_series_with_a_warning(table: Table) -> None:
    for index, z_mm in enumerate(steps(12, step_mm=1.5)):
        table.run("scan", [z_mm], pause_s=0, acquisition_number=str(index % 2))

    (series,), _ = series_of(table.images)

    assert len(series.slices) == 12
    assert "acquisition numbers alternate from slice to slice" in series.warnings


@pytest.mark.parametrize("numbers", ["11", "12"])
@pytest.mark.parametrize("first_mm", [1.5, 25.5])
def test_stations_half_a_step_apart_are_two_series(table: Table, numbers: str, first_mm: float) -> None:
    table.run("lower", steps(11), acquisition_number=numbers[0])
    table.run("upper", steps(11, first_mm), acquisition_number=numbers[1])

    assert table.volumes() == ["lower 11", "upper 11"]


def test_even_slices_acquired_before_odd_ones_are_one_scan(table: Table) -> None:
    table.run("scan", steps(6, 0, 6)).run("scan", steps(6, 3, 6), acquisition_number="2")

    assert table.volumes() == ["scan 12"]


def test_a_frame_of_reference_for_each_file_is_an_anonymizers_fault(table: Table) -> None:
    table.run("scan", steps(12))
    table.images = [replace(one, frame_of_reference_uid=f"1.3.{n}") for n, one in enumerate(table.images)]

    (series,), _ = series_of(table.images)

    assert (len(series.slices), series.frame_of_reference_uid) == (12, None)
    assert "each file has a different frame of reference" in series.warnings


def test_two_frames_of_reference_are_two_series(table: Table) -> None:
    table.run("one", steps(6), frame_of_reference_uid="1.3.1").run("two", steps(6, 18), frame_of_reference_uid="1.3.2")

    assert table.volumes() == ["one 6", "two 6"]


@pytest.mark.parametrize(("keyword", "known"), [("kvp", 120.0), ("kernel", "B30f")])
def test_an_attribute_that_some_slices_lack(table: Table, keyword: str, known: Any) -> None:
    for index, z_mm in enumerate(steps(12)):
        taken = replace(table.header.acquisition, **{keyword: known if index % 3 else None})
        table.run("scan", [z_mm], pause_s=0, acquisition=taken)

    (series,), _ = series_of(table.images)

    assert getattr(series.acquisition, keyword) == known
    assert any("4 of 12 images have no" in warning for warning in series.warnings)


def test_slices_without_a_kernel_among_two_kernels_are_refused_and_the_rest_stays(table: Table) -> None:
    for name in ("B30f", "D45f"):
        for index, z_mm in enumerate(steps(12)):
            missing = index == (3 if name == "B30f" else 7)
            taken = replace(table.header.acquisition, kernel=None if missing else name)
            table.run(name, [z_mm], pause_s=0, acquisition=taken)

    assert table.volumes() == ["B30f 11", "D45f 11", "refused 2"]


@pytest.mark.parametrize("shear", [0.0, 0.33])
def test_fields_of_view_that_differ_in_the_plane_are_two_series(table: Table, shear: float) -> None:
    table.run("scan", steps(24))
    table.images = [
        replace(one, origin_mm=(-10 + 5 * (number > 11), -20 + shear * one.position_mm, one.position_mm))
        for number, one in enumerate(table.images)
    ]

    assert table.volumes() == ["scan 12", "scan 12"]


def test_a_field_of_view_that_moves_from_slice_to_slice_is_refused(table: Table) -> None:
    table.run("scan", steps(24))
    table.images = [replace(one, origin_mm=(-10 + n * n % 17, -20, 3.0 * n)) for n, one in enumerate(table.images)]

    (series,), _ = series_of(table.images)

    assert series.denoising_refusal == "the field of view moves in its plane from slice to slice"


@pytest.mark.parametrize(
    "words",
    [
        ["DERIVED", "SECONDARY", "MIP"],
        ["DERIVED", "SECONDARY", "AXIAL", "CT_SOM5 MIP"],
        ["DERIVED", "SECONDARY", "REFORMATTED", "MIN IP"],
        ["DERIVED", "SECONDARY", "PROJECTION IMAGE"],
        ["DERIVED", "SECONDARY", "VRT"],
    ],
)
def test_projections_are_refused_with_their_reason(tmp_path: Path, words: Sequence[str]) -> None:
    write_ct(tmp_path / "image", body(), ImageType=list(words))

    with pytest.raises(InputError, match="a projection such as a MIP"):
        discover(tmp_path)
    assert "a projection such as a MIP" in (inspect(tmp_path).series[0].refusal or "")


@pytest.mark.parametrize(
    "words",
    [
        ["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"],
        ["DERIVED", "SECONDARY", "MPR"],
        ["DERIVED", "PRIMARY", "AXIAL", "CT_SOM5 SPI DUAL"],
        ["ORIGINAL", "PRIMARY", "AXIAL", "HELIX"],
    ],
)
def test_slices_made_from_slices_stay(tmp_path: Path, words: Sequence[str]) -> None:
    write_ct(tmp_path / "image", body(), ImageType=list(words))

    assert discover(tmp_path).series[0].denoising_refusal is None


@pytest.mark.parametrize(
    ("orientation", "plane"), [([1, 0, 0, 0, 0, -1], "coronal"), ([0, 1, 0, 0, 0, -1], "sagittal")]
)
def test_reformats_are_read_with_a_warning(tmp_path: Path, orientation: list[float], plane: str) -> None:
    for index in range(3):
        place = [0, 3.0 * index, 0] if plane == "coronal" else [3.0 * index, 0, 0]
        given = {"ImageOrientationPatient": orientation, "ImagePositionPatient": place}
        write_ct(tmp_path / str(index), body(), index, **given)

    volume = read_volume(discover(tmp_path).series[0])

    assert volume.warnings == (f"slices along the third axis are {plane}; models are made for axial ones",)


def test_one_uid_for_all_files_is_refused_everywhere(tmp_path: Path) -> None:
    write_series(tmp_path / "in", slices=5, SOPInstanceUID="1.2.3.4")

    (found,) = inspect(tmp_path / "in").series
    assert (found.refusal, found.slices) == ("different images have the same SOPInstanceUID", 5)
    with pytest.raises(InputError, match="different images have the same SOPInstanceUID"):
        ingest(tmp_path / "in", tmp_path / "cases")


def test_a_series_sent_twice_under_new_uids_is_there_once(tmp_path: Path) -> None:
    write_series(tmp_path / "a")
    write_series(tmp_path / "b", uid_root="1.2.9")

    found = discover(tmp_path)

    assert [len(series.slices) for series in found.series] == [3]
    assert found.skipped_by_reason() == {"a second copy of a slice": 3}


@st.composite
def examinations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Scans of one place, which differ in attributes and times, or don't."""
    return [
        {
            "places": range(draw(st.integers(0, 3)), draw(st.integers(8, 13))),
            "turned": draw(st.booleans()),
            "pause_s": draw(st.sampled_from([0.0, 1.0, 30.0])),
            "acquisition_number": draw(st.sampled_from(["1", "1", str(number)])),
            "content_time": draw(st.sampled_from(["", "101010", f"10101{number}"])),
        }
        for number in range(draw(st.integers(2, 4)))
    ]


@settings(max_examples=60, deadline=None)
@given(
    scans=examinations(),
    silent=st.sampled_from([{}, NO_TIME, NO_NUMBER, {**NO_TIME, **NO_NUMBER}]),
    random=st.randoms(use_true_random=False),
    renumbered=st.booleans(),
)
def test_no_volume_holds_slices_of_two_scans(
    header: Header, scans: list, silent: dict, random: Any, renumbered: bool
) -> None:
    table = Table(header)
    for number, one in enumerate(scans):
        attributes = {name: one[name] for name in ("acquisition_number", "content_time")}
        positions_mm = [3.0 * place for place in one["places"]][:: -1 if one["turned"] else 1]
        table.run(f"scan {number}", positions_mm, one["pause_s"], **attributes)
    if renumbered:  # by position, as archives do
        by_position = sorted(table.images, key=lambda image: (image.position_mm, image.sop_uid))
        table.images = [replace(image, instance_number=place) for place, image in enumerate(by_position)]
    table.without(**silent)

    volumes = table.volumes()
    random.shuffle(table.images)

    assert not any("+" in volume for volume in volumes)
    assert table.volumes() == volumes
