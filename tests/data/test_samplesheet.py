"""Samplesheets and cohort layouts: what they give, and one sentence for each fault."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from small_dicom import body, write_ct, write_series

from ldctpipe.data import samplesheet
from ldctpipe.data.samplesheet import Row, read_sheet, rows_of_cohort, write_sheet
from ldctpipe.errors import InputError


def sheet(folder: Path, *lines: str, header: str = "patient,low_dose,full_dose,split") -> Path:
    for scan in ("a", "b", "c", "d"):
        (folder / scan).mkdir(exist_ok=True)
    path = folder / "sheet.csv"
    path.write_text("\n".join((header, *lines)) + "\n")
    return path


def scans(root: Path, *folders: str) -> Path:
    for folder in folders:
        write_ct(root / folder / "0001.IMA", body())
    return root


def test_relative_paths_start_at_the_sheet_and_come_back_absolute(tmp_path: Path) -> None:
    rows = read_sheet(sheet(tmp_path, "L001,a,b,train", "L002,,c,test"))

    assert rows == [
        Row("L001", tmp_path / "a", tmp_path / "b", "train"),
        Row("L002", None, tmp_path / "c", "test"),
    ]
    (tmp_path / "elsewhere").mkdir()
    write_sheet(tmp_path / "elsewhere" / "copy.csv", rows)
    assert read_sheet(tmp_path / "elsewhere" / "copy.csv") == rows


def test_relative_paths_of_a_linked_sheet_start_at_the_folder_it_really_lies_in(tmp_path: Path) -> None:
    real = sheet(tmp_path, "L001,a,b,train")
    staged = tmp_path / "work" / "sheet.csv"
    staged.parent.mkdir()
    staged.symlink_to(real)

    assert read_sheet(staged) == [Row("L001", tmp_path / "a", tmp_path / "b", "train")]


def test_names_and_splits_can_be_read_where_the_scans_are_not(tmp_path: Path) -> None:
    path = sheet(tmp_path, "L001,nowhere,/not/here,train")

    (row,) = read_sheet(path, check_paths=False)

    assert (row.patient, row.split) == ("L001", "train")


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ([], "has no rows"),
        (["L001,a,b,train", "L001,c,d,train"], "patient L001 is there twice"),
        (["L001,a,b,train", "L001,c,d,test"], "patient L001 is in test and train"),
        (["L001,a,b,train", "L002,a,c,test"], "patients L001 and L002 have the same scan"),
        (["L001,a,nowhere,train"], r"line 2 \(patient 'L001'\) names a full_dose path that isn't there: nowhere"),
        (["L001,a,b,train", "L002,,,test"], r"line 3 \(patient 'L002'\) has neither"),
        (["L001,a,a,train"], r"patient 'L001'\) has one scan for both doses"),
        (["L001,a,b,holdout"], "unknown split 'holdout'"),
        (["../../x,a,b,train"], "name that can't be used for a folder"),
        ([",a,b,train"], "name that can't be used for a folder"),
    ],
)
def test_each_fault_of_a_sheet_is_one_sentence(tmp_path: Path, lines: list[str], fault: str) -> None:
    with pytest.raises(InputError, match=fault) as refusal:
        read_sheet(sheet(tmp_path, *lines))

    assert "\n" not in str(refusal.value)


def test_missing_columns_and_sheets_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no column full_dose or split"):
        read_sheet(sheet(tmp_path, "L001,a", header="patient,low_dose"))
    with pytest.raises(InputError, match="does not exist"):
        read_sheet(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(InputError, match="no column patient"):
        read_sheet(tmp_path / "empty.csv")
    (tmp_path / "binary.csv").write_bytes(bytes(range(128, 256)))
    with pytest.raises(InputError, match="UTF-8"):
        read_sheet(tmp_path / "binary.csv")


FIRST_LINE = "patient,low_dose,full_dose,split"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (f"{FIRST_LINE}\nP1,a,b,train\n".replace(",", ";").encode(), "has semicolons between its columns"),
        (f"{FIRST_LINE}\nP1,a,b,train\n".replace(",", "\t").encode(), "has tabs between its columns"),
        (b'\xef\xbb\xbf"Patient";"Low_Dose";"Full_Dose";"Split"\n', "has semicolons between its columns"),
        (b"Patient,low_dose,full_dose,split\nP1,a,b,train\n", "has the column 'Patient' instead of 'patient'"),
        (b"patient,Low Dose,FULL-DOSE,split\n", "'Low Dose' instead of 'low_dose' and 'FULL-DOSE' instead"),
        (f"sep=,\n{FIRST_LINE}\nP1,a,b,train\n".encode(), "starts with the line 'sep=,', which only Excel knows"),
        (f"{FIRST_LINE}\nP1,a,b,train\n".encode("utf-16"), "is text in UTF-16"),
        (f"{FIRST_LINE}\nP1,a,b,train\n".encode("utf-16-le"), "is text in UTF-16"),
        (b"PK\x03\x04 and so on", "is an Excel workbook"),
        (f"{FIRST_LINE}\nM\u00fcller,a,b,train\n".encode("latin-1"), "is not text in UTF-8"),
        (f"{FIRST_LINE}\nP1,a,with,comma,train\n".encode(), "has more cells than the first line"),
        (f"{FIRST_LINE}\nP1,a,b,train\np1,c,d,train\n".encode(), "P1 and p1 differ only in capitals"),
    ],
)
def test_what_table_programs_make_of_a_sheet_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = sheet(tmp_path)
    path.write_bytes(content)

    with pytest.raises(InputError) as refusal:
        read_sheet(path)

    assert says in refusal.value.fault
    assert "\n" not in str(refusal.value)


def test_quotes_empty_columns_and_old_line_ends_of_table_programs_do_no_harm(tmp_path: Path) -> None:
    path = sheet(tmp_path)
    path.write_bytes(b'"patient","low_dose","full_dose","split",""\r"L001","a","b","train",""\r,,,,\r')

    (row,) = read_sheet(path)

    assert (row.patient, row.split) == ("L001", "train")


def test_a_path_that_is_no_utf_8_is_named(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller"))
    write_series(folder, slices=1)

    with pytest.raises(InputError, match="not text in UTF-8") as refusal:
        write_sheet(tmp_path / "sheet.csv", [Row("P1", None, folder)])

    assert refusal.value.path == str(folder)
    assert not (tmp_path / "sheet.csv").exists()


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("P 1", "P+1"), "'P 1' and 'P+1' would both be named P_1"),
        (("P1", "p1"), "'P1' and 'p1' differ only in capitals"),
    ],
)
def test_patients_whose_results_would_mix_are_named(tmp_path: Path, names: tuple[str, str], says: str) -> None:
    for name in names:
        write_series(tmp_path / name, slices=1)

    with pytest.raises(InputError, match="rename one of the two folders") as refusal:
        rows_of_cohort(tmp_path)

    assert says in refusal.value.fault


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.text(max_size=200))
def test_any_text_is_rows_or_one_sentence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "any.csv"
    path.write_text("patient,low_dose,full_dose,split\n" + content, encoding="utf-8", errors="replace")

    try:
        read_sheet(path)
    except InputError as refusal:
        assert str(refusal).startswith(str(path))


CELLS = st.sampled_from(
    ["", "L001", "a b", "../x", "x.y-z", "_", "-a", "train", "validation", "test", "holdout", "L001\u00e9"]
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=st.tuples(CELLS, st.sampled_from(["", "a"]), st.sampled_from(["", "b"]), CELLS))
def test_a_row_is_taken_exactly_where_another_program_finds_it_right_by_the_schema(
    tmp_path: Path, cells: tuple[str, str, str, str]
) -> None:
    schema = json.loads((Path(samplesheet.__file__).parent / "samplesheet_schema.json").read_text())
    columns = ("patient", "low_dose", "full_dose", "split")
    by_schema = Draft202012Validator(schema).is_valid([dict(zip(columns, cells, strict=True))])
    path = tmp_path / "row.csv"
    path.write_text(f"{','.join(columns)}\n{','.join(cells)}\n", encoding="utf-8")

    try:
        taken = bool(read_sheet(path, check_paths=False))
    except InputError:
        taken = False

    assert taken == by_schema


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = sheet(tmp_path, "L001,a,b,train")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))

    assert read_sheet(path) == [Row("L001", tmp_path / "a", tmp_path / "b", "train")]


def test_folders_by_dose_and_folders_with_the_full_dose_only(tmp_path: Path, real_data: Path) -> None:
    scans(tmp_path, "P1/low_dose/series", "P1/full_dose/series", "P2/full_dose")

    by_dose = rows_of_cohort(tmp_path, ["P1"])
    plain = rows_of_cohort(real_data / "body", ["A072894"])

    assert by_dose[0] == Row("P1", tmp_path / "P1/low_dose", tmp_path / "P1/full_dose", "test")
    assert by_dose[1] == Row("P2", None, tmp_path / "P2/full_dose", "train")
    assert [row.patient for row in plain if row.split == "test"] == ["A072894"]
    assert all(row.low_dose is None and row.full_dose is not None for row in plain)
    assert len(plain) == 7


def test_a_folder_of_images_is_one_patient_and_nobody_is_held_out(tmp_path: Path) -> None:
    root = scans(tmp_path, "one patient") / "one patient"

    assert rows_of_cohort(root) == [Row("one_patient", None, root, "train")]


def test_unknown_test_patients_are_listed_with_the_known_ones(tmp_path: Path) -> None:
    scans(tmp_path, "P1", "P2")

    with pytest.raises(InputError, match=r"no patient P3, P4; choose from P1, P2"):
        rows_of_cohort(tmp_path, ["P1", "P3", "P4"])


def test_splits_in_a_sheet_are_kept_and_completed(tmp_path: Path) -> None:
    path = sheet(tmp_path, "P1,,a,", "P2,,b,test", "P3,,c,validation", "P4,,d,")

    assert [row.split for row in rows_of_cohort(path)] == ["train", "test", "validation", "train"]
    assert [row.split for row in rows_of_cohort(path, ["P4"])] == ["train", "test", "validation", "test"]


def test_without_a_word_about_testing_the_last_patient_is_held_out(tmp_path: Path) -> None:
    path = sheet(tmp_path, "P1,,a,", "P2,,b,", "P3,,c,")

    assert [row.split for row in rows_of_cohort(path)] == ["train", "train", "test"]


@pytest.mark.parametrize("content", ["nothing", "text"])
def test_folders_without_scans_are_refused(tmp_path: Path, content: str) -> None:
    if content == "text":
        (tmp_path / "P1").mkdir()
        (tmp_path / "P1" / "notes.txt").write_text("no image here")

    with pytest.raises(InputError, match="holds no"):
        rows_of_cohort(tmp_path)


@pytest.mark.parametrize(
    "name", ["new\nline", "carriage\rreturn", "Last, First", 'quo"te', " both ends ", "~nobody", "$(id)"]
)
def test_a_folder_of_any_name_comes_back_from_a_sheet_as_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / "cohort" / name).mkdir(parents=True)
    (tmp_path / "cohort" / name / "1.dcm").touch()
    write_sheet(tmp_path / "sheet.csv", rows_of_cohort(tmp_path / "cohort"))
    (row,) = read_sheet(tmp_path / "sheet.csv")
    assert row.full_dose == (tmp_path / "cohort" / name).resolve()

    (tmp_path / "relative.csv").write_text(
        'patient,low_dose,full_dose,split\nP,,"cohort/{}",train'.format(name.replace('"', '""')), newline=""
    )
    (row,) = read_sheet(tmp_path / "relative.csv")
    assert row.full_dose == tmp_path / "cohort" / name


def test_a_folder_that_is_not_utf8_is_refused_by_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "cohort" / os.fsdecode(b"M\xfcller")
    folder.mkdir(parents=True)
    (folder / "1.dcm").touch()
    with pytest.raises(InputError, match=r"M\udcfcller: has a name that is not text in UTF-8; rename it\."):
        write_sheet(tmp_path / "sheet.csv", rows_of_cohort(tmp_path / "cohort"))


def test_a_staged_sheet_is_named_as_the_user_knows_it(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("patient\nP")
    (tmp_path / "staged").symlink_to(tmp_path / "mine.csv")
    with pytest.raises(InputError, match=r"mine\.csv: has no column low_dose"):
        rows_of_cohort(tmp_path / "staged")


def test_a_cohort_to_denoise_has_neither_a_patient_called_truth_nor_one_held_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = scans(tmp_path, "P1/low_dose", "P1/full_dose", "P2/low_dose", "P2/full_dose", "truth/P1")
    (root / "phantom.json").write_text("{}")

    assert [row.patient for row in rows_of_cohort(root, every_entry=True)] == ["P1", "P2"]
    assert "held out" not in capsys.readouterr().err
    (root / "phantom.json").unlink()  # without it, nothing says that the folder is no patient's
    assert [row.patient for row in rows_of_cohort(root, every_entry=True)] == ["P1", "P2", "truth"]
