"""Images to names: whatever form an image has, it is named alike, and one that cannot be read says why."""

import csv
import dataclasses
import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from stages import predict
from zslcore.errors import ZSLError
from zslcore.features import backbones
from zslcore.features.network import plan_extraction
from zslcore.methods.base import TrainData
from zslcore.methods.eszsl import ESZSL
from zslcore.methods.latem import LATEM
from zslcore.model.header import BackboneHeader, Header, of_method
from zslcore.model.images import Extractor
from zslcore.model.model import Model
from zslcore.settings import Extract

CLASSES, ATTRIBUTES = ("red", "green", "blue"), ("r", "g", "b")
SETTINGS = Extract(backbone="test_resnet.r160_in1k", weights="random", image_size=32, batch_size=4, precision="fp32")


def pixels(seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, 100, (40, 50, 3), dtype=np.uint8)
    values[:, :, seed % 3] += 150
    return values


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels(seed)).save(stream, "PNG")
    return stream.getvalue()


def trained(settings: Extract) -> Model:
    """ESZSL on a small random network: red and green have images, blue has none."""
    backbone = backbones.load(settings.backbone, settings.weights, settings.image_size)
    plan = plan_extraction(backbone, settings, "cpu", np.empty((0, 1, 1, 3), np.uint8))
    preprocessing = json.loads(json.dumps(backbone.preprocessing))
    extractor = Extractor(BackboneHeader(plan=plan.as_dict(), preprocessing=preprocessing))
    seeds = [seed for seed in range(12) if seed % 3 < 2]
    features = np.stack([outcome.features for outcome in extractor([pixels(seed) for seed in seeds])])
    signatures = np.eye(3, dtype=np.float32)
    method = ESZSL().fit(TrainData(features, np.array(seeds) % 3, signatures[:2]))
    header = Header(
        name="colours",
        method="eszsl",
        settings=of_method(method.settings),
        seeds=(0,),
        classes=CLASSES,
        attributes=ATTRIBUTES,
        backbone=extractor.header,
    )
    return Model(header, signatures, np.array([True, True, False]), (method,), extractor)


@pytest.fixture(scope="module")
def model() -> Model:
    return trained(SETTINGS)


