"""Window attention against timm's Swin transformer and against what a window may see."""

from __future__ import annotations

import pytest
import torch
from timm.models.swin_transformer import SwinTransformerBlock

from ldctpipe.models.window_attention import SwinBlock, WindowAttention, image_of, windows_of


def pixels_seen(attention: WindowAttention, size: tuple[int, int], at: tuple[int, int]) -> set[tuple[int, int]]:
    features = torch.randn(1, *size, attention.qkv.in_features, requires_grad=True)
    attention(features)[0, at[0], at[1]].sum().backward()
    return {(row, column) for row, column in features.grad[0].abs().sum(-1).nonzero().tolist()}


@pytest.mark.parametrize("shift", [0, 2])
def test_a_block_does_what_timms_does(shift):
    torch.manual_seed(0)
    theirs = SwinTransformerBlock(12, (8, 12), num_heads=3, window_size=4, shift_size=shift).eval()
    ours = SwinBlock(12, 3, window=4, shift=shift).eval()
    names = {
        "norm1": "norm1",
        "norm2": "norm2",
        "attn.qkv": "attention.qkv",
        "attn.proj": "attention.proj",
        "mlp.fc1": "mlp.0",
        "mlp.fc2": "mlp.2",
    }
    for their_name, our_name in names.items():
        ours.get_submodule(our_name).load_state_dict(theirs.get_submodule(their_name).state_dict())
    ours.attention.relative_bias.data.copy_(theirs.attn.relative_position_bias_table.data * 50)
    theirs.attn.relative_position_bias_table.data *= 50  # so that its order matters to the result
    features = torch.randn(2, 8, 12, 12)

    with torch.inference_mode():
        assert torch.allclose(ours(features), theirs(features), atol=1e-5)


def test_a_position_sees_its_window_and_nothing_else():
    seen = pixels_seen(WindowAttention(4, 2, window=4), (8, 12), (2, 5))

    assert seen == {(row, column) for row in range(4) for column in range(4, 8)}


@pytest.mark.parametrize(
    ("at", "rows", "columns"),
    [((3, 5), range(2, 6), range(2, 6)), ((0, 0), range(2), range(2)), ((7, 4), range(6, 8), range(2, 6))],
)
def test_a_shifted_window_ends_at_the_border(at, rows, columns):
    seen = pixels_seen(WindowAttention(4, 2, window=4, shift=2), (8, 8), at)

    assert seen == {(row, column) for row in rows for column in columns}


def test_windows_are_put_back_where_they_were():
    features = torch.randn(2, 8, 12, 3)

    assert torch.equal(image_of(windows_of(features, 4), 8, 12, 4), features)
    assert torch.equal(windows_of(features, 4)[0, 4].view(4, 4, 3), features[0, 4:8, 4:8])


def test_a_modulator_makes_equal_tokens_differ():
    torch.manual_seed(0)
    even = torch.ones(1, 4, 4, 4)

    with torch.inference_mode():
        modulated = WindowAttention(4, 2, window=4, modulated=True)(even)
        plain = WindowAttention(4, 2, window=4)(even)

    assert modulated.std(dim=(1, 2)).max().item() > 0.01
    assert plain.std(dim=(1, 2)).max().item() == pytest.approx(0, abs=1e-6)


def test_an_impossible_window_is_refused():
    with pytest.raises(ValueError, match="do not divide"):
        WindowAttention(10, 3)
    with pytest.raises(ValueError, match="not inside a window"):
        WindowAttention(4, 2, window=4, shift=4)
