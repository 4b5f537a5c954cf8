"""Classifiers of new label spaces, cached by all they depend on, so that the second call starts at once."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zslcore.errors import BadFile
from zslcore.io import artifacts, digests
from zslcore.methods.base import Method, TrainsClassifiers


def cached_classifiers(
    method: Method[Any],
    signatures: NDArray[np.float32],
    seen_mask: NDArray[np.bool_],
    seed: int,
    folder: Path | None,
) -> dict[str, NDArray[Any]]:
    """What `method.classifiers` gives for these classes; read from `folder` where it was given before.

    A damaged file is replaced.
    """
    assert isinstance(method, TrainsClassifiers)
    if folder is None:
        return method.classifiers(signatures, seen_mask, seed)
    key = {
        "method": [method.name, method.settings.model_dump(mode="json"), seed],
        "arrays": digests.of_arrays({**method.state(), "signatures": signatures, "seen_mask": seen_mask}),
        "by": [artifacts.code(), artifacts.library_versions()],
    }
    path = folder / f"{digests.of_json(key)[:32]}.safetensors"
    if path.exists():
        try:
            return artifacts.load_tensors(path, artifacts.CLASSIFIERS)
        except BadFile:
            path.unlink()
    state = method.classifiers(signatures, seen_mask, seed)
    artifacts.save_tensors(path, artifacts.CLASSIFIERS, state, {"method": method.name, "seed": seed})
    return state
