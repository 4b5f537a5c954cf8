"""Random views of pictures, and a backbone cut in two before its last stage."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from zslcore.errors import ZSLError
from zslcore.features import backbones
from zslcore.features.halves import can_be_cut, last_stage, learned, lower, upper
from zslcore.features.image_sources import ImageRef, Missing, whole_file
from zslcore.features.images import transform
from zslcore.features.views import Views, store_views
from zslcore.training.seeding import seeded

SIDE = 32


@pytest.fixture(scope="module")
def backbone() -> backbones.Backbone:
    return backbones.load("test_efficientnet", "random", SIDE)


@pytest.fixture
def images(tmp_path: Path) -> list[ImageRef]:
    """Noise of several shapes: one smaller than the view, one a line of pixels."""
    found = []
    for number, (height, width) in enumerate(((40, 50), (3, 2), (60, 1), (64, 64))):
        values = np.random.default_rng(number).integers(0, 255, (height, width, 3), dtype=np.uint8)
        path = tmp_path / f"{number}.png"
        Image.fromarray(values).save(path)
        image = whole_file(path.name, str(path))
        assert isinstance(image, ImageRef)
        found.append(image)
    return found


def test_views_of_any_shape_fit_the_network(images: list[ImageRef], backbone: backbones.Backbone) -> None:
    views = Views(images, backbone.preprocessing, crop=0.3, flip=True)
    found = views(torch.arange(4))
    assert found.shape == (4, 3, SIDE, SIDE)
    assert found.isfinite().all()


def test_a_numbered_view_is_the_same_whatever_others_there_are(
    images: list[ImageRef], backbone: backbones.Backbone
) -> None:
    views = Views(images, backbone.preprocessing, crop=0.3, flip=True)
    alone = views(torch.tensor([3]), (0, 1))
    assert torch.equal(views(torch.arange(4), (0, 1))[3:], alone)
    assert not torch.equal(views(torch.tensor([3]), (0, 2)), alone)
    assert not torch.equal(views(torch.tensor([3]), (1, 1)), alone)
    with seeded(0, "views"):
        first, second = (views(torch.tensor([3])) for _ in range(2))
    assert not torch.equal(first, second)
    with seeded(0, "views"):
        assert torch.equal(views(torch.tensor([3])), first)


def test_without_crops_a_view_is_what_extraction_sees_or_its_mirror(
    images: list[ImageRef], backbone: backbones.Backbone
) -> None:
    pixels = transform(backbone.preprocessing)(Path(images[0].path).read_bytes())
    mean, std = (np.array(backbone.preprocessing[name]) for name in ("mean", "std"))
    whole = torch.from_numpy(((pixels / 255 - mean) / std).transpose(2, 0, 1)).float()
    plain = Views(images, backbone.preprocessing)(torch.tensor([0]))[0]
    assert torch.allclose(plain, whole, atol=1e-5)
    mirrored = Views(images, backbone.preprocessing, flip=True)
    found = [mirrored(torch.tensor([0]), (0, number))[0] for number in range(8)]
    flipped = [not torch.equal(one, plain) for one in found]
    assert 0 < sum(flipped) < 8
    assert all(torch.equal(one, plain.flip(2)) for one, is_flipped in zip(found, flipped, strict=True) if is_flipped)


def test_an_image_that_cannot_be_read_is_named(images: list[ImageRef], backbone: backbones.Backbone) -> None:
    Path(images[1].path).write_bytes(b"no picture")
    views = Views([images[1], Missing("gone.png", "not a file")], backbone.preprocessing, crop=0.5)
    with pytest.raises(ZSLError, match=r"1\.png: .*; mend or remove it, then extract again"):
        views(torch.tensor([0]))
    with pytest.raises(ZSLError, match=r"gone\.png: not a file"):
        views(torch.tensor([1]))


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "test_convnext"])
def test_both_halves_are_the_network(name: str) -> None:
    backbone = backbones.load(name, "random", 64)
    module, stage = backbone.module, last_stage(backbone)
    pictures = torch.randn(2, 3, 64, 64)
    assert can_be_cut(module, stage, pictures)
    with torch.no_grad():
        assert torch.allclose(upper(module, stage)(lower(module, stage, pictures)), module(pictures), atol=1e-5)
    own = {id(parameter) for parameter in upper(module, stage).parameters()}
    assert {id(parameter) for parameter in learned(module, stage)} == own
    assert 0 < len(own) < len(list(module.parameters())) == len(learned(module, None))


def test_a_network_with_positions_or_a_shortcut_is_not_cut() -> None:
    class Shortcut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (self.last(self.first(x)) + x).mean((2, 3))

    assert not can_be_cut(Shortcut(), "last", torch.randn(2, 3, 8, 8))
    transformer = backbones.load("test_vit", "random")
    example = torch.randn(1, *transformer.preprocessing["input_size"])
    assert not can_be_cut(transformer.module, last_stage(transformer), example)
    with pytest.raises(ZSLError, match=r"its stages are not known; set finetune\.backbone\.layers to all"):
        last_stage(backbones.from_module("mine", Shortcut(), {"input_size": (3, 8, 8)}))


def test_stored_views_are_what_the_last_stage_takes(
    images: list[ImageRef], backbone: backbones.Backbone, tmp_path: Path
) -> None:
    views, stage = Views(images, backbone.preprocessing, crop=0.5, flip=True), last_stage(backbone)
    store_views(tmp_path / "views.npy", backbone, stage, views, 2, 0, torch.device("cpu"))
    stored = np.load(tmp_path / "views.npy")
    assert stored.dtype == np.float16
    for number in range(2):
        with torch.no_grad():
            expected = lower(backbone.module, stage, views(torch.arange(4), (0, number))).numpy()
        assert np.allclose(stored[number], expected, atol=2e-3 * np.abs(expected).max())
    assert not (stored[0] == stored[1]).all()
