"""Where attributes are seen, against where the drawn birds have them: `python bench/pointing.py [DATASET]`.

Fits each method on trainval, takes its maps of the attributes on the test images of unseen classes, and prints how
often their maxima fall on the attribute's part (`zslcore/evaluation/localisation.py`), next to class activation maps of
ESZSL. Needs a data set of drawn birds with vectors and maps (`extract: {output: both}`, then `dvc repro
extract@DATASET`); with `before`, of which linear methods have no maps, without ESZSL. Mean ± std over seeds;
--by-attribute: a row an attribute, else one a trait; --set '{"epochs": 5}': settings of the methods.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zslcore.datasets import dataset as datasets
from zslcore.datasets.birds import drawing
from zslcore.datasets.birds.source import ATTRIBUTES, SHOWN_BY, BirdsSource, draw_birds
from zslcore.datasets.maps import load_maps
from zslcore.evaluation.localisation import Pointing, localisation, mean_over_attributes
from zslcore.evaluation.protocol import benchmark_task, fit
from zslcore.evaluation.search import choose
from zslcore.io import artifacts
from zslcore.io.yaml import read_yaml
from zslcore.methods import registry
from zslcore.methods.base import Localised
from zslcore.methods.eszsl import ESZSL, ESZSLSettings

CAM = "CAM of eszsl"
AFFINE = [{"scaling": "standard", "alpha": alpha, "gamma": gamma} for alpha in range(6) for gamma in range(-1, 4)]
"""Settings of ESZSL to choose among, on validation classes: features scaled so that its score is a mean over places."""


def seen_of(parts: NDArray[np.uint8], preprocessing: dict[str, object]) -> NDArray[np.uint8]:
    """The middle of the pictures, which is what the network sees of them."""
    share = float(str(preprocessing["crop_pct"]))
    margin = round(parts.shape[1] * (1 - share) / 2)
    return parts[:, margin : parts.shape[1] - margin, margin : parts.shape[2] - margin]


def by_trait(rows: Sequence[Pointing]) -> list[Pointing]:
    """The mean over the attributes of each trait, and over all."""
    traits = dict.fromkeys(row.attribute.partition(":")[0] for row in rows)
    groups = {trait: [row for row in rows if row.attribute.partition(":")[0] == trait] for trait in traits}
    return [mean_over_attributes(group)._replace(attribute=trait) for trait, group in groups.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="?", default="birds")
    parser.add_argument("--methods", default="apn,attribute-attention,attribute-maps")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--by-attribute", action="store_true")
    parser.add_argument("--set", type=json.loads, default={})
    options = parser.parse_args()
    home = Path("artifacts") / options.dataset
    settings = dict(read_yaml(Path(f"data/{options.dataset}.yaml"))["source"])
    if settings.pop("kind", None) != BirdsSource.kind:
        raise SystemExit(f"data/{options.dataset}.yaml: no drawn birds, so that nobody knows where their parts are")
    source = BirdsSource(**settings)
    drawn = draw_birds(source.seed, source.classes, source.images_per_class, source.unseen, source.side)
    data = datasets.load(home / "dataset.h5", features=home / "features.h5")
    rows = data.test_unseen
    shown = seen_of(drawn.parts[rows], artifacts.params(home / "features.h5", artifacts.FEATURES)["preprocessing"])
    present = data.signatures[data.labels[rows]] > 0
    parts = [drawing.PARTS.index(SHOWN_BY[trait]) if trait in SHOWN_BY else None for trait, _ in ATTRIBUTES]
    maps = load_maps(home / "features.h5")
    found: dict[str, list[list[Pointing]]] = {}

    def judge(name: str, attribute_maps: NDArray[np.float32]) -> None:
        pointing = localisation(attribute_maps, shown, parts, present, drawn.attribute_names)
        lines = pointing if options.by_attribute else by_trait(pointing)
        found.setdefault(name, []).append([*lines, mean_over_attributes(pointing)])

    if artifacts.params(home / "features.h5", artifacts.FEATURES)["extract"]["output"] == "both":
        seen = datasets.load_seen(home / "dataset.h5", home / "features.h5")
        linear = ESZSL(ESZSLSettings(**choose(ESZSL, seen, among=AFFINE, budget=len(AFFINE))[0].settings))
        vectors = datasets.load_features(home / "features.h5", np.arange(len(maps)))
        linear.fit(benchmark_task(data, vectors).train)
        judge(CAM, linear.attribute_maps(maps[rows]))
    for name in options.methods.split(","):
        for seed in range(options.seeds):
            cls = registry.get(name)
            method = fit(cls(cls.Settings(**options.set)), benchmark_task(data, maps), seed)
            if not isinstance(method, Localised):
                raise SystemExit(f"{name} has no map for each attribute")
            judge(name, method.attribute_maps(maps[rows]))
    show(found)


def show(found: dict[str, list[list[Pointing]]]) -> None:
    """Accuracy of each method in a column; for the mean over attributes every figure."""
    first = next(iter(found.values()))[0]
    print(f"| the maximum falls on the part, % | images | chance | {' | '.join(found)} |")
    print("|---" * (3 + len(found)) + "|")
    for place, row in enumerate(first):
        cells = (_spread([run[place].accuracy for run in runs]) for runs in found.values())
        print(f"| {row.attribute} | {row.images} | {100 * row.chance:.1f} | {' | '.join(cells)} |")
    print("\n| mean over attributes, % | accuracy | over chance | another image's map | IoU | IoU, another image's |")
    print("|---" * 6 + "|")
    for name, runs in found.items():
        last = [run[-1] for run in runs]
        over = np.mean([one.accuracy / one.chance for one in last])
        cells = (_spread([getattr(one, field) for one in last]) for field in ("others", "iou", "iou_others"))
        print(f"| {name} | {_spread([one.accuracy for one in last])} | {over:.1f} × | {' | '.join(cells)} |")


def _spread(values: Sequence[float]) -> str:
    mean = f"{100 * np.mean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {100 * np.std(values, ddof=1):.1f}"


if __name__ == "__main__":
    main()
