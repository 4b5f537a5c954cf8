"""The steps of the main method: shapes, gradients, determinism, noise, and what each setting does."""

import numpy as np
import pytest
import torch

from zslcore.evaluation.protocol import Task
from zslcore.scaling import Whitener
from zslcore.settings import Classify, Finetune, Noise, Train
from zslcore.steps import train as training
from zslcore.steps.classify import fit_classifier, training_set
from zslcore.steps.finetune import Finetuned, finetune
from zslcore.steps.generate import generate
from zslcore.steps.train import Trained, objective, train

CPU = torch.device("cpu")
SMALL = Train(hidden=32, projection=16, epochs=6, batch_size=32)


@pytest.fixture
def model(toy_task: Task) -> Trained:
    data = toy_task.train
    return train(data.features, data.labels, data.signatures, SMALL, 0, CPU)


def batch(model: Trained, task: Task, count: int = 8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x, y = torch.tensor(task.train.features[:count]), torch.tensor(task.train.labels[:count])
    return x, y, torch.tensor(model.signature_scaler(task.train.signatures))


def test_finetune_lowers_its_loss_and_keeps_the_shape(toy_task: Task) -> None:
    data = toy_task.train
    tuned = finetune(data.features, data.labels, Finetune(epochs=20, lr=1e-3), 0, CPU)
    assert tuned(data.features).shape == data.features.shape
    assert tuned.curve[-1]["total"] < tuned.curve[0]["total"]
    assert tuned.gamma > 0


@pytest.mark.parametrize("settings", [Finetune(enabled=False), Finetune(epochs=0)])
def test_finetune_switched_off_only_scales(toy_task: Task, settings: Finetune) -> None:
    data = toy_task.train
    tuned = finetune(data.features, data.labels, settings, 0, CPU)
    np.testing.assert_array_equal(tuned(data.features), tuned.scaler(data.features))


def test_whitening_comes_after_f_with_or_without_it(toy_task: Task) -> None:
    data = toy_task.train
    for settings in (Finetune(epochs=2, whiten=0.5), Finetune(enabled=False, whiten=0.5)):
        plain = finetune(data.features, data.labels, settings.model_copy(update={"whiten": 0.0}), 0, CPU)
        expected = Whitener.fit(plain(data.features), data.labels, 0.5)(plain(data.features))
        tuned = finetune(data.features, data.labels, settings, 0, CPU)
        np.testing.assert_array_equal(tuned(data.features), expected)


@pytest.mark.parametrize(
    "settings",
    [
        Finetune(epochs=2),
        Finetune(epochs=2, rescale=False),
        Finetune(enabled=False),
        Finetune(epochs=2, whiten=0.5),
        Finetune(enabled=False, whiten=0.5),
    ],
)
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


def test_total_is_equation_4(model: Trained, toy_task: Task) -> None:
    terms = {
        name: value.item()
        for name, value in objective(model.members[0], model.settings, *batch(model, toy_task), epoch=0).items()
    }
    settings = model.settings
    expected = terms["reconstruction"] + settings.kl_weight * terms["kl"]
    expected += settings.lambda_cls * terms["cls"] + settings.lambda_synthetic * terms["cls_synthetic"]
    assert terms["total"] == pytest.approx(expected, rel=1e-5)


def test_feedback_adds_its_term_and_survives_saving(toy_task: Task) -> None:
    data = toy_task.train
    settings = SMALL.model_copy(update={"feedback": 0.5})
    model = train(data.features, data.labels, data.signatures, settings, 0, CPU)
    terms = {
        name: value.item()
        for name, value in objective(model.members[0], model.settings, *batch(model, toy_task), epoch=0).items()
    }
    rest = settings.model_copy(update={"feedback": 0.0})
    expected = terms["reconstruction"] + rest.kl_weight * terms["kl"] + terms["cls"]
    expected += rest.lambda_synthetic * terms["cls_synthetic"] + 0.5 * terms["feedback"]
    assert terms["total"] == pytest.approx(expected, rel=1e-5)
    assert model.curve[-1]["feedback"] < model.curve[0]["feedback"]
    again = Trained.from_state(settings, model.state(), CPU)
    for name, value in model.state().items():
        np.testing.assert_array_equal(again.state()[name], value)


@pytest.mark.parametrize("source", ["projection", "features"])
def test_cosine_feedback_is_a_softmax_of_cosines_over_seen_classes(toy_task: Task, source: str) -> None:
    data = toy_task.train
    settings = SMALL.model_copy(
        update={
            "feedback": 0.5, "feedback_loss": "cosine", "feedback_scale": 7.0, "members": 2, "feedback_from": source,
        }
    )  # fmt: skip
    model = train(data.features, data.labels, data.signatures, settings, 0, CPU)
    x, y, signatures = batch(model, toy_task)
    expected = []
    for member in model.members:
        told = member.R(x if source == "features" else member.project(x)).detach().double().numpy()
        spread = signatures.numpy() - signatures.numpy().mean(0)
        cosines = (told @ spread.T) / np.linalg.norm(told, axis=1)[:, None] / np.linalg.norm(spread, axis=1)
        expected.append(7.0 * cosines)
        probability = np.exp(expected[-1]) / np.exp(expected[-1]).sum(1, keepdims=True)
        loss = objective(member, settings, x, y, signatures, 0)["feedback"].item()
        assert loss == pytest.approx(-np.log(probability[np.arange(len(y)), y]).mean(), rel=1e-4)
    projected: list[object] = []
    for member in model.members:
        member.M.register_forward_hook(lambda *made: projected.append(made))
    scores = model.cosines(model.told(x.numpy()), data.signatures)
    np.testing.assert_allclose(scores, np.mean(expected, axis=0), atol=1e-4)
    assert len(projected) == (0 if source == "features" else 2), "x′ is computed where R reads it"


@pytest.mark.parametrize("source", ["projection", "features"])
@pytest.mark.parametrize("loss", ["regression", "cosine"])
def test_feedback_leads_m_only_from_the_projection(model: Trained, toy_task: Task, source: str, loss: str) -> None:
    update = {"feedback": 0.5, "feedback_loss": loss, "feedback_from": source}
    settings = SMALL.model_copy(update=update)
    data = toy_task.train
    member = train(data.features, data.labels, data.signatures, settings, 0, CPU).members[0]
    pulled = torch.autograd.grad(
        objective(member, settings, *batch(model, toy_task), 0)["feedback"],
        [member.M.linear.weight, member.R.weight],
        allow_unused=True,
    )
    assert (pulled[0] is None) is (source == "features")
    assert pulled[1].abs().sum().item() > 0


@pytest.mark.parametrize("pulls", [True, False])
def test_target_grad_decides_whether_the_reconstruction_target_pulls_on_m(
    model: Trained, toy_task: Task, pulls: bool
) -> None:
    settings = SMALL.model_copy(update={"target_grad": pulls, "lambda_cls": 0.0, "lambda_synthetic": 0.0})
    member = model.members[0]
    for parameter in member.E.parameters():
        parameter.data.zero_()  # what the encoder passes on no longer depends on M
    member.zero_grad()
    objective(member, settings, *batch(model, toy_task), 0)["total"].backward()
    assert (member.M.linear.weight.grad.abs().sum().item() > 0) is pulls


def test_noise_reaches_what_it_is_told_to(model: Trained, toy_task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[float] = []
    monkeypatch.setattr(training, "perturb", lambda x, strength: (calls.append(strength), x)[1])
    seen = {}
    for on in ("target", "encoder", "both", "synthetic", "none"):
        calls.clear()
        settings = SMALL.model_copy(update={"noise": Noise(strength=0.7, on=on)})
        objective(model.members[0], settings, *batch(model, toy_task), 0)
        seen[on] = tuple(calls)  # (what the encoder sees, the target)
    assert seen == {
        "target": (0.0, 0.7),
        "encoder": (0.7, 0.0),
        "both": (0.7, 0.7),
        "synthetic": (0.0, 0.0),
        "none": (0.0, 0.0),
    }


@pytest.mark.parametrize("on", ["synthetic", "target"])
def test_noise_on_what_is_generated_has_its_variance_on_top(model: Trained, on: str) -> None:
    model.settings = SMALL.model_copy(update={"noise": Noise(strength=0.5, on=on)})
    with torch.inference_mode():
        drawn = model.draw(torch.zeros(2000, model.latent), torch.zeros(2000, model.attributes))  # one point, G(0, 0)
    variance = drawn.double().var(0).numpy()
    np.testing.assert_allclose(variance, 0.25 if on == "synthetic" else 0, rtol=0.15, atol=1e-9)


def test_synthetic_noise_widens_the_classes(model: Trained, toy_task: Task) -> None:
    quiet, _ = generate(model, toy_task.signatures[:1], 400, 0, "unseen")
    loud, _ = generate(model, toy_task.signatures[:1], 400, 0, "unseen", extra_noise=0.5)
    assert loud.var(0).mean() - quiet.var(0).mean() == pytest.approx(0.25, rel=0.15)


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


def test_members_vote_by_the_mean_of_their_log_probabilities() -> None:
    random = np.random.default_rng(0)
    features, labels = random.normal(size=(60, 8)).astype(np.float32), np.arange(60) % 3
    settings = Classify(kind="prototype")
    both = fit_classifier(features, labels, 3, settings, 0, CPU, "zsl", members=2).scores(features)
    each = [
        fit_classifier(half, labels, 3, settings, 0, CPU, "zsl").scores(half) for half in np.split(features, 2, axis=1)
    ]
    mean = sum(each) / 2
    expected = mean - np.log(np.exp(mean).sum(1, keepdims=True))
    np.testing.assert_allclose(both, expected, rtol=1e-4, atol=1e-5)


def test_collapse_is_said(toy_task: Task) -> None:
    data = toy_task.train
    settings = SMALL.model_copy(update={"reconstruction": "sum", "kl_weight": 1.0, "lambda_cls": 0.0, "epochs": 30})
    model = train(data.features, data.labels, data.signatures, settings, 0, CPU)
    assert "M has collapsed" in model.warnings[0]


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
