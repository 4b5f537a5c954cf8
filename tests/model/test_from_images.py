"""A project of pictures, whose features are averaged over views: its models name pictures as it was measured."""

import base64
import io
import json
from contextlib import chdir
from importlib import import_module
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from stages import package, predict
from tests.conftest import write_project
from zslcore.datasets import dataset as datasets
from zslcore.datasets.dataset import Dataset
from zslcore.errors import ZSLError
from zslcore.evaluation.metrics import per_class_top1
from zslcore.io import artifacts
from zslcore.model.model import Model
from zslcore.model.prediction import Question
from zslcore.report.methods import attribute_maps
from zslcore.report.results import Results

COLOURS = ("red", "green", "blue")
SIDE = 96
"""Of the pictures and of the network's input: the map has 3 x 3 places."""
EXTRACT = {
    "backbone": "test_resnet.r160_in1k", "weights": "random", "image_size": SIDE, "batch_size": 8, "precision": "fp32",
    "output": "both", "views": "flip",
}  # fmt: skip
SETTINGS = {
    "extract": EXTRACT,
    "finetune": {"epochs": 2},
    "train": {"hidden": 16, "projection": 8, "members": 1, "feedback": 0.1},
    "generate": {"per_unseen": 10, "per_seen": 5},
    "classify": {"epochs": 4},
}
GIVEN = """\
apn: {toy: {settings: {scaling: standard, signature_scaling: sphere, width: 0, epochs: 15, lr: 0.01}, calibration: 0.1}}
eszsl: {toy: {settings: {alpha: 2.0, scaling: centred_sphere}, calibration: 0.1}}
"""


