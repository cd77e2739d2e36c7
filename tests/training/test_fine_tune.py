"""`fine_tune`: the offline policy kept, what is sampled and when, exact resume in mid-episode, failing environments."""

from __future__ import annotations

import copy
import json
import os
import random
import signal
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from cql_tutorial import OfflineDataset, SACAgent, fine_tune, fit, load_agent, make_agent
from cql_tutorial.agents.checkpoint import read_tensors
from cql_tutorial.datasets.recording import record
from cql_tutorial.envs import Gridworld, Maze
from cql_tutorial.envs.base import UniformPolicy
from cql_tutorial.errors import CallbackError, CheckpointError, ConfigError, CQLWarning, DataError, DivergedError
from cql_tutorial.evaluation.rollouts import evaluate_env
from cql_tutorial.seeding import numbered, numbered_seed
from cql_tutorial.training.online import ACTIONS, EPISODES, Replay
from tests.children import Child

torch.set_num_threads(1)
SMALL: dict[str, Any] = {"state_dim": 3, "action_dim": 2, "hidden_dim": 8, "cql_n_actions": 2, "device": "cpu"}
PLAIN = {key: value for key, value in SMALL.items() if not key.startswith("cql")}
QUICK: dict[str, Any] = {"batch_size": 16, "log_every": 10, "progress": False}


class Walk(gymnasium.Env):
    """A noisy walk in the plane and a clock; it ends where the test says."""

    def __init__(self, length: int = 7, terminates: bool = False, **trouble: Any) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.length, self.terminates, self.trouble, self.steps, self.seeds = length, terminates, trouble, 0, []

    def see(self) -> np.ndarray:
        return np.array([*self.place, self.clock / 10], dtype=np.float64)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.seeds.append(seed)
        if self.trouble.get("reset_fails_at") == len(self.seeds):
            raise OSError("the robot is off")
        rng = np.random.default_rng() if self.trouble.get("ignores_the_seed") else self.np_random
        self.place, self.clock = rng.normal(size=2), 0
        return self.see(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, Any, Any, Any, dict[str, Any]]:
        self.steps += 1
        if self.trouble.get("fails_at") == self.steps:
            raise ValueError("a wheel is loose")
        self.place = self.place + 0.1 * action + 0.05 * self.np_random.normal(size=2)
        self.clock += 1
        reward: Any = -float(np.abs(self.place).sum())
        if self.trouble.get("nan_at") == self.steps:
            self.place = self.place * np.nan
        if self.trouble.get("jumps_at") == self.steps:
            self.place = self.place + 1e3
        if self.trouble.get("bad_reward_at") == self.steps:
            reward = np.inf
        over = self.clock >= self.length
        both = self.trouble.get("both")
        return (
            self.see(),
            reward,
            np.bool_(over and (self.terminates or both)),
            over and (not self.terminates or both),
            {},
        )


def make_dataset(rows: int = 200, seed: int = 0) -> OfflineDataset:
    g = torch.Generator().manual_seed(seed)
    observations, following = torch.randn(2, rows, 3, generator=g)
    ends = torch.rand(rows, generator=g) < 0.1
    actions = 2 * torch.rand(rows, 2, generator=g) - 1
    return OfflineDataset.from_arrays(
        observations, actions, torch.randn(rows, generator=g), following, ends & (observations[:, 0] > 0), ends
    )


def trained(name: str = "cql", steps: int = 5, **config: Any) -> Any:
    agent = make_agent(name, {**(SMALL if name.startswith("cql") else PLAIN), **config})
    fit(agent, make_dataset(), steps, batch_size=16, progress=False)
    return agent


class Returns(SACAgent):
    """SAC that asks for returns-to-go, as Cal-QL does, and keeps the batches it was given."""

    name = "sac-with-returns"

    def prepare_dataset(self, dataset: Any) -> Any:
        return dataset.with_returns_to_go(self.config.discount, truncation_value=0.5)

    def update(self, batch: Any, noise: Any = None) -> dict[str, torch.Tensor]:
        seen = vars(self).setdefault("seen", [])
        seen.append(batch)
        return super().update(batch, noise)


