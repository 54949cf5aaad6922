"""CT-Mamba against its public code's count and scan order, and its scan against the plain recurrence."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ldctpipe.models.ct_mamba import CtMamba
from ldctpipe.models.haar import haar, inverse_haar
from ldctpipe.models.selective_scan import by_halving, by_steps, linear_recurrence, selective_scan
from ldctpipe.models.zigzag_scan import ZigzagScan, zigzag


@pytest.fixture(scope="module")
def network() -> CtMamba:
    torch.manual_seed(0)
    return CtMamba(tile=16).eval()


def plain_scan(u: Tensor, step: Tensor, decay: Tensor, b: Tensor, c: Tensor) -> Tensor:
    batch, length, channels = u.shape
    state = torch.zeros(batch, channels, decay.shape[1], dtype=u.dtype)
    outputs = []
    for t in range(length):
        s = (1 + step[:, t].exp()).log()[..., None]
        state = (s * decay).exp() * state + s * b[:, t, None] * u[:, t, :, None]
        outputs.append((state * c[:, t, None]).sum(dim=-1))
    return torch.stack(outputs, dim=1)


def scan_inputs(length: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(length)
    shapes = [(2, length, 3), (2, length, 3), (3, 4), (2, length, 4), (2, length, 4)]
    inputs = [torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes]
    inputs[2] = -inputs[2].exp()
    return [x.requires_grad_() for x in inputs]


@pytest.mark.parametrize("length", [1, 2, 3, 7, 16, 33])
def test_scan_is_the_plain_recurrence(length):
    inputs = scan_inputs(length)

    ours, plain = selective_scan(*inputs), plain_scan(*inputs)

    assert torch.allclose(ours, plain, atol=1e-12)
    weights = torch.randn_like(plain)
    for one, other in zip(*(torch.autograd.grad((y * weights).sum(), inputs) for y in (ours, plain)), strict=True):
        assert torch.allclose(one, other, atol=1e-11)


@pytest.mark.parametrize("length", [1, 2, 9, 64])
def test_scan_without_a_gradient_is_the_plain_recurrence(length):
    inputs = [x.detach() for x in scan_inputs(length)]

    assert torch.allclose(selective_scan(*inputs), plain_scan(*inputs), atol=1e-12)


@pytest.mark.parametrize("solve", [by_halving, by_steps, linear_recurrence])
def test_a_constant_recurrence_is_a_geometric_series(solve):
    states = solve(torch.full((1000, 1), 0.9), torch.ones(1000, 1))

    assert states[:, 0].tolist() == pytest.approx([(1 - 0.9 ** (t + 1)) / 0.1 for t in range(1000)], rel=1e-5)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 8, 31])
def test_halving_is_going_step_by_step(length):
    factor, term = torch.randn(2, length, 3, 2, dtype=torch.float64)

    assert torch.allclose(by_halving(factor, term), by_steps(factor, term), atol=1e-12)


def test_gradient_of_the_recurrence_is_that_of_finite_differences():
    factor, term = (torch.randn(5, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))

    assert torch.autograd.gradcheck(linear_recurrence, (factor, term))


def test_steep_decays_do_not_overflow():
    inputs = scan_inputs(64, torch.float32)
    inputs[1] = (inputs[1] + 30).detach().requires_grad_()  # exp(−30 · decay) underflows, its inverse would overflow

    output = selective_scan(*inputs)
    output.sum().backward()

    assert output.isfinite().all()
    assert by_halving(torch.full((64, 1), 1e-30), torch.ones(64, 1)).isfinite().all()
    assert all(x.grad.isfinite().all() for x in inputs)


def test_zigzag_begins_downwards_and_is_otherwise_jpegs():
    jpeg = [0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48]  # ITU-T T.81, figure A.6
    order = zigzag(8).tolist()

    assert order[:8] == [0, 8, 1, 2, 9, 16, 24, 17]  # the public code's table
    assert [index // 8 + index % 8 * 8 for index in order][: len(jpeg)] == jpeg  # of the transposed map


def test_zigzag_goes_everywhere_once_and_never_jumps():
    for side in (2, 5, 16):
        order = zigzag(side)
        assert order.sort().values.tolist() == list(range(side**2))
        rows, columns = order // side, order % side
        assert (rows.diff().abs().maximum(columns.diff().abs()) == 1).all()


def test_four_directions_join_every_pair_of_positions():
    torch.manual_seed(0)
    features = torch.randn(1, 6, 6, 4, requires_grad=True)

    ZigzagScan(4)(features)[0, 2, 3].sum().backward()

    assert (features.grad.abs().sum(-1) > 0).all()


def test_a_map_read_transposed_gives_the_transposed_result():
    torch.manual_seed(0)
    scan, features = ZigzagScan(4), torch.randn(1, 6, 6, 4)
    kernel = scan.neighbours.weight.data
    kernel.copy_((kernel + kernel.transpose(2, 3)) / 2)
    for parameter in (scan.select, scan.step_weight, scan.step_bias, scan.log_decay, scan.through):
        parameter.data[1], parameter.data[3] = parameter.data[0], parameter.data[2]

    with torch.inference_mode():
        assert torch.allclose(scan(features.transpose(1, 2)), scan(features).transpose(1, 2), atol=1e-5)


def test_trainable_parameters_are_those_of_the_public_code_without_the_dead(network):
    block = 2 * 16 * 16 * 9 + 2 * 2 * 16 + 1  # two convolutions, two batch norms, one PReLU
    dead = 4 * block + (1 * 1 + 1) + 1  # two stages of two blocks; a 1 × 1 convolution; a PReLU

    assert dead == 18_695
    assert sum(parameter.numel() for parameter in network.parameters()) == 50_826_263 - dead


def test_every_parameter_is_used_but_biases_that_a_norm_takes_away():
    torch.manual_seed(0)
    network = CtMamba(tile=16, drop_path=0.0, dropout=0.0)

    network(torch.rand(3, 1, 16, 16)).square().sum().backward()

    before_a_norm = ("frequencies.real", "frequencies.imaginary", "residual.0", "residual.3", "merge.0", "merge.3")
    into_a_norm = (*before_a_norm, "narrow.0", "narrow.1", "narrow.2")  # a constant, but for reflected borders
    taken_away = tuple(f"{layer}.bias" for layer in into_a_norm)
    silent = [name for name, parameter in network.named_parameters() if parameter.grad.abs().max() < 1e-6]
    assert [name for name in silent if not name.endswith(taken_away)] == []


@pytest.mark.parametrize("shape", [(2, 1, 19, 26), (1, 1, 8, 9), (1, 1, 16, 16)])
def test_any_size_comes_back_in_its_size(network, shape):
    with torch.inference_mode():
        output = network(torch.rand(shape))

    assert output.shape == shape and output.dtype == torch.float32 and output.isfinite().all()


def test_a_pixel_sees_the_tile_in_whose_centre_it_lies(network):
    image = torch.rand(1, 1, 16, 24, requires_grad=True)

    network(image)[0, 0, 9, 11].backward()

    rows, columns = image.grad[0, 0].nonzero().T
    assert (rows.min(), rows.max() + 1) == (4, 16)  # from 4 to 20, four of which are reflected
    assert (columns.min(), columns.max() + 1) == (4, 20)


def test_a_slice_is_put_together_from_its_tiles(network):
    image = torch.rand(1, 1, 24, 32)

    with torch.inference_mode():
        tile = network(image[..., 4:20, 12:28])
        assert torch.allclose(network(image)[..., 8:16, 16:24], tile[..., 4:12, 4:12], atol=1e-5)


def test_a_network_that_draws_nothing_is_the_identity(network):
    kept, image = network.fuse.draw[2].weight.detach().clone(), torch.rand(1, 1, 19, 26)
    bias = network.fuse.draw[2].bias.detach().clone()
    nn.init.zeros_(network.fuse.draw[2].weight)
    nn.init.zeros_(network.fuse.draw[2].bias)

    with torch.inference_mode():
        assert torch.equal(network(image), image)
    network.fuse.draw[2].weight.data.copy_(kept)
    network.fuse.draw[2].bias.data.copy_(bias)


def test_bands_are_haars_and_lose_nothing():
    image = torch.randn(1, 2, 8, 12)
    stripes = torch.tensor([1.0, -1.0]).repeat(4)[:, None].expand(1, 1, 8, 8)  # rows that alternate

    bands = haar(image)

    assert torch.allclose(inverse_haar(*bands), image, atol=1e-6)
    assert sum(band.square().sum() for band in bands).item() == pytest.approx(image.square().sum().item(), rel=1e-5)
    assert [band.abs().max().item() for band in haar(stripes)] == [0, 2, 0, 0]


def test_mixed_precision_does_not_round_the_image(network):
    image = torch.rand(1, 1, 16, 16)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(image)

    assert output.dtype == torch.float32
    assert len(output.unique()) > 200
