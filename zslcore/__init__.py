"""Zero-shot learning: data sets, features, methods, an honest evaluation protocol, and models that name images.

    import zslcore as zsl
    model = zsl.load("models/birds.zsl")
    model.predict(["a.jpg"])
    zsl.ESZSL(alpha=1.0).fit(X, y, S).predict(X_new, S_new)

Names are imported when they are first used, so that `import zslcore` costs nothing. docs/predict.md shows each at work.
"""

from importlib import import_module
from typing import Any

NAMES = {
    "Dataset": "datasets.dataset",
    "Estimator": "estimators",
    "Extract": "settings",
    "METRICS": "evaluation.metrics",
    "Method": "methods.base",
    "Model": "model.model",
    "Prediction": "model.prediction",
    "Scores": "evaluation.metrics",
    "Seen": "datasets.dataset",
    "Settings": "settings",
    "Task": "evaluation.protocol",
    "TrainData": "methods.base",
    "ZSLError": "errors",
    "benchmark_task": "evaluation.protocol",
    "choose": "evaluation.search",
    "draw_birds": "datasets.birds.source",
    "estimator": "estimators",
    "evaluate": "evaluation.protocol",
    "explain": "evaluation.explain",
    "extract_images": "features.extract",
    "load": "model.load",
    "load_dataset": "project.data",
    "package": "model.package",
    "score": "evaluation.protocol",
    "select": "evaluation.select",
}
"""Public name -> the module it stands in. Every method's estimator is a public name too, by its class."""


def __getattr__(name: str) -> Any:
    if name in NAMES:
        value = getattr(import_module(f"zslcore.{NAMES[name]}"), name)
    elif name.startswith("_") or name not in _estimators():
        raise AttributeError(f"module 'zslcore' has no attribute '{name}'")
    else:
        value = getattr(import_module("zslcore.estimators"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *NAMES, *_estimators()})


def _estimators() -> list[str]:
    from zslcore.methods.registry import METHODS

    return [target.partition(":")[2] for target in METHODS.values()]