def spied(agent: Any) -> list[Any]:
    """Every batch that the agent's updates get."""
    seen: list[Any] = []
    update = agent.update
    agent.update = lambda batch, noise=None: (seen.append(batch), update(batch, noise))[1]
    return seen


# ---------------------------------------------------------------- the first step
@pytest.mark.parametrize("deterministic", [False, True])
def test_step_0_acts_exactly_as_the_offline_policy(deterministic: bool) -> None:
    agent = trained(normalize_observations=True)
    before = copy.deepcopy(agent)
    history = fine_tune(agent, Walk(), make_dataset(), 9, deterministic=deterministic, seed=4, warm_up=8, **QUICK)
    policy, replay = before.policy(deterministic), history.replay
    for step in range(9):  # no update comes before the ninth action
        wanted = policy(replay.observations[step : step + 1], numbered(4, ACTIONS, step))[0]
        assert torch.equal(replay.actions[step], wanted), step
    assert history.last("updates") == 1


def test_the_first_online_return_is_the_offline_agents_own() -> None:
    """The same units and the same policy: d3rlpy#215."""
    agent, env = trained(normalize_observations=True), Walk(length=6, terminates=True)
    seed = numbered_seed(0, EPISODES, 0)
    offline = evaluate_env(env, agent, episodes=1, seed=seed)[0]
    history = fine_tune(agent, env, make_dataset(), 10, deterministic=True, warm_up=10, **QUICK)
    assert history.last("episode_return") == pytest.approx(offline, rel=1e-6) and env.seeds[:2] == [seed, seed]


def test_moments_statistics_and_random_numbers_go_on() -> None:
    agent, data = trained(normalize_observations=True), make_dataset()
    twin = copy.deepcopy(agent)
    statistics = agent.normaliser.mean.clone(), agent.normaliser.std.clone()
    seen = spied(agent)
    fine_tune(agent, Walk(), data, 12, warm_up=2, updates_per_step=2, **QUICK)
    assert torch.equal(agent.normaliser.mean, statistics[0]) and torch.equal(agent.normaliser.std, statistics[1])
    assert len(seen) == 20
    for batch in seen:  # the same updates on the same rows from the same moments and stream
        twin.update(batch)
    assert all(torch.equal(value, twin.state()[key]) for key, value in agent.state().items())
    assert float(agent.optimizers["critic"].state_dict()["state"][0]["step"]) == 25


def test_only_the_last_update_of_a_step_moves_the_policy() -> None:
    class Holding(SACAgent):
        name = "sac-holding"
        kept: tuple[str, ...] = ()

        @contextmanager
        def hold(self, *names: str) -> Iterator[None]:
            self.kept = names
            yield
            self.kept = ()

        def step(self, name: str, loss: torch.Tensor) -> None:
            if name not in self.kept:
                super().step(name, loss)

    counts = {}
    for how in ("all", "last"):
        agent = Holding(PLAIN)
        fine_tune(agent, Walk(), make_dataset(), 6, updates_per_step=3, policy_updates=how, **QUICK)
        counts[how] = [
            float(agent.optimizers[n].state_dict()["state"][0]["step"]) for n in ("critic", "actor", "temperature")
        ]
    assert counts == {"all": [18, 18, 18], "last": [18, 6, 6]}


