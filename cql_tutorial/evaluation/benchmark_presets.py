"""What `benchmark` runs: the tasks of each suite, and for every preset the settings of an algorithm on a task.

A setting names its sources, and what they have that an agent of this package has not: nothing is dropped in silence.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigError
from .reference_scores import REFERENCE_RETURNS
from .rollouts import normalised_score


@dataclass(frozen=True)
class Environment:
    """Where the policies of a task are evaluated, and the returns that are its scores 0 and 100."""

    id: str
    random: float
    expert: float
    extra: str = ""
    """The extra of this package that installs it."""

    def score(self, value: float) -> float:
        """The normalised score of a return."""
        return normalised_score(value, self.random, self.expert)


@dataclass(frozen=True)
class Task:
    """Data of one quality in one environment, such as ``hopper-medium-expert``."""

    environment: Environment
    name: str
    data: tuple[str, ...] = ()
    """Minari ids of the data that are taken where none are passed; several are several draws."""


@dataclass(frozen=True)
class Setting:
    """How an algorithm is trained and judged on a task."""

    agent: str
    settings: Mapping[str, Any]
    """Of the agent; what the data say (dimensions, bounds) and the seed are added."""
    steps: int
    batch_size: int
    episodes: int
    sources: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    """What the sources have and this does not."""
    rewards: str = "as logged"
    """``"return range"``: times 1000 / (largest - smallest return of an episode of the data)."""
    initial_value: str = "zero"
    """``"mean reward"``: the critics' last bias starts at mean(r) / (1 - discount) of the data."""


# ---------------------------------------------------------------- the suites
def _environment(name: str, gymnasium_id: str) -> Environment:
    return Environment(gymnasium_id, *REFERENCE_RETURNS[name], extra="mujoco")


ENVIRONMENTS = {
    "halfcheetah": _environment("halfcheetah", "HalfCheetah-v5"),
    "hopper": _environment("hopper", "Hopper-v5"),
    "walker2d": _environment("walker2d", "Walker2d-v5"),
    # The returns of uniform actions and of the shipped expert: data/policies/pendulum.json.
    "pendulum": Environment("Pendulum-v1", -1236.7, -155.4),
}
QUALITIES = ("random", "medium", "medium-replay", "full-replay", "medium-expert", "expert", "best")


def _mujoco_tasks() -> dict[str, Task]:
    return {
        f"{name}-{quality}": Task(ENVIRONMENTS[name], f"{name}-{quality}", own_data(name, quality))
        for name in ("halfcheetah", "hopper", "walker2d")
        for quality in QUALITIES
    }


def own_data(name: str, quality: str) -> tuple[str, ...]:
    """Ids of the sets that `python -m experiments mujoco_data` makes: two draws of each kind that it knows."""
    if quality not in ("random", "medium", "medium-replay", "medium-expert", "best"):
        return ()
    return tuple(f"mujoco/{name}-{quality}-{draw}-v0" for draw in (0, 1))


SUITES: dict[str, dict[str, Task]] = {
    "mujoco": _mujoco_tasks(),
    "pendulum": {  # needs no simulator but Gymnasium's own: to try the command, and in tests
        f"pendulum-{quality}": Task(ENVIRONMENTS["pendulum"], f"pendulum-{quality}", (f"pendulum/{data}-v0",))
        for quality, data in (
            ("random", "random-10k"),
            ("medium", "medium-10k"),
            ("medium-replay", "replay"),
            ("expert", "expert-1k"),
        )
    },
}
DEFAULT_TASKS = {
    "mujoco": ("halfcheetah-medium", "hopper-medium-expert", "walker2d-medium-replay"),
    "pendulum": ("pendulum-medium",),
}
ALGORITHMS = {
    "bc": "behaviour cloning",
    "10%bc": "behaviour cloning of the tenth of the episodes with the largest return",
    "iql": "implicit Q-learning",
    "sac": "soft actor-critic without entropy in the backup: CQL's own critics at alpha 0",
    "cql": "conservative Q-learning, CQL(H)",
}
_LONGEST_FIRST = "|".join(sorted(QUALITIES, key=len, reverse=True))


def suite_tasks(suite: str) -> dict[str, Task]:
    """The tasks of a suite by name; `ConfigError` for a suite that is none."""
    if suite not in SUITES:
        raise ConfigError("suite", repr(suite), f"one of {', '.join(SUITES)}", "take one of these.")
    return SUITES[suite]


def find_task(suite: str, name: str) -> Task:
    """The task of that name; `ConfigError` for another name, and for one with a version, such as ``-v2``."""
    tasks = suite_tasks(suite)
    if name in tasks:
        return tasks[name]
    plain = re.sub(r"-v\d+$", "", name.lower())
    environments = dict.fromkeys(task.partition("-")[0] for task in tasks)
    expected = f"a task of the suite {suite}, such as {', '.join(f'{one}-medium' for one in environments)}"
    if plain in tasks or plain in {task.environment.id.split("-")[0].lower() for task in tasks.values()}:
        instead = plain if plain in tasks else next(task for task in tasks if task.startswith(plain))
        mend = f"a task has no version, its policies are evaluated in {tasks[instead].environment.id}, and a version"
        mend += f" is of a data set: name the task {instead}, and pass a D4RL file of your version with --data."
        raise ConfigError("tasks", repr(name), expected, mend)
    near = difflib.get_close_matches(plain, tasks, 1, 0.4)
    raise ConfigError("tasks", repr(name), expected, f"did you mean {near[0]!r}?" if near else "--list prints them.")


