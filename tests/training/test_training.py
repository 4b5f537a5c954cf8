"""The training loop: players that move only their own parameters, divergence, and resuming after a kill."""

import multiprocessing
import os
import re
import signal
from pathlib import Path

import pytest
import torch

from zslcore.errors import ZSLError
from zslcore.progress import following
from zslcore.training import device as device_module
from zslcore.training.checkpoint import Checkpoint
from zslcore.training.device import in_bf16, resolve_device
from zslcore.training.loop import Curve, Player, alternate, minimise
from zslcore.training.seeding import seeded


def game(path: Path | None, epochs: int = 12, die_after: int | None = None) -> tuple[Curve, list[torch.Tensor]]:
    """A small adversarial game with random draws in it; kills its own process once `die_after` epochs are done."""
    with seeded(0, "game"):
        x = torch.randn(20, 3)
        left, right = torch.nn.Linear(3, 2), torch.nn.Linear(2, 1)

        def observe(done: int) -> None:
            if done == die_after:
                os.kill(os.getpid(), signal.SIGKILL)

        def loss(rows: torch.Tensor) -> torch.Tensor:
            noisy = x[rows] + 0.1 * torch.randn(len(rows), 3)
            return right(left(noisy)).square().mean() + left(noisy).mean()

        curve = alternate(
            [
                Player(lambda rows, epoch: {"total": -loss(rows)}, right.parameters(), 1e-3, steps=2, name="up"),
                Player(lambda rows, epoch: {"total": loss(rows)}, left.parameters(), 1e-3, amsgrad=True, name="down"),
            ],
            count=20,
            epochs=epochs,
            batch_size=6,
            observe=observe,
            checkpoint=None if path is None else Checkpoint(path, every=5),
        )
    return curve, [parameter.detach() for module in (left, right) for parameter in module.parameters()]


def test_resumes_to_the_same_bytes_after_sigkill(tmp_path: Path) -> None:
    """Killed after epoch 8, it goes on from the checkpoint of epoch 5 and ends as if nothing had happened."""
    path = tmp_path / "run.safetensors"
    killed = multiprocessing.get_context("forkserver").Process(target=game, args=(path, 12, 8))
    killed.start()
    killed.join(timeout=60)
    assert killed.exitcode == -signal.SIGKILL
    assert path.exists()
    curve, weights = game(path)
    whole_curve, whole_weights = game(None)
    assert curve == whole_curve
    for resumed, whole in zip(weights, whole_weights, strict=True):
        assert torch.equal(resumed, whole)
    again, _ = game(path)
    assert again == curve, "a finished run is restored, not trained further"


def test_refuses_a_checkpoint_of_another_run(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    game(path)
    weight = torch.nn.Parameter(torch.zeros(7))
    with pytest.raises(ZSLError, match="another training run"):
        minimise(
            lambda rows, epoch: {"total": weight.sum()},
            [weight],
            count=2,
            epochs=1,
            batch_size=2,
            lr=0.1,
            checkpoint=Checkpoint(path),
        )
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ZSLError, match="delete it"):
        game(path)


def test_players_move_their_own_parameters_only() -> None:
    first, second = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    curve = alternate(
        [Player(lambda rows, epoch: {"total": (first * second).sum()}, [first], 0.1, steps=3, name="a")],
        count=4,
        epochs=1,
        batch_size=4,
    )
    assert torch.equal(second.detach(), torch.ones(2))
    assert second.grad is None
    torch.testing.assert_close(first.detach(), torch.full((2,), 0.7))
    assert curve[0]["a.total"] == pytest.approx((2.0 + 1.8 + 1.6) / 3), "mean over the steps"


def test_who_follows_gets_each_epoch_once_also_those_before_a_kill(tmp_path: Path) -> None:
    """Players of one name, as the members of a model: their mean."""

    def run(epochs: int) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
        weights = [torch.nn.Parameter(torch.full((1,), start)) for start in (1.0, 5.0)]
        players = [Player(lambda rows, epoch, w=w: {"total": w.sum()}, [w], 0.1, optimiser="sgd") for w in weights]
        followed: list[dict[str, float]] = []
        with following(lambda means: followed.append(dict(means))):
            kept = Checkpoint(tmp_path / "run.safetensors")
            curve = alternate(players, count=2, epochs=epochs, batch_size=2, checkpoint=kept)
        return followed, curve

    followed, curve = run(2)
    assert followed == curve
    assert [means["total"] for means in curve] == pytest.approx([3.0, 2.9])
    followed, curve = run(3)
    assert followed == curve
    assert [means["total"] for means in curve] == pytest.approx([3.0, 2.9, 2.8])


@pytest.mark.parametrize("value", [float("nan"), 1e12])
def test_divergence_names_the_last_good_checkpoint(tmp_path: Path, value: float) -> None:
    def run(checkpoint: Checkpoint | None) -> None:
        weight = torch.nn.Parameter(torch.ones(1))
        minimise(
            lambda rows, epoch: {"total": weight.sum() * (value if epoch == 3 else 1.0)},
            [weight],
            count=1,
            epochs=9,
            batch_size=1,
            lr=1e-3,
            label="gan",
            checkpoint=checkpoint,
        )

    with pytest.raises(ZSLError, match=r"gan: the loss .* in epoch 4; use a smaller lr$"):
        run(None)
    with pytest.raises(ZSLError, match=re.escape(str(tmp_path / "x.safetensors"))):
        run(Checkpoint(tmp_path / "x.safetensors", every=2))
    with pytest.raises(ZSLError, match="none yet"):
        run(Checkpoint(tmp_path / "y.safetensors", every=5))


@pytest.mark.parametrize(
    ("name", "devices", "message"),
    [
        ("gpu", 0, "unknown device 'gpu'; use auto"),
        ("meta", 0, "unknown device 'meta'; use auto"),
        ("mps", 2, "unknown device 'mps'; use auto"),
        ("cuda", 0, "no CUDA; use device: auto or cpu"),
        ("cuda:2", 2, "the last one here is cuda:1; use that"),
    ],
)
def test_a_device_that_is_not_there_is_refused(
    name: str, devices: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    with pytest.raises(ZSLError, match=message):
        resolve_device(name)


def test_devices_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for devices, names in ((0, ("cpu",)), (2, ("cpu", "cuda", "cuda:0", "cuda:1"))):
        monkeypatch.setattr(torch.cuda, "is_available", lambda devices=devices: devices > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda devices=devices: devices)
        assert [resolve_device(name) for name in names] == [torch.device(name) for name in names]
        assert resolve_device("auto").type == ("cuda" if devices else "cpu")


def test_auto_takes_bf16_only_where_the_device_has_units_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cpu")
    assert in_bf16("bf16", device)
    assert not in_bf16("fp32", device)
    for units, expected in ((["bf16", "fp16"], True), (["fp16"], False), ([], False)):
        monkeypatch.setattr(device_module, "fast_precisions", lambda device, units=units: units)
        assert in_bf16("auto", device) is expected
