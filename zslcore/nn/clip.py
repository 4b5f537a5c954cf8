"""CLIP's two networks, by open_clip (Radford et al., ICML 2021)."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from zslcore.errors import ZSLError, first_line


def open_model(
    name: str, weights: str | None = None
) -> tuple[Any, Callable[[Any], Tensor], Callable[[list[str]], Tensor]]:
    """The model, its evaluation transform (picture -> tensor) and its tokeniser (texts -> tokens), by open_clip's name.

    weights: a tag of open_clip (downloaded once), a local file, or None: random.
    Raises ZSLError when open_clip is not installed, or the name or the weights cannot be used.
    """
    try:
        import open_clip
    except ImportError as error:
        raise ZSLError("CLIP needs open_clip: pip install 'zslcore[clip]'") from error
    if name not in open_clip.list_models():
        near = ", ".join(sorted(open_clip.list_models())[:5])
        raise ZSLError(
            f"unknown CLIP model '{name}'; python -c 'import open_clip; print(open_clip.list_models())' "
            f"lists them ({near}, …)"
        )
    try:
        model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=weights)
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        raise ZSLError(
            f"CLIP model '{name}': weights '{weights}' cannot be loaded ({first_line(error)[:300]}); put their file "
            "here (on a machine with a network: hf download REPOSITORY open_clip_model.safetensors --local-dir FOLDER; "
            "open_clip.list_pretrained() lists the tags) and give its path in place of the tag"
        ) from error
    return model.eval(), preprocess, open_clip.get_tokenizer(name)
