"""Stage `prepare`: the same bytes for the same input, nothing written on an error, an honest forecast of disk use."""

from pathlib import Path

import numpy as np
import pytest

from stages import prepare
from zslcore import artifacts
from zslcore.datasets import dataset as datasets
from zslcore.datasets.dataset import Dataset
from zslcore.disk import Size, artifact_sizes
from zslcore.errors import ZSLError
from zslcore.params import load_params

PARAMS = """\
datasets: [mine]
seeds: [0, 7]
sources:
  mine: {kind: folder, images: data/mine/images, signatures: data/mine/signatures.csv, unseen: data/mine/unseen.txt}
  odd: {kind: flder}
presets:
  mine: {best: {train: {hidden: 12}}}
  odd: {best: {}}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one data set of five classes, which is the working folder."""
    home = tmp_path / "data/mine"
    for name in "abcde":
        (home / "images" / name).mkdir(parents=True)
        for number in range(10):
            (home / "images" / name / f"{number}.png").touch()
    rows = [f"{name},{position},{position * position}" for position, name in enumerate("abcde")]
    (home / "signatures.csv").write_text("\n".join(["class,x,y", *rows]), encoding="utf-8")
    (home / "unseen.txt").write_text("e\n", encoding="utf-8")
    (tmp_path / "params.yaml").write_text(PARAMS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_artifact_holds_the_data_set_and_is_the_same_each_time(project: Path) -> None:
    prepare.command("mine")
    path = project / "artifacts/mine/dataset.h5"
    first = path.read_bytes()
    data = datasets.load(path)
    assert (len(data.trainval), len(data.test_seen), len(data.test_unseen)) == (32, 8, 10)
    with artifacts.open_artifact(path, artifacts.DATASET) as file:
        assert '"kind": "folder"' in file.attrs["params"]
        assert artifacts.sha256(Path("data/mine/unseen.txt")) in file.attrs["inputs"]
    prepare.command("mine")
    assert path.read_bytes() == first


def test_an_error_leaves_the_old_artifact_alone(project: Path) -> None:
    prepare.command("mine")
    before = (project / "artifacts/mine/dataset.h5").read_bytes()
    (project / "data/mine/unseen.txt").write_text("f\n", encoding="utf-8")
    with pytest.raises(ZSLError, match=r"^data/mine/unseen\.txt: unknown class 'f'"):
        prepare.command("mine")
    assert [path.name for path in (project / "artifacts/mine").iterdir()] == ["dataset.h5"]
    assert (project / "artifacts/mine/dataset.h5").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "dataset", "message"),
    [
        (("", ""), "main", r"unknown data set 'main': did you mean 'mine'\?"),
        (("", ""), "odd", r"unknown kind of data set 'flder': did you mean 'folder'\?"),
        (
            ("unseen:", "unsene:"),
            "mine",
            r"params\.yaml: sources\.mine: unknown parameter 'unsene'; did you mean 'unseen'",
        ),
        (("hidden: 12", "hidden: many"), "mine", r"train \(data set 'mine'\): hidden is 'many'"),
    ],
)
def test_wrong_parameters_are_named(change: tuple[str, str], dataset: str, message: str, project: Path) -> None:
    (project / "params.yaml").write_text(PARAMS.replace(*change), encoding="utf-8")
    with pytest.raises(ZSLError, match=message):
        prepare.command(dataset)
    assert not (project / "artifacts").exists()


def test_strict_splits_is_refused_where_it_means_nothing(project: Path) -> None:
    with pytest.raises(ZSLError, match="unknown parameter 'strict_splits'"):
        prepare.command("mine", strict_splits=True)


def test_a_dry_run_writes_nothing_and_counts_bytes(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare.command("mine", dry_run=True, images=40_000, dimensions=2048)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    sizes = {line[0]: float(line[1]) for line in lines if line[-1] == "MB"}
    assert sizes["features.h5"] == pytest.approx(40_000 * 2048 * 4 / 1e6, abs=0.1)
    assert sizes["finetuned.h5"] == pytest.approx(2 * sizes["features.h5"], abs=0.1)
    assert sizes["projected.h5"] == pytest.approx(2 * 40_000 * 512 * 4 / 1e6, abs=0.1)
    assert sizes["total"] == pytest.approx(sum(size for name, size in sizes.items() if name != "total"), abs=1)
    assert not (project / "artifacts").exists()


def test_a_dry_run_of_images_asks_the_backbone(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = PARAMS.replace("hidden: 12}", "hidden: 12}, extract: {backbone: vgg19}")
    (project / "params.yaml").write_text(text, encoding="utf-8")
    prepare.command("mine", dry_run=True)
    assert "50 images x 4096 dimensions" in capsys.readouterr().out
    (project / "params.yaml").write_text(text.replace("vgg19", "vgg91"), encoding="utf-8")
    with pytest.raises(ZSLError, match="unknown backbone 'vgg91'"):
        prepare.command("mine", dry_run=True)


def test_too_few_seen_classes_are_refused_before_anything_is_extracted(project: Path) -> None:
    (project / "data/mine/unseen.txt").write_text("d\ne\n", encoding="utf-8")
    with pytest.raises(ZSLError, match="'mine': 3 seen classes; choosing on validation classes needs at least 4"):
        prepare.command("mine")


def test_classes_of_one_signature_are_noted(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    signatures = project / "data/mine/signatures.csv"
    signatures.write_text(signatures.read_text().replace("e,4,16", "e,1,1"), encoding="utf-8")
    prepare.command("mine")
    assert "mine: note: 'b', 'e': the same signature, so nothing can tell them apart" in capsys.readouterr().err


RUN = """\
datasets: [toy]
seeds: [0, 7]
device: cpu
sources: {toy: {kind: folder}}
presets: {toy: {best: {
  finetune: {epochs: 1}, train: {epochs: 1, hidden: 256, projection: 64, latent: 20},
  generate: {per_unseen: 500, per_seen: 100, storage: STORAGE}, classify: {epochs: 1, calibration: 0.1}}}}
"""


@pytest.mark.parametrize("storage", ["float32", "float16"])
def test_the_forecast_is_what_the_stages_write(
    storage: str, toy: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages import classify, finetune, generate, train

    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(RUN.replace("STORAGE", storage), encoding="utf-8")
    assert toy.features is not None
    wide = np.tile(toy.features, (1, 10))
    data = Dataset(**{**vars(toy), "name": "toy", "features": wide, "pictures": [b"x" * 1000] * len(wide)})
    home = Path("artifacts/toy")
    datasets.save(home / "dataset.h5", data, {})
    with artifacts.create(home / "features.h5", artifacts.FEATURES, {}) as file:
        file["features"] = wide
    artifacts.write_json(Path("results/toy/selected.json"), {"train": {}, "generate": {}, "classify": {}})
    for stage in (finetune, train, generate, classify):
        stage.command("toy")
    forecast = artifact_sizes(Size.of(data, None, wide.shape[1]), load_params().resolve("toy"), 2)
    assert set(forecast) == {path.name for path in home.iterdir()}
    for name, size in forecast.items():
        actual = (home / name).stat().st_size
        assert 0.98 * size - 1000 <= actual <= 1.02 * size + 15_000, (name, size, actual)
