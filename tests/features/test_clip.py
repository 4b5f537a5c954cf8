"""The CLIP reference, with a tiny model of random weights."""

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stages import clip as command_module
from tests.conftest import make_dataset, write_project
from zslcore import progress
from zslcore.datasets import dataset as datasets
from zslcore.errors import ZSLError
from zslcore.features import clip as clip_module
from zslcore.io import artifacts

open_clip = pytest.importorskip("open_clip")

TINY = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> clip_module.Clip:
    path = tmp_path_factory.mktemp("clip") / "zsl-tiny.json"
    path.write_text(json.dumps(TINY))
    open_clip.add_model_config(path)
    return clip_module.load("zsl-tiny")


def picture(colour: tuple[int, int, int]) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (40, 50), colour).save(stream, "png")
    return stream.getvalue()


def test_scores_are_the_model_s_own_logits(tiny: clip_module.Clip) -> None:
    import torch

    contents = [picture((255, 0, 0)), picture((0, 255, 0)), picture((0, 0, 255))]
    names = ["red thing", "002.Green_thing"]
    scores = tiny.scores(tiny.images(contents, batch_size=2), tiny.classes(names))
    pixels = torch.stack([tiny.preprocess(Image.open(io.BytesIO(content))) for content in contents])
    texts = tiny.tokenise(["a photo of a red thing.", "a photo of a Green thing."])
    with torch.inference_mode():
        images, classes, scale = tiny.model(pixels, texts)[:3]
    np.testing.assert_allclose(scores, (scale * images @ classes.T).numpy(), rtol=1e-3, atol=1e-3)


def test_a_class_is_the_mean_of_its_prompts(tiny: clip_module.Clip) -> None:
    one, other = (tiny.classes(["owl"], [prompt])[0] for prompt in ("a {}.", "one {}!"))
    mean = (one + other) / np.linalg.norm(one + other)
    np.testing.assert_allclose(tiny.classes(["owl"], ["a {}.", "one {}!"])[0], mean, rtol=1e-4, atol=1e-5)


def test_loads_weights_from_a_file(tiny: clip_module.Clip, tmp_path: Path) -> None:
    import torch

    torch.save(tiny.model.state_dict(), tmp_path / "weights.pt")
    again = clip_module.load("zsl-tiny", str(tmp_path / "weights.pt"))
    np.testing.assert_array_equal(tiny.classes(["owl"]), again.classes(["owl"]))


def test_errors_for_people(tiny: clip_module.Clip, tmp_path: Path) -> None:
    with pytest.raises(ZSLError, match="unknown CLIP model 'ViT-Z'"):
        clip_module.load("ViT-Z")
    with pytest.raises(ZSLError, match="cannot be loaded"):
        clip_module.load("zsl-tiny", "no-such-tag")
    with pytest.raises(ZSLError, match="image 1: the file is empty"):
        tiny.images([picture((0, 0, 0)), b""])


def test_the_command_scores_a_data_set_s_pictures_and_marks_the_row(
    tiny: clip_module.Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    torch.save(tiny.model.state_dict(), tmp_path / "weights.pt")
    write_project(tmp_path)
    data = make_dataset(seen=3, unseen=2, per_class=4)
    colours = np.random.default_rng(0).integers(0, 256, (len(data.labels), 3))
    pictures = [picture(tuple(map(int, colour))) for colour in colours]
    datasets.save(Path("artifacts/toy/dataset.h5"), dataclasses.replace(data, features=None, pictures=pictures), {})
    command_module.command("toy", "zsl-tiny", "weights.pt", ["one {}"])
    said = capsys.readouterr().err
    assert "toy: clip, classes: 5/5" in said
    for split in ("test_seen", "test_unseen"):
        assert f"toy: clip, {split}: {len(getattr(data, split))}/{len(getattr(data, split))}" in said
    found = artifacts.read_json(Path("experiments/results/toy/reference/clip.json"))
    assert "REFERENCE: its pretraining has seen the classes" in found["about"]["title"]
    rows = data.test_unseen
    scores = tiny.scores(
        tiny.images(pictures[row] for row in rows),
        tiny.classes([data.classes[k] for k in data.unseen], ["one {}"]),
    )
    right = data.unseen[scores.argmax(axis=1)] == data.labels[rows]
    expected = 100 * np.mean([right[data.labels[rows] == k].mean() for k in data.unseen])
    assert found["zsl"]["T1"]["mean"] == pytest.approx(expected)


def test_the_command_says_that_given_features_are_no_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_project(tmp_path))
    datasets.save(Path("artifacts/toy/dataset.h5"), make_dataset(), {})
    with pytest.raises(ZSLError, match="features but no images"):
        command_module.command("toy")
