"""Intervals, scores and rollouts against independent computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cql_tutorial import make_agent
from cql_tutorial.datasets.recording import record
from cql_tutorial.envs import Gridworld, Pendulum
from cql_tutorial.envs.base import UniformPolicy
from cql_tutorial.errors import ConfigError, DataError
from cql_tutorial.evaluation import (
    Evaluator,
    evaluate_env,
    evaluate_policy,
    normalised_score,
    rollout_returns,
    t_interval,
)

torch.set_num_threads(1)


def test_t_interval_of_three_values() -> None:
    # t with 2 degrees of freedom has the closed form cdf 1/2 + t / (2 sqrt(2 + t^2)); its 97.5 % point is 4.3027.
    mean, half = t_interval([1.0, 2.0, 6.0])
    assert mean == 3.0 and half == pytest.approx(4.302653 * math.sqrt(7.0) / math.sqrt(3), rel=1e-6)
    assert math.isnan(t_interval([1.0])[1])
    with pytest.raises(DataError, match="no values"):
        t_interval([])


def test_t_interval_covers_as_it_says() -> None:
    draws = np.random.default_rng(0).normal(5.0, 2.0, size=(2000, 3))
    inside = [abs(mean - 5.0) <= half for mean, half in (t_interval(row) for row in draws)]
    assert 0.935 < np.mean(inside) < 0.965


def test_normalised_score() -> None:
    assert normalised_score(-600.0, random=-1200.0, expert=-200.0) == 60.0
    with pytest.raises(ConfigError, match="expert"):
        normalised_score(1.0, 2.0, 2.0)


def test_returns_stop_at_terminations_and_equal_a_slow_loop() -> None:
    world = Gridworld()
    policy = UniformPolicy(world)
    starts = world.reset(1)
    for seed in range(5):
        fast = rollout_returns(world, policy, starts, torch.Generator().manual_seed(seed), horizon=50)
        generator, state, total = torch.Generator().manual_seed(seed), starts, 0.0
        for _ in range(50):
            state, reward, ended = world.step(state, policy(world.observe(state), generator), generator)
            total += float(reward)
            if bool(ended):
                break
        assert float(fast) == pytest.approx(total, abs=1e-5)


def test_every_run_is_judged_on_the_same_starts() -> None:
    world = Pendulum()
    first, again = (evaluate_policy(world, UniformPolicy(world), n=20) for _ in range(2))
    assert torch.equal(first, again) and first.shape == (20,) and len(set(first.tolist())) == 20


def test_evaluate_env_agrees_with_the_batched_rollout() -> None:
    world = Pendulum(horizon=30)
    agent = make_agent("bc", {"state_dim": 3, "action_dim": 1, "action_low": -2.0, "action_high": 2.0, "device": "cpu"})
    env = world.env()
    returns = evaluate_env(env, agent, episodes=3, seed=5)
    states = []
    for episode in range(3):
        observation, _ = env.reset(seed=5 + episode)
        states.append(world.states_of(torch.as_tensor(observation)[None]))
    batched = rollout_returns(world, agent.policy(True), torch.cat(states), torch.Generator().manual_seed(0))
    np.testing.assert_allclose(returns, batched.numpy(), rtol=1e-4)


def test_evaluator_reports_prediction_and_truth() -> None:
    world = Pendulum()
    data = record(world, UniformPolicy(world), 400, seed=0)
    settings = {
        "state_dim": 3,
        "action_dim": 1,
        "action_low": -2.0,
        "action_high": 2.0,
        "hidden_dim": 8,
        "device": "cpu",
    }
    measure = Evaluator(world, data, n_starts=10, n_states=20)
    row = measure(make_agent("cql", {**settings, "discount": 0.9, "initial_value": -50.0}))
    assert row["estimation_error"] == pytest.approx(row["predicted"] - row["true"], abs=1e-4)
    assert {"return", "true_half_width", "share_over", "share_impossible", "predicted_p90"} <= set(row)
    assert set(measure(make_agent("bc", settings))) == {"return"}
