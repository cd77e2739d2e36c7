"""`cql-tutorial collect`: a log with a known behaviour, from one of this package's worlds or any Gymnasium task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro

from ..agents import load_agent
from ..datasets.minari_io import ARRAYS
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
    """Record a data set and write it in Minari's format."""
    one = (recording.env is None) != (recording.world is None)
    require(one, "--env, --world", (recording.env, recording.world), "one of the two", "for example --env Pendulum-v1.")
    check_int("--steps", recording.steps, 1)
    check_int("--seed", recording.seed, 0)
    data = _from_world(recording) if recording.world else _from_env(recording)
    about = f"{recording.policy} policy in {recording.env or recording.world}, seed {recording.seed}"
    folder = data.to_minari(
        recording.id,
        recording.out,
        description=about,
        author=recording.author,
        overwrite=recording.overwrite,
        environment=recording.env,
        extra={"made_by": "cql-tutorial collect"},
    )
    print(data.describe())
    print(f"\nwritten: {folder}")
    return 0


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


def _from_env(options: CollectOptions) -> OfflineDataset:
    """Record step by step in one copy of the environment; the last episode is cut where the recording ends."""
    from tqdm.auto import trange

    env = make_env(str(options.env))
    act, bounds = _behaviour(env, options)
    columns: dict[str, Any] = {name: [] for name in ARRAYS}
    observation, _ = env.reset(seed=options.seed)
    for step in trange(1, options.steps + 1, disable=options.quiet, unit="step", mininterval=0.5):
        action = act(observation)
        following, reward, terminated, truncated, _ = env.step(action)
        cut = not terminated and (truncated or step == options.steps)
        for name, value in zip(ARRAYS, (observation, action, reward, following, terminated, cut), strict=True):
            columns[name].append(value)
        observation = env.reset()[0] if terminated or truncated else following
    arrays: dict[str, Any] = {name: np.asarray(values) for name, values in columns.items()}
    return OfflineDataset.from_arrays(**arrays, **bounds, id=options.id)


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
