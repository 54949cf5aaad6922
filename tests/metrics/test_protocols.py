"""Protocols and published figures are data: complete, versioned, and honest about what can't be true."""

from __future__ import annotations

import json

import pytest

from ldctpipe.cli.app import run
from ldctpipe.errors import ExitCode, UsageError
from ldctpipe.metrics.protocols import all_protocols, find_protocol
from ldctpipe.metrics.published import published_table


def test_the_default_is_the_convention_of_the_field():
    protocol = find_protocol("mayo-soft")
    assert (protocol.label, protocol.window_hu, protocol.data_range_hu) == ("mayo-soft@1", (-160, 240), 400)
    assert (protocol.ssim.window, protocol.ssim.sigma, protocol.ssim.k1, protocol.ssim.k2) == (11, 1.5, 0.01, 0.03)


def test_every_protocol_is_found_by_name_and_version():
    labels = [protocol.label for protocol in all_protocols()]
    assert labels == ["mayo-soft@1", "full-range@1", "12bit@1", "lung@1", "bone@1"]
    assert [find_protocol(label).label for label in labels] == labels


@pytest.mark.parametrize("wanted", ["mayo", "mayo-soft@2", ""])
def test_an_unknown_protocol_is_a_usage_error_that_lists_the_known(wanted):
    with pytest.raises(UsageError, match="mayo-soft@1"):
        find_protocol(wanted)


def test_the_list_is_for_people_and_programs(capsys):
    assert run(["protocols"]) == ExitCode.DONE
    assert "(default)" in capsys.readouterr().out
    assert run(["protocols", "--json"]) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out)[0]["label"] == "mayo-soft@1"


def test_the_published_table_is_that_of_l506():
    table = published_table()
    rows = {row.method: row for row in table.rows}
    assert rows["LDCT"].psnr_db == (29.25, 0.12)
    assert rows["EfficientNetV2-WGAN-GP"].rmse_hu == (9.04, 0.09)
    assert table.gain_db(rows["EfficientNetV2-WGAN-GP"]) == pytest.approx(3.99)


def test_only_the_row_that_contradicts_itself_is_marked():
    table = published_table()
    marked = {row.method: remark for row in table.rows if (remark := table.remark(row))}
    assert marked.keys() == {"WGAN-VGG"}
    assert "32.7 dB at least" in marked["WGAN-VGG"]
