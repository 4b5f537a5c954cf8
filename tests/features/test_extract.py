"""Extraction: the right features, in order, whatever happened on the way."""

import io
import json
from itertools import chain
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from zslcore.datasets import dataset as datasets
from zslcore.datasets.dataset import Dataset
from zslcore.errors import ZSLError
from zslcore.features import backbones, batches, images, network
from zslcore.features.extract import SAMPLE, extract, extract_images, forecast, sample
from zslcore.features.image_sources import ListFile, of_dataset
from zslcore.features.images import transform
from zslcore.features.network import plan_extraction
from zslcore.features.store import open_store
from zslcore.io.rows import collect
from zslcore.settings import Extract

SETTINGS = Extract(
    backbone="test_resnet.r160_in1k", weights="random", image_size=32, batch_size=4, precision="fp32", workers=2
)
COUNT = 18


def picture(seed: int, height: int = 40) -> bytes:
    stream = io.BytesIO()
    values = np.random.default_rng(seed).integers(0, 255, (height, 50, 3), dtype=np.uint8)
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


def image_dataset(**images: object) -> Dataset:
    labels = np.repeat(np.arange(3), COUNT // 3)
    rows = np.arange(COUNT)
    return Dataset(
        name="tiny",
        classes=("a", "b", "c"),
        signatures=np.eye(3, dtype=np.float32),
        labels=labels,
        trainval=rows[(labels < 2) & (rows % 3 > 0)],
        test_seen=rows[(labels < 2) & (rows % 3 == 0)],
        test_unseen=rows[labels == 2],
        **images,
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with image files and its data set, as the working directory."""
    monkeypatch.chdir(tmp_path)
    for row in range(COUNT):
        Path(f"{row}.png").write_bytes(picture(row))
    datasets.save(Path("dataset.h5"), image_dataset(image_files=tuple(f"{row}.png" for row in range(COUNT))), {})
    return tmp_path


def expected() -> np.ndarray:
    """One picture at a time through the network, in plain torch."""
    backbone = backbones.load(SETTINGS.backbone, "random", 32)
    prepare = transform(backbone.preprocessing)
    return np.stack([plain_features(backbone, prepare(picture(row))) for row in range(COUNT)])


def plain_features(backbone: backbones.Backbone, pixels: np.ndarray) -> np.ndarray:
    values = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255
    return backbone.module((values - 0.5) / 0.5)[0].numpy()


def run(out: str = "features.h5", settings: Extract = SETTINGS, store: str = "store") -> np.ndarray:
    extract(Path("dataset.h5"), Path(out), settings, "cpu", None, Path(store))
    return datasets.load_features(Path(out), np.arange(COUNT))


def test_features_are_those_of_the_plain_network(folder):
    assert np.allclose(run(), expected(), rtol=1e-5, atol=1e-6)


def test_pictures_inside_the_data_set_give_the_same(folder):
    datasets.save(Path("dataset.h5"), image_dataset(pictures=[picture(row) for row in range(COUNT)]), {})
    assert np.allclose(run(), expected(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("change", [{"batch_size": 1}, {"batch_size": 7}, {"batch_size": 32}, {"workers": 1}])
def test_batches_and_workers_do_not_matter(folder, change):
    plain = run()
    other = run("other.h5", SETTINGS.model_copy(update=change), "another store")
    assert np.abs(plain - other).max() <= 1e-5 * np.abs(plain).max()


def test_the_order_of_files_does_not_matter(folder):
    plain = run()
    names = tuple(f"{row}.png" for row in reversed(range(COUNT)))
    datasets.save(Path("dataset.h5"), image_dataset(image_files=names), {})
    other = run("other.h5", store="another store")[::-1]
    assert np.abs(plain - other).max() <= 1e-5 * np.abs(plain).max()


@pytest.mark.parametrize("large_first", [True, False])
def test_the_order_of_large_jpegs_does_not_matter_in_fp32(folder, large_first):
    """However few of them stand among the first images, on which `auto` is decided."""
    y, x = np.mgrid[0:500, 0:700] / 300
    large = [f"{row}.jpg" for row in range(SAMPLE)]
    for row, name in enumerate(large):
        waves = np.stack([np.sin(9 * x * y + row), np.cos(7 * x), np.sin(20 * y + x)], axis=-1)
        Image.fromarray((127 + 120 * waves).astype(np.uint8)).save(name, quality=95)
    small = [f"{row}.png" for row in range(COUNT)]
    Path("list.txt").write_text("\n".join(large + small if large_first else small + large))
    extract_images(ListFile("list.txt"), Path("out.h5"), SETTINGS, "cpu", None, Path("store"))
    found = datasets.load_features(Path("out.h5"), np.arange(COUNT + SAMPLE))
    backbone = backbones.load(SETTINGS.backbone, "random", 32)
    content = Path("0.jpg").read_bytes()
    whole, scaled = (
        plain_features(backbone, transform(backbone.preprocessing, downscale)(content)) for downscale in (False, True)
    )
    assert np.abs(scaled - whole).max() > 1e-4 * np.abs(whole).max(), "else there is nothing to be seen"
    row = 0 if large_first else COUNT
    assert np.abs(found[row] - whole).max() <= 1e-5 * np.abs(whole).max()


@pytest.mark.parametrize(
    ("readable", "found"), [(range(COUNT), [0, 1, 2]), ([1, 3, 5, 6], [1, 3]), ([17], [17]), ([], [])]
)
def test_the_first_readable_images_are_the_sample(folder, monkeypatch, readable, found):
    """Three of the first four, or later ones where none of these can be read."""
    monkeypatch.setattr("zslcore.features.extract.SAMPLE", 3)
    monkeypatch.setattr("zslcore.features.extract.LOOKED_AT", 4)
    for row in set(range(COUNT)) - set(readable):
        Path(f"{row}.png").write_bytes(b"damaged")
    Path("list.txt").write_text("\n".join(f"{row}.png" for row in range(COUNT)))
    backbone = backbones.load(SETTINGS.backbone, "random", 32)
    with open_store(None) as store:
        store.want(ListFile("list.txt"))
        plain, scaled = sample(chain.from_iterable(store.pending(2)), backbone)
    expected = [transform(backbone.preprocessing)(picture(row)) for row in found]
    assert len(plain) == len(scaled) == len(expected)
    assert all((one == other).all() for one, other in zip(plain, expected, strict=True))


@pytest.mark.parametrize("stored", ["files", "pictures"])
@pytest.mark.parametrize(
    ("damaged", "found"),
    [([], [1, 2, 4, 5, 7, 8, 10, 11]), ([1, 4, 12], [2, 5, 7, 8, 10, 11]), ([1, 2, 4, 5, 7, 8, 10, 11], [0, 3, 6])],
)
def test_what_is_auto_is_decided_on_trainval_images(folder, monkeypatch, stored, damaged, found):
    """Not on the test images that stand first; these decide only where no trainval image can be read."""
    contents = [b"damaged" if row in damaged else picture(row) for row in range(COUNT)]
    if stored == "pictures":
        datasets.save(Path("dataset.h5"), image_dataset(pictures=tuple(contents)), {})
    else:
        for row, content in enumerate(contents):
            Path(f"{row}.png").write_bytes(content)
    monkeypatch.setattr("zslcore.features.extract.SAMPLE", min(len(found), 8))
    samples = []

    def spied(backbone, settings, device, plain, downscaled):
        samples.append(plain)
        return plan_extraction(backbone, settings, device, plain, downscaled)

    monkeypatch.setattr("zslcore.features.extract.plan_extraction", spied)
    skipping = SETTINGS.model_copy(update={"on_bad_image": "skip"})
    extract(Path("dataset.h5"), Path("features.h5"), skipping, "cpu", None, Path("store"))
    prepare = transform(backbones.load(SETTINGS.backbone, "random", 32).preprocessing)
    (sampled,) = samples
    np.testing.assert_array_equal(sampled, [prepare(picture(row)) for row in found])


def test_nothing_is_decided_for_good_on_no_image(folder, monkeypatch):
    monkeypatch.setattr(network, "fast_precisions", lambda device: ["bf16"])
    monkeypatch.setattr(network, "MIN_COSINE", 0.9)
    auto = SETTINGS.model_copy(update={"precision": "auto"})
    for row in range(COUNT):
        Path(f"{row}.png").write_bytes(b"damaged")
    with pytest.raises(ZSLError, match="18 of 18 images"):
        run(settings=auto)
    for row in range(COUNT):
        Path(f"{row}.png").write_bytes(picture(row))
    assert forecast(of_dataset(Path("dataset.h5")), auto, "cpu", Path("store")).pending == COUNT
    (begun,) = Path("store").glob("*.sqlite")
    with open_store(begun) as store:
        assert store.settings() is None, "nor by a forecast, which writes nothing"
    run(settings=auto)
    with h5py.File("features.h5") as file:
        assert json.loads(file.attrs["params"])["extract"]["precision"] == "bf16"


def test_the_plan_is_logged_at_every_start(folder, caplog):
    caplog.set_level("INFO", "zslcore")
    run()
    how = "test_resnet.r160_in1k on cpu in fp32, not compiled, batches of 4 in "
    assert how in caplog.text
    assert "JPEGs decoded whole: decided now, on 8 images" in caplog.text
    caplog.clear()
    run()
    assert how in caplog.text
    assert "decided when the store was begun" in caplog.text


def test_want_of_memory_is_forgotten_by_the_next_run(folder, monkeypatch):
    whole = run("whole.h5", store="another store")
    rgb = images._rgb
    Path("3.png").write_bytes(picture(3, height=41))

    def full(image):
        if image.height == 41:
            raise MemoryError
        return rgb(image)

    monkeypatch.setattr(images, "_rgb", full)
    with pytest.raises(ZSLError, match=r"(?s)1 of 18 images.* 3\.png: there was no memory"):
        run()
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    summary = extract(Path("dataset.h5"), Path("features.h5"), SETTINGS, "cpu", None, Path("store"))
    assert (summary.computed, summary.skipped) == (1, [])
    found = datasets.load_features(Path("features.h5"), np.arange(COUNT))
    others = np.arange(COUNT) != 3
    assert (found[others] == whole[others]).all()
    assert np.abs(found[3]).sum() > 0


def test_want_of_memory_beside_the_decoder_ends_no_run(folder):
    def full(content: bytes):
        raise MemoryError

    Path("list.txt").write_text("0.png")
    (image,) = ListFile("list.txt")
    key, pixels, reason = batches.decode_image(image, full)
    assert (key, pixels) == (None, None)
    assert "no memory" in reason


def test_given_features_pass_through_unchanged(tmp_path):
    features = np.random.default_rng(0).normal(size=(COUNT, 5)).astype(np.float32)
    datasets.save(tmp_path / "dataset.h5", image_dataset(features=features), {})
    summary = extract(tmp_path / "dataset.h5", tmp_path / "out.h5", SETTINGS)
    assert (datasets.load_features(tmp_path / "out.h5", np.arange(COUNT)) == features).all()
    assert summary.computed == 0


@pytest.mark.parametrize("storage", ["float32", "float16"])
def test_vectors_are_stored_as_asked(folder, storage):
    """In 16 bits the same vectors, rounded; the store holds them whole, and nothing is computed."""
    whole = run()
    settings = SETTINGS.model_copy(update={"storage": storage})
    summary = extract(Path("dataset.h5"), Path("out.h5"), settings, "cpu", None, Path("store"))
    assert summary.computed == 0
    with h5py.File("out.h5") as file:
        assert file["features"].dtype == storage
        np.testing.assert_array_equal(file["features"][()], whole.astype(storage))
    loaded = datasets.load_features(Path("out.h5"), np.arange(COUNT))
    assert loaded.dtype == np.float32
    expected = forecast(of_dataset(Path("dataset.h5")), settings, "cpu", Path("store"))
    assert expected.megabytes == pytest.approx(whole.astype(storage).nbytes / 1e6)


@pytest.mark.parametrize(
    ("given", "storage", "stored"),
    [("float32", "float32", "float32"), ("float32", "float16", "float16"), ("float16", "float32", "float16")],
)
def test_given_features_are_stored_as_asked_but_16_bits_stay(tmp_path, monkeypatch, given, storage, stored):
    monkeypatch.setenv("ZSL_MEMORY", "1e-7")  # so that they stand on disk, where 16 bits stay so
    features = np.random.default_rng(0).normal(size=(COUNT, 5)).astype(given)
    datasets.save(tmp_path / "dataset.h5", image_dataset(features=collect([features], COUNT)), {})
    extract(tmp_path / "dataset.h5", tmp_path / "out.h5", Extract(storage=storage))
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["features"].dtype == stored
        np.testing.assert_array_equal(file["features"][()], features.astype(stored))


def test_vectors_too_large_for_16_bits_are_refused(tmp_path):
    features = np.full((COUNT, 5), 70_000, np.float32)
    datasets.save(tmp_path / "dataset.h5", image_dataset(features=features), {})
    with pytest.raises(ZSLError, match=r"more than 65,504 do not fit in 16 bits; set extract.storage to float32"):
        extract(tmp_path / "dataset.h5", tmp_path / "out.h5", Extract(storage="float16"))
    assert not (tmp_path / "out.h5").exists()


def damage(folder: Path) -> dict[str, bytes]:
    """Breaks four images; returns what they were."""
    before = {name: (folder / name).read_bytes() for name in ("1.png", "5.png", "12.png", "17.png")}
    (folder / "1.png").write_bytes(b"")
    (folder / "5.png").write_bytes(before["5.png"][:200])
    (folder / "12.png").write_bytes(b"<html>not found</html>")
    (folder / "17.png").unlink()
    return before


def test_all_bad_images_are_named_at_once_and_nothing_is_written(folder):
    damage(folder)
    with pytest.raises(ZSLError) as caught:
        run()
    message = str(caught.value)
    for name, reason in {"1": "0 bytes", "5": "truncated", "12": "not an image", "17": "No such file"}.items():
        assert any(line.strip().startswith(f"{name}.png:") and reason in line for line in message.splitlines()), name
    assert message.startswith("4 of 18 images")
    assert not Path("features.h5").exists()


def test_skipped_images_leave_the_splits_and_a_repair_computes_only_them(folder):
    whole = run("whole.h5")
    before = damage(folder)
    skip = SETTINGS.model_copy(update={"on_bad_image": "skip"})
    summary = extract(Path("dataset.h5"), Path("features.h5"), skip, "cpu", None, Path("store"))
    assert [name for name, _ in summary.skipped] == ["1.png", "5.png", "12.png", "17.png"]
    data = datasets.load(Path("dataset.h5"), features=Path("features.h5"))
    kept = np.concatenate([data.trainval, data.test_seen, data.test_unseen])
    assert sorted(kept) == [row for row in range(COUNT) if row not in (1, 5, 12, 17)]
    assert (datasets.load_features(Path("features.h5"), kept) == whole[kept]).all()
    every = datasets.load_features(Path("features.h5"), None)
    assert (every[kept] == whole[kept]).all()
    assert not every[[1, 5, 12, 17]].any()
    seen = datasets.load_seen(Path("dataset.h5"), Path("features.h5"))
    assert (seen.features == whole[data.trainval]).all()
    for name, content in before.items():
        (folder / name).write_bytes(content)
    summary = extract(Path("dataset.h5"), Path("again.h5"), skip, "cpu", None, Path("store"))
    assert summary.computed == 4
    assert (datasets.load_features(Path("again.h5"), np.arange(COUNT)) == whole).all()


def test_features_that_overflow_are_reported(folder, monkeypatch):
    plain = batches.Network.finish

    def overflowing(self, started):
        rows = plain(self, started)
        rows[1, 0] = np.inf
        return rows

    monkeypatch.setattr(batches.Network, "finish", overflowing)
    with pytest.raises(ZSLError, match=r"(?s)5 of 18 images.* 13\.png: its features overflow in fp32"):
        run()


def test_new_images_cost_themselves_only(folder):
    small = SETTINGS.model_copy(update={"batch_size": 2})
    names = [f"{row}.png" for row in range(COUNT)]
    listing = Path("list.txt")
    for names_now, expected_count in ((names[:-3], COUNT - 3), (names, 3), (names[::-1], 0)):
        listing.write_text("\n".join(names_now))
        summary = extract_images(ListFile("list.txt"), Path("out.h5"), small, "cpu", None, Path("store"))
        assert summary.computed == expected_count


def test_the_same_work_is_not_done_twice(folder, monkeypatch):
    run()
    monkeypatch.setattr(batches, "Batch", lambda *args: pytest.fail("computed again"))
    run("again.h5")
    assert Path("features.h5").read_bytes() == Path("again.h5").read_bytes()


def test_no_good_image_has_a_row_of_zeros(folder):
    run()
    with h5py.File("features.h5") as file:
        assert (np.abs(file["features"][()]).sum(axis=1) > 0).all()
        assert "skipped" not in file
