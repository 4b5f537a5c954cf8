"""Methods on feature maps: losses and streams against plain loops, maps from disk, and what does not fit said."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit, logsumexp, softmax

from tests.conftest import make_maps
from tests.methods.expected import make, task_for
from zslcore.datasets.dataset import Dataset
from zslcore.datasets.maps import Maps
from zslcore.errors import ZSLError
from zslcore.evaluation.protocol import Task, benchmark_task, fit
from zslcore.evaluation.result_cache import fingerprint
from zslcore.io import artifacts
from zslcore.methods import registry
from zslcore.methods.apn import APN, APNSettings, compactness, decorrelation
from zslcore.methods.aren import thresholded
from zslcore.methods.base import Localised

NAMES = sorted(name for name in registry.METHODS if registry.get(name).input == "maps")


def cross_entropy(scores: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean([logsumexp(row) - row[label] for row, label in zip(scores, labels, strict=True)]))


def begun(name: str, image: tuple[int, int, int], attributes: int, **settings: object) -> tuple[object, dict]:
    """A method with fresh weights, and these as arrays."""
    torch.manual_seed(0)
    cls = registry.get(name)
    method = cls(cls.Settings(**{**cls.quick, **settings}))
    method.image, method.device = image, torch.device("cpu")
    method.network = method.build(image, attributes)
    return method, {key: value.detach().numpy() for key, value in method.network.state_dict().items()}


@pytest.fixture
def batch() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Maps (4, 3, 2, 5), labels of 3 classes, signatures (3, 6)."""
    random = np.random.default_rng(1)
    maps, signatures = random.normal(size=(4, 3, 2, 5)), random.normal(size=(3, 6))
    return maps.astype(np.float32), np.array([0, 2, 1, 1]), signatures.astype(np.float32)


def places(image: np.ndarray) -> list[np.ndarray]:
    return [image[row, column] for row in range(image.shape[0]) for column in range(image.shape[1])]


def test_compactness_is_the_loop_of_equation_4() -> None:
    maps = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    total = 0.0
    for one in maps.reshape(6, 4, 5):
        row, column = np.unravel_index(one.argmax(), one.shape)
        for i in range(4):
            for j in range(5):
                total += max(one[i, j], 0) * ((i - row) ** 2 + (j - column) ** 2) / 5**2
    assert float(compactness(torch.from_numpy(maps))) == pytest.approx(total / 6, rel=1e-5)


def test_decorrelation_is_the_loop_of_equation_3() -> None:
    prototypes = np.random.default_rng(0).normal(size=(5, 7))
    groups = ((0, 3), (1, 2, 4))
    total = sum(np.sqrt(sum(prototypes[k, c] ** 2 for k in group)) for c in range(7) for group in groups)
    assert float(decorrelation(torch.from_numpy(prototypes), groups)) == pytest.approx(total)
    alone = float(decorrelation(torch.from_numpy(prototypes)))
    assert alone == pytest.approx(np.abs(prototypes).sum()), "each by itself"


def test_apn_s_terms(batch) -> None:
    maps, labels, signatures = batch
    groups = ((0, 1, 2), (3, 4, 5))
    method, w = begun("apn", (3, 2, 5), 6, width=4, prototypes=0.5, groups=groups)
    found, pooled = np.empty((4, 6)), np.empty((4, 4))
    for image in range(4):
        layer = [np.maximum(w["layer.0.weight"] @ f + w["layer.0.bias"], 0) for f in places(maps[image])]
        pooled[image] = np.mean(layer, axis=0)
        for k in range(6):
            found[image, k] = max(w["prototypes"][k] @ f for f in layer)
    scores = (pooled @ w["compatibility"] + 0.5 * found) @ signatures.T / np.sqrt(6)
    terms = {name: term.item() for name, term in method.terms(*map(torch.from_numpy, batch)).items()}
    assert terms["cls"] == pytest.approx(cross_entropy(scores, labels), rel=1e-4)
    assert terms["reg"] == pytest.approx(np.mean((found - signatures[labels]) ** 2), rel=1e-4)
    logits = method.logits(torch.from_numpy(maps), torch.from_numpy(signatures)).detach().numpy()
    np.testing.assert_allclose(logits, scores, rtol=1e-4, atol=1e-5)
    weights = {"cls": 1.0, "reg": 1.0, "ad": method.settings.decorrelation, "cpt": method.settings.compactness}
    expected = sum(weight * terms[name] for name, weight in weights.items())
    assert terms["total"] == pytest.approx(expected, rel=1e-5)


