"""Feature maps: of every kind of backbone, through the store with the guarantees of vectors, and views."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import timm
import torch
from pydantic import ValidationError

from zslcore.datasets import dataset as datasets
from zslcore.datasets.maps import Maps
from zslcore.errors import ZSLError
from zslcore.features import backbones, batches, regions
from zslcore.features.extract import extract_images, forecast, store_path
from zslcore.features.halves import last_stage
from zslcore.features.image_sources import Folder
from zslcore.features.network import ExtractionPlan, Network, plan_extraction
from zslcore.settings import Extract

COUNT = 9


def run(folder: Path, settings: Extract, out: str = "out.h5") -> h5py.File:
    extract_images(Folder(str(folder)), folder.parent / out, settings, "cpu", None, folder.parent / "store")
    return h5py.File(folder.parent / out)


def with_(settings: Extract, **values: object) -> Extract:
    return Extract(**settings.model_dump() | values)


def test_pooled_is_the_mean_of_the_map_where_the_backbone_pools_so(pictures) -> None:
    """With real weights, in which the last convolution, its normalisation and activation stand before the pooling."""
    settings = Extract(backbone="tf_efficientnet_lite0", precision="fp32", batch_size=2, output="both")
    with run(pictures(2), settings) as file:
        pooled, maps = file["features"][()], file["maps"][()]
    assert maps.shape == (2, 7, 7, 1280)
    assert maps.dtype == np.float16
    np.testing.assert_allclose(maps.astype(np.float64).mean(axis=(1, 2)), pooled, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("test_resnet", (5, 5, 96)), ("test_vit", (10, 10, 64)), ("test_efficientnet", (5, 5, 256))],
)
def test_maps_of_timm_s_kinds(name: str, shape: tuple[int, ...]) -> None:
    """A vision transformer's tokens lie in the grid of their patches, less the class token."""
    backbone = backbones.load(name, "random")
    assert regions.map_shape(backbone) == shape
    picture = torch.randn(1, 3, 160, 160)
    found = regions.Regions(backbone.module, "map", 1, (160, 160))(picture).view(shape)
    features = backbone.module.forward_features(picture)[0]
    if name == "test_vit":
        assert torch.equal(found[3, 4], features[1 + 10 * 3 + 4])
    else:
        assert torch.equal(found[3, 4], features[:, 3, 4])


@pytest.mark.parametrize("views", [1, "flip"])
@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_before_is_what_the_last_stage_takes_with_the_pooled_vector(name: str, views: int | str) -> None:
    backbone = backbones.load(name, "random")
    taken: list[torch.Tensor] = []
    stage = backbone.module.get_submodule(last_stage(backbone))
    hook = stage.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0].permute(0, 2, 3, 1)))
    pictures = torch.randn(2, 3, 160, 160)
    shown = (pictures,) if views == 1 else (pictures, pictures.flip(3))
    vectors = torch.stack([backbone.module(one) for one in shown]).mean(0)
    hook.remove()
    expected = taken[0] if views == 1 else (taken[0] + taken[1].flip(2)) / 2
    found = regions.Regions(backbone.module, "before", views, (160, 160))(pictures)
    assert torch.allclose(found[:, : backbone.dimensions], vectors, atol=1e-5)
    assert torch.allclose(found[:, backbone.dimensions :], expected.flatten(1), atol=1e-6)
    assert regions.map_shape(backbone, "before") == expected.shape[1:]
    assert regions.layout(backbone, "before")["maps"].shape == expected.shape[1:]


def test_a_backbone_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(ZSLError, match=r"test_vit cannot be cut before its last stage; set extract.output to both"):
        regions.map_shape(backbones.load("test_vit", "random"), "before")


def test_channels_last_and_distilled_tokens() -> None:
    swin = timm.create_model("swin_tiny_patch4_window7_224", num_classes=0)
    features = torch.randn(2, 7, 6, 5)
    assert torch.equal(regions.as_map(swin, features), features)
    tokens = torch.arange(11.0)[None, :, None]
    module = torch.nn.Module()
    module.num_prefix_tokens = 2
    assert regions.as_map(module, tokens)[0, :, :, 0].tolist() == [[2, 3, 4], [5, 6, 7], [8, 9, 10]]
    with pytest.raises(ValueError, match="11 tokens are no grid"):
        regions.as_map(torch.nn.Module(), tokens)


