"""The steps of the main method against closed forms and NumPy; its objective stands in `test_objective`."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from zslcore.evaluation.protocol import Task
from zslcore.methods.clusterable.finetune import Finetuned, finetune
from zslcore.methods.clusterable.train import Trained, objective, train
from zslcore.scaling import Scaler
from zslcore.settings import Classify, Finetune, Noise, Train
from zslcore.synthesis.classifier import Classifier, fit_classifier, training_set
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
    scores = model.cosines(model.told(x.numpy()), data.signatures)
    np.testing.assert_allclose(scores, np.mean(expected, axis=0), atol=1e-4)
    assert len(projected) == (0 if source == "features" else 2), "x′ is computed where R reads it"


@pytest.mark.parametrize("on", ["synthetic", "target"])
def test_noise_on_what_is_generated_has_its_variance_on_top(model: Trained, on: str) -> None:
    model.settings = SMALL.model_copy(update={"noise": Noise(strength=0.5, on=on)})
    with torch.inference_mode():
        drawn = model.draw(torch.zeros(2000, model.latent), torch.zeros(2000, model.attributes))  # one point, G(0, 0)
    variance = drawn.double().var(0).numpy()
    np.testing.assert_allclose(variance, 0.25 if on == "synthetic" else 0, rtol=0.15, atol=1e-9)


class Glass:
    """A generative model that one sees through: what it draws is z (2) beside the scaled signature (3)."""

    device, latent = CPU, 2
    signature_scaler = Scaler("minmax", np.array([1, 2, 3], dtype="f4"), np.array([10, -1, 0.5], dtype="f4"))

    def draw(self, z: torch.Tensor, signatures: torch.Tensor) -> torch.Tensor:
        return torch.cat([z, signatures], dim=1)


def test_generate_draws_a_new_z_for_every_feature_and_shows_g_scaled_signatures() -> None:
    signatures = np.random.default_rng(0).normal(size=(4, 3)).astype("f4")
    features, labels = generate(Glass(), signatures, 3000, 0, "unseen")
    np.testing.assert_array_equal(labels, np.repeat(np.arange(4), 3000))
    scaled = (signatures.astype(float) - [1, 2, 3]) * [10, -1, 0.5]
    np.testing.assert_allclose(features[:, 2:], scaled[labels], rtol=1e-5)
    z = features[:, :2].reshape(4, 3000, 2).astype(float)
    assert all(kstest(z[k, :, j], "norm").pvalue > 1e-3 for k in range(4) for j in range(2)), "N(0, 1)"
    together = np.corrcoef(z.transpose(0, 2, 1).reshape(8, 3000))
    assert np.abs(together - np.eye(8)).max() < 0.07, "neither classes nor dimensions share their z"
    assert len(np.unique(features[:, 0])) > 0.99 * len(features)


def test_extra_noise_is_drawn_anew_for_every_number() -> None:
    signatures = np.random.default_rng(0).normal(size=(4, 3)).astype("f4")
    features, labels = generate(Glass(), signatures, 3000, 0, "unseen", extra_noise=0.5)
    noise = features[:, 2:] - Glass.signature_scaler(signatures)[labels]
    spread = noise.reshape(4, 3000, 3).transpose(0, 2, 1).reshape(12, 3000)
    np.testing.assert_allclose(spread.std(axis=1), 0.5, rtol=0.07)
    np.testing.assert_allclose(spread.mean(axis=1), 0, atol=0.04)
    assert np.abs(np.corrcoef(spread) - np.eye(12)).max() < 0.08
    np.testing.assert_allclose(features[:, :2].var(axis=0), 1.25, rtol=0.07)


@pytest.mark.parametrize("members", [1, 2])
def test_generated_features_are_g_of_z_and_the_scaled_signature(
    toy_task: Task, members: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, drawn, draw = toy_task.train, [], torch.randn
    model = train(data.features, data.labels, data.signatures, SMALL.model_copy(update={"members": members}), 0, CPU)
    monkeypatch.setattr(torch, "randn", lambda *size: drawn.append(draw(*size)) or drawn[-1])
    features, labels = generate(model, toy_task.signatures[:3], 5, 0, "unseen")
    length = np.linalg.norm(toy_task.signatures[:3], axis=1, keepdims=True)
    scaled = torch.tensor(toy_task.signatures[:3] / length * np.sqrt(10).astype("f4"))[labels]
    assert [z.shape for z in drawn] == [(5, members * 10)] * 3
    z = torch.cat(drawn).chunk(members, dim=1)
    wanted = [member.G(part, scaled).detach() for member, part in zip(model.members, z, strict=True)]
    np.testing.assert_allclose(features, torch.cat(wanted, dim=1), rtol=1e-5, atol=1e-6)


def test_no_classes_give_no_features(model: Trained, toy_task: Task) -> None:
    features, labels = generate(model, toy_task.signatures[:0], 5, 0, "seen")
    assert (features.shape, labels.shape) == ((0, 16), (0,))


def test_streams_do_not_shift_each_other(model: Trained, toy_task: Task) -> None:
    few, _ = generate(model, toy_task.signatures[:2], 3, 0, "unseen")
    generate(model, toy_task.signatures, 7, 0, "seen")
    again, _ = generate(model, toy_task.signatures[:2], 3, 0, "unseen")
    np.testing.assert_array_equal(few, again)
    other, _ = generate(model, toy_task.signatures[:2], 3, 1, "unseen")
    assert not np.array_equal(few, other)


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
    objective(model.members[1], settings, x, y, a, 0)["total"].backward()
    assert all(parameter.grad is None for parameter in model.members[0].parameters())


def labelled(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images of 3 classes, of 5, 9 and 6, whose columns have other means and spreads; the last is nearly constant."""
    random = np.random.default_rng(seed)
    labels = np.repeat([0, 1, 2], [5, 9, 6])
    features = 2 * random.normal(size=(3, 4))[labels] + random.normal(size=(20, 4))
    return (features * [1, 4, 0.3, 1e-4] + [3, -1, 0, 0.5]).astype("f4"), labels


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def fitted(settings: Classify, members: int = 1, seed: int = 0) -> Classifier:
    return fit_classifier(*labelled(), 3, settings, seed, CPU, "zsl", members)


