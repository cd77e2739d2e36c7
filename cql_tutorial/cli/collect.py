"""`cql-tutorial collect`: a log with a known behaviour, from one of this package's worlds or any Gymnasium task."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro

from ..agents import load_agent
from ..datasets.minari_io import ARRAYS, check_new
from ..datasets.offline_dataset import OfflineDataset
from ..datasets.recording import dataset_of, record
from ..envs import make
from ..envs.base import UniformPolicy
from ..errors import check_int, require, require_data
from ..training.online import train_online
from .options import make_env


@dataclass(frozen=True, kw_only=True)
class CollectOptions:
    """What is recorded."""

    id: Annotated[str, tyro.conf.arg(metavar="NAME-vN")]
    """Id of the new Minari data set, for example mine/pendulum/random-v0."""
    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("data")
    """Folder below which it is written; load it with --data FOLDER/ID."""
    env: str | None = None
    """Gymnasium id with flat observations and actions (Box, or Discrete actions)."""
    world: str | None = None
    """One of this package's worlds, such as maze or pendulum."""
    policy: str = "random"
    """random, online (soft actor-critic trained from scratch in --world: the log is all it saw), or a checkpoint."""
    stochastic: bool = False
    """Checkpoints only: sample from the policy instead of taking its deterministic action."""
    steps: int = 10_000
    """Transitions."""
    seed: int = 0
    """Decides start states, actions and training."""
    overwrite: bool = False
    """Replace a data set of the same id."""
    author: str = "unknown"
    """Recorded in the data set."""
    quiet: bool = False
    """No progress bars."""


def collect(recording: CollectOptions) -> int:
    """Record a data set and write it in Minari's format; a recording that cannot be written so is kept in a flat file.

    What was recorded when an environment failed, or when the user stopped it, is written too, and said.
    """
    one = (recording.env is None) != (recording.world is None)
    require(one, "--env, --world", (recording.env, recording.world), "one of the two", "for example --env Pendulum-v1.")
    check_int("--steps", recording.steps, 1)
    check_int("--seed", recording.seed, 0)
    check_new(recording.id, recording.out, recording.overwrite)  # before any step is taken
    env = None if recording.env is None else make_env(recording.env)
    data, stopped = (_from_world(recording), None) if env is None else _from_env(env, recording)
    about = f"{recording.policy} policy in {recording.env or recording.world}, seed {recording.seed}"
    try:
        written = data.to_minari(
            recording.id,
            recording.out,
            description=about,
            author=recording.author,
            overwrite=recording.overwrite,
            environment=None if env is None else env.spec,
            extra={"made_by": "cql-tutorial collect"},
        )
    except Exception as error:  # Minari's own errors are of many kinds, and hours of recording may be in memory
        written = data.to_hdf5(recording.out / f"{recording.id}.hdf5", overwrite=True)
        found = f"{type(error).__name__}: {error}".splitlines()[0]
        print(f"Minari could not write it ({found}); the recording is kept in a flat file.")
    print(data.describe())
    print(f"\nwritten: {written}\nread it with --data {written}")
    if stopped is not None:
        print(f"The recording stopped early, after {len(data)} of {recording.steps} steps: {stopped}", file=sys.stderr)
    return int(stopped is not None)


def _from_world(options: CollectOptions) -> OfflineDataset:
    world = make(str(options.world))
    if options.policy == "online":
        require(not world.discrete, "--policy", "online", "a world with continuous actions", "take another policy.")
        run = train_online(world, {}, options.steps, seed=options.seed, progress=not options.quiet)
        return dataset_of(world, run.replay, id=options.id)
    policy: Any = UniformPolicy(world)
    if options.policy != "random":
        policy = load_agent(options.policy, "cpu").policy(not options.stochastic)
    return record(world, policy, options.steps, seed=options.seed, id=options.id)


def _from_env(env: Any, options: CollectOptions) -> tuple[OfflineDataset, str | None]:
    """Record step by step in one copy of the environment; the last episode is cut where the recording ends.

    Returns the data and, if the environment failed or the user stopped it, what happened.
    """
    from tqdm.auto import trange

    act, bounds = _behaviour(env, options)
    columns: dict[str, Any] = {name: [] for name in ARRAYS}
    stopped = None
    try:
        observation = np.copy(env.reset(seed=options.seed)[0])  # some environments write into the same array again
        for step in trange(1, options.steps + 1, disable=options.quiet, unit="step", mininterval=0.5):
            action = act(observation)
            following, reward, terminated, truncated, _ = env.step(action)
            cut = not terminated and (truncated or step == options.steps)
            row = (observation, action, reward, following, terminated, cut)
            for name, value in zip(ARRAYS, row, strict=True):
                columns[name].append(np.copy(value))
            observation = np.copy(env.reset()[0] if terminated or truncated else following)
    except (Exception, KeyboardInterrupt) as error:
        if not columns["truncations"]:
            raise
        stopped = f"{type(error).__name__}: {error}"
        columns["truncations"][-1] = np.asarray(not columns["terminations"][-1])
    arrays: dict[str, Any] = {name: np.asarray(values) for name, values in columns.items()}
    finite = np.isfinite(arrays["observations"]).all(1) & np.isfinite(arrays["next_observations"]).all(1)
    finite &= np.isfinite(arrays["rewards"].astype(float))
    if not finite.all():  # the log must not be lost for one bad number: it ends before it
        first = int(finite.argmin())
        require_data(first, f"--env {options.env}", "NaN or infinite values in the first step", "finite numbers")
        stopped = f"NaN or infinite values in step {first + 1}"
        arrays = {name: array[:first] for name, array in arrays.items()}
        arrays["truncations"][-1] = not arrays["terminations"][-1]
    return OfflineDataset.from_arrays(**arrays, **bounds, id=options.id, out_of_bounds=_beyond(bounds)), stopped


def _beyond(bounds: dict[str, Any]) -> str:
    """Actions of an agent may lie a rounding beyond a bound, for which no recording is thrown away."""
    return "error" if "n_actions" in bounds else "clip"


def _behaviour(env: Any, options: CollectOptions) -> tuple[Callable[[np.ndarray], Any], dict[str, Any]]:
    """Return the policy to record, as a function of one observation, and the bounds of its actions."""
    from gymnasium.spaces import Box, Discrete

    box, space = env.observation_space, env.action_space
    discrete = isinstance(space, Discrete) and space.start == 0
    flat = isinstance(box, Box) and len(box.shape) == 1
    mend = "wrap it (gymnasium.wrappers.FlattenObservation) and record with minari.DataCollector."
    expected = "flat observations; actions that are a flat Box, or Discrete from 0"
    known = flat and (discrete or (isinstance(space, Box) and len(space.shape) == 1))
    require_data(known, f"--env {options.env}", f"{box} and {space}", expected, mend)
    mend = "use --world for online."
    require(options.policy != "online", "--policy", options.policy, "random or a checkpoint with --env", mend)
    bounds = {"n_actions": int(space.n)} if discrete else {"action_low": space.low, "action_high": space.high}
    if options.policy == "random":
        space.seed(options.seed)
        return lambda observation: space.sample(), bounds
    policy = load_agent(options.policy, "cpu").policy(not options.stochastic)
    generator = torch.Generator().manual_seed(options.seed)

    def act(observation: np.ndarray) -> Any:
        action = policy(torch.as_tensor(observation, dtype=torch.float32)[None], generator)[0].numpy()
        return int(action) if discrete else action.astype(np.float32)

    return act, bounds
