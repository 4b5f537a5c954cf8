"""Two processes that share every batch give the curve and the weights of one: main method and generative ones."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, distributed

from tests.conftest import make_dataset
from zslcore.errors import ZSLError
from zslcore.methods import registry
from zslcore.methods._generative import Generative
from zslcore.methods.base import TrainData
from zslcore.methods.clusterable.train import train
from zslcore.settings import Train
from zslcore.training.loop import Player, alternate
from zslcore.training.replica import Replica

Fitted = tuple[list[dict[str, float]], dict[str, Any]]
GENERATIVE = sorted(name for name in registry.METHODS if issubclass(registry.get(name), Generative))
SMALL: dict[str, Any] = {
    "hidden": 8,
    "image_hidden": (8, 8),
    "signature_hidden": (8, 8),
    "pretrain_epochs": 1,
    "dropout": 0.3,
}
SMALL |= dict.fromkeys(("projection", "comparator", "mapped", "regressor_hidden"), 8)
MAIN: dict[str, dict[str, Any]] = {
    "the main method": {"members": 2},
    "with all its noise": {"noise": {"strength": 0.3, "applies_to": "both"}, "feedback": 1.0, "feedback_noise": 0.2},
    "without M": {"projection": 0, "encoder_signature": True},
}


def fits(replica: Replica) -> dict[str, Fitted]:
    """45 rows in batches of 11, then one: uneven shares, and a batch of which the first of two has nothing."""
    toy = make_dataset(seen=5, unseen=2, per_class=12)
    assert toy.features is not None
    data = TrainData(toy.features[toy.trainval], toy.train_labels, toy.signatures[toy.seen])
    assert len(data.labels) == 45
    found: dict[str, Fitted] = {}
    for name, settings in MAIN.items():
        values = Train(**{"hidden": 16, "projection": 8, "epochs": 4, "batch_size": 11} | settings)
        model = train(data.features, data.labels, data.signatures, values, 0, torch.device("cpu"), replica=replica)
        found[name] = model.curve, model.state()
    for name in GENERATIVE:
        kind = registry.get(name)
        known = {key: value for key, value in SMALL.items() if key in kind.Settings.model_fields}
        method: Any = kind(kind.Settings(**known, latent=3, epochs=3, batch_size=11))
        method.replica = replica
        method.fit(data, 0)
        found[name] = method.curve, method.state()
    return found


def work(function: Callable[[Replica], Any], rank: int, folder: Path, answer: Connection) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    answer.send(function(Replica(None, rank, 2)))
    distributed.destroy_process_group()


def together(function: Callable[[Replica], Any], folder: Path) -> list[Any]:
    """What two processes return that do the same together."""
    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe(duplex=False) for _ in range(2)]
    for rank, (_, answer) in enumerate(pipes):
        context.Process(target=work, args=(function, rank, folder, answer), daemon=True).start()
    return [pipe.recv() if pipe.poll(120) else pytest.fail("no answer") for pipe, _ in pipes]


def test_two_train_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a large ε: where a critic's gradient cancels, Adam's own makes steps of lr out of rounding."""
    monkeypatch.setattr("zslcore.training.optimisers.EPSILON", 1e-2)
    alone = fits(Replica())
    first, second = together(fits, tmp_path)
    assert len(alone) == 14
    for name, (curve, state) in alone.items():
        assert first[name][0] == second[name][0], name
        for wanted, found in zip(curve, first[name][0], strict=True):
            assert found == pytest.approx(wanted, rel=1e-5, abs=1e-6), name
        for key, value in state.items():
            np.testing.assert_array_equal(first[name][1][key], second[name][1][key], err_msg=f"{name}: {key}")
            np.testing.assert_allclose(first[name][1][key], value, rtol=1e-5, atol=1e-6, err_msg=f"{name}: {key}")


def draws_in_its_own_way(replica: Replica) -> str:
    weight = torch.zeros((), requires_grad=True)

    def terms(rows: Tensor, epoch: int) -> dict[str, Tensor]:
        return {"total": weight * torch.randperm(len(rows)).sum()}

    with pytest.raises(ZSLError) as error:
        alternate([Player(terms, [weight], 0.1)], count=5, epochs=1, batch_size=5, replica=replica)
    return str(error.value)


def test_a_loss_whose_draws_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    for message in together(draws_in_its_own_way, tmp_path):
        assert message.startswith("workers have drawn different random numbers")
