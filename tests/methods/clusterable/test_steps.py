"""The steps of the main method against closed forms and NumPy; its objective stands in `test_objective`."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from zslcore.evaluation.protocol import Task
from zslcore.methods.clusterable.finetune import Finetuned, finetune
from zslcore.methods.clusterable.train import Trained, objective, train
from zslcore.settings import Finetune, Noise, Train
from zslcore.synthesis.generate import generate

CPU = torch.device("cpu")
Arrays = dict[str, np.ndarray]
SMALL = Train(hidden=32, projection=16, epochs=6, batch_size=32)


@pytest.fixture
def model(toy_task: Task) -> Trained:
    data = toy_task.train
    return train(data.features, data.labels, data.signatures, SMALL, 0, CPU)


def batch(model: Trained, task: Task, count: int = 8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x, y = torch.tensor(task.train.features[:count]), torch.tensor(task.train.labels[:count])
    return x, y, torch.tensor(model.signature_scaler(task.train.signatures))


def loss_of_f(theta: Arrays, x: np.ndarray, y: np.ndarray, gaussian: bool) -> float:
    """Eq. 5 with eq. 6, or eq. 8 with eq. 7, of F(x); γ is softplus(raw)/d."""
    h = x @ theta["A"].T + theta["b"]
    total = 0.0
    for row, k in zip(h, y, strict=True):
        if gaussian:
            similarities = -np.log1p(np.exp(theta["raw"])) / x.shape[1] * ((row - theta["W"]) ** 2).sum(axis=1)
        else:
            similarities = theta["W"] @ row
        total += np.log(np.exp(similarities).sum()) - similarities[k]
    return total / len(x)


def slopes(loss: Callable[[Arrays], float], theta: Arrays) -> Arrays:
    """Its gradient, by finite differences."""
    found = {}
    for name, value in theta.items():
        found[name] = np.zeros(value.shape)
        for index in np.ndindex(value.shape):
            sides = []
            for side in (1e-5, -1e-5):
                moved = value.copy()
                moved[index] += side
                sides.append(loss({**theta, name: moved}))
            found[name][index] = (sides[0] - sides[1]) / 2e-5
    return found


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize(("loss", "learn_gamma"), [("gaussian", True), ("gaussian", False), ("cce", True)])
def test_finetune_is_adam_on_equation_9(loss: str, learn_gamma: bool, rescale: bool) -> None:
    """From F = I and W′ the class means, all images a batch; what comes out is standardised F(x) where rescaled."""
    random = np.random.default_rng(0)
    y = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2])
    features = (random.normal(size=(3, 4))[y] + random.normal(size=(12, 4))) * [3, 1, 0.5, 7] + [1, -2, 0, 5]
    features = features.astype("f4")
    wanted = {"loss": loss, "learn_gamma": learn_gamma, "rescale": rescale}
    tuned = finetune(features, y, Finetune(gamma=2.0, epochs=4, lr=0.1, batch_size=12, **wanted), 0, CPU)

    x = (features - features.mean(axis=0)) / features.std(axis=0)
    means = np.stack([x[y == k].mean(axis=0) for k in range(3)]).astype(float)
    theta = {"A": np.eye(4), "b": np.zeros(4), "W": means, "raw": np.asarray(np.log(np.exp(2.0) - 1))}
    first, second = ({name: np.zeros_like(value) for name, value in theta.items()} for _ in range(2))
    for t, entry in enumerate(tuned.curve, 1):
        assert entry["total"] == pytest.approx(loss_of_f(theta, x, y, loss == "gaussian"), rel=1e-4)
        gradient = slopes(lambda at: loss_of_f(at, x, y, loss == "gaussian"), theta)
        for name in theta:
            first[name] = 0.9 * first[name] + 0.1 * gradient[name]
            second[name] = 0.999 * second[name] + 0.001 * gradient[name] ** 2
            step = 0.1 * first[name] / (1 - 0.9**t) / (np.sqrt(second[name] / (1 - 0.999**t)) + 1e-8)
            theta[name] = np.asarray(theta[name] - (0 if name == "raw" and not learn_gamma else step))
    assert len(tuned.curve) == 4
    assert np.abs(theta["A"] - np.eye(4)).max() > 0.1, "F has left the identity"
    assert tuned.gamma == pytest.approx(np.log1p(np.exp(theta["raw"])) / 4, rel=1e-4)
    mapped = x @ theta["A"].T + theta["b"]
    mapped = (mapped - mapped.mean(axis=0)) / mapped.std(axis=0) if rescale else mapped
    np.testing.assert_allclose(tuned(features), mapped, atol=2e-3)


def test_finetune_goes_through_batches_of_shuffled_images(toy_task: Task) -> None:
    data = toy_task.train
    settings = Finetune(epochs=20, lr=1e-3, batch_size=16)
    tuned = finetune(data.features, data.labels, settings, 0, CPU)
    assert tuned.curve[-1]["total"] < 0.9 * tuned.curve[0]["total"]
    other = finetune(data.features, data.labels, settings, 1, CPU)
    assert tuned.curve[0] != other.curve[0], "the seed decides the order of images"


@pytest.mark.parametrize("settings", [Finetune(enabled=False), Finetune(epochs=0)])
def test_finetune_switched_off_only_scales(toy_task: Task, settings: Finetune) -> None:
    data = toy_task.train
    tuned = finetune(data.features, data.labels, settings, 0, CPU)
    np.testing.assert_array_equal(tuned(data.features), tuned.scaler(data.features))


@pytest.mark.parametrize("settings", [Finetune(epochs=2), Finetune(epochs=2, rescale=False), Finetune(enabled=False)])
def test_finetuned_comes_back_from_its_state(toy_task: Task, settings: Finetune) -> None:
    data = toy_task.train
    tuned = finetune(data.features, data.labels, settings, 0, CPU)
    again = Finetuned.from_state(settings, tuned.state(), CPU)
    np.testing.assert_array_equal(tuned(data.features), again(data.features))


def test_trained_shapes_and_ranges(model: Trained, toy_task: Task) -> None:
    projected = model.project(toy_task.train.features)
    assert projected.shape == (len(toy_task.train.features), 16)
    assert projected.min() > 0
    assert projected.max() < 1
    features, labels = generate(model, toy_task.signatures, 5, 0, "unseen")
    assert features.shape == (5 * len(toy_task.signatures), 16)
    assert features.dtype == np.float32
    assert np.bincount(labels).tolist() == [5] * len(toy_task.signatures)


def test_without_projection_the_features_themselves_are_rebuilt(toy_task: Task) -> None:
    data = toy_task.train
    plain = train(data.features, data.labels, data.signatures, SMALL.model_copy(update={"projection": 0}), 0, CPU)
    assert plain.members[0].C is None
    assert plain.project(data.features) is data.features
    assert set(plain.curve[0]) == {"total", "reconstruction", "kl"}


def test_feedback_is_learned_and_survives_saving(toy_task: Task) -> None:
    data = toy_task.train
    settings = SMALL.model_copy(update={"feedback": 0.5})
    model = train(data.features, data.labels, data.signatures, settings, 0, CPU)
    assert model.curve[-1]["feedback"] < model.curve[0]["feedback"]
    again = Trained.from_state(settings, model.state(), CPU)
    for name, value in model.state().items():
        np.testing.assert_array_equal(again.state()[name], value)


@pytest.mark.parametrize("source", ["projection", "features"])
def test_feedback_scores_are_the_members_mean_of_scaled_cosines(toy_task: Task, source: str) -> None:
    data = toy_task.train
    update = {"feedback": 0.5, "feedback_loss": "cosine", "members": 2, "feedback_from": source}
    model = train(data.features, data.labels, data.signatures, SMALL.model_copy(update=update), 0, CPU)
    x = torch.tensor(data.features[:8])
    expected = []
    for member in model.members:
        answer = member.R(x if source == "features" else member.project(x)).detach().double().numpy()
        scaled = model.signature_scaler(data.signatures).astype(float)
        spread = scaled - scaled.mean(0)
        cosines = (answer @ spread.T) / np.linalg.norm(answer, axis=1)[:, None] / np.linalg.norm(spread, axis=1)
        expected.append(15.0 * cosines)
    projected: list[object] = []
    for member in model.members:
        member.M.register_forward_hook(lambda *made: projected.append(made))
    scores = model.signature_logits(model.predict_signatures(x.numpy()), data.signatures)
    np.testing.assert_allclose(scores, np.mean(expected, axis=0), atol=1e-4)
    assert len(projected) == (0 if source == "features" else 2), "x′ is computed where R reads it"


@pytest.mark.parametrize("on", ["synthetic", "target"])
def test_noise_on_what_is_generated_has_its_variance_on_top(model: Trained, on: str) -> None:
    model.settings = SMALL.model_copy(update={"noise": Noise(strength=0.5, applies_to=on)})
    with torch.inference_mode():
        drawn = model.draw(torch.zeros(2000, model.latent), torch.zeros(2000, model.attributes))  # one point, G(0, 0)
    variance = drawn.double().var(0).numpy()
    np.testing.assert_allclose(variance, 0.25 if on == "synthetic" else 0, rtol=0.15, atol=1e-9)


def test_observing_changes_nothing_and_longer_runs_pass_through_shorter_ones(toy_task: Task) -> None:
    data = toy_task.train
    on_the_way = {}

    def watch(done: int, model: Trained) -> None:
        generate(model, data.signatures, 2, done, "unseen")
        on_the_way[done] = {name: value.copy() for name, value in model.state().items()}

    train(data.features, data.labels, data.signatures, SMALL, 0, CPU, watch)
    for epochs in (2, 6):
        settings = SMALL.model_copy(update={"epochs": epochs})
        alone = train(data.features, data.labels, data.signatures, settings, 0, CPU).state()
        for name, value in alone.items():
            np.testing.assert_array_equal(value, on_the_way[epochs][name])


def test_members_are_trained_apart_and_stand_side_by_side(toy_task: Task) -> None:
    data = toy_task.train
    settings = SMALL.model_copy(update={"members": 3, "epochs": 2})
    model = train(data.features, data.labels, data.signatures, settings, 0, CPU)
    projected = model.project(data.features)
    assert projected.shape == (len(data.features), 3 * 16)
    drawn, _ = generate(model, data.signatures[:2], 4, 0, "unseen")
    assert drawn.shape == (8, 3 * 16)
    for member, block in zip(model.members, np.split(projected, 3, axis=1), strict=True):
        np.testing.assert_array_equal(member.project(torch.tensor(data.features)).detach().numpy(), block)
    assert not np.allclose(projected[:, :16], projected[:, 16:32])
    x, y, a = batch(model, toy_task)
    model.modules.zero_grad()
    objective(model.members[1], settings, x, y, a)["total"].backward()
    assert all(parameter.grad is None for parameter in model.members[0].parameters())