@pytest.fixture
def folder(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model and pictures, one of them broken, as the working directory."""
    monkeypatch.chdir(tmp_path)
    model.save("colours.zsl")
    for seed in range(5):
        Path(f"{seed}.png").write_bytes(png(seed))
    Path("3.png").write_bytes(png(3)[:200])
    Path("list.txt").write_text("4.png\n\n0.png\n3.png\n\n0.png\nnone.png\n")
    return tmp_path


def test_every_form_of_an_image_is_named_alike(model: Model, folder: Path) -> None:
    forms = ["1.png", Path("1.png"), png(1), Image.fromarray(pixels(1)), pixels(1)]
    found = model.predict(forms, top=3)
    assert [one.file for one in found] == ["1.png", "1.png", None, None, None]
    for one in found[1:]:
        assert one.classes == found[0].classes
        assert one.probabilities == pytest.approx(found[0].probabilities, rel=1e-6), "batches differ in size"
    assert sum(found[0].probabilities) == pytest.approx(1)


def test_an_image_that_cannot_be_read_says_why(model: Model, folder: Path) -> None:
    bad, gone, good = model.predict(["3.png", "gone.png", "1.png"])
    assert "truncated or damaged" in str(bad.failure)
    assert gone.failure == "No such file or directory"
    assert (bad.classes, good.failure) == ((), None)
    with pytest.raises(ZSLError, match=r"uint8"):
        model.predict([pixels(1) / 255])
    with pytest.raises(ZSLError, match=r"give a list of images"):
        model.predict("1.png")


def test_the_backbone_is_asked_for_by_its_hash(model: Model, folder: Path) -> None:
    assert model.extractor is not None
    others = dataclasses.replace(model.extractor, weights=None, header=model.header.backbone)
    plan = {**others.header.plan, "fingerprint": "0" * 64}
    wrong = Extractor(others.header.model_copy(update={"plan": plan}), where="a.zsl")
    with pytest.raises(ZSLError, match=r"a\.zsl: made with weights 000000000000 of test_resnet"):
        list(wrong([pixels(0)]))
    plan = {**others.header.plan, "backbone": "os:system", "weights": "true"}
    with pytest.raises(ZSLError, match=r"the function 'os:system', which would be run; where you trust it"):
        list(Extractor(others.header.model_copy(update={"plan": plan}))([pixels(0)]))
    plan = {**others.header.plan, "weights": "file:gone.safetensors"}
    with pytest.raises(ZSLError, match=r"are not in it, and cannot be had .*--weights file:PATH"):
        list(Extractor(others.header.model_copy(update={"plan": plan}))([pixels(0)]))


def test_the_backbone_may_be_in_the_file(model: Model, folder: Path) -> None:
    assert model.extractor is not None
    plan = {**model.extractor.header.plan, "weights": "file:gone.safetensors"}
    header = model.extractor.header.model_copy(update={"plan": plan})
    whole = dataclasses.replace(
        model,
        header=model.header.model_copy(update={"backbone": header}),
        extractor=dataclasses.replace(model.extractor.including(), header=header),
    )
    whole.save("whole.zsl")
    assert Model.load("whole.zsl").predict(["1.png"]) == model.predict(["1.png"])


def test_networks_that_cannot_show_where_are_refused(model: Model) -> None:
    """One that pools by its class token, one without maps, and features that were averaged over crops."""
    assert model.extractor is not None
    header = model.extractor.header

    def asked(backbone: backbones.Backbone, **plan: object) -> None:
        changed = header.model_copy(update={"plan": {**header.plan, **plan}})
        extractor = Extractor(changed, where="a.zsl")
        vars(extractor)["backbone"] = backbone
        replace(model, extractor=extractor).predict([pixels(0)], maps=True)

    usual = model.extractor.backbone
    with pytest.raises(ZSLError, match=r"test_vit: its vectors are no means of its maps, .*package a method on maps"):
        asked(backbones.load("test_vit", "random"))
    plain = backbones.from_module("plain", torch.nn.Flatten(), {"input_size": (3, 4, 4)})
    with pytest.raises(ZSLError, match="plain has no feature map"):
        asked(plain)
    with pytest.raises(ZSLError, match=r"a\.zsl: its features are averaged over crops, .*no maps"):
        asked(usual, views="five")
    with pytest.raises(ZSLError, match=r"trained on given features: there is no picture to look at"):
        _ = replace(model, extractor=None).localiser


def test_rows_come_in_the_order_of_the_images(folder: Path) -> None:
    predict.command(Path("colours.zsl"), "list.txt", top=2, out="out.jsonl")
    rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [row["file"] for row in rows] == ["4.png", "0.png", "3.png", "0.png", "none.png"]
    assert rows[1] == rows[3]
    assert [row["failure"] is None for row in rows] == [True, True, False, True, False]
    assert {len(row["classes"]) for row in rows if not row["failure"]} == {2}
    predict.command(Path("colours.zsl"), "list.txt", top=2, out="out.csv")
    with open("out.csv", newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [(row["file"], row["rank"]) for row in table[:3]] == [("4.png", "1"), ("4.png", "2"), ("0.png", "1")]
    assert [row["class"] for row in table[:2]] == rows[0]["classes"]
    assert [row["failure"] for row in table if not row["class"]] == [rows[2]["failure"], rows[4]["failure"]]


def test_what_was_computed_is_not_computed_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predict.command(Path("colours.zsl"), ".", out="first.jsonl")
    monkeypatch.setattr("zslcore.features.network.Network.start", None)
    predict.command(Path("colours.zsl"), ".", out="second.jsonl")
    assert Path("first.jsonl").read_bytes() == Path("second.jsonl").read_bytes()


@pytest.mark.slow
def test_a_ray_cluster_gives_the_same_bytes(cluster: Any, model: Model, folder: Path, monkeypatch: Any) -> None:
    """Of a model that holds its backbone, which no worker could load, and whose preprocessing is not the usual one."""
    assert model.extractor is not None
    about = model.extractor.header
    about = about.model_copy(
        update={
            "plan": {**about.plan, "weights": "file:gone.safetensors"},
            "preprocessing": {**about.preprocessing, "crop_pct": 0.5},
        }
    )
    header = model.header.model_copy(update={"backbone": about})
    replace(model, header=header, extractor=replace(model.extractor.including(), header=about)).save("whole.zsl")
    predict.command(Path("whole.zsl"), "list.txt", out="local.jsonl")
    shutil.rmtree(".zsl")
    with monkeypatch.context() as patch:
        patch.setattr("zslcore.features.network.Network.start", None)  # in this process
        predict.command(Path("whole.zsl"), "list.txt", engine="ray", out="ray.jsonl")
    assert Path("ray.jsonl").read_bytes() == Path("local.jsonl").read_bytes()


def test_a_file_of_features_is_a_place_too(model: Model, folder: Path) -> None:
    assert model.extractor is not None
    features = np.stack([outcome.features for outcome in model.extractor([pixels(0), pixels(1)])])
    with h5py.File("given.h5", "w") as file:
        file["features"] = np.concatenate([features, np.full((1, features.shape[1]), np.nan, np.float32)])
    predict.command(Path("colours.zsl"), "given.h5", out="out.jsonl", top=1)
    rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [row["classes"] for row in rows[:2]] == [list(one.classes) for one in model.predict(["0.png", "1.png"], 1)]
    assert rows[2]["failure"] == "its features hold NaN or infinity"


def test_new_classes_compete(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("new.csv").write_text("name,b,r,g\ncyan,1,0,1\npurple,1,1,0\n")
    predict.command(Path("colours.zsl"), "1.png", classes=Path("new.csv"), top=9, out="-")
    predict.command(Path("colours.zsl"), "1.png", classes=Path("new.csv"), among="new.csv", top=9, out="-")
    both, alone = (json.loads(line)["classes"] for line in capsys.readouterr().out.splitlines())
    assert (set(both), set(alone)) == ({*CLASSES, "cyan", "purple"}, {"cyan", "purple"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,r,g,x\ncyan,0,1,1\n", "unknown attribute 'x'"),
        ("name,r,g\ncyan,0,1\n", "no value for 1 of 3 attributes: b"),
        ("name,r,g,b,b\ncyan,0,1,1,1\n", "column 'b' appears twice"),
        ("name,r,g,b\ncyan,0,1,1\ncyan,0,1,0\n", "name 'cyan' appears twice"),
        ("name,r,g,b\nred,0,1,1\n", "the model has a class 'red' already"),
        ("name,r,g,b\n ,0,1,1\n", "a new class has an empty name"),
        ("name,r,g,b\ncyan,0,nan,1\n", "'nan' is no finite number"),
        ("name,r,g,b\n", "a header and no rows"),
        ("", "the file is empty"),
        ("name,r,g,b\ncyan,1,0,0\n", "classes 'red', 'cyan' coincide"),
    ],
)
def test_a_bad_table_of_classes_is_refused_by_name(text: str, message: str, folder: Path) -> None:
    Path("new.csv").write_text(text)
    with pytest.raises(ZSLError, match=message):
        predict.command(Path("colours.zsl"), "1.png", classes=Path("new.csv"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"among": "unseen"}, "1 class to choose from"),
        ({"among": "some.txt"}, "some.txt: no such file"),
        ({"among": "empty.txt"}, "empty.txt: the list is empty; write one class name a line"),
        ({"place": "empty.txt"}, r"empty\.txt: no images there"),
        ({"engine": "abacus"}, "unknown engine 'abacus'"),
        ({"out": "out.xml"}, r"unknown kind of file '\.xml'"),
        ({"place": "nowhere"}, "nowhere: no such file or folder of images"),
    ],
)
def test_bad_options_are_refused(options: dict[str, str], message: str, folder: Path) -> None:
    Path("empty.txt").write_text("\n  \n\n")
    with pytest.raises(ZSLError, match=message):
        predict.command(Path("colours.zsl"), **{"place": "1.png", **options})
    assert not list(folder.glob("out.*"))


def test_a_wrong_question_is_refused_before_any_image_is_looked_at(
    model: Model, folder: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("zslcore.features.network.Network.start", None)
    with pytest.raises(ZSLError, match="1 class to choose from"):
        predict.command(Path("colours.zsl"), ".", among="unseen")
    features = np.random.default_rng(0).normal(size=(8, 512)).astype(np.float32)
    other = LATEM(LATEM.Settings(epochs=1)).fit(TrainData(features, np.arange(8) % 2, model.signatures[:2]))
    header = model.header.model_copy(update={"method": "latem", "settings": of_method(other.settings)})
    replace(model, header=header, methods=(other,)).save("other.zsl")
    with pytest.raises(ZSLError, match="'latem' cannot say which attributes spoke; leave the explanation away"):
        predict.command(Path("other.zsl"), ".", explain=True)


def test_numbers_without_names_explain_nothing(folder: Path, model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    header = model.header.model_copy(update={"attributes": ("text 1", "text 2", "text 3")})
    replace(model, header=header).save("numbered.zsl")
    predict.command(Path("numbered.zsl"), "list.txt", explain=True)
    shown = capsys.readouterr().out
    assert "most like, of seen classes: " in shown
    assert "text 1" not in shown


def test_parquet_has_a_row_an_image(folder: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    predict.command(Path("colours.zsl"), "list.txt", out="out.parquet")
    rows = parquet.read_table("out.parquet").to_pylist()
    assert [row["file"] for row in rows] == ["4.png", "0.png", "3.png", "0.png", "none.png"]
    assert sum(rows[0]["probabilities"]) == pytest.approx(1, abs=1e-5)


def test_the_table_in_the_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict.command(Path("colours.zsl"), "list.txt", top=1, explain=True)
    shown = capsys.readouterr()
    assert "against" in shown.out
    assert "most like, of seen classes: " in shown.out
    assert "unreadable: " in shown.out
    assert "list.txt: 5 images, 0 with none of these classes, 2 unreadable" in shown.err


def test_no_sentence_of_an_explanation_makes_the_table_wide(
    folder: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tuple(f"a colour that takes many words to be described in full, number: {k}" for k in "abc")
    replace(model, header=model.header.model_copy(update={"attributes": names})).save("wordy.zsl")
    predict.command(Path("wordy.zsl"), "0.png", top=1, explain=True)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 110
    said = re.sub(r"[\s│]+", " ", shown)
    assert re.search(r"for \S.*, against \S.*: .*a colour that takes many words to be described in full", said)
