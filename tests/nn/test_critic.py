"""The critic's closed-form gradient, and its penalty, against autograd and against a known answer."""

import torch

from zslcore.nn.critic import Critic, critic_terms, gradient_penalty, normal_weights


def random_critic() -> tuple[Critic, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    critic = Critic(5, 3, 16).double()
    return critic, torch.randn(7, 5, dtype=torch.double), torch.randn(7, 3, dtype=torch.double)


def test_input_gradient_is_autograds() -> None:
    critic, x, a = random_critic()
    x.requires_grad_(True)
    (wanted,) = torch.autograd.grad(critic.last(critic.hidden(x, a)).sum(), x)
    torch.testing.assert_close(critic.input_gradient(x, a), wanted)


def test_penalty_has_autograds_weight_gradient() -> None:
    """Differentiating the closed form equals differentiating twice."""
    critic, x, a = random_critic()
    ours = torch.autograd.grad((critic.input_gradient(x, a).norm(dim=1) - 1).square().mean(), critic.first.weight)[0]
    x.requires_grad_(True)
    (slope,) = torch.autograd.grad(critic.last(critic.hidden(x, a)).sum(), x, create_graph=True)
    (wanted,) = torch.autograd.grad((slope.norm(dim=1) - 1).square().mean(), critic.first.weight)
    torch.testing.assert_close(ours, wanted)


def test_penalty_of_a_linear_critic() -> None:
    """D(x, a) = 3x₁ + 4x₂ on the side where the hidden unit is positive: ‖∇D‖ = 5, so the penalty is 16."""
    critic = Critic(2, 1, 1)
    with torch.no_grad():
        critic.first.weight.copy_(torch.tensor([[3.0, 4.0, 7.0]]))
        critic.first.bias.fill_(1.0)
        critic.last.weight.fill_(1.0)
    real, fake, a = torch.rand(6, 2), torch.rand(6, 2), torch.rand(6, 1)
    torch.testing.assert_close(gradient_penalty(critic, real, fake, a), torch.tensor(16.0))


def test_critic_terms_add_up() -> None:
    torch.manual_seed(0)
    critic = Critic(4, 2, 8)
    real, fake, a = torch.randn(9, 4), torch.randn(9, 4, requires_grad=True), torch.randn(9, 2)
    terms = critic_terms(critic, real, fake, a, penalty=3.0)
    distance = critic(real, a).mean() - critic(fake, a).mean()
    torch.testing.assert_close(terms["wasserstein"], distance)
    torch.testing.assert_close(terms["total"], 3.0 * terms["penalty"] - distance)
    terms["total"].backward()
    assert fake.grad is None, "the critic's step must not reach the generator"


def test_normal_weights() -> None:
    layer = torch.nn.Linear(200, 200)
    before = layer.weight.clone()
    normal_weights(None, layer)
    torch.testing.assert_close(layer.weight, before)
    normal_weights(0.02, layer)
    assert abs(float(layer.weight.detach().std()) - 0.02) < 0.001
    assert not layer.bias.any()
