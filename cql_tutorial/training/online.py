"""Learning in an environment: `fine_tune` an agent that a log has trained, or `train_online` a SAC from scratch."""

from __future__ import annotations

import copy
import dataclasses
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..agents import SACAgent
from ..agents.agent import Agent
from ..batch import REQUIRED, Batch
from ..datasets.offline_dataset import OfflineDataset
from ..envs.base import UniformPolicy, World
from ..envs.spaces import check_env
from ..errors import (
    CallbackError,
    CheckpointError,
    ConfigError,
    CQLWarning,
    DataError,
    DivergedError,
    check_int,
    require,
)
from ..fast.fused import FasterUpdate
from ..files import prepare_output_path
from ..seeding import numbered, numbered_seed
from .offline import History, Run, check_actions, progress_bar

LONGEST_EPISODE = 10_000  # steps without an end, where only whole episodes are learned from
ACTIONS, EPISODES, ROWS, LOGGED = range(20, 24)  # what random numbers are for


@dataclass
class OnlineRun:
    """An online training run: the agent at its end, copies of it at earlier steps, and all it saw, in order."""

    agent: SACAgent
    snapshots: dict[int, SACAgent] = field(default_factory=dict)
    replay: dict[str, Tensor] = field(default_factory=dict)


def train_online(
    world: Any,
    config: Mapping[str, Any],
    steps: int,
    *,
    seed: int = 0,
    batch_size: int = 64,
    start_steps: int = 500,
    update_every: int = 1,
    snapshots: Iterable[int] = (),
    on_snapshot: Callable[[int, SACAgent], Any] | None = None,
    fast: bool = False,
    progress: bool = True,
) -> OnlineRun:
    """Online SAC in one copy of ``world``: ``start_steps`` uniform actions, then its own, and updates.

    ``world`` is a `World` with continuous actions, or a Gymnasium environment with flat observations and bounded
    continuous actions (`ConfigError` for another). After ``start_steps`` every step brings an update, or every
    ``update_every``-th. ``config`` holds `SACConfig` settings except the dimensions and
    bounds, which are the world's. An agent is copied at each of ``snapshots``, and the copy given to
    ``on_snapshot(step, agent)`` as soon as it is there. ``fast`` makes the updates in their faster form, equal to
    ``agent.update`` up to rounding (see the folder `fast`). ``replay`` has the columns of a data set, cut into episodes
    at the time limit. A run of fewer steps is the beginning of a longer one, bit for bit.
    """
    from tqdm.auto import trange

    generator = torch.Generator().manual_seed(seed)
    place = _WorldCopy(world, generator) if isinstance(world, World) else _EnvCopy(world, seed)
    agent = SACAgent({**place.settings, "seed": seed, **config, "device": "cpu"})
    policy = agent.policy()
    run, wanted = OnlineRun(agent), set(snapshots)
    update = FasterUpdate(agent) if fast else agent.update
    store = Replay(steps, agent.config.state_dim, agent.config.action_dim)
    observation = place.reset()
    for step in trange(1, steps + 1, disable=not progress, unit="step", mininterval=0.5):
        act: Callable[..., Tensor] = place.uniform if step <= start_steps else policy
        action = act(observation, generator)
        following, reward, terminated, truncated = place.step(action)
        store.add(observation[0], action[0], reward, following[0], terminated, truncated)
        store.available = store.size
        observation = place.reset() if terminated or truncated else following
        if step > start_steps and step % update_every == 0:
            update(store.sample(batch_size, generator))
        if step in wanted:
            run.snapshots[step] = copy.deepcopy(agent)
            if on_snapshot is not None:
                on_snapshot(step, run.snapshots[step])
    run.replay = store.columns
    return run


class _WorldCopy:
    """One copy of a world; an episode is truncated at its horizon."""

    def __init__(self, world: World, generator: torch.Generator) -> None:
        self.world, self.generator, self.uniform = world, generator, UniformPolicy(world)
        bounds = {"action_low": world.action_low, "action_high": world.action_high}
        self.settings = {"state_dim": world.observation_dim, "action_dim": world.action_dim, **bounds}

    def reset(self) -> Tensor:
        self.state, self.age = self.world.reset(1, self.generator), 0
        return self.world.observe(self.state)

    def step(self, action: Tensor) -> tuple[Tensor, Tensor | float, bool, bool]:
        """(next observation ``[1, S]``, reward, terminated, truncated)."""
        self.state, reward, terminated = self.world.step(self.state, action, self.generator)
        self.age += 1
        ended = bool(terminated)
        return self.world.observe(self.state), reward[0], ended, self.age >= self.world.horizon and not ended


