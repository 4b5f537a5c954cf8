"""A backbone in two: what comes before its last stage, and the last stage with all that follows it."""

import copy

import torch
from torch import Tensor, nn

from zslcore.errors import ZSLError
from zslcore.features.backbones import Backbone


def last_stage(backbone: Backbone) -> str:
    """The name of the module that is the last stage, as timm lists them. Raises ZSLError where none is known."""
    if stage := known_stage(backbone.module):
        return stage
    raise ZSLError(f"{backbone.name}: its stages are not known; set finetune.backbone.layers to all")


def known_stage(module: nn.Module) -> str | None:
    """The name of a network's last stage; None where timm lists none."""
    stages = getattr(module, "feature_info", None)
    return str(stages[-1]["module"]) if stages and isinstance(stages, list) and "module" in stages[-1] else None


def learned(module: nn.Module, stage: str | None) -> list[nn.Parameter]:
    """The parameters of a stage and of all modules that come after it in the network's order; None: all there are."""
    names = [name for name, _ in module.named_modules()]
    modules = list(module.modules())[0 if stage is None else names.index(stage) :]
    return [parameter for one in modules for parameter in one.parameters(recurse=False)]


class _Reached(Exception):
    """Ends a forward pass at a stage."""

    def __init__(self, value: Tensor) -> None:
        self.value = value


def lower(module: nn.Module, stage: str, pictures: Tensor) -> Tensor:
    """What a stage takes, of normalised pictures (n, 3, height, width)."""

    def reached(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        raise _Reached(inputs[0])

    hook = module.get_submodule(stage).register_forward_pre_hook(reached)
    try:
        module(pictures)
    except _Reached as found:
        return found.value
    finally:
        hook.remove()
    raise RuntimeError(f"{stage} was not reached")


def upper(module: nn.Module, stage: str) -> nn.Module:
    """What the stage takes -> features: the same network, the identity in place of all modules before the stage.

    Nothing is copied: the parameters are those of `module`.
    """
    first, _, rest = stage.partition(".")
    cut = copy.copy(module)
    cut._modules = dict(module._modules)
    for name in module._modules:
        if name == first:
            break
        cut._modules[name] = nn.Identity()
    if rest:
        cut._modules[first] = upper(module.get_submodule(first), rest)
    return cut


def trunk(module: nn.Module, stage: str) -> nn.Module:
    """The same network for `lower` alone: the identity in place of the stage and of all modules after it.

    Nothing is copied: the parameters are those of `module`.
    """
    first, _, rest = stage.partition(".")
    cut = copy.copy(module)
    names = list(module._modules)
    after = dict.fromkeys(names[names.index(first) :], nn.Identity())
    cut._modules = {**module._modules, **after}
    if rest:
        cut._modules[first] = trunk(module.get_submodule(first), rest)
    return cut


@torch.no_grad()
def can_be_cut(module: nn.Module, stage: str, example: Tensor) -> bool:
    """Whether `trunk`, then `upper`, make of normalised pictures (n, 3, height, width) what the network does.

    They do not where it has shortcuts over the cut, or inputs of other kinds, such as positions.
    """
    expected = module(example)
    try:
        halved = Halved(module, stage)
        found = halved.forward_head(halved.forward_features(example))
        return torch.allclose(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    except (RuntimeError, ValueError, AssertionError, AttributeError):  # of shapes that do not fit
        return False


class Halved(nn.Module):
    """A network whose `forward_features` ends before a stage; `forward_head` is that stage and all after it."""

    def __init__(self, module: nn.Module, stage: str) -> None:
        super().__init__()
        self.module, self.stage = module, stage
        self.output_fmt = getattr(module, "output_fmt", "NCHW")

    def forward(self, pictures: Tensor) -> Tensor:
        """Features of normalised pictures (n, 3, height, width)."""
        found: Tensor = self.module(pictures)
        return found

    def forward_features(self, pictures: Tensor) -> Tensor:
        """What the stage takes. In a trunk of each call, so that threads do not meet each other's hooks."""
        return lower(trunk(self.module, self.stage), self.stage, pictures)

    def forward_head(self, taken: Tensor) -> Tensor:
        """What comes of it: the features."""
        found: Tensor = upper(self.module, self.stage)(taken)
        return found