UNTRAINED = {"lr": 1e-30, "epochs": 1}


def test_softmax_standardises_but_no_unit_by_less_than_the_smallest_spread() -> None:
    """Untrained, the weights of both are the same draw: log-odds are w·x + b, or w·(x − mean)/spread + b."""
    features, _ = labelled()
    plain, standardised = (fitted(Classify(standardise=value, **UNTRAINED)).scores for value in (False, True))
    mean, spread = features.mean(axis=0), features.std(axis=0, ddof=1)
    assert spread[3] < 1e-3
    spread[3] = 0.05
    points = np.random.default_rng(1).normal(size=(6, 4)).astype("f4")
    np.testing.assert_allclose(standardised(points * spread + mean), plain(points), atol=1e-4)


def test_a_unit_that_is_nearly_always_off_does_not_decide() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 100)
    features = np.stack([np.where(labels, 0.6, 0.4) + 0.05 * random.normal(size=200), np.full(200, 1e-6)], axis=1)
    features[0, 1] = 2e-6
    scores = fit_classifier(features.astype("f4"), labels, 2, Classify(epochs=60, lr=0.03), 0, CPU, "zsl").scores
    alight = np.stack([features[:, 0], np.full(200, 0.01)], axis=1).astype("f4")
    assert (scores(alight).argmax(axis=1) == labels).mean() > 0.95


def test_softmax_training_reaches_the_maximum_of_the_likelihood() -> None:
    """At the minimum of the cross-entropy, the mean probability of a class is its share, weighted by any feature."""
    features, labels = labelled()
    features = features + 3 * np.random.default_rng(5).normal(size=features.shape).astype("f4")  # not separable
    scores = fit_classifier(features, labels, 3, Classify(epochs=300, lr=0.1), 0, CPU, "zsl").scores(features)
    residual = np.exp(scores) - np.eye(3)[labels]
    x = (features - features.mean(axis=0)) / features.std(axis=0)
    np.testing.assert_allclose(residual.mean(axis=0), 0, atol=5e-3)
    np.testing.assert_allclose(x.T @ residual / len(x), 0, atol=5e-3)


