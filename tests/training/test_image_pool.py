"""The pool of earlier generated images: what it passes, what it keeps, and that a resumed one goes on alike."""

from __future__ import annotations

import io

import torch

from ldctpipe.training.image_pool import ImagePool


def numbered(first: int, count: int) -> torch.Tensor:
    """Return images (count, 1, 2, 2) of the values first, first + 1, …"""
    return torch.arange(first, first + count).float().view(-1, 1, 1, 1).expand(-1, 1, 2, 2)


def pool_of(size: int, seed: int = 0) -> ImagePool:
    return ImagePool(size, torch.Generator().manual_seed(seed))


def values(images: torch.Tensor) -> list[int]:
    return images[:, 0, 0, 0].int().tolist()


def test_images_pass_while_the_pool_fills():
    assert values(pool_of(4).query(numbered(0, 4))) == [0, 1, 2, 3]


def test_a_pool_of_none_passes_all():
    images = torch.rand(3, 1, 4, 4)

    assert torch.equal(pool_of(0).query(images), images)


def test_half_of_the_images_are_exchanged_for_earlier_ones():
    pool = pool_of(50)
    pool.query(numbered(0, 50))

    seen = values(pool.query(numbered(50, 2000)))

    passed = sum(value == 50 + place for place, value in enumerate(seen))
    assert 900 < passed < 1100  # sd 22
    assert len(set(seen)) == 2000  # an image that came out has left the pool, and none comes twice
    assert all(value <= 50 + place for place, value in enumerate(seen))


def test_gradients_end_at_the_pool_and_later_changes_do_not_reach_it():
    pool, images = pool_of(1), torch.zeros(1, 1, 2, 2)
    pool.query(images)
    images += 7

    seen = [pool.query(torch.ones(1, 1, 2, 2, requires_grad=True)) for _ in range(20)]

    assert not any(image.requires_grad for image in seen)
    assert {float(image.mean()) for image in seen} == {0.0, 1.0}


def test_a_resumed_pool_goes_on_as_if_never_stopped():
    steady, stopped = pool_of(5, seed=3), pool_of(5, seed=3)
    for pool in (steady, stopped):
        pool.query(numbered(0, 12))
    file = io.BytesIO()
    torch.save(stopped.state_dict(), file)
    file.seek(0)

    resumed = pool_of(5, seed=99)
    resumed.generator.set_state(stopped.generator.get_state())
    resumed.load_state_dict(torch.load(file, weights_only=True))

    for first in range(12, 60, 4):
        assert torch.equal(resumed.query(numbered(first, 4)), steady.query(numbered(first, 4)))


def test_a_state_is_not_changed_by_what_comes_after():
    pool = pool_of(2)
    pool.query(numbered(0, 2))
    state = pool.state_dict()

    pool.query(numbered(2, 30))

    assert values(torch.stack(state["images"])) == [0, 1]