# ---------------------------------------------------------------- what is sampled
@pytest.mark.parametrize(("mix", "logged"), [(0.5, 8), (0.25, 4), (0.0, 0), (1.0, 16)])
def test_each_batch_holds_the_asked_share_of_logged_rows(mix: float, logged: int) -> None:
    agent, data = trained(), make_dataset()
    seen = spied(agent)
    history = fine_tune(agent, Walk(), data, 12, mix=mix, **QUICK)
    known = {tuple(row) for row in data.observations.tolist()}
    fresh = {tuple(row) for row in history.replay.observations.tolist()}
    for number, batch in enumerate(seen):
        rows = [tuple(row) for row in batch.observations.tolist()]
        assert sum(row in known for row in rows) == logged and sum(row in fresh for row in rows) == 16 - logged
        past = {tuple(row) for row in history.replay.observations[: number + 1].tolist()}
        assert all(row in past for row in rows if row not in known)
    logged_rows = [tuple(row) for batch in seen for row in batch.observations.tolist() if tuple(row) in known]
    assert len(set(logged_rows)) > 0.3 * len(logged_rows) or not logged  # not the same batch again


def test_terminations_and_truncations_are_kept_apart() -> None:
    for terminates, both in ((True, False), (False, False), (True, True)):
        env = Walk(length=3, terminates=terminates, both=both)
        replay = fine_tune(trained(), env, make_dataset(), 11, **QUICK).replay
        ends = [2, 5, 8]
        assert replay.terminations.nonzero().flatten().tolist() == (ends if terminates else [])
        assert replay.truncations.nonzero().flatten().tolist() == ([10] if terminates else [*ends, 10])
        assert replay.episode_starts.tolist() == [0, 3, 6, 9]
        inside = ~(replay.terminations | replay.truncations)[:-1]
        assert torch.equal(replay.next_observations[:-1][inside], replay.observations[1:][inside])


def test_episodes_of_one_step() -> None:
    history = fine_tune(trained(), Walk(length=1, terminates=True), make_dataset(), 20, **QUICK)
    assert bool(history.replay.terminations.all()) and history["episodes"] == [10, 10]
    assert history["episode_length"] == [1.0, 1.0]
    agent = Returns(PLAIN)
    fine_tune(agent, Walk(length=1, terminates=True), make_dataset(), 20, mix=0.0, **QUICK)
    assert all(torch.equal(batch.returns_to_go, batch.rewards) for batch in agent.seen)


@pytest.mark.parametrize("terminates", [True, False])
def test_returns_to_go_come_from_whole_episodes(terminates: bool) -> None:
    agent = Returns({**PLAIN, "discount": 0.9})
    history = fine_tune(agent, Walk(length=4, terminates=terminates), make_dataset(), 10, mix=0.25, **QUICK)
    assert (
        history.last("updates") == 10 and len(agent.seen) == 10
    )  # 4 made up for after the first episode, then one a step
    replay = history.replay
    tail = float(make_dataset().with_returns_to_go(0.9, truncation_value=0.5).batch_returns.mean())
    wanted = {}
    for first in (0, 4):
        value = 0.0 if terminates else tail
        for row in reversed(range(first, first + 4)):
            value = float(replay.rewards[row]) + 0.9 * value
            wanted[tuple(replay.observations[row].tolist())] = value
    found = {}
    for number, batch in enumerate(agent.seen):
        online = batch.observations[:12], batch.returns_to_go[:12]
        found |= {tuple(row.tolist()): float(value) for row, value in zip(*online, strict=True)}
        if number < 4:  # those of the first episode alone
            assert {tuple(row.tolist()) for row in online[0]} <= set(list(wanted)[3::-1])
    assert found.keys() == wanted.keys()  # no row of the third, unfinished episode
    assert all(found[key] == pytest.approx(value, abs=1e-5) for key, value in wanted.items())


def _wrong_returns(change: Callable[..., tuple[int, float, float]]) -> Callable[..., None]:
    """`Replay.add_returns` with another first row, discount or value after a truncation."""
    return lambda replay, *given: ADD_RETURNS(replay, *change(*given))


def _no_returns(replay: Replay, *_: Any) -> None:
    replay.columns["returns_to_go"] = torch.zeros_like(replay.columns["rewards"])