def test_attribute_maps_score_by_the_best_place(batch) -> None:
    maps, labels, signatures = batch
    method, w = begun("attribute-maps", (3, 2, 5), 6)
    found = np.array([np.max([w["weight"] @ f + w["bias"] for f in places(image)], axis=0) for image in maps])
    terms = {name: term.item() for name, term in method.terms(*map(torch.from_numpy, batch)).items()}
    expected = cross_entropy(found @ signatures.T / np.sqrt(6), labels)
    assert terms["total"] == pytest.approx(expected, rel=1e-4)


def test_attention_is_a_softmax_over_places(batch) -> None:
    maps, labels, signatures = batch
    method, w = begun("attribute-attention", (3, 2, 5), 6, width=4, regression=0.5)
    found = np.empty((4, 6))
    for image in range(4):
        for k in range(6):
            vector = w["vectors"][k]
            alpha = softmax([vector @ w["keys.weight"] @ f / 2 for f in places(maps[image])])
            seen = sum(weight * f for weight, f in zip(alpha, places(maps[image]), strict=True))
            found[image, k] = vector @ w["values.weight"] @ seen / 2
    terms = {name: term.item() for name, term in method.terms(*map(torch.from_numpy, batch)).items()}
    scores = found @ signatures.T / np.sqrt(6)
    wanted = cross_entropy(scores, labels) + 0.5 * np.mean((found - signatures[labels]) ** 2)
    assert terms["total"] == pytest.approx(wanted, rel=1e-4)


def test_aren_s_streams(batch) -> None:
    maps, labels, signatures = batch
    settings = {"parts": 3, "compressed": 2, "threshold": 0.9, "dropout": 0.0, "fusion": 0.25}
    method, w = begun("aren", (3, 2, 5), 6, **settings)
    first, second, off = np.empty((4, 6)), np.empty((4, 6)), 0
    for image in range(4):
        fs = places(maps[image])
        masks = np.array([expit(w["attention.weight"] @ f + w["attention.bias"]) for f in fs]).T
        kept = masks.max(axis=1) >= 0.9 * masks.max()
        off += (~kept).sum()
        regions, products = [], []
        for part in range(3):
            attended = [masks[part, i] * kept[part] * f for i, f in enumerate(fs)]
            compressed = [w["compress.weight"] @ f + w["compress.bias"] for f in fs]
            regions.append(np.max(attended, axis=0))
            products.append(np.mean([np.outer(c, f) for c, f in zip(compressed, attended, strict=True)], axis=0))
        first[image] = w["regions.weight"] @ np.concatenate(regions)
        second[image] = w["second_order.weight"] @ np.max(products, axis=0).ravel()
    assert 0 < off < 12, "some parts are off, some are not"
    terms = {name: term.item() for name, term in method.terms(*map(torch.from_numpy, batch)).items()}
    losses = [cross_entropy(stream @ signatures.T / np.sqrt(6), labels) for stream in (first, second)]
    assert terms["total"] == pytest.approx(np.mean(losses), rel=1e-4)
    logits = method.logits(torch.from_numpy(maps), torch.from_numpy(signatures)).detach().numpy()
    fused = (0.75 * first + 0.25 * second) @ signatures.T / np.sqrt(6)
    np.testing.assert_allclose(logits, fused, rtol=1e-4, atol=1e-5)


