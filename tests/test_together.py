"""Seeds trained together end where each ends alone."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.func import vmap
from torch.nn import functional

from zslcore.errors import ZSLError
from zslcore.methods import _generative, registry
from zslcore.methods._generative import Generative
from zslcore.methods.base import TrainData
from zslcore.together import Streams

SMALL: dict[str, Any] = {
    "hidden": 8,
    "latent": 3,
    "image_hidden": (8, 8),
    "signature_hidden": (8, 8),
    "pretrain_epochs": 1,
    "dropout": 0.3,
    "critic_steps": 2,
    "batch_size": 16,
    "epochs": 2,
}
GENERATIVE = [name for name in registry.METHODS if issubclass(registry.get(name), Generative)]


def settings(name: str, **others: Any) -> Any:
    kind = registry.get(name).Settings
    return kind(**{key: value for key, value in SMALL.items() if key in kind.model_fields}, **others)


def three_classes() -> TrainData:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 14)
    return TrainData(random.normal(labels[:, None], 1.0, (42, 5)).astype(np.float32), labels, np.eye(3, dtype="f4"))


@pytest.mark.parametrize("name", GENERATIVE)
def test_seeds_together_end_where_each_ends_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In double precision: Adam makes steps of the full size of gradients that are nothing but rounding."""
    cls = registry.get(name)
    assert issubclass(cls, Generative)
    monkeypatch.setattr(_generative, "tensor", lambda values, device: _double(torch.from_numpy(np.array(values))))
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        together = cls.fit_together(settings(name), three_classes(), [3, 8])
        alone = [cls(settings(name)).fit(three_classes(), seed) for seed in (3, 8)]
    finally:
        torch.set_default_dtype(before)
    assert any((alone[0].state()[key] != value).any() for key, value in alone[1].state().items()), "seeds differ"
    for one, other in zip(together, alone, strict=True):
        assert [list(means) for means in one.curve] == [list(means) for means in other.curve]
        for means, wanted in zip(one.curve, other.curve, strict=True):
            np.testing.assert_allclose(list(means.values()), list(wanted.values()), rtol=1e-5, atol=1e-6)
        for key, value in other.state().items():
            np.testing.assert_allclose(one.state()[key], value, rtol=1e-5, atol=1e-6, err_msg=key)
        assert not one._modules()[0][1].training


def _double(values: torch.Tensor) -> torch.Tensor:
    return values.double() if values.is_floating_point() else values


def test_divergence_is_told() -> None:
    cls = registry.get("cvae-zsl")
    assert issubclass(cls, Generative)
    with pytest.raises(ZSLError, match=r"cvae-zsl, seeds 3, 8 together: the loss \(total\) is .* in epoch \d+"):
        cls.fit_together(settings("cvae-zsl", lr=1e9), three_classes(), [3, 8])


def test_compiling_is_refused() -> None:
    """Inside a compiled function each run would not draw its own numbers."""
    cls = registry.get("cvae-zsl")
    assert issubclass(cls, Generative)
    with pytest.raises(ZSLError, match="compile: never"):
        cls.fit_together(settings("cvae-zsl", compile="always"), three_classes(), [3, 8])


def test_streams_draw_what_each_run_would_draw_alone() -> None:
    def draw(like: torch.Tensor) -> list[torch.Tensor]:
        return [
            torch.randn(4, 5),
            torch.randn_like(like),
            torch.rand(3),
            functional.dropout(like, 0.4),
            functional.dropout(like, 0.4, training=False),
        ]

    like = torch.ones(6, 7)
    with Streams([5, 6]) as streams:
        outside = torch.randperm(9), torch.randint(9, (4,))

        def one(run: torch.Tensor) -> list[torch.Tensor]:
            with streams.of(run):
                return draw(like)

        found = vmap(one, randomness="same")(torch.arange(2))
    for number, seed in enumerate((5, 6)):
        torch.manual_seed(seed)
        for got, wanted in zip(outside, (torch.randperm(9), torch.randint(9, (4,))), strict=True):
            assert torch.equal(got[number], wanted)
        for got, wanted in zip(found, draw(like), strict=True):
            torch.testing.assert_close(got[number], wanted)