def _unfinished_rows_too(replay: Replay, batch_size: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    rows = torch.randint(replay.size, (batch_size,), generator=generator)
    return {key: column.index_select(0, rows) for key, column in replay.columns.items()}


ADD_RETURNS = Replay.add_returns
FAULTS: dict[str, tuple[str, Callable[..., Any]]] = {
    "cut to 0 at a truncation": ("add_returns", _wrong_returns(lambda first, discount, _: (first, discount, 0.0))),
    "undiscounted": ("add_returns", _wrong_returns(lambda first, _, value: (first, 1.0, value))),
    "across episodes": ("add_returns", _wrong_returns(lambda _, discount, value: (0, discount, value))),
    "returns of 0": ("add_returns", _no_returns),
    "rows of an unfinished episode": ("sample", _unfinished_rows_too),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_returns_to_go_are_caught(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Replay, *FAULTS[fault])
    with pytest.raises(AssertionError):
        test_returns_to_go_come_from_whole_episodes(False)


def test_a_bootstrap_through_a_termination_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(replay: Replay, *given: Any) -> None:
        ends, replay.columns["terminations"] = replay.columns["terminations"], torch.zeros(10, dtype=torch.bool)
        ADD_RETURNS(replay, *given)
        replay.columns["terminations"] = ends

    monkeypatch.setattr(Replay, "add_returns", blind)
    with pytest.raises(AssertionError):
        test_returns_to_go_come_from_whole_episodes(True)


def test_an_endless_environment_is_refused_where_episodes_must_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cql_tutorial.training.online.LONGEST_EPISODE", 30)
    agent = Returns(PLAIN)
    with pytest.raises(ConfigError, match=r"30 steps without an end.*TimeLimit"):
        fine_tune(agent, Walk(length=10**9), make_dataset(), 100, **QUICK)


def test_online_alpha_takes_the_place_of_the_penaltys_weight() -> None:
    agent, sac = trained(cql_alpha=3.0), trained(cql_alpha=3.0)
    history = fine_tune(agent, Walk(), make_dataset(), 10, online_alpha=0, **QUICK)
    assert history.last("cql_alpha") == 0.0 and agent.config.cql_alpha == 0
    assert fine_tune(sac, Walk(), make_dataset(), 10, **QUICK).last("cql_alpha") == 3.0
    assert not torch.equal(agent.critic.weights[0], sac.critic.weights[0])
    with pytest.raises(ConfigError, match=r"online_alpha.*multiplier"):
        fine_tune(trained("cql-lagrange"), Walk(), make_dataset(), 5, online_alpha=0, **QUICK)
    with pytest.raises(ConfigError, match=r"online_alpha.*sac has no penalty"):
        fine_tune(trained("sac"), Walk(), make_dataset(), 5, online_alpha=0, **QUICK)
    with pytest.raises(ConfigError, match="cql_alpha"):
        fine_tune(agent, Walk(), make_dataset(), 5, online_alpha=-1, **QUICK)


# ---------------------------------------------------------------- rows and evaluation
def test_the_history_begins_at_step_0() -> None:
    calls: list[float] = []

    def evaluate(agent: Any) -> dict[str, float]:
        calls.append(float(agent.optimizers["critic"].state_dict()["state"][0]["step"]))
        return {"probe": calls[-1]}

    told: list[int] = []
    history = fine_tune(
        trained(), Walk(length=4), make_dataset(), 25, evaluate=evaluate, eval_every=10, warm_up=5,
        on_row=lambda h: told.append(h.rows[-1]["step"]), **QUICK,
    )  # fmt: skip
    assert history.series("probe") == ([0, 10, 20, 25], [5.0, 10.0, 20.0, 25.0]) and calls[0] == 5.0
    assert [row["step"] for row in history.rows if "updates" in row] == [10, 20, 25]
    assert history.series("td_loss")[0] == [10, 20, 25] and history.series("episodes")[1] == [2, 3, 1]
    assert told == [0, 10, 20, 25]
    rewards = history.replay.rewards
    assert history["episode_return"][1] == pytest.approx(float(rewards[:8].sum()) / 2, rel=1e-5)
    stopped = fine_tune(trained(), Walk(), make_dataset(), 50, on_row=lambda h: "stop", **QUICK)
    assert stopped.rows[-1]["step"] == 10 and len(stopped.replay) == 10


def test_worlds_and_discrete_agents() -> None:
    maze = Maze(horizon=9)
    data = record(maze, UniformPolicy(maze), 200, seed=0)
    agent = make_agent("soft-q", {"state_dim": 2, "action_dim": 2, "hidden_dim": 8, "device": "cpu"})
    history = fine_tune(agent, maze, data, 20, **QUICK)
    assert history.replay.truncations.nonzero().flatten().tolist() == [8, 17, 19] and len(history.replay) == 20
    grid = Gridworld(size=3, horizon=8)
    data = record(grid, UniformPolicy(grid), 200, seed=0)
    agent = make_agent("discrete-soft-q", {"state_dim": 9, "action_dim": 4, "hidden_dim": 8, "device": "cpu"})
    replay = fine_tune(agent, grid, data, 30, **QUICK).replay
    assert replay.n_actions == 4 and replay.actions.dtype == torch.int64 and bool(replay.terminations.any())


# ---------------------------------------------------------------- resume
def content(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    tensors, header = read_tensors(path)
    training = json.loads(header["training"])
    training.pop("seconds")
    return tensors, training


def same(one: Path, other: Path) -> None:
    (tensors, training), (again, training_again) = content(one), content(other)
    assert training == training_again and tensors.keys() == again.keys()
    assert all(torch.equal(tensors[key], again[key]) for key in tensors)


def probe(agent: Any) -> dict[str, float]:
    return {"probe": float(agent.q_values(torch.ones(1, 3), torch.zeros(1, 2)).mean())}


@pytest.mark.parametrize(("name", "stop"), [("cql", 3), ("cql", 14), ("cql", 17), ("returns", 17)])
def test_a_resumed_run_ends_bit_for_bit_where_an_unbroken_one_does(name: str, stop: int, tmp_path: Path) -> None:
    """Stopped in the warm-up, between two episodes and in mid-episode; a new process has a new environment."""

    def run(path: Path, **trouble: Any) -> Any:
        agent = Returns(PLAIN) if name == "returns" else trained(name)
        options = {**QUICK, "warm_up": 6, "evaluate": probe, "eval_every": 12, "checkpoint_every": 9}
        return fine_tune(agent, Walk(**trouble), make_dataset(), 30, checkpoint=path, **options)

    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    unbroken = run(whole)
    with pytest.raises(CallbackError) as caught:
        run(broken, fails_at=stop + 1)
    assert len(caught.value.history.replay) == content(broken)[1]["step"] == stop
    resumed = run(broken)
    same(whole, broken)
    assert unbroken.rows == resumed.rows and unbroken.series("probe")[0] == [0, 12, 24, 30]
    assert torch.equal(unbroken.replay.observations, resumed.replay.observations)


def test_saved_at_the_boundary_or_not_is_the_same(tmp_path: Path) -> None:
    direct, offline = trained(), tmp_path / "offline.safetensors"
    direct.save(offline)
    loaded = load_agent(offline, "cpu")
    one, other = (fine_tune(agent, Walk(), make_dataset(), 15, **QUICK) for agent in (direct, loaded))
    assert one.rows == other.rows and all(torch.equal(v, loaded.state()[k]) for k, v in direct.state().items())


def test_an_environment_that_cannot_be_repeated_is_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    odd: dict[str, Any] = {"checkpoint": path, **QUICK}
    fine_tune(trained(), Walk(ignores_the_seed=True), make_dataset(), 10, **odd)
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=r"another state or reward at step 1 of the episode.*new-episode"):
        fine_tune(trained(), Walk(ignores_the_seed=True), make_dataset(), 20, **odd)
    assert path.read_bytes() == before
    history = fine_tune(trained(), Walk(ignores_the_seed=True), make_dataset(), 20, resume="new-episode", **odd)
    assert len(history.replay) == 20 and history.replay.truncations.nonzero().flatten().tolist() == [6, 9, 16, 19]
    assert history["step"] == [10, 20]


def test_checkpoints_of_other_runs_are_refused(tmp_path: Path) -> None:
    path, options = tmp_path / "run.safetensors", dict(QUICK)
    fine_tune(trained(), Walk(), make_dataset(), 10, checkpoint=path, **options)
    assert load_agent(path, "cpu").config.state_dim == 3  # it is an agent's file, too
    for change, says in (({"mix": 0.25}, "mix"), ({"seed": 3}, "seed"), ({"online_alpha": 0}, "cql_alpha")):
        agent = trained()
        with pytest.raises(CheckpointError, match=says):
            fine_tune(agent, Walk(), make_dataset(), 20, checkpoint=path, **options, **change)
        assert agent.config.cql_alpha == 5.0
    with pytest.raises(ConfigError, match="checkpoint at step 10"):
        fine_tune(trained(), Walk(), make_dataset(), 5, checkpoint=path, **options)
    with pytest.raises(CheckpointError, match="a run of fine_tune; expected one of fit"):
        fit(trained(), make_dataset(), 50, batch_size=16, checkpoint=path, progress=False)
    fit(trained(), make_dataset(), 5, batch_size=16, checkpoint=tmp_path / "fit", progress=False)
    with pytest.raises(CheckpointError, match="a run of fit; expected one of fine_tune"):
        fine_tune(trained(), Walk(), make_dataset(), 20, checkpoint=tmp_path / "fit", **options)
    fine_tune(trained(), Walk(), make_dataset(), 10, checkpoint=path, resume=False, mix=0.25, **options)


# ---------------------------------------------------------------- what goes wrong
@pytest.mark.parametrize(
    ("trouble", "kind", "says"),
    [
        (
            {"fails_at": 17},
            CallbackError,
            r"Walk.step at step 17 \(3 of episode 3\): found ValueError: a wheel is loose",
        ),
        ({"reset_fails_at": 3}, CallbackError, r"Walk.reset at step 15 \(1 of episode 3\): found OSError: the robot"),
        ({"nan_at": 17}, DataError, r"the next observation at step 17 .*nan"),
        ({"bad_reward_at": 17}, DataError, r"the reward at step 17 .*found inf"),
    ],
)
def test_a_failing_environment_loses_nothing(trouble: dict[str, int], kind: type, says: str, tmp_path: Path) -> None:
    path, whole = tmp_path / "run.safetensors", tmp_path / "whole.safetensors"
    options: dict[str, Any] = {**QUICK, "checkpoint_every": 100}
    with pytest.raises(kind, match=says) as caught:
        fine_tune(trained(), Walk(**trouble), make_dataset(), 30, checkpoint=path, **options)
    kept = 14 if "reset_fails_at" in trouble else 16
    assert len(caught.value.history.replay) == kept and content(path)[1]["step"] == kept
    fine_tune(trained(), Walk(), make_dataset(), 30, checkpoint=path, **options)  # mended: it goes on exactly
    fine_tune(trained(), Walk(), make_dataset(), 30, checkpoint=whole, **options)
    same(whole, path)


def test_ctrl_c_in_the_environment_keeps_all(tmp_path: Path) -> None:
    class Interrupted(Walk):
        def step(self, action: Any) -> Any:
            if self.steps == 12:
                raise KeyboardInterrupt
            return super().step(action)

    with pytest.raises(KeyboardInterrupt):
        fine_tune(trained(), Interrupted(), make_dataset(), 30, checkpoint=tmp_path / "run", **QUICK)
    assert content(tmp_path / "run")[1]["step"] == 12


def test_values_outside_the_logs_range_are_learned_from_and_told_once() -> None:
    env = Walk(length=5, jumps_at=8)
    with pytest.warns(CQLWarning, match=r"observation column 0 is .* at step 8") as caught:
        history = fine_tune(trained(), env, make_dataset(), 20, **QUICK)
    assert len([one for one in caught if "in the log" in str(one.message)]) == 1
    assert float(history.replay.next_observations.max()) > 900 and np.isfinite(history.last("td_loss"))


def test_a_policy_that_is_lost_does_not_act(tmp_path: Path) -> None:
    agent = trained()
    with torch.no_grad():
        agent.actor.biases[-1].fill_(float("nan"))
    env = Walk()
    with pytest.raises(DivergedError, match="the policy's action"):
        fine_tune(agent, env, make_dataset(), 10, checkpoint=tmp_path / "run", **QUICK)
    assert env.steps == 0 and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mix": 1.5}, "mix"),
        ({"mix": "half"}, "mix"),
        ({"warm_up": -1}, "warm_up"),
        ({"updates_per_step": 0}, "updates_per_step"),
        ({"policy_updates": "first"}, "policy_updates"),
        ({"steps": 0}, "steps"),
        ({"resume": "later"}, "resume"),
        ({"env": gymnasium.make("CartPole-v1")}, "observation space"),
        ({"dataset": {"observations": 1}}, "dataset"),
        ({"agent": "bc"}, "critics"),
    ],
)
def test_clear_errors_before_the_first_step(change: dict[str, Any], says: str) -> None:
    arguments = {"agent": trained(change.get("agent", "cql"), 1), "env": Walk(), "dataset": make_dataset(), "steps": 5}
    options = {key: value for key, value in change.items() if key != "agent"}
    with pytest.raises(ConfigError, match=says):
        fine_tune(**{**arguments, **QUICK, **options})


