"""The loss against independent truths: quadrature, finite differences, a slow loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cql_tutorial import losses
from cql_tutorial.networks import TanhGaussian

torch.set_num_threads(1)
LOG_2 = math.log(2.0)


def bumps(a: torch.Tensor) -> torch.Tensor:
    """A two-bump function of one action dimension."""
    return 1.5 * torch.exp(-0.5 * ((a - 0.5) / 0.15) ** 2) + 0.75 * torch.exp(-0.5 * ((a + 0.4) / 0.3) ** 2)


def separable_q(actions: torch.Tensor) -> torch.Tensor:
    return bumps(actions).sum(-1)


def log_integral_1d(points: int = 200_001) -> float:
    grid = torch.linspace(-1, 1, points, dtype=torch.float64)
    return float(torch.trapezoid(torch.exp(bumps(grid)), grid).log())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dimension", [1, 2])
def test_log_partition_agrees_with_quadrature(dimension: int, seed: int) -> None:
    count = 100_000
    generator = torch.Generator().manual_seed(seed)
    actions = 2 * torch.rand(count, dimension, generator=generator, dtype=torch.float64) - 1
    q = separable_q(actions)
    estimate = losses.log_partition(q, torch.tensor(losses.uniform_log_density(dimension), dtype=torch.float64))
    weights = torch.exp(q + dimension * LOG_2)
    standard_error = float(weights.std() / weights.mean()) / math.sqrt(count)  # delta method: sd of the log
    assert abs(float(estimate) - dimension * log_integral_1d()) < 4 * standard_error


@pytest.mark.parametrize("dimension", [1, 2, 6])
def test_flat_q_gives_its_value_plus_a_log_2(dimension: int) -> None:
    q = torch.full((3, 7, 50), 1.25)
    log_density = torch.full((7, 50), losses.uniform_log_density(dimension))
    assert torch.allclose(losses.log_partition(q, log_density), torch.tensor(1.25 + dimension * LOG_2), atol=1e-5)
    penalty = losses.cql_penalty(q, log_density, torch.full((3, 7), 1.25))
    assert torch.allclose(losses.normalised_gap(penalty, dimension), torch.zeros(3), atol=1e-5)


def test_log_partition_gradient_is_softmax_by_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(6, generator=generator, dtype=torch.float64)
    log_density = torch.randn(6, generator=generator, dtype=torch.float64)
    expected = torch.softmax(q - log_density, -1)
    step = 1e-6
    for k in range(6):
        nudge = torch.zeros(6, dtype=torch.float64)
        nudge[k] = step
        up, down = losses.log_partition(q + nudge, log_density), losses.log_partition(q - nudge, log_density)
        assert abs(float(up - down) / (2 * step) - float(expected[k])) < 1e-8
    leaf = q.clone().requires_grad_()
    losses.log_partition(leaf, log_density).backward()
    assert torch.allclose(leaf.grad, expected, atol=1e-12)


def test_log_partition_broadcasts_and_reduces_any_axis() -> None:
    generator = torch.Generator().manual_seed(1)
    q, log_density = torch.randn(2, 3, 5, generator=generator), torch.randn(3, 5, generator=generator)
    result = losses.log_partition(q, log_density)
    assert result.shape == (2, 3)
    for e in range(2):
        assert torch.allclose(result[e], losses.log_partition(q[e], log_density))
    turned = losses.log_partition(q.movedim(-1, 1), log_density.movedim(-1, 0), dim=1)
    assert torch.allclose(turned, result)


def slow_penalty(q_candidates: np.ndarray, log_density: np.ndarray, q_data: np.ndarray) -> list[float]:
    critics, batch, count = q_candidates.shape
    result = []
    for e in range(critics):
        total = 0.0
        for b in range(batch):
            shifted = [q_candidates[e, b, k] - log_density[b, k] for k in range(count)]
            top = max(shifted)
            total += top + math.log(sum(math.exp(x - top) for x in shifted) / count) - q_data[e, b]
        result.append(total / batch)
    return result


@settings(max_examples=60, deadline=None)
@given(
    critics=st.integers(1, 4),
    batch=st.integers(1, 6),
    count=st.integers(1, 9),
    dimension=st.integers(1, 6),
    seed=st.integers(0, 2**31 - 1),
)
def test_cql_penalty_equals_a_slow_loop(critics: int, batch: int, count: int, dimension: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    q_candidates = 30 * rng.normal(size=(critics, batch, count))
    log_density = dimension * rng.normal(size=(batch, count)) - dimension * LOG_2
    q_data = 30 * rng.normal(size=(critics, batch))
    fast = losses.cql_penalty(*(torch.from_numpy(x) for x in (q_candidates, log_density, q_data)))
    assert fast.shape == (critics,)
    np.testing.assert_allclose(fast.numpy(), slow_penalty(q_candidates, log_density, q_data), atol=1e-10, rtol=0)


def three_proposals(count: int, repeats: int, log_std: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Actions, own and mixture log-densities at A = 6: uniform and two sharp policies on the high bump."""
    dimension = 6
    generator = torch.Generator().manual_seed(3)
    centre = math.atanh(0.5)

    def policy(shift: float) -> TanhGaussian:
        mean = torch.full((repeats, dimension), centre + shift, dtype=torch.float64)
        return TanhGaussian(mean, torch.full_like(mean, log_std))

    policies = (policy(0.0), policy(0.02))
    shape = (repeats, count, dimension)
    uniform = 2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1
    samples = [p.sample(torch.randn(shape, generator=generator, dtype=torch.float64)) for p in policies]
    actions = torch.cat([uniform, *(s.actions for s in samples)], 1)
    pre_tanh = torch.cat([torch.atanh(uniform), *(s.pre_tanh for s in samples)], 1)
    flat = torch.full((repeats, count), losses.uniform_log_density(dimension), dtype=torch.float64)
    own = torch.cat([flat, *(s.log_prob for s in samples)], 1)
    each = torch.stack([flat[:, :1].expand(pre_tanh.shape[:2]), *(p.log_prob(pre_tanh) for p in policies)])
    return actions, own, losses.mixture_log_density(each)