def test_a_backbone_without_maps_is_refused(tiny: Extract) -> None:
    plain = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    backbone = backbones.from_module("plain", plain, {"input_size": (3, 32, 32)})
    with pytest.raises(ZSLError, match=r"plain has no feature map.*extract.output to pooled"):
        regions.map_shape(backbone)
    assert regions.layout(backbone, "pooled").itemsize == 12


def test_pooled_vectors_are_the_same_bytes_with_maps_or_without(tiny: Extract, pictures) -> None:
    folder = pictures(COUNT)
    with run(folder, tiny, "pooled.h5") as file:
        pooled = file["features"][()]
        assert set(file) == {"features", "names"}
        assert "output" not in file.attrs["params"], "as before there was one"
    with run(folder, with_(tiny, output="both"), "both.h5") as both, run(folder, with_(tiny, output="map")) as maps:
        np.testing.assert_array_equal(both["features"], pooled)
        np.testing.assert_array_equal(both["maps"], maps["maps"])
        assert both["maps"].chunks == (1, 1, 1, 96)
        assert set(maps) == {"maps", "names"}


def test_an_interrupted_run_of_maps_goes_on_to_the_same_bytes(tiny: Extract, pictures, monkeypatch) -> None:
    settings, folder = with_(tiny, output="both"), pictures(COUNT)
    run(folder, settings, "whole.h5").close()
    finish, calls = Network.finish, []

    def killed(self, started):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return finish(self, started)

    (folder.parent / "store").rename(folder.parent / "another store")
    monkeypatch.setattr(Network, "finish", killed)
    with pytest.raises(KeyboardInterrupt):
        run(folder, settings)
    monkeypatch.undo()
    place, store = Folder(str(folder)), folder.parent / "store"
    summary = extract_images(place, folder.parent / "out.h5", settings, "cpu", None, store)
    assert summary.computed == COUNT - 4, "the batch that was complete is there"
    assert (folder.parent / "out.h5").read_bytes() == (folder.parent / "whole.h5").read_bytes()


def test_bad_images_have_maps_of_zeros_and_are_no_rows_to_ask_for(tiny: Extract, pictures) -> None:
    folder = pictures(COUNT)
    (folder / "00003.png").write_bytes(b"")
    with run(folder, with_(tiny, output="both", on_bad_image="skip")) as file:
        assert file["skipped"][()].tolist() == [3]
        assert not file["maps"][3].any()
        assert not file["features"][3].any()
        assert np.abs(file["maps"][2]).sum() > 0
    with pytest.raises(ZSLError, match="1 images were skipped"):
        Maps.open(folder.parent / "out.h5", np.arange(5))


def test_a_map_that_overflows_float16_is_reported(tiny: Extract, pictures, monkeypatch) -> None:
    plain = batches.Network.finish
    monkeypatch.setattr(batches.Network, "finish", lambda self, started: 1e6 * plain(self, started))
    with pytest.raises(ZSLError, match=r"(?s)1 of 1 images.*feature map overflows in float16.*"):
        run(pictures(1), with_(tiny, output="map"))


def test_the_disk_is_known_beforehand(tiny: Extract, pictures, caplog) -> None:
    caplog.set_level("INFO", "zslcore")
    settings, folder = with_(tiny, output="both", batch_size=1), pictures(COUNT)
    record = 4 * 96 + 2 * 96
    expected = forecast(Folder(str(folder)), settings, "cpu", folder.parent / "store")
    assert expected.megabytes == pytest.approx(2 * COUNT * record / 1e6)
    run(folder, settings).close()
    assert f"{COUNT} to compute: {COUNT * record / 1e6:.1f} MB more in the store" in caplog.text


def test_a_store_of_its_own_for_each_output_and_view(tiny: Extract) -> None:
    """And the store of plain vectors is the one that older programs have filled."""
    backbone = backbones.load(tiny.backbone, "random", 32)
    choices = [
        {},
        {"output": "map"},
        {"output": "both"},
        {"output": "before"},
        {"views": "flip"},
        {"output": "map", "views": "flip"},
    ]
    stores = {store_path(Path(), backbone, with_(tiny, **choice), "cpu") for choice in choices}
    assert len(stores) == len(choices)
    plan = plan_extraction(backbone, tiny, "cpu", np.empty((0, 1, 1, 3), np.uint8))
    assert not {"output", "views"} & plan.as_dict().keys()
    other = replace(plan, output="both", views="flip")
    assert ExtractionPlan.from_dict(other.as_dict()) == other


