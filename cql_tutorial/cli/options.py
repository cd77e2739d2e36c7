"""The options that commands share, as dataclasses: tyro makes flags and `--help` of the fields and their docstrings."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..datasets.hdf5_child_process import check_file
from ..datasets.minari_io import find
from ..datasets.offline_dataset import OfflineDataset, load_dataset
from ..errors import ConfigError, require

FROM_DATA = ("state_dim", "action_dim", "action_low", "action_high", "seed")  # settings that are not typed in


# On from a shell, where logs come in all units; off in Python, where a reader of CQL wants to see what is computed.
NORMALISE = tyro.conf.arg(
    help="Give the networks each column less its mean, over its standard deviation; statistics of the training rows."
)


def settings_form(config_class: type, fixed: Mapping[str, Any]) -> type:
    """A subclass of an agent's config class that tyro makes flags of: one a setting, with the docstring under it.

    What the data say and what is ``fixed`` by the agent's name has no flag. Nothing is checked here: the agent's own
    config does that, when it is made of these settings and of the data's dimensions.
    """
    hints = typing.get_type_hints(config_class)
    hidden: list[tuple[str, Any, Any]] = []
    if "normalize_observations" in hints:
        hidden.append(("normalize_observations", Annotated[bool, NORMALISE], field(default=True)))
    for one in dataclasses.fields(config_class):
        if one.name in FROM_DATA or one.name in fixed:
            default = fixed.get(one.name, 0 if one.default is dataclasses.MISSING else one.default)
            hidden.append((one.name, Annotated[hints[one.name], tyro.conf.Suppress], field(default=default)))
    unchecked = {"__post_init__": lambda self: None}
    return dataclasses.make_dataclass(
        config_class.__name__, hidden, bases=(config_class,), namespace=unchecked, kw_only=True, frozen=True
    )


def settings_of(form: Any) -> dict[str, Any]:
    """The settings of a filled-in `settings_form`, without those that the data say."""
    return {name: value for name, value in dataclasses.asdict(form).items() if name not in FROM_DATA}


NOTHING = tyro.conf.arg(help_behavior_hint="(optional)")


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Where logged data come from and how they are read."""

    data: Annotated[str, tyro.conf.arg(metavar="DATA")]
    """A Minari id or folder, a D4RL file (.hdf5, .h5) or a table (.csv, .tsv)."""
    columns: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="NAME=COLUMN[,COLUMN..]", help_behavior_hint="(tables need it)")
    ] = ()
    """Tables only: what holds what, e.g. observations=obs_* actions=a rewards=r terminations=fell truncations=cut.
    Terminations end the task, truncations only the recording. episode=run names the episodes, if a column does."""
    delimiter: str = ","
    """Tables only: what stands between two cells (.tsv: a tab)."""
    n_actions: int | None = None
    """Number of actions, if they are choices and not numbers."""
    action_low: Annotated[tuple[float, ...], NOTHING] = ()
    """Least action, one number or one a dimension (-1 if not given; a Minari file knows its own)."""
    action_high: Annotated[tuple[float, ...], NOTHING] = ()
    """Largest action, likewise."""
    out_of_bounds: typing.Literal["error", "clip"] = "error"
    """What to do with actions beyond the bounds; clipped rows are marked and counted."""
    max_episode_steps: int | None = None
    """D4RL files without timeouts: the task's time limit (1000 in D4RL's Gym tasks)."""
    remote: bool = False
    """Download a Minari id that is not on this machine."""
    untrusted: bool = False
    """HDF5 files of unknown origin: let a child process with limits on memory and time read them first."""
    hold_out: float = 0.0
    """Share of whole episodes kept away from training (the same ones each time); evaluate uses them for td-error."""

    def kind(self) -> str:
        """minari, d4rl or csv, by the ending of the name."""
        ending = Path(self.data).suffix.lower()
        kind = {".hdf5": "d4rl", ".h5": "d4rl", ".csv": "csv", ".tsv": "csv"}.get(ending, "minari")
        if kind != "csv":
            require(not self.columns, "--columns", " ".join(self.columns), "nothing for this kind of file")
        if kind != "d4rl":
            require(
                self.max_episode_steps is None, "--max-episode-steps", self.max_episode_steps, "a D4RL file with it"
            )
        return kind

    def mapping(self) -> dict[str, list[str]]:
        """``--columns`` as a mapping of our names to the file's."""
        expected, mend = "NAME=COLUMN entries", "for example --columns observations=obs_* actions=a rewards=r ..."
        for entry in self.columns:
            require("=" in entry and entry.partition("=")[2], "--columns", entry, expected, mend)
        require(self.columns, "--columns", "nothing", "which columns of the table hold what", mend)
        pairs = [entry.partition("=")[::2] for entry in self.columns]
        return {name.strip(): [part.strip() for part in names.split(",")] for name, names in pairs}

    def reading(self) -> dict[str, Any]:
        """The arguments that all loaders share."""
        bound: dict[str, Any] = {"action_low": self.action_low, "action_high": self.action_high}
        given = {name: value if len(value) > 1 else value[0] for name, value in bound.items() if value}
        if self.n_actions is not None:
            given["n_actions"] = self.n_actions
        return given | {"out_of_bounds": self.out_of_bounds}

    def separator(self) -> str:
        """The delimiter of a table; a .tsv file has tabs."""
        return "\t" if Path(self.data).suffix.lower() == ".tsv" and self.delimiter == "," else self.delimiter

    def guard(self) -> None:
        """Have a child process read a file of unknown origin before this one does; ``DataError`` if it fails."""
        if self.untrusted and self.kind() != "csv":
            check_file(self.data if self.kind() == "d4rl" else find(self.data, self.remote))

    def load(self) -> OfflineDataset:
        """The data set; raises what the loaders raise."""
        kind, options = self.kind(), self.reading()
        self.guard()
        if kind == "minari":
            return load_dataset(self.data, remote=self.remote, **options)
        if kind == "csv":
            return OfflineDataset.from_csv(self.data, self.mapping(), delimiter=self.separator(), **options)
        return OfflineDataset.from_d4rl_hdf5(self.data, max_episode_steps=self.max_episode_steps, **options)

    def parts(self) -> tuple[OfflineDataset, OfflineDataset | None]:
        """(training part, held-out part or None)."""
        dataset = self.load()
        return dataset.split(self.hold_out) if self.hold_out else (dataset, None)


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """A simulator to measure returns in, where there is one."""

    env: str | None = None
    """Gymnasium id to roll the policy out in; "package.module:Name-v0" imports that module.
    "recorded" takes the one that the Minari file names, if it is Gymnasium's own."""
    world: str | None = None
    """One of this package's worlds (maze, pendulum, arm, gridworld, ...): also compares Q with the true values."""
    episodes: int = 10
    """Episodes an evaluation in --env."""

    def task(self, dataset: OfflineDataset) -> Any:
        """``evaluate(agent) -> dict`` for `fit`, or None without a simulator."""
        from ..envs import make
        from ..evaluation.rollouts import Evaluator, check_env, evaluate_env

        require(self.env is None or self.world is None, "--env, --world", (self.env, self.world), "one of the two")
        require(self.episodes >= 1, "--episodes", self.episodes, "a whole number >= 1")
        if self.world is not None:
            return Evaluator(make(self.world), dataset)
        if self.env is None:
            return None
        env = make_env(self.env, dataset)
        bounds = dataset.action_low, dataset.action_high
        check_env(env, dataset.observation_dim, dataset.action_dim, dataset.discrete, *bounds)  # before any training
        return lambda agent: {"return": float(evaluate_env(env, agent, self.episodes).mean())}