def task_of_file(suite: str, entry: str) -> tuple[Task, str]:
    """(task, file or Minari id) of an entry ``TASK=FILE``, or of a file whose name tells its task.

    ``hopper_medium_expert-v2.hdf5`` and ``mujoco/hopper/medium-v0`` do. Raises `ConfigError` for a name that does not.
    """
    before, equals, after = entry.partition("=")
    if equals and before in suite_tasks(suite):
        return suite_tasks(suite)[before], after
    words = re.sub(r"[^a-z0-9]+", "-", entry.lower())
    environments = {name.partition("-")[0]: None for name in suite_tasks(suite)}
    found = re.findall(rf"({'|'.join(environments)})-({_LONGEST_FIRST})(?![a-z])", words)
    if not found:
        mend = f"say it: TASK=FILE, with one of {', '.join(suite_tasks(suite))}."
        raise ConfigError("data", repr(entry), "a name that tells the task", mend)
    return find_task(suite, "-".join(found[-1])), entry


# ---------------------------------------------------------------- the presets
OURS = "this package: chosen on a medium log of HalfCheetah with one seed, before any run that is reported"
CORL = "corl-team/CORL, configs/offline/{0}/*/*_v2.yaml and algorithms/offline/{1}.py (eeeeef26; the runs of its table)"
OTHER_POLICY = "its log_std is clamped to [-20, 2] (here [-5, 2])"
EPSILON = "it divides observations by their standard deviation plus 1e-3 (here without the 1e-3)"
LAST_ROWS = "it drops the last row of an episode that times out (d4rl.qlearning_dataset)"


def _ours(task: Task, algorithm: str) -> Setting:
    """Small networks, 30,000 updates: what an hour of two cores can do with several seeds."""
    network: dict[str, Any] = {"hidden_dim": 128, "hidden_layers": 2, "normalize_observations": True}
    actor_critic = {"discount": 0.99, "tau": 0.005, "critic_lr": 1e-3}
    units = 1000.0 / (task.environment.expert - task.environment.random)
    if task.environment.extra == "":  # Pendulum: 200 steps, its values are settled within few updates at 0.95
        network["hidden_dim"], actor_critic = 64, {"discount": 0.95, "tau": 0.02, "critic_lr": 1e-3}
    algorithms: dict[str, tuple[str, dict[str, Any]]] = {
        "bc": ("bc", {"actor_lr": 1e-3}),
        "10%bc": ("bc", {"actor_lr": 1e-3, "top_fraction": 0.1}),
        "iql": (
            "iql",
            {
                **actor_critic, "value_lr": 1e-3, "actor_lr": 1e-3, "expectile": 0.7, "inverse_temperature": 3.0,
                "reward_scale": float(f"{units:.4g}"),
            },
        ),
        "sac": ("sac", {**actor_critic, "actor_lr": 3e-4, "backup_entropy": False}),
        "cql": ("cql", {**actor_critic, "actor_lr": 3e-4, "cql_alpha": 5.0, "cql_n_actions": 4}),
    }  # fmt: skip
    agent, settings = algorithms[algorithm]
    sources = [OURS]
    if algorithm == "iql":
        sources.append("rewards in units of (expert - random return) / 1000: beta means the same on every task")
    return Setting(
        agent,
        {**network, **settings},
        steps=30_000,
        batch_size=128,
        episodes=10,
        sources=tuple(sources),
        initial_value="mean reward" if agent != "bc" else "zero",
    )


