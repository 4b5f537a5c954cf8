"""Reading a model in one call."""

from pathlib import Path

from zslcore.model.model import Model


def load(path: Path | str, weights: str | None = None, backbone: str | None = None, cache: Path | None = None) -> Model:
    """Read a model file that the stage `package` or `Model.save` wrote; `Model.load` says what the arguments are.

    >>> import zslcore as zsl
    >>> model = zsl.load("toy.zsl")  # doctest: +SKIP
    """
    return Model.load(path, weights, backbone, cache)