def test_a_part_is_off_where_its_attention_is_weak() -> None:
    masks = torch.tensor([[[0.9, 0.5, 0.1], [0.2, 0.79, 0.3]]])
    assert thresholded(masks, 0.8)[0].tolist() == [pytest.approx([0.9, 0.5, 0.0]), pytest.approx([0.2, 0.79, 0.0])]


@pytest.fixture(scope="module")
def on_disk(toy: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("maps") / "features.h5"
    maps = make_maps(toy).astype(np.float16)
    with artifacts.create(path, artifacts.FEATURES, {}) as file:
        file.create_dataset("maps", maps.shape, np.float16, data=maps, chunks=(1, *maps.shape[1:]))
    return path


def brief(name: str, task: Task) -> np.ndarray:
    method = make(name)
    method = fit(type(method)(method.settings.model_copy(update={"epochs": 2})), task)
    return method.for_classes(task.signatures, task.seen_mask).scores(task.unseen_features)


@pytest.mark.parametrize("name", NAMES)
def test_maps_from_disk_give_what_maps_in_memory_give(name: str, toy: Dataset, on_disk: Path, monkeypatch) -> None:
    """And no more of them is read at once than a batch, or what the scaling is fitted on."""
    memory = benchmark_task(toy, make_maps(toy).astype(np.float16))
    disk = benchmark_task(toy, Maps.open(on_disk))
    assert isinstance(disk.train.features, Maps)
    read, sizes = artifacts.read_rows, []

    def spied(source, rows):
        sizes.append(len(rows))
        return read(source, rows)

    monkeypatch.setattr("zslcore.methods._maps.SCALED_ON", 20)
    monkeypatch.setattr(artifacts, "read_rows", spied)
    np.testing.assert_array_equal(brief(name, disk), brief(name, memory))
    assert max(sizes) <= 64
    assert fingerprint(disk) == fingerprint(benchmark_task(toy, Maps.open(on_disk)))


@pytest.mark.parametrize("name", [name for name in NAMES if issubclass(registry.get(name), Localised)])
def test_attribute_maps_peak_where_the_features_are(name: str, toy: Dataset) -> None:
    """Of the attributes an image has: twice as often as at random, by what was learned from classes alone."""
    task = task_for(name, toy)
    method = fit(make(name), task)
    maps = np.asarray(task.unseen_features)
    found = method.attribute_maps(maps)
    assert found.shape == (len(maps), 10, 3, 3)
    true_place = np.square(maps).sum(axis=3).reshape(len(maps), 9).argmax(axis=1)
    present = task.signatures[task.unseen_labels] > 0.7
    right = found.reshape(len(maps), 10, 9).argmax(axis=2) == true_place[:, None]
    assert right[present].mean() > 2 / 9


def test_the_other_kind_of_features_is_refused(toy: Dataset, toy_task: Task) -> None:
    with pytest.raises(ZSLError, match=r"apn learns from maps, and was given vectors of shape \(108, 24\)"):
        APN(APNSettings()).fit(toy_task.train)
    maps = task_for("apn", toy)
    with pytest.raises(ZSLError, match=r"eszsl learns from vectors, and was given feature maps of shape \(108, 3, 3"):
        fit(make("eszsl"), maps)


def test_maps_of_another_size_are_refused(toy: Dataset) -> None:
    task = task_for("apn", toy)
    method = fit(APN(APNSettings(**{**APN.quick, "epochs": 1})), task)
    scorer = method.for_classes(task.signatures, task.seen_mask)
    for other in (task.unseen_features[:, :2], task.unseen_features[..., 1:], task.unseen_features[:, 0, 0]):
        with pytest.raises(ZSLError, match=r"apn was fitted on maps \(n, 3, 3, 24\)"):
            scorer.scores(other)
