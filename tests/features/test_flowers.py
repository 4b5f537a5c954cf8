"""Real photographs: every fast path gives the features, and the accuracy, of the plain one."""

import io
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from zslcore.datasets.dataset import Dataset, hold_out_seen, load_features
from zslcore.evaluation.protocol import benchmark_task, score
from zslcore.features import backbones
from zslcore.features.extract import extract_images
from zslcore.features.image_sources import Folder, ImageRef, Missing
from zslcore.features.images import transform
from zslcore.features.network import MIN_COSINE, Network, _smallest_cosine, plan_extraction
from zslcore.methods.eszsl import ESZSL, ESZSLSettings
from zslcore.settings import Extract
from zslcore.training.device import fast_precisions

SETTINGS = Extract(backbone="tf_efficientnet_lite0", precision="fp32")
SEEN_EACH = 5
"""Images of a seen class: enough for ESZSL to learn from. Unseen ones have all of theirs: 252 count for T1."""
Features = NDArray[np.float32]


class Flowers(Folder):
    """Every `step`-th of the photographs that are looked at."""

    def __init__(self, folder: Path, step: int = 1) -> None:
        super().__init__(str(folder / "images"))
        table = pd.read_csv(folder / "classes.csv", dtype={"class": str})
        self.unseen, self.step = set(table["class"][table["split"] == "test_unseen"]), step

    def _list(self) -> Iterator[ImageRef | Missing]:
        return islice(self._chosen(), 0, None, self.step)

    def _chosen(self) -> Iterator[ImageRef | Missing]:
        found: Counter[str] = Counter()
        for image in super()._list():
            name = Path(image.name).parent.name
            found[name] += 1
            if name in self.unseen or found[name] <= SEEN_EACH:
                yield image


def accuracy(folder: Path, features: Features) -> float:
    """ESZSL's T1 with fixed settings: only the features differ from path to path."""
    table = pd.read_csv(folder / "classes.csv", dtype={"class": str})
    signatures = pd.read_csv(folder / "class_embeddings.csv", dtype={"class": str}).set_index("class")
    names = [Path(image.name).parent.name for image in Flowers(folder)]
    labels = table["class"].tolist()
    rows = np.array([labels.index(name) for name in names])
    unseen = (table["split"] == "test_unseen").to_numpy()[rows]
    trainval, test_seen = hold_out_seen(rows, np.flatnonzero(~unseen), 0.2, 0)
    data = Dataset(
        name="flowers",
        classes=tuple(labels),
        signatures=signatures.loc[labels].to_numpy(np.float32),
        labels=rows,
        trainval=trainval,
        test_seen=test_seen,
        test_unseen=np.flatnonzero(unseen),
    )
    task = benchmark_task(data, features)
    method = ESZSL(ESZSLSettings(alpha=3, gamma=0))
    return score(method.fit(task.train), task).zsl_top1


@pytest.fixture(scope="module")
def extracted(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Features]:
    """Features of Flowers by a path."""
    where = tmp_path_factory.mktemp("flowers")

    def run(name: str, engine=None, step: int = 1, **changes: object) -> Features:
        images = Flowers(real_data / "flo", step)
        settings = SETTINGS.model_copy(update=changes)
        count = extract_images(images, where / f"{name}.h5", settings, "cpu", engine, where / name).images
        return load_features(where / f"{name}.h5", np.arange(count))

    return run


@pytest.fixture(scope="module")
def plain(extracted: Callable[..., Features]) -> Features:
    return extracted("fp32")


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.parametrize(("path", "cosine"), [("auto", 0.9995), ("fp16", 0.9995), ("bf16", 0.99)])
def test_sixteen_bits(real_data, extracted, plain, path, cosine):
    if path not in ("auto", *fast_precisions(torch.device("cpu"))):
        pytest.skip(f"this processor has no units for {path}: it would take hundreds of times longer")
    found = extracted(path, precision=path)
    cosines = (found * plain).sum(axis=1) / (np.linalg.norm(found, axis=1) * np.linalg.norm(plain, axis=1))
    t1, expected = (accuracy(real_data / "flo", features) for features in (found, plain))
    print(f"{path}: cosine at least {cosines.min():.5f}, T1 {100 * t1:.2f} beside {100 * expected:.2f}")
    assert cosines.min() >= cosine
    assert abs(t1 - expected) <= 0.005


@pytest.mark.realdata
def test_photographs_decoded_small_are_refused_and_bf16_is_warned_of(real_data, caplog):
    if "bf16" not in fast_precisions(torch.device("cpu")):
        pytest.skip("this processor has no units for bf16: it would take hundreds of times longer")
    backbone = backbones.load(SETTINGS.backbone)
    chosen = [image for image in Folder(str(real_data / "flo" / "images")) if isinstance(image, ImageRef)][::200]
    large = []
    for image in chosen:
        stream = io.BytesIO()
        picture = Image.open(image.path)
        picture.resize((3 * picture.width, 3 * picture.height), Image.Resampling.LANCZOS).save(stream, "JPEG")
        large.append(stream.getvalue())
    ways = (transform(backbone.preprocessing, downscale) for downscale in (False, True))
    plain, downscaled = (np.stack([way(content) for content in large]) for way in ways)
    plan = plan_extraction(backbone, SETTINGS.model_copy(update={"precision": "bf16"}), "cpu", plain, downscaled)
    found = re.search(r"precision: bf16: features .* fall to a cosine of (0\.99\d\d)", caplog.text)
    assert found, "this network's features in bf16 agree with those in fp32"
    network = Network(replace(plan, precision="fp32", batch_size=len(large), cpu_splits=1), backbone)
    cosine = _smallest_cosine(network(downscaled), network(plain))
    print(f"bf16: cosine at least {found[1]}; decoded small, in fp32: {cosine:.5f}")
    assert cosine < MIN_COSINE, "this network sees it"
    assert not plan.jpeg_downscaled


@pytest.mark.slow
@pytest.mark.realdata
def test_ray_gives_the_same_bytes(cluster, extracted):
    """No set-up is shared with other tests, which run in other processes: this one is the cluster's."""
    from zslcore.features.ray_engine import ray_engine

    assert (extracted("ray", ray_engine(workers=1), step=5) == extracted("here", step=5)).all()


@pytest.mark.slow
@pytest.mark.realdata
def test_plain_path_is_timms_own(real_data, plain):
    import timm

    backbone = backbones.load(SETTINGS.backbone)
    prepare = timm.data.create_transform(**backbone.preprocessing)
    images = [image for image in Flowers(real_data / "flo") if isinstance(image, ImageRef)]
    for row in range(0, len(images), 18):
        with torch.no_grad():
            expected = backbone.module(prepare(Image.open(images[row].path).convert("RGB"))[None])[0].numpy()
        assert np.abs(plain[row] - expected).max() <= 1e-5 * np.abs(expected).max()
