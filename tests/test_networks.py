"""The policy's density integrates to one; the ensemble equals separate networks."""

from __future__ import annotations

import pytest
import torch

from cql_tutorial.networks import LOG_STD_RANGE, MAX_ACTION, Critic, GaussianPolicy, TanhGaussian, pre_tanh_of

torch.set_num_threads(1)


@pytest.mark.parametrize("mean", [-5.0, 0.0, 5.0])
@pytest.mark.parametrize("log_std", [-5.0, 0.0, 2.0])
def test_tanh_gaussian_density_integrates_to_one(mean: float, log_std: float) -> None:
    # Substitute a = tanh(u): the integral of exp(log_prob(a)) da is that of exp(log_prob) * (1 - tanh(u)^2) du, with
    # the Jacobian written independently of the package's own softplus form: 1 - tanh^2 = 1 / cosh^2.
    spread = 12 * torch.exp(torch.tensor(log_std, dtype=torch.float64))
    u = mean + torch.linspace(-1, 1, 400_001, dtype=torch.float64) * spread
    one = torch.full((len(u), 1), 1.0, dtype=torch.float64)
    log_prob = TanhGaussian(mean * one, log_std * one).log_prob(u[:, None])
    log_jacobian = -2 * torch.logaddexp(u, -u) + 2 * torch.log(torch.tensor(2.0, dtype=torch.float64))
    assert abs(float(torch.trapezoid(torch.exp(log_prob + log_jacobian), u)) - 1) < 1e-4


@pytest.mark.parametrize("log_std", LOG_STD_RANGE)
@pytest.mark.parametrize("mean", [-5.0, 0.0, 5.0])
def test_log_prob_is_finite_in_float32_at_the_bounds(mean: float, log_std: float) -> None:
    actions = torch.tensor([[-1.0], [1.0], [MAX_ACTION], [0.0]])
    distribution = TanhGaussian(torch.full((4, 1), mean), torch.full((4, 1), log_std))
    assert torch.isfinite(distribution.log_prob(pre_tanh_of(actions))).all()
    sample = distribution.sample(torch.tensor([[-9.0], [9.0], [0.0], [4.0]]))
    assert torch.isfinite(sample.log_prob).all() and (sample.actions.abs() <= 1).all()


def test_sample_and_log_prob_agree() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, log_std = torch.randn(5, 3, generator=generator).double(), torch.randn(5, 3, generator=generator).double()
    distribution = TanhGaussian(mean, log_std.clamp(-2, 0))
    sample = distribution.sample(torch.randn(5, 4, 3, generator=generator).double())
    assert sample.actions.shape == (5, 4, 3) and sample.log_prob.shape == (5, 4)
    assert torch.allclose(distribution.log_prob(pre_tanh_of(sample.actions)), sample.log_prob, atol=1e-6)


def test_ensemble_equals_separate_networks() -> None:
    critic = Critic([5, 16, 16, 1], ensemble=3, generator=torch.Generator().manual_seed(0)).double()
    generator = torch.Generator().manual_seed(1)
    observations, actions = (
        torch.randn(7, 3, generator=generator).double(),
        torch.rand(7, 4, 2, generator=generator).double(),
    )
    q = critic(observations, actions)
    assert q.shape == (3, 7, 4)
    for e in range(3):
        for k in range(4):
            hidden = torch.cat([observations, actions[:, k]], 1)
            for layer in range(3):
                hidden = hidden @ critic.weights[layer][e] + critic.biases[layer][e]
                hidden = hidden.relu() if layer < 2 else hidden
            assert torch.allclose(q[e, :, k], hidden.squeeze(-1), atol=1e-12)
            assert torch.allclose(critic(observations, actions[:, k])[e], q[e, :, k], atol=1e-12)


def test_members_of_an_ensemble_start_differently_and_a_seed_repeats() -> None:
    def build(seed: int) -> Critic:
        return Critic([3, 8, 1], ensemble=2, initial_value=-4.0, generator=torch.Generator().manual_seed(seed))

    first, again, other = build(0), build(0), build(1)
    assert torch.equal(first.weights[0], again.weights[0]) and not torch.equal(first.weights[0], other.weights[0])
    assert not torch.equal(first.weights[0][0], first.weights[0][1])
    assert torch.equal(first.biases[-1], torch.full((2, 1, 1), -4.0))


def test_policy_clamps_its_log_std() -> None:
    policy = GaussianPolicy([2, 4, 6], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        policy.biases[-1].copy_(torch.tensor([0.0, 0, 0, -99, 0, 99]))
    log_std = policy(torch.zeros(3, 2)).log_std.detach()
    assert float(log_std.min()) == LOG_STD_RANGE[0] and float(log_std.max()) == LOG_STD_RANGE[1]