def test_flip_is_the_mean_of_the_picture_and_its_mirror_image_place_by_place() -> None:
    backbone = backbones.load("test_resnet", "random")
    picture = torch.randn(2, 3, 160, 160)
    found = regions.Regions(backbone.module, "both", "flip", (160, 160))(picture)
    features = [backbone.module.forward_features(one) for one in (picture, picture.flip(3))]
    pooled = sum(map(backbone.module.forward_head, features)) / 2
    mean = (features[0] + features[1].flip(3)) / 2
    expected = torch.cat([pooled, mean.permute(0, 2, 3, 1).flatten(1)], 1)
    assert torch.allclose(found, expected, atol=1e-6)
    turned = regions.Regions(backbone.module, "pooled", "flip", (160, 160))(picture.flip(3))
    assert torch.allclose(turned, pooled, atol=1e-5), "a mirrored picture has the same features"


def test_five_crops_of_the_square_that_the_picture_is_resized_to(pictures) -> None:
    settings = Extract(backbone="test_efficientnet", weights="random", precision="fp32", batch_size=2, views="five")
    backbone = backbones.load("test_efficientnet", "random")
    side = int(160 / backbone.preprocessing["crop_pct"])
    assert regions.framed(backbone, "five")["input_size"] == (3, side, side)
    pixels = np.random.default_rng(0).integers(0, 255, (1, side, side, 3), dtype=np.uint8)
    plan = plan_extraction(backbone, settings, "cpu", pixels[:0])
    found = Network(plan, backbone)(pixels)
    plain = Network(replace(plan, views=1), backbone)
    low, middle, high = slice(0, 160), slice((side - 160) // 2, (side + 160) // 2), slice(side - 160, side)
    crops = [(low, low), (low, high), (high, low), (high, high), (middle, middle)]
    expected = np.mean([plain(pixels[:, rows, columns]) for rows, columns in crops], axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    with run(pictures(1), settings) as file:  # of 40 x 50 pixels, smaller than a crop
        assert file["features"].shape == (1, 256)


def test_views_that_make_no_sense_are_refused(tiny: Extract) -> None:
    with pytest.raises(ValidationError, match="different places; use flip"):
        with_(tiny, views="five", output="map")
    backbone = backbones.load(tiny.backbone, "random", 32)
    whole = replace(backbone, preprocessing=backbone.preprocessing | {"crop_pct": 1.0})
    with pytest.raises(ZSLError, match="all five crops are the same"):
        regions.framed(whole, "five")


def test_maps_stay_on_disk_until_they_are_read(tiny: Extract, pictures) -> None:
    folder = pictures(COUNT)
    with run(folder, with_(tiny, output="both")) as file:
        whole = file["maps"][()]
    maps = Maps.open(folder.parent / "out.h5")
    assert maps.shape == (COUNT, 1, 1, 96)
    rows = np.array([7, 2, 2, 5])
    np.testing.assert_array_equal(maps[rows], whole[rows])
    np.testing.assert_array_equal(maps[rows][1:3], whole[[2, 2]])
    np.testing.assert_array_equal(maps[np.arange(COUNT) > 6], whole[7:])
    assert np.asarray(maps[:2], np.float32).dtype == np.float32
    assert maps[:2].tobytes() != maps[1:3].tobytes()


def test_the_wrong_kind_of_features_is_said(tiny: Extract, pictures) -> None:
    folder = pictures(2)
    run(folder, tiny, "pooled.h5").close()
    with pytest.raises(ZSLError, match=r"holds no feature maps; set extract.output to both"):
        Maps.open(folder.parent / "pooled.h5")
    run(folder, with_(tiny, output="map"), "map.h5").close()
    with pytest.raises(ZSLError, match=r"holds feature maps alone; set extract.output to both"):
        datasets.load_features(folder.parent / "map.h5", np.arange(2))