def test_own_density_is_log_3_low_and_the_mixture_is_not() -> None:
    truth = 6 * log_integral_1d()
    log_std = math.log(0.05)
    actions, own, _ = three_proposals(1000, 200, log_std)
    bias_own = float(losses.log_partition(separable_q(actions), own).mean()) - truth
    assert abs(bias_own + math.log(3)) < 0.15
    bias_mixture = {}
    for count in (10, 100):
        actions, _, mixture = three_proposals(count, 2000, log_std)
        bias_mixture[count] = float(losses.log_partition(separable_q(actions), mixture).mean()) - truth
    assert -0.2 < bias_mixture[10] < 0  # low, as every log of an unbiased mean is
    assert abs(bias_mixture[100]) < 0.25 * abs(bias_mixture[10])  # and falling as 1/N


def test_normalised_target_converts_the_known_examples() -> None:
    assert losses.normalised_target(5.0, 1, 30) == pytest.approx(0.91, abs=0.005)
    assert losses.normalised_target(5.0, 6, 30) == pytest.approx(-2.56, abs=0.005)


def test_td_target_cuts_at_terminations_only() -> None:
    target = losses.td_target(torch.ones(2), torch.tensor([0.0, 1.0]), torch.full((2,), 10.0), 0.9)
    assert target.tolist() == [10.0, 1.0]


def test_td_loss_sends_no_gradient_into_the_target() -> None:
    q, target = torch.ones(2, 3, requires_grad=True), torch.zeros(3, requires_grad=True)
    loss = losses.td_loss(q, target)
    assert loss.tolist() == [1.0, 1.0]
    loss.sum().backward()
    assert target.grad is None and torch.allclose(q.grad, torch.full((2, 3), 2 / 3))


def test_temperature_rises_while_entropy_is_below_its_target() -> None:
    log_temperature = torch.zeros((), requires_grad=True)
    losses.temperature_loss(log_temperature, torch.full((4,), 3.0), target_entropy=-1.0).backward()  # entropy -3 < -1
    assert log_temperature.grad is not None and float(log_temperature.grad) < 0  # descent raises it


def test_multiplier_loss_is_blind_to_the_critics() -> None:
    gap, log_multiplier = torch.full((2,), 1.5, requires_grad=True), torch.zeros((), requires_grad=True)
    losses.multiplier_loss(log_multiplier, gap, 0.5).backward()
    assert gap.grad is None
    assert log_multiplier.grad is not None and float(log_multiplier.grad) == pytest.approx(-1.0)