@pytest.mark.parametrize("temperature", [1.0, 20.0])
def test_cosines_are_those_of_centred_features_and_class_means(temperature: float) -> None:
    features, labels = labelled()
    found = fitted(Classify(kind="cosine", temperature=temperature, **UNTRAINED)).scores(features + 1)
    centre = features.mean(axis=0)
    means = np.stack([features[labels == k].mean(axis=0) - centre for k in range(3)])
    x = features + 1 - centre
    cosines = (x @ means.T) / np.linalg.norm(x, axis=1)[:, None] / np.linalg.norm(means, axis=1)
    np.testing.assert_allclose(found, log_softmax(temperature * cosines), rtol=1e-4, atol=1e-4)


def test_cosine_weights_are_trained() -> None:
    features, labels = labelled()

    def loss(settings: Classify) -> float:
        return -float(fitted(settings).scores(features)[np.arange(20), labels].mean())

    assert loss(Classify(kind="cosine", lr=0.1, epochs=40)) < 0.8 * loss(Classify(kind="cosine", **UNTRAINED))


def test_prototype_scores_are_minus_squared_distances_to_class_means() -> None:
    features, labels = labelled()
    means = [features[labels == k].mean(axis=0) for k in range(3)]
    distances = np.stack([((features + 1 - mean) ** 2).sum(axis=1) for mean in means], axis=1)
    found = fitted(Classify(kind="prototype")).scores(features + 1)
    np.testing.assert_allclose(found, log_softmax(-distances), rtol=1e-3, atol=1e-3)


def test_members_vote_by_the_mean_of_their_log_probabilities() -> None:
    random = np.random.default_rng(0)
    features, labels = random.normal(size=(60, 8)).astype(np.float32), np.arange(60) % 3
    added = random.normal(size=(60, 3)).astype(np.float32)
    each = []
    for half in np.split(features.astype(float), 2, axis=1):
        means = np.stack([half[labels == k].mean(axis=0) for k in range(3)])
        each.append(log_softmax(-((half[:, None] - means) ** 2).sum(axis=2)))
    both = fit_classifier(features, labels, 3, Classify(kind="prototype"), 0, CPU, "zsl", members=2)
    np.testing.assert_allclose(both.logits(torch.tensor(features)), np.mean(each, axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(both.scores(features), log_softmax(np.mean(each, axis=0)), rtol=1e-4, atol=1e-5)
    found = both.scores(features, added, block=7)
    np.testing.assert_allclose(found, log_softmax(np.mean(each, axis=0) + added), rtol=1e-4, atol=1e-5)
    kept = both.kept_to(np.array([True, False, True])).scores(features)
    np.testing.assert_allclose(kept, log_softmax(np.mean(each, axis=0)[:, [0, 2]]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["softmax", "cosine", "prototype"])
def test_classifiers_separate_what_is_separable(kind: str) -> None:
    random = np.random.default_rng(0)
    means = 3 * random.normal(size=(5, 8))
    labels = np.repeat(np.arange(5), 40)
    features = (means[labels] + random.normal(size=(200, 8)) * 0.3).astype(np.float32)
    settings = Classify(kind=kind, epochs=60, lr=0.01, batch_size=32)
    scores = fit_classifier(features, labels, 5, settings, 0, CPU, "zsl").scores(features)
    assert scores.shape == (200, 5)
    assert (scores.argmax(1) == labels).mean() > 0.98
    np.testing.assert_allclose(np.exp(scores).sum(1), 1, rtol=1e-4)


def test_training_set_numbers_classes_in_the_joint_space() -> None:
    mask = np.array([True, True, False])
    real = (np.zeros((2, 1), np.float32), np.array([0, 1]))
    seen = (np.ones((1, 1), np.float32), np.array([1]))
    unseen = (np.full((1, 1), 2, np.float32), np.array([0]))

    def labels(kind: str, with_real: bool = True) -> list[int]:
        return training_set(real if with_real else None, seen, unseen, mask, Classify(seen=kind))[1].tolist()

    assert labels("real") == [2, 0, 1]
    assert labels("synthetic") == [2, 1]
    assert labels("both") == [2, 0, 1, 1]
    assert labels("both", with_real=False) == [2]