# ---------------------------------------------------------------- kill -9
RUN = """
    import os, signal, sys
    import torch
    torch.set_num_threads(1)
    from tests.training.test_fine_tune import SMALL, Walk, make_dataset, probe
    from cql_tutorial import fine_tune, fit, make_agent
    import cql_tutorial.agents.checkpoint as files

    if {die_in_save}:
        real_replace, count = os.replace, 0
        def replace(source, target):
            global count
            count += 1
            if count == {die_in_save}:          # the temporary file is written, the rename never happens
                os.kill(os.getpid(), signal.SIGKILL)
            real_replace(source, target)
        files.os.replace = replace

    class Watched(Walk):
        def step(self, action):
            result = super().step(action)
            print("step", flush=True)
            return result
    Watched.__name__ = "Walk"
    agent = make_agent("cql", SMALL)
    fit(agent, make_dataset(), 40, batch_size=16, checkpoint={path!r} + ".offline", checkpoint_every=10,
        on_row=lambda history: print("row", flush=True), log_every=10, progress=False)
    print("boundary", flush=True)
    fine_tune(agent, Watched(), make_dataset(), 60, batch_size=16, seed=3, warm_up=15, log_every=9, evaluate=probe,
              eval_every=20, checkpoint={path!r}, checkpoint_every=5, progress=False)
    print("done", flush=True)
"""


def start(path: Path, die_in_save: int = 0) -> Child:
    code = textwrap.dedent(RUN).format(path=str(path), die_in_save=die_in_save)
    return Child(code)


@pytest.mark.slow
def test_a_killed_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    """Killed offline, at the boundary, in the warm-up, in mid-episode and while a checkpoint is written."""
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    assert start(whole).wait() == 0
    rng = random.Random(0)
    for moment, count in (("row", 2), ("boundary", 1), ("step", rng.randrange(6, 12)), ("step", rng.randrange(18, 24))):
        process = start(broken)
        for line in process.stdout:
            count -= line.strip() == moment
            if not count:
                break
        time.sleep(rng.uniform(0.0, 0.01))
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert start(broken, die_in_save=2).wait() == -signal.SIGKILL
    assert os.path.exists(f"{broken}.tmp") and 0 < content(broken)[1]["step"] < 60
    assert start(broken).wait() == 0
    same(whole, broken)