def picture(signature: np.ndarray, row: int) -> np.ndarray:
    """Noise on grey, and a patch of each of the colours that a class has, at a place drawn for the picture."""
    random = np.random.default_rng(row)
    values = 128 + random.normal(0, 8, (SIDE, SIDE, 3))
    for colour, place in zip(np.flatnonzero(signature), random.permutation(9), strict=False):
        top, left = 32 * (place // 3), 32 * (place % 3)
        values[top : top + 32, left : left + 32] = np.where(np.arange(3) == colour, 250, 10)
    return values.clip(0, 255).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def data() -> Dataset:
    """Seven classes, each another set of colours, of which two are unseen."""
    signatures = np.array([(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 0, 0), (0, 1, 1), (1, 0, 1)], np.float32)
    labels = np.repeat(np.arange(7), 8)
    seen = labels < 5
    trainval = np.flatnonzero(seen & (np.arange(len(labels)) % 4 != 3))
    return Dataset(
        name="toy",
        classes=tuple(f"class {k}" for k in range(7)),
        signatures=signatures,
        labels=labels,
        trainval=trainval,
        test_seen=np.setdiff1d(np.flatnonzero(seen), trainval),
        test_unseen=np.flatnonzero(~seen),
        attribute_names=tuple(f"patch: {colour}" for colour in COLOURS),
        pictures=tuple(png(picture(signatures[label], row)) for row, label in enumerate(labels)),
    )


@pytest.fixture(scope="module")
def project(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the main model, and one of APN."""
    folder = write_project(tmp_path_factory.mktemp("project"), {"seeds": [3]}, {"toy": SETTINGS}, {"compare": {}})
    chosen = {"train": {"epochs": 4}, "generate": {}, "classify": {"calibration": 0.5}}
    with chdir(folder):
        datasets.save(Path("artifacts/toy/dataset.h5"), data, {})
        artifacts.write_json(Path("results/toy/selected.json"), chosen)
        for stage in ("extract", "finetune", "train", "generate", "classify", "evaluate", "package"):
            import_module(f"stages.{stage}").command("toy")
        Path("experiments/methods.yaml").write_text(GIVEN)
        for method in ("apn", "eszsl"):
            package.command("toy", method)
        for row in range(len(data.labels)):
            Path(f"{row:02}.png").write_bytes((data.pictures or ())[row])
    return folder


@pytest.mark.parametrize("name", ["toy", "toy-apn", "toy-eszsl"])
def test_pictures_are_named_as_it_was_measured(name: str, project: Path, data: Dataset) -> None:
    """By every figure, and to the probability, which without the mirror image would be another."""
    with chdir(project):
        model = Model.load(f"models/{name}.zsl")
        metrics = model.header.about["metrics"]
        assert model.extractor is not None
        assert model.extractor.plan.views == "flip"
        position = {one: k for k, one in enumerate(data.classes)}
        place = {one: k for k, one in enumerate(model.classes)}
        task, used = {"T1": "unseen", "U": "all", "S": "all"}, {"S": data.test_seen}
        for figure, among in task.items():
            rows = used.get(figure, data.test_unseen)
            found = model.predict([f"{row:02}.png" for row in rows], top=1, among=among)
            named = np.array([position[one.classes[0]] for one in found])
            group = "zsl" if figure == "T1" else "gzsl"
            expected = metrics[group][figure]["seeds"]["3"]
            assert 100 * per_class_top1(data.labels[rows], named) == pytest.approx(expected, abs=1e-9), figure
        rows = data.trainval
        with h5py.File("artifacts/toy/features.h5") as file:
            features = file["maps" if model.on_maps else "features"][()][rows]
        expected = model.probabilities(features)
        for row, one in zip(range(len(rows)), model.predict([f"{row:02}.png" for row in rows], top=9), strict=True):
            found = [expected[row, place[each]] for each in one.classes]
            np.testing.assert_allclose(one.probabilities, found, atol=1e-3)


@pytest.mark.parametrize(("name", "least"), [("toy-apn", 0.7), ("toy-eszsl", 0.5)])
def test_maps_point_at_the_patches(name: str, least: float, project: Path, data: Dataset) -> None:
    """Of pictures of unseen classes; a place drawn at random is right in a ninth."""
    with chdir(project):
        model = Model.load(f"models/{name}.zsl")
        found = model.predict([f"{row:02}.png" for row in data.test_unseen], explain=True, maps=True)
    right = []
    for row, one in zip(data.test_unseen, found, strict=True):
        assert one.maps is not None
        assert one.maps.shape == (3, 3, 3)
        random = np.random.default_rng(row)
        random.normal(0, 8, (SIDE, SIDE, 3))
        shown = np.flatnonzero(data.signatures[data.labels[row]])
        right += [one.maps[k].argmax() == at for k, at in zip(shown, random.permutation(9), strict=False)]
    assert np.mean(right) > least


def test_a_class_activation_map_adds_up_to_what_the_attribute_added(project: Path) -> None:
    with chdir(project):
        model = Model.load("models/toy-eszsl.zsl")
        (one,) = model.predict(["50.png"], top=2, explain=True, maps=True)
    method, place = model.methods[0], model.classes.index
    scaled = method.signature_scaler(model.signatures)
    lead = scaled[place(one.classes[0])] - scaled[place(one.classes[1])]
    unit = model.header.confidence.temperature.joint * method.unit(scaled)
    added = {each.attribute: each.value for each in one.attributes}
    assert one.maps is not None
    for k, name in enumerate(model.attributes):
        assert added[name] == pytest.approx(one.maps[k].mean() * lead[k] / unit, rel=0.02, abs=1e-3)


def test_the_pictures_of_the_command(project: Path, tmp_path: Path) -> None:
    """A PNG of each attribute that decided, of the network's size, brightest where the map is largest."""
    with chdir(project):
        Path("list.txt").write_text("50.png\ngone.png\n51.png\n")
        model = Path("models/toy-apn.zsl")
        predict.command(model, "list.txt", explain=True, maps=tmp_path / "maps", out=str(tmp_path / "out.jsonl"))
        rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        with pytest.raises(ZSLError, match=r"--maps .*maps: has files in it; give a new folder"):
            predict.command(model, "list.txt", explain=True, maps=tmp_path / "maps")
        with pytest.raises(ZSLError, match=r"--maps list\.txt: .* is no folder that can be written to"):
            predict.command(model, "list.txt", explain=True, maps=Path("list.txt"))
        found = Model.load(model).predict(["50.png", "51.png"], explain=True, maps=True)
        picture = np.asarray(Image.open("50.png"), np.float32)
    assert "maps" not in rows[1]
    files = [one["file"] for row in rows for one in row.get("maps", ())]
    assert sorted(files) == sorted(str(path) for path in (tmp_path / "maps").iterdir())
    spoke = [one.attribute for one in found[0].attributes if one.value > 0 and one.more]
    assert spoke
    assert [one["attribute"] for one in rows[0]["maps"]] == spoke
    assert found[0].maps is not None
    for one in rows[0]["maps"]:
        shown = np.asarray(Image.open(one["file"]), np.float32)
        assert shown.shape == (SIDE, SIDE, 3)
        changed = np.abs(shown - picture).mean(axis=2).reshape(3, 32, 3, 32).mean(axis=(1, 3))
        values = found[0].maps[model_attribute(one["attribute"])]
        assert changed.ravel()[values.argmin()] < changed.max() / 4


def model_attribute(name: str) -> int:
    return [f"patch: {colour}" for colour in COLOURS].index(name)


def test_the_report_shows_them(project: Path) -> None:
    shown = artifacts.read_json(project / "experiments/results/toy/maps/apn.json")["pictures"]
    assert [one["caption"].partition(",")[0] for one in shown] == ["an image of class 5", "an image of class 6"]
    panels = Image.open(io.BytesIO(base64.b64decode(shown[0]["png"])))
    assert panels.height == package.PANEL[1]
    assert panels.width in [count * package.PANEL[0] for count in (2, 3, 4)]

    class Toy:
        dataset = "toy"

    blocks = list(attribute_maps(Results(Toy(), (project / "experiments/results",))))  # type: ignore[arg-type]
    assert [getattr(block, "name", "") for block in blocks[2:]] == ["toy-maps-apn-1", "toy-maps-apn-2"]


def test_what_cannot_be_shown_is_said(project: Path, tmp_path: Path) -> None:
    with chdir(project):
        main, apn = Path("models/toy.zsl"), Path("models/toy-apn.zsl")
        with pytest.raises(ZSLError, match=r"'clusterable' cannot say where .* these can: ale, apn, .*eszsl, sje$"):
            predict.command(main, "50.png", explain=True, maps=tmp_path / "maps")
        with pytest.raises(ZSLError, match=r"--maps: shows the attributes that --explain names; add it"):
            predict.command(apn, "50.png", maps=tmp_path / "maps")
        with pytest.raises(ZSLError, match=r"features.h5: features, and no pictures to show maps on"):
            predict.command(apn, "artifacts/toy/features.h5", explain=True, maps=tmp_path / "maps")
        model = Model.load("models/toy-eszsl.zsl")
        with pytest.raises(ZSLError, match=r"features without maps.*set extract.output to both"):
            model.predict_rows([np.zeros(96, np.float32)], Question(maps=True))
    assert not (tmp_path / "maps").exists()


def test_files_of_features(project: Path, tmp_path: Path, data: Dataset) -> None:
    """A model on maps reads maps, one on vectors vectors; the other kind, and maps of another size, are refused."""
    with chdir(project):
        apn, eszsl = Path("models/toy-apn.zsl"), Path("models/toy-eszsl.zsl")
        predict.command(apn, "artifacts/toy/features.h5", out=str(tmp_path / "out.jsonl"), top=1)
        rows = [json.loads(line)["classes"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        expected = Model.load(apn).predict(list(data.pictures or ()), top=1)
        assert rows == [list(one.classes) for one in expected]
        for name, shape in (("vectors", (2, 96)), ("maps", (2, 3, 3, 96)), ("small", (2, 2, 3, 96))):
            with h5py.File(tmp_path / f"{name}.h5", "w") as file:
                kind = "features" if name == "vectors" else "maps"
                file[kind] = np.zeros(shape, np.float32 if name == "vectors" else np.float16)
        with pytest.raises(ZSLError, match=r"vectors.h5: holds features alone, and 'apn' takes maps"):
            predict.command(apn, str(tmp_path / "vectors.h5"))
        with pytest.raises(ZSLError, match=r"maps.h5: holds maps alone, and 'eszsl' takes features"):
            predict.command(eszsl, str(tmp_path / "maps.h5"))
        with pytest.raises(ZSLError, match=r"apn was fitted on maps \(n, 3, 3, 96\)"):
            predict.command(apn, str(tmp_path / "small.h5"))


def test_a_model_with_a_stage_that_learned_names_pictures_as_their_features(data: Dataset, tmp_path: Path) -> None:
    """It holds the stage, and takes of pictures what its training images gave."""
    settings = {"toy": SETTINGS | {"extract": EXTRACT | {"output": "before", "views": 1}}}
    with chdir(write_project(tmp_path, {"seeds": [3]}, settings, {"compare": {}})):
        datasets.save(Path("artifacts/toy/dataset.h5"), data, {})
        import_module("stages.extract").command("toy")
        Path("experiments/methods.yaml").write_text(GIVEN)
        package.command("toy", "apn")
        model = Model.load("models/toy-apn.zsl")
        with h5py.File("artifacts/toy/features.h5") as file:
            maps = file["maps"][()]
        assert maps.shape[1:] == (6, 6, 192), "of the stage before, twice as wide and high"
        expected = model.probabilities(maps)
        named = model.predict(list(data.pictures or ()), top=9, explain=True, maps=True)
    place = {one: k for k, one in enumerate(model.classes)}
    for row, one in enumerate(named):
        np.testing.assert_allclose(one.probabilities, expected[row, [place[each] for each in one.classes]], atol=1e-3)
        assert one.maps is not None
        assert one.maps.shape == (3, 3, 3)
    right = np.mean([one.classes[0] == data.classes[label] for one, label in zip(named, data.labels, strict=True)])
    assert right > 2 / 7
