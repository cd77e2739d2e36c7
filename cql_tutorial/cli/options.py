"""The options that commands share, as dataclasses: tyro makes flags and `--help` of the fields and their docstrings."""

from __future__ import annotations

import dataclasses
import shlex
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from ..datasets import d4rl_io, minari_io, tables
from ..datasets.hdf5_child_process import check_file
from ..datasets.minari_io import find
from ..datasets.offline_dataset import OfflineDataset, kind_of, load_dataset
from ..datasets.roles import Roles, assign
from ..errors import ConfigError, DataError, require

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
    """A Minari id or folder, an HDF5 file (.hdf5, .h5: D4RL, d3rlpy, robomimic) or a table (.csv, .tsv, .parquet)."""
    columns: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="NAME=COLUMN[,COLUMN..]", help_behavior_hint="(tables need it)")
    ] = ()
    """Tables: what holds what, e.g. observations=obs_* actions=a rewards=r terminations=fell truncations=cut.
    Terminations end the task, truncations only the recording. episode=run names the episodes, if a column does.
    terminations=none: the task never ends; terminations=every-row: each row is an episode; terminations=last-row: the
    task ends in the last row of each episode. time=t: the order of the rows is checked. Left out, columns with plain
    names (obs_0, action, reward, termination, ...) are taken and shown. HDF5: other keys than the usual ones."""
    delimiter: str | None = None
    """Tables only: what stands between two cells (left out: a comma, else what the first line shows)."""
    decimal: str = "."
    """Tables only: the decimal point, or a comma."""
    n_actions: int | None = None
    """Number of actions, if they are choices and not numbers."""
    action_low: Annotated[tuple[float, ...], NOTHING] = ()
    """Least action, one number or one a dimension (-1 if not given; a Minari file knows its own)."""
    action_high: Annotated[tuple[float, ...], NOTHING] = ()
    """Largest action, likewise."""
    out_of_bounds: typing.Literal["error", "clip"] = "error"
    """What to do with actions beyond the bounds; clipped rows are marked and counted."""
    max_gap: float | None = None
    """Cut episodes where more time than this lies between two rows: seconds, or the unit of the time= column."""
    max_episode_steps: int | None = None
    """D4RL files without timeouts: the task's time limit (1000 in D4RL's Gym tasks)."""
    read_dtype: typing.Literal["float32", "float64"] = "float32"
    """Numbers are read in this precision; float64 keeps apart what float32 makes equal (times in seconds)."""
    max_gigabytes: float = 8.0
    """Files that promise more are refused."""
    remote: bool = False
    """Download a Minari id that is not on this machine."""
    untrusted: bool = False
    """HDF5 files of unknown origin: let a child process with limits on memory and time read them first."""
    hold_out: float = 0.0
    """Share of whole episodes kept away from training (the same ones each time); evaluate uses them for td-error."""

    def kind(self) -> str:
        """minari, d4rl, csv or parquet, by the ending of the name."""
        folder = Path(self.data).is_dir()
        kind = "minari" if folder else kind_of(self.data)
        if kind not in ("minari", "d4rl", "csv", "parquet"):
            load_dataset(self.data)  # which says how such a file can be read
        if kind == "minari":
            if self.columns and Path(self.data).expanduser().exists():
                find(self.data)  # which says what is there instead
            expected = (
                "a table or an HDF5 file with it: a name that ends in .csv, .tsv, .csv.gz, .parquet, .hdf5 or .h5"
            )
            mend = "leave it out for a Minari data set, or give the file such an ending."
            require(not self.columns, "--columns", " ".join(self.columns), expected, mend)
            require(self.max_gap is None, "--max-gap", self.max_gap, "a table or an HDF5 file with it", "leave it out.")
        if kind != "d4rl":
            require(
                self.max_episode_steps is None, "--max-episode-steps", self.max_episode_steps, "a D4RL file with it"
            )
        if kind in ("csv", "parquet"):
            require(
                not self.untrusted, "--untrusted", True, "an HDF5 file with it", "tables run no code: leave it out."
            )
        return kind

    def mapping(self) -> dict[str, Any] | None:
        """``--columns`` as a mapping of our names to the file's; None if it was left out."""
        expected, mend = "NAME=COLUMN entries", "for example --columns observations=obs_* actions=a rewards=r ..."
        for before, entry in zip(("", *self.columns), self.columns, strict=False):
            if before and "=" not in entry:
                mend = f"several columns are joined by commas: {before},{entry}"
            require("=" in entry and entry.partition("=")[2], "--columns", entry, expected, mend)
        pairs = [entry.partition("=")[::2] for entry in self.columns]
        names = [name.strip() for name, _ in pairs]
        double = sorted({name for name in names if names.count(name) > 1})
        require(not double, "--columns", double, "each name once", "join its columns with commas.")
        return {name.strip(): [part.strip() for part in names.split(",")] for name, names in pairs} or None

    def reading(self) -> dict[str, Any]:
        """The arguments that all loaders share."""
        bound: dict[str, Any] = {"action_low": self.action_low, "action_high": self.action_high}
        given = {name: value if len(value) > 1 else value[0] for name, value in bound.items() if value}
        if self.n_actions is not None:
            given["n_actions"] = self.n_actions
        if self.read_dtype == "float64":
            given["dtype"] = torch.float64
        return given | {"out_of_bounds": self.out_of_bounds}

    def again(self, path: str | Path, dataset: OfflineDataset, columns: Sequence[str] = ()) -> str:
        """The options that read a table or file of a data set's numbers as they are."""
        words = ["--data", str(path), *(["--columns", *columns] if columns else [])]
        if dataset.n_actions is not None:
            words += ["--n-actions", str(dataset.n_actions)]
        else:
            for flag, bound in (("--action-low", dataset.action_low), ("--action-high", dataset.action_high)):
                words += [flag, *(f"{x:.9g}" for x in (bound if isinstance(bound, tuple) else (bound or 0.0,)))]
        words += ["--read-dtype", "float64"] * (dataset.dtype == torch.float64)
        return shlex.join(words).replace("'", "") if not any(" " in word for word in words) else shlex.join(words)

    def guard(self) -> None:
        """Have a child process read a file of unknown origin before this one does; ``DataError`` if it fails."""
        if self.untrusted:
            check_file(self.data if self.kind() == "d4rl" else find(self.data, self.remote))

    def load(self) -> OfflineDataset:
        """The data set; raises what the loaders raise. Says first which columns of a table are what."""
        kind, options = self.kind(), self.reading() | {"max_gigabytes": self.max_gigabytes}
        self.guard()
        if kind == "minari":
            return load_dataset(self.data, remote=self.remote, **options)
        options["max_gap"] = self.max_gap
        if kind == "d4rl":
            columns = self.mapping()
            return OfflineDataset.from_d4rl_hdf5(
                self.data, columns, max_episode_steps=self.max_episode_steps, **options
            )
        return self._table(options)

    def _table(self, options: dict[str, Any]) -> OfflineDataset:
        self.mapping()  # what is wrong with the words comes before what is wrong with the file
        header, delimiter = tables.read_header(self.data, self.delimiter)
        roles = self._roles(header)
        if roles is not None:
            print(f"columns{' guessed from their names' if roles.guessed else ''}:\n{roles}\n")
        columns: Any = self.mapping() if roles is None or not roles.guessed else roles.columns
        if self.kind() == "parquet":
            return OfflineDataset.from_parquet(self.data, columns, **options)
        return OfflineDataset.from_csv(self.data, columns, delimiter=delimiter, decimal=self.decimal, **options)

    def _roles(self, header: list[str]) -> Roles | None:
        """The roles of a table's columns; None if the loader has to say what is wrong with them."""
        try:
            return assign(header, self.mapping())
        except DataError:
            return None

    def stored(self) -> dict[str, Any]:
        """The arrays of the source as they are stored, under our names, unchecked: what `defects.find` reads."""
        kind, options = self.kind(), self.reading()
        self.guard()
        more = {name: value for name, value in options.items() if name in ("action_low", "action_high", "n_actions")}
        raw: dict[str, Any] = {**more, "raw": True, "warn": False, "dtype": "float64", "max_gap": self.max_gap}
        if kind == "d4rl":
            read = d4rl_io.read(
                self.data, self.max_episode_steps, self.max_gigabytes, columns=self.mapping(), options=raw
            )
        elif kind == "minari":
            read = minari_io.read(find(self.data, self.remote), self.max_gigabytes)
        elif kind == "parquet":
            read = tables.from_parquet(self.data, self.mapping(), **raw, max_gigabytes=self.max_gigabytes)
        else:
            places = {"delimiter": self.delimiter, "decimal": self.decimal, "max_gigabytes": self.max_gigabytes}
            read = tables.from_csv(self.data, self.mapping(), **raw, **places)
        return read | more

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