class _EnvCopy:
    """A Gymnasium environment, seen as a copy of a world."""

    def __init__(self, env: Any, seed: int) -> None:
        seen, acted = (int(np.prod(space.shape or (1,))) for space in (env.observation_space, env.action_space))
        check_env(env, seen, acted, False)
        self.low, self.high = (torch.as_tensor(bound.copy()) for bound in (env.action_space.low, env.action_space.high))
        bounded = bool((self.low.isfinite() & self.high.isfinite()).all())
        mend = "wrap it: gymnasium.wrappers.RescaleAction, or ClipAction."
        require(bounded, "env: action space", env.action_space, "actions with finite bounds", mend)
        self.env, self.seed, self.episode = env, seed, 0
        bounds = {"action_low": self.low.tolist(), "action_high": self.high.tolist()}
        self.settings = {"state_dim": seen, "action_dim": acted, **bounds}

    def uniform(self, observations: Tensor, generator: torch.Generator) -> Tensor:
        """Uniform actions ``[n, A]``."""
        draw = torch.rand(len(observations), len(self.low), generator=generator)
        return self.low + (self.high - self.low) * draw

    def reset(self) -> Tensor:
        observation = self.env.reset(seed=numbered_seed(self.seed, EPISODES, self.episode))[0]
        self.episode += 1
        return torch.as_tensor(np.array(observation, dtype=np.float32))[None]

    def step(self, action: Tensor) -> tuple[Tensor, Tensor | float, bool, bool]:
        """(next observation ``[1, S]``, reward, terminated, truncated)."""
        given = action[0].numpy().astype(self.env.action_space.dtype)
        observation, reward, terminated, truncated, _ = self.env.step(given)
        following = torch.as_tensor(np.array(observation, dtype=np.float32))[None]
        return following, float(reward), bool(terminated), bool(truncated) and not bool(terminated)