def make_env(name: str, dataset: OfflineDataset | None = None) -> Any:
    """Make a Gymnasium environment by id, or the ``recorded`` one of a Minari file if its code is Gymnasium's own."""
    import gymnasium

    spec = _recorded(dataset) if name == "recorded" else name
    try:
        return gymnasium.make(spec)
    except (gymnasium.error.Error, ImportError, TypeError, ValueError) as error:
        found = f"{type(error).__name__}: {error}".splitlines()[0]
        mend = "check the id, and install the package that registers it."
        raise ConfigError(f"--env {name!r}", found, "an environment that Gymnasium can make", mend) from error


def _recorded(dataset: OfflineDataset | None) -> Any:
    """Read the specification in a data set's metadata; ``ConfigError`` unless its code is a task of Gymnasium's."""
    from gymnasium.envs.registration import EnvSpec, registry

    from ..envs import gymnasium_env as _worlds  # noqa: F401  (registers this package's own)

    text = dict(dataset.metadata).get("env_spec") if dataset is not None else None
    mend = "pass --env ID (after installing its package), or leave the evaluation out."
    expected = "a Minari file that names one"
    require(text, "--env recorded", "no environment in the data set's metadata", expected, mend)
    try:
        spec = EnvSpec.from_json(str(text))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError("--env recorded", f"an unreadable specification ({error})", expected, mend) from error
    known = registry.get(spec.id)
    wrappers = [one.entry_point for one in spec.additional_wrappers if not one.entry_point.startswith("gymnasium.")]
    own = known is not None and spec.entry_point == known.entry_point and not wrappers
    own = own and str(spec.entry_point).startswith(("gymnasium.envs.", "cql_tutorial.envs."))
    found = f"code outside Gymnasium: {' '.join([str(spec.entry_point), *wrappers])}"
    require(own, "--env recorded", found, "a task of Gymnasium's own: others are not imported unasked", mend)
    return spec
