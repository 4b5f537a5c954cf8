"""A model with a frozen list of classes as one ONNX graph: pixels in, probabilities out."""

import json
import logging
import warnings
from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from zslcore.errors import ZSLError
from zslcore.features.regions import framed, wrapped
from zslcore.io import artifacts
from zslcore.methods import registry
from zslcore.methods._scaled import ScaledScorer
from zslcore.methods._tensor_scaling import TensorScaling
from zslcore.methods.base import Scorer
from zslcore.methods.clusterable.estimator import ClusterableScorer
from zslcore.model.model import Model

OPSET = 18


def export(model: Model, path: Path, among: str | Collection[str] = "all") -> tuple[str, ...]:
    """Write a model as ONNX, atomically; returns the names of the classes, in the order of the output's columns.

    The graph takes `pixels` (n, height, width, 3) uint8, resized and cropped as its metadata say (`preprocessing`), and
    gives `probabilities` (n, classes) float32, calibrated. Its metadata hold the names (`classes`), too, in JSON.
    among: as in `Model.predict`. Raises ZSLError where the model has no backbone, or its scores are no graph.
    """
    if model.extractor is None:
        raise ZSLError(f"model '{model.name}' was trained on given features: it has no network for pictures")
    graph = Frozen(model, among).eval()
    preprocessing = framed(model.extractor.backbone, model.extractor.plan.views)
    channels, height, width = preprocessing["input_size"]
    example = torch.zeros(2, height, width, channels, dtype=torch.uint8)
    dynamic = {"pixels": {0: torch.export.Dim("pictures", min=1)}}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's, on itself
        program = torch.onnx.export(
            graph,
            (example,),
            input_names=["pixels"],
            output_names=["probabilities"],
            dynamic_shapes=dynamic,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    written = program.model_proto
    about = {
        "model": model.name,
        "method": model.header.method,
        "classes": json.dumps(graph.names),
        "preprocessing": json.dumps(preprocessing),
        "created_by": f"zslcore {artifacts.library_versions().get('zslcore', '')}".strip(),
    }
    for name, value in about.items():
        written.metadata_props.add(key=name, value=value)
    with artifacts.atomic(path) as temporary:
        temporary.write_bytes(written.SerializeToString())
    return graph.names


class Frozen(nn.Module):
    """Pixels (n, height, width, 3) uint8 -> probabilities (n, classes) of the classes `names`."""

    mean: Tensor
    std: Tensor
    factor: Tensor

    def __init__(self, model: Model, among: str | Collection[str]) -> None:
        super().__init__()
        assert model.extractor is not None
        columns, side = model._choose(among)
        self.names = tuple(model.classes[column] for column in columns)
        self.temperature = getattr(model.header.confidence.temperature, side)
        own = torch.from_numpy(model._own(columns, side))
        self.register_buffer("own", own)
        factor = model.header.calibration * model.seen[columns]
        self.register_buffer("factor", torch.from_numpy(factor.astype(np.float32)))
        backbone = model.extractor.backbone
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(backbone.preprocessing[name]).view(1, 3, 1, 1))
        self.backbone = wrapped(backbone.module, backbone, views=model.extractor.plan.views)
        linear = registry.get(model.header.method).linear_scores
        self.scorers = nn.ModuleList(_module(scorer, linear, backbone.dimensions) for scorer in model._scorers(side))

    def forward(self, pixels: Tensor) -> Tensor:
        """As said."""
        features = self.backbone((pixels.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std)
        logits = (scorer(features)[:, self.own] for scorer in self.scorers)
        chances = [functional.softmax((each - self.factor) / self.temperature, dim=1) for each in logits]
        return torch.stack(chances).mean(0)


def _module(scorer: Scorer, linear: bool, dimensions: int) -> nn.Module:
    """A scorer as a module: unscaled features (n, d) -> log-scores (n, classes)."""
    if isinstance(scorer, ClusterableScorer):
        return _Clusterable(scorer)
    if isinstance(scorer, ScaledScorer) and linear:
        return _Linear(scorer, dimensions)
    raise ZSLError("scores of this method are no graph: the main method can be exported, and those with linear scores")


class _Linear(nn.Module):
    """Affine in scaled features: what the scorer says of nothing, and of each dimension alone."""

    bias: Tensor
    weights: Tensor

    def __init__(self, scorer: ScaledScorer, dimensions: int) -> None:
        super().__init__()
        self.scaling = TensorScaling(scorer.scaler)
        bias = scorer.score(np.zeros((1, dimensions), np.float32))
        weights = scorer.score(np.eye(dimensions, dtype=np.float32)) - bias
        self.register_buffer("bias", torch.from_numpy(bias.astype(np.float32)))
        self.register_buffer("weights", torch.from_numpy(weights.astype(np.float32)))

    def forward(self, x: Tensor) -> Tensor:
        return self.scaling(x) @ self.weights + self.bias


class _Clusterable(nn.Module):
    """The main method: M(F(x)), its classifiers, and R's logits."""

    attribute_logits: Tensor

    def __init__(self, scorer: ClusterableScorer) -> None:
        super().__init__()
        finetuned, trained = scorer.finetuned, scorer.model
        self.before = TensorScaling(finetuned.scaler)
        self.mapping = finetuned.mapping or nn.Identity()
        self.after = nn.Identity() if finetuned.rescaler is None else TensorScaling(finetuned.rescaler)
        self.trained, self.classifier = trained, scorer.classifier
        self.parts = nn.ModuleList([*trained.modules, *scorer.classifier.modules])  # so that their weights are known
        self.feedback = scorer.feedback
        if self.feedback:
            self.register_buffer("attribute_logits", torch.from_numpy(trained.attribute_logits(scorer.signatures)))

    def forward(self, x: Tensor) -> Tensor:
        tuned = self.after(self.mapping(self.before(x)))
        logits = self.classifier.logits(self.trained.projected(tuned))
        if self.feedback:
            logits = logits + self.feedback * self.trained.predicted(tuned) @ self.attribute_logits.T
        return functional.log_softmax(logits, dim=1)