class Replay:
    """Transitions in the order they happened; ``available`` of the ``size`` rows may be sampled."""

    def __init__(
        self, capacity: int, state_dim: int, action_dim: int | None, dtype: torch.dtype = torch.float32
    ) -> None:
        self.size = self.available = 0
        actions = torch.zeros(capacity, dtype=torch.int64) if action_dim is None else None
        self.columns = {
            "observations": torch.zeros(capacity, state_dim, dtype=dtype),
            "actions": torch.zeros(capacity, action_dim or 0, dtype=dtype) if actions is None else actions,
            "rewards": torch.zeros(capacity, dtype=dtype),
            "next_observations": torch.zeros(capacity, state_dim, dtype=dtype),
            "terminations": torch.zeros(capacity, dtype=torch.bool),
            "truncations": torch.zeros(capacity, dtype=torch.bool),
        }

    def add(self, *row: Tensor | float | bool) -> None:
        """Append one transition, in the order of the columns."""
        for column, value in zip(self.columns.values(), row, strict=False):  # returns-to-go come later
            column[self.size] = value
        self.size += 1

    def add_returns(self, first: int, discount: float, truncation_value: float) -> None:
        """Fill ``returns_to_go`` from row ``first`` to the last, an episode that has ended."""
        if "returns_to_go" not in self.columns:
            self.columns["returns_to_go"] = torch.zeros_like(self.columns["rewards"])
        cut = not bool(self.columns["terminations"][self.size - 1])
        value = truncation_value if cut else 0.0
        for row in reversed(range(first, self.size)):
            value = float(self.columns["rewards"][row]) + discount * value
            self.columns["returns_to_go"][row] = value

    def sample(self, batch_size: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Rows drawn with replacement from those that are available."""
        rows = torch.randint(self.available, (batch_size,), generator=generator)
        return {key: column.index_select(0, rows) for key, column in self.columns.items()}


# ---------------------------------------------------------------- fine-tuning
class OnlineHistory(History):
    """The `History` of `fine_tune`, whose ``step`` counts environment steps; ``replay`` is all that was seen.

    ``episode_return`` and ``episode_length`` are means over the ``episodes`` that ended since the row before.
    """

    replay: OfflineDataset | None = None


def fine_tune(
    agent: Agent,
    env: Any,
    dataset: OfflineDataset,
    steps: int,
    *,
    mix: float = 0.5,
    warm_up: int = 0,
    updates_per_step: int = 1,
    policy_updates: str = "all",
    online_alpha: float | None = None,
    deterministic: bool = False,
    batch_size: int = 256,
    seed: int = 0,
    log_every: int = 100,
    evaluate: Callable[[Agent], Mapping[str, float]] | None = None,
    eval_every: int = 1000,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1000,
    resume: bool | str = True,
    progress: bool = True,
    on_row: Callable[[History], Any] | None = None,
) -> OnlineHistory:
    """Let a trained ``agent`` act in ``env`` for ``steps`` steps and go on learning; returns the `OnlineHistory`.

    ``env`` is a Gymnasium environment with the data's spaces, or a `World`. The agent starts as it is: its weights, its
    optimisers' moments, its temperature, its normaliser (whose statistics stay those of the log). It samples its
    actions, from the first step on, unless ``deterministic``. The first ``warm_up`` steps only collect; after that each
    step brings ``updates_per_step`` updates (with ``policy_updates="last"`` only the last of them moves actor and
    temperature, as in REDQ), each on ``round(mix * batch_size)`` rows of the log and the rest of what was seen online.
    An agent that reads returns-to-go (Cal-QL) learns from whole episodes alone: its updates wait until one has ended,
    and are then made up for; a return is bootstrapped where the episode was cut, with the agent's ``truncation_value``
    or else the log's mean return-to-go. ``online_alpha`` replaces ``cql_alpha`` from the first online update on (0
    drops the penalty); it stays in ``agent.config``.

    Random numbers depend on ``seed`` and the number of the step, episode or update. ``evaluate``, ``on_row`` and
    ``checkpoint`` are as in `fit`; evaluation begins at step 0, before any update. A resumed run ends bit for bit where
    an unbroken one would: an episode that was under way is restored by its seed and its actions, step by step. Where
    that gives other states, `CheckpointError` says which; ``resume="new-episode"`` then keeps all that was learned and
    goes on with a fresh episode.

    An error in the environment is a `CallbackError`, a value that is not finite a `DataError`: the run is saved as it
    was before that step, and ``error.history`` holds what was seen. After Ctrl-C within an update the last checkpoint
    stands. Raises `ConfigError` for settings or spaces that do not fit.
    """
    steps, seed, batch_size = (
        check_int("steps", steps, 1),
        check_int("seed", seed, 0),
        check_int("batch_size", batch_size, 1),
    )
    intervals = {"log_every": log_every, "eval_every": eval_every, "checkpoint_every": checkpoint_every}
    log_every, eval_every, checkpoint_every = (check_int(name, value, 1) for name, value in intervals.items())
    require(isinstance(mix, (int, float)) and 0 <= mix <= 1, "mix", mix, "a share of logged rows in [0, 1]", "try 0.5.")
    require(resume in (True, False, "new-episode"), "resume", resume, "True, False or 'new-episode'")
    require(policy_updates in ("all", "last"), "policy_updates", policy_updates, "'all' or 'last'")
    expected = "an agent with critics: cloning learns from no reward"
    require(hasattr(agent, "q_values"), "agent", agent.name, expected, "take cql, sac, iql or another.")
    if not hasattr(dataset, "batches"):
        raise ConfigError("dataset", f"a {type(dataset).__name__}", "the OfflineDataset that the agent was trained on")
    check_actions(agent, dataset)
    env = env.env() if isinstance(env, World) else env
    config = agent.config
    check_env(env, config.state_dim, config.action_dim, agent.discrete, config.action_low, config.action_high)
    settings = {
        "batch_size": batch_size, "seed": seed, "log_every": log_every, "mix": float(mix),
        "warm_up": check_int("warm_up", warm_up, 0),
        "updates_per_step": check_int("updates_per_step", updates_per_step, 1),
        "policy_updates": policy_updates, "online_alpha": online_alpha, "deterministic": bool(deterministic),
        "env": getattr(getattr(env, "spec", None), "id", None) or type(env).__name__,
    }  # fmt: skip
    if checkpoint is not None:
        agent.check_name()
        checkpoint = prepare_output_path(checkpoint)
    agent.config = _with_alpha(agent, online_alpha)
    try:
        run = OnlineRunState(agent, env, agent.prepare_dataset(dataset), steps, settings)
        if checkpoint is not None and resume and checkpoint.is_file():
            run.restore = resume != "new-episode"
            run.resume(checkpoint, steps)
            print(f"resumed from step {run.step} of {checkpoint.name} (the agent's weights are now the file's)")
    except BaseException:
        agent.config = config
        raise
    history = run.history
    run.stopped = bool(run.stopped and on_row is not None and run.tell(on_row))
    if run.stopped:
        return run.close()
    run.begin(run.data)
    if run.step == 0 and evaluate is not None and not history.rows:
        run.measure(evaluate)
        run.stopped = on_row is not None and run.tell(on_row)
    with progress_bar(run.step, steps, progress, "step") as bar:
        began = time.perf_counter() - history.seconds
        while run.step < steps and not run.stopped:
            try:
                run.collect()
            except BaseException as error:
                if checkpoint is not None and not isinstance(error, DivergedError):
                    run.save(checkpoint)  # all before this step: nothing was changed by it
                error.history = run.close()  # type: ignore[attr-defined]
                raise
            run.learn()
            last = run.step == steps
            if run.step % log_every == 0 or last:
                row = run.log()
                shown = ("episode_return", "q_value", "policy_loss")
                bar.set_postfix({key: f"{row[key]:.3g}" for key in shown if key in row})
            bar.update()
            history.seconds = time.perf_counter() - began
            run.end_step(last, evaluate, eval_every, on_row, checkpoint, checkpoint_every)
            began = time.perf_counter() - history.seconds
    return run.close()


def _with_alpha(agent: Agent, online_alpha: float | None) -> Any:
    """The agent's settings with another weight of the penalty; `ConfigError` where it has none, or a multiplier."""
    if online_alpha is None:
        return agent.config
    found, mend = "no penalty", "leave online_alpha out."
    require(hasattr(agent.config, "cql_alpha"), "online_alpha", online_alpha, f"None: {agent.name} has {found}", mend)
    lagrange = getattr(agent.config, "cql_lagrange", False)
    expected = "None: the agent's multiplier sets the weight"
    require(
        not lagrange, "online_alpha", online_alpha, expected, "load the weights into an agent without cql_lagrange."
    )
    return dataclasses.replace(agent.config, cql_alpha=online_alpha)  # type: ignore[call-arg]