def _published(task: Task, algorithm: str) -> Setting:
    """CORL's settings, whose scores on D4RL's -v2 data are `PUBLISHED_SCORES`: 1,000,000 updates."""
    network: dict[str, Any] = {"hidden_dim": 256, "hidden_layers": 2, "normalize_observations": True}
    name, lacks, rewards = task.name, [EPSILON, LAST_ROWS], "as logged"
    if algorithm in ("bc", "10%bc"):
        agent, settings = "bc", {**network, "actor_lr": 3e-4, "top_fraction": 0.1 if algorithm == "10%bc" else 1.0}
        lacks.append("its policy is deterministic, with the squared error as its loss (here a tanh-Gaussian's)")
        source = CORL.format("bc", "any_percent_bc").replace("/bc/", "/bc_10/" if algorithm == "10%bc" else "/bc/")
    elif algorithm == "iql":
        wide = name in ("hopper-medium", "hopper-medium-replay")
        mixed = name == "hopper-medium-expert"
        agent, settings = "iql", {
            **network, "discount": 0.99, "critic_lr": 3e-4, "value_lr": 3e-4, "actor_lr": 3e-4,
            "tau": 0.001 if wide else 0.005,
            "expectile": 0.5 if mixed else 0.7, "inverse_temperature": 6.0 if mixed else 3.0,
        }  # fmt: skip
        rewards = "return range" if wide else rewards
        lacks += [OTHER_POLICY, "its policy's step falls along a cosine to 0 at the last update (here it is constant)"]
        lacks += ["its Bellman target has V after V's own step (here before)"]
        if wide:
            settings["policy_std"] = math.sqrt(0.5)  # its policy is deterministic there: the squared error is its loss
        source = CORL.format("iql", "iql")
    else:
        agent, settings = algorithm, {
            **network, "hidden_layers": 3, "discount": 0.99, "tau": 0.005, "critic_lr": 3e-4, "actor_lr": 3e-5,
            "temperature_lr": 3e-5, "alpha": 1.0, "backup_entropy": False,
        }  # fmt: skip
        rewards = "return range" if name == "hopper-medium" else rewards
        lacks += [OTHER_POLICY, "its log_std starts with an offset of -1", "its critics start orthogonal"]
        source = CORL.format("cql", "cql")
        if algorithm == "cql":
            settings |= {"cql_alpha": 10.0, "cql_n_actions": 10}
            lacks.append("the authors' own program has alpha 5 or 10, policy step 1e-4, no normalisation (--alphas 5)")
        else:
            source += "; no SAC is published there: CQL's settings at alpha 0"
    return Setting(agent, settings, 1_000_000, 256, 10, (source,), tuple(lacks), rewards)


PRESETS = {"ours": _ours, "published": _published}
ABOUT = {
    "ours": "small networks and 30,000 updates, for two cores and own data; not comparable with published tables",
    "published": "the settings of a published table, 1,000,000 updates; for D4RL's own files, and a GPU",
}


def preset_setting(preset: str, task: Task, algorithm: str) -> Setting:
    """The setting of an algorithm on a task; `ConfigError` for a preset or algorithm that is none."""
    for what, found, known in (("preset", preset, PRESETS), ("algorithms", algorithm, ALGORITHMS)):
        if found not in known:
            raise ConfigError(what, repr(found), f"one of {', '.join(known)}", "take one of these.")
    if preset == "published" and task.environment.extra != "mujoco":
        raise ConfigError("preset", repr(preset), f"'ours' for {task.name}", "nobody published settings for this task.")
    return PRESETS[preset](task, algorithm)


# ---------------------------------------------------------------- what others have reported
@dataclass(frozen=True)
class Published:
    """Scores of one publication on D4RL's data of one version."""

    source: str
    version: str
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Task -> algorithm -> score."""


def _table(algorithms: str, rows: str) -> dict[str, dict[str, float]]:
    names = algorithms.split()
    lines = [line.split() for line in rows.strip().splitlines()]
    return {task: dict(zip(names, map(float, values), strict=True)) for task, *values in lines}


PUBLISHED_SCORES = (
    Published(
        "CORL, docs/benchmarks/offline.md at eeeeef26: last checkpoint, 1,000,000 updates",
        "v2",
        _table(
            "bc 10%bc cql iql",
            """
            halfcheetah-medium 42.40 42.46 47.04 48.31
            halfcheetah-medium-replay 35.66 23.59 45.04 44.46
            halfcheetah-medium-expert 55.95 90.10 95.63 94.74
            hopper-medium 53.51 55.48 59.08 67.53
            hopper-medium-replay 29.81 70.42 95.11 97.43
            hopper-medium-expert 52.30 111.16 99.26 107.42
            walker2d-medium 63.23 67.34 80.75 80.91
            walker2d-medium-replay 21.80 54.35 73.09 82.15
            walker2d-medium-expert 98.96 108.70 109.56 111.72
            """,
        ),
    ),
    Published(
        "the IQL paper's table (Kostrikov et al. 2021, arXiv 2110.06169); CQL is its authors' rerun",
        "v2",
        _table(
            "bc 10%bc cql iql",
            """
            halfcheetah-medium 42.6 42.5 44.0 47.4
            halfcheetah-medium-replay 36.6 40.6 45.5 44.2
            halfcheetah-medium-expert 55.2 92.9 91.6 86.7
            hopper-medium 52.9 56.9 58.5 66.3
            hopper-medium-replay 18.1 75.9 95.0 94.7
            hopper-medium-expert 52.5 110.9 105.4 91.5
            walker2d-medium 75.3 75.0 72.5 78.3
            walker2d-medium-replay 26.0 62.5 77.2 73.9
            walker2d-medium-expert 107.5 109.0 108.8 109.6
            """,
        ),
    ),
)


def published_scores(task: str, algorithm: str) -> list[tuple[float, Published]]:
    """The published scores of an algorithm on a task, each with where it comes from."""
    found = [(one.scores.get(task, {}).get(algorithm), one) for one in PUBLISHED_SCORES]
    return [(score, one) for score, one in found if score is not None]