class OnlineRunState(Run):
    """Where a run of `fine_tune` stands. Between two steps it is whole: that is when it is saved."""

    kind, unit = "fine_tune", "step"
    history: OnlineHistory

    def __init__(self, agent: Agent, env: Any, data: OfflineDataset, steps: int, settings: dict[str, Any]) -> None:
        super().__init__(agent, settings | {"data": data.fingerprint()})
        self.history, self.env, self.data = OnlineHistory(), env, data.to(device="cpu")
        width = None if agent.discrete else agent.config.action_dim
        self.replay = Replay(steps, agent.config.state_dim, width, agent.dtype)
        self.updates = self.episode = self.age = 0  # updates made, number of the episode, its steps so far
        self.ended: list[tuple[float, int]] = []  # return and length of each episode since the last row
        self.observation: Tensor | None = None  # of an episode under way
        self.restore = True
        returns, given = self.data.batch_returns, getattr(agent.config, "truncation_value", None)
        self.needs_returns = returns is not None
        if returns is not None:
            self.truncation_value = float(returns.mean()) if given is None else float(given)
        columns = self.data.observations.to(agent.dtype)
        self.range = columns.amin(0), columns.amax(0)
        self.logged_rows = round(settings["mix"] * settings["batch_size"])
        self.logged: Iterator[Batch] | None = None
        self.policy = agent.policy(settings["deterministic"])

    # ------------------------------------------------------------ one step in the environment
    def collect(self) -> None:
        """One action and what came of it; if that raises an error, the run is as it was before."""
        seed = self.settings["seed"]
        if self.observation is None:
            self.observation = self._reset()
        action = self.policy(self.observation[None], numbered(seed, ACTIONS, self.step))[0].cpu()
        if not bool(torch.isfinite(action).all()):
            mend = "lower the step sizes, or go back to an earlier checkpoint."
            raise DivergedError(
                "the policy's action", f"{action.tolist()} at step {self.step + 1}", "finite numbers", mend
            )
        following, reward, terminated, truncated = self._step(action)
        self.replay.add(self.observation, action, reward, following, terminated, truncated)
        self.step, self.age, self.observation = self.step + 1, self.age + 1, following
        self._compare_with_the_log(following)
        if terminated or truncated:
            self._end_episode()
        elif self.needs_returns:
            expected = "episodes that end, as this agent learns from whole ones"
            mend = "wrap it: gymnasium.wrappers.TimeLimit(env, max_episode_steps=...)."
            require(
                self.age < LONGEST_EPISODE, self.settings["env"], f"{self.age:,} steps without an end", expected, mend
            )
        else:
            self.replay.available = self.replay.size

    def _reset(self) -> Tensor:
        seed = numbered_seed(self.settings["seed"], EPISODES, self.episode)
        try:
            observation = self.env.reset(seed=seed)[0]
        except Exception as error:
            raise self._failed("reset", error) from error
        return self._checked(observation, "the first observation")

    def _step(self, action: Tensor) -> tuple[Tensor, float, bool, bool]:
        """(next observation, reward, terminated, truncated and not terminated) of an action."""
        given: Any = int(action) if self.agent.discrete else action.numpy().astype(self.env.action_space.dtype)
        try:
            observation, reward, terminated, truncated, _ = self.env.step(given)
            reward, terminated = float(reward), bool(terminated)
        except Exception as error:
            raise self._failed("step", error) from error
        if not abs(reward) <= torch.finfo(self.agent.dtype).max:  # false for nan, too
            raise self._odd("the reward", str(reward), "a finite number")
        return (
            self._checked(observation, "the next observation"),
            reward,
            terminated,
            bool(truncated) and not terminated,
        )

    def _checked(self, observation: Any, what: str) -> Tensor:
        """The observation in the agent's dtype, ``[S]``; `DataError` for another shape, or nan."""
        values = torch.as_tensor(np.array(observation, dtype=np.float64)).to(self.agent.dtype)
        if values.shape != (self.agent.config.state_dim,):
            raise self._odd(what, f"shape {list(values.shape)}", f"shape [{self.agent.config.state_dim}]")
        if not bool(torch.isfinite(values).all()):
            raise self._odd(what, f"{values.tolist()}", "finite numbers")
        return values

    @property
    def _where(self) -> str:
        return f"step {self.step + 1} ({self.age + 1} of episode {self.episode + 1})"

    def _odd(self, what: str, found: str, expected: str) -> DataError:
        mend = "mend the environment and make the same call again: all before this step is kept."
        return DataError(f"{self.settings['env']}: {what} at {self._where}", found, expected, mend)

    def _failed(self, method: str, error: Exception) -> CallbackError:
        mend = "mend it (its traceback stands above) and make the same call again, with resume='new-episode' if this"
        mend += (
            " episode cannot go on; all before this step is in the checkpoint, if there is one, and in error.history."
        )
        found, field = f"{type(error).__name__}: {error}", f"{self.settings['env']}.{method} at {self._where}"
        return CallbackError(field, found, "a call without an error", mend)

    def _end_episode(self) -> None:
        first = self.replay.size - self.age
        if self.needs_returns:
            self.replay.add_returns(first, self.agent.config.discount, self.truncation_value)
        total = float(self.replay.columns["rewards"][first : self.replay.size].double().sum())
        self.ended.append((total, self.age))
        self.replay.available = self.replay.size
        self.episode, self.age, self.observation = self.episode + 1, 0, None

    def _compare_with_the_log(self, observation: Tensor) -> None:
        """Warn once of an observation that lies farther outside the log's range than that is wide."""
        if "online range" in self.agent.told:
            return
        low, high = self.range
        width = (high - low).where(high > low, 1.0)  # of a column that is constant, such as a state never met
        far = ((observation < low - width) | (observation > high + width)).nonzero().flatten().tolist()
        if far:
            column = far[0]
            text = f"observation column {column} is {float(observation[column]):.3g} at step {self.step}, and"
            text += (
                f" {float(low[column]):.3g} to {float(high[column]):.3g} in the log: the agent has seen nothing like"
            )
            text += " it. Is the environment in the log's units?"
            warnings.warn(text, CQLWarning, stacklevel=4)
            self.agent.told.add("online range")

    # ------------------------------------------------------------ updates
    def learn(self) -> None:
        """The updates that are due: all that this step brings, once there are rows to learn from."""
        each, size = self.settings["updates_per_step"], self.settings["batch_size"]
        online = size - self.logged_rows
        while self.updates < each * max(0, self.step - self.settings["warm_up"]):
            if online and not self.replay.available:
                return
            parts: list[Mapping[str, Tensor]] = []
            if online:
                parts.append(self.replay.sample(online, numbered(self.settings["seed"], ROWS, self.updates)))
            if self.logged_rows:
                if self.logged is None:
                    stream = numbered_seed(self.settings["seed"], LOGGED, 0)
                    self.logged = self.data.batches(2**60, self.logged_rows, stream, start=self.updates)
                parts.append(next(self.logged))
            names = [*REQUIRED, *(["returns_to_go"] if self.needs_returns else [])]
            batch = Batch(
                **{name: torch.cat([part[name].to(parts[0][name].dtype) for part in parts]) for name in names}
            )
            self.updates += 1
            with self._policy_held(self.updates % each != 0):
                metrics = self.agent.update(batch)
            self.sum_up(metrics, batch)

    def _policy_held(self, hold: bool) -> Any:
        if not hold or self.settings["policy_updates"] == "all":
            return nullcontext()
        holding: Any = self.agent.hold
        return holding(*[name for name in ("actor", "temperature") if name in self.agent.optimizers])

    # ------------------------------------------------------------ rows and files
    def log(self) -> dict[str, float]:
        """Write a row: the updates' metrics, if any were made, and the episodes that ended."""
        row: dict[str, float] = super().log() if self.count else {"step": self.step}
        if not any(row is known for known in self.history.rows[-1:]):
            self.history.rows.append(row)
        row["updates"] = self.updates
        if self.ended:
            returns, lengths = zip(*self.ended, strict=True)
            row |= {"episodes": len(returns), "episode_return": float(np.mean(returns))}
            row["episode_length"] = float(np.mean(lengths))
        self.ended = []
        return row

    def close(self) -> OnlineHistory:
        """The history with all that was seen; an episode under way counts as truncated there."""
        size = self.replay.size
        if size:
            columns: dict[str, Any] = {
                name: column[:size].clone() for name, column in self.replay.columns.items() if name != "returns_to_go"
            }
            columns["truncations"][-1] |= not bool(columns["terminations"][-1])
            config = self.agent.config
            about: dict[str, Any] = {"n_actions": config.action_dim}
            if not self.agent.discrete:
                about = {"action_low": config.action_low, "action_high": config.action_high, "out_of_bounds": "clip"}
            self.history.replay = OfflineDataset.from_arrays(**columns, **about, dtype=self.agent.dtype, id="online")
        return self.history

    def more(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Where the run stands, and what was seen so far."""
        numbers = {"updates": self.updates, "episode": self.episode, "age": self.age, "ended": self.ended}
        rows = {f"replay.{name}": column[: self.replay.size] for name, column in self.replay.columns.items()}
        return {"online": numbers | {"available": self.replay.available}}, rows

    def take_more(self, training: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path) -> None:
        """Take what was seen, and bring the environment to where it stood; `CheckpointError` if that fails."""
        online, size = training["online"], len(tensors["replay.rewards"])
        if "replay.returns_to_go" in tensors:
            self.replay.columns["returns_to_go"] = torch.zeros_like(self.replay.columns["rewards"])
        for name, column in self.replay.columns.items():
            column[:size] = tensors[f"replay.{name}"]
        self.replay.size, self.replay.available = size, online["available"]
        self.updates, self.episode, self.age = online["updates"], online["episode"], online["age"]
        self.ended = [(total, length) for total, length in online["ended"]]
        if self.age and not self.restore:
            self.replay.columns["truncations"][size - 1] = True
            self._end_episode()
        elif self.age:
            self._repeat_episode(path)

    def _repeat_episode(self, path: Path) -> None:
        rows, name = self.replay.columns, self.settings["env"]
        expected = "the states of before, as one is restored by its seed and its actions"
        mend = "resume='new-episode' keeps all that was learned and goes on with another episode."
        try:
            observation, same = self._reset(), True
            for number, row in enumerate(range(self.replay.size - self.age, self.replay.size)):
                same = torch.equal(observation, rows["observations"][row])
                if same:
                    observation, reward, *ends = self._step(rows["actions"][row])
                    same = not any(ends) and torch.equal(observation, rows["next_observations"][row])
                    same = same and bool(rows["rewards"][row] == torch.tensor(reward, dtype=rows["rewards"].dtype))
                if not same:
                    found = f"another state or reward at step {number + 1} of the episode, repeated with its seed"
                    raise CheckpointError(f"{path}: {name}", found, expected, mend)
        except (CallbackError, DataError) as error:
            raise CheckpointError(
                f"{path}: {name}", f"an episode that cannot be repeated ({error})", expected, mend
            ) from error
        self.observation = observation
