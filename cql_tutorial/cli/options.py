"""The options of all commands as dataclasses, from which tyro makes the flags and the pages of `--help`."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..agents import AGENTS
from ..datasets.hdf5_child_process import check_file
from ..datasets.minari_io import find
from ..datasets.offline_dataset import OfflineDataset, load_dataset
from ..errors import ConfigError, require

FROM_DATA = ("state_dim", "action_dim", "action_low", "action_high", "seed")  # settings that are not typed in
SUMMARY = {
    "bc": "Behaviour cloning: the baseline that every offline method must beat.",
    "sac": "Soft actor-critic on logged data: the naive method, shown for what it does wrong.",
    "cql": "Conservative Q-learning, CQL(H), with a fixed --cql-alpha.",
    "cql-lagrange": "Conservative Q-learning whose weight is a multiplier that holds --cql-target-action-gap.",
    "iql": "Implicit Q-learning: learns from logged actions alone.",
    "discrete-cql": "Conservative Q-learning for a finite number of actions.",
    "dqn": "Double Q-learning on logged data: the naive method for a finite number of actions.",
    "discrete-bc": "Behaviour cloning for a finite number of actions.",
    "discrete-iql": "Implicit Q-learning for a finite number of actions.",
}
HELP = {
    "hidden_dim": "Units of each hidden layer.",
    "hidden_layers": "Hidden layers of every network.",
    "discount": "What a reward one step later is worth, in [0, 1]: about 1 / (1 - discount) steps count.",
    "device": "'auto' takes a GPU where there is one.",
    "dtype": "float32, or float64 for comparisons.",
    "actor_lr": "Step size of the policy. The paper keeps it below the critic's.",
    "critic_lr": "Step size of the critics.",
    "value_lr": "Step size of the state-value network.",
    "temperature_lr": "Step size of SAC's temperature.",
    "multiplier_lr": "Step size of the multiplier.",
    "top_fraction": "Clone only this share of the episodes, the best by return (0.25 is '25 %BC').",
    "n_critics": "Critics in the ensemble; the target is the least of their target networks.",
    "alpha": "SAC's temperature (its first value under --auto-alpha). This is not CQL's alpha.",
    "auto_alpha": "Adjust the temperature until the policy's entropy is --target-entropy.",
    "target_entropy": "Entropy the policy is held at, nats; None means minus the number of action dimensions.",
    "tau": "Step of the target networks towards the critics, each update.",
    "backup_entropy": "Subtract the entropy term in the Bellman target: the values are then soft values.",
    "initial_value": "The critics' last bias at the start; mean reward / (1 - discount) saves much training.",
    "critic_weight_decay": "L2 on the critics' weights: shrinkage alone, the control of 'CQL helps'.",
    "cql_alpha": "Weight of the conservative penalty (the paper's alpha is half of it). It only means something "
    "against the scale of rewards: try a factor of 3 either way and compare with `cql-tutorial evaluate`.",
    "cql_n_actions": "Candidate actions of each proposal in the estimate of logsumexp Q.",
    "cql_lagrange": "Let a multiplier replace --cql-alpha.",
    "cql_target_action_gap": "CQL gap (0 for a flat Q) that the multiplier holds; losses.normalised_target converts "
    "other libraries' targets.",
    "next_policy_proposal": "Also draw candidates from the policy at the next state, as the official code does.",
    "proposal_weights": "'own' divides each candidate by its own density, 'mixture' by that of all proposals together.",
    "expectile": "0.5 evaluates the behaviour, towards 1 the best actions in the data.",
    "inverse_temperature": "Sharpness of the advantage weights: 0 clones the data.",
    "advantage_cap": "Largest weight of a transition in the policy's loss.",
    "double_q": "Pick the next action with the critic and value it with the target critic.",
}


def settings_class(name: str) -> type:
    """A dataclass of the settings that the agent ``name`` takes from the command line, each with its help."""
    kind, given = AGENTS[name]
    hints = typing.get_type_hints(kind.config_class)
    chosen = [
        one for one in dataclasses.fields(kind.config_class) if one.name not in FROM_DATA and one.name not in given
    ]
    entries = [
        (one.name, Annotated[hints[one.name], tyro.conf.arg(help=HELP[one.name])], field(default=one.default))
        for one in chosen
    ]
    made = dataclasses.make_dataclass(f"Settings of {name}", entries, kw_only=True, frozen=True)
    made.__doc__ = SUMMARY[name]
    made.agent = name  # type: ignore[attr-defined]
    return made


NOTHING = tyro.conf.arg(help_behavior_hint="(optional)")


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Where logged data come from and how they are read."""

    data: Annotated[str, tyro.conf.arg(metavar="DATA")]
    """A Minari id or folder, a D4RL file (.hdf5, .h5) or a table (.csv, .tsv)."""
    columns: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="NAME=COLUMN[,COLUMN..]", help_behavior_hint="(tables need it)")
    ] = ()
    """Tables only: which columns hold what, e.g. observations=obs_* actions=torque rewards=r terminations=fell
    truncations=cut episode=run. Terminations end the task, truncations only the recording."""
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
    """Gymnasium id to roll the policy out in; "package.module:Name-v0" imports that module. "recorded" takes the one
    that the Minari file names, if it is Gymnasium's own."""
    world: str | None = None
    """One of this package's worlds (maze, pendulum, arm, gridworld, ...): also compares Q with the true values."""
    episodes: int = 10
    """Episodes an evaluation in --env."""

    def task(self, dataset: OfflineDataset) -> Any:
        """``evaluate(agent) -> dict`` for `fit`, or None without a simulator."""
        from ..envs import make
        from ..evaluation.rollouts import Evaluator, evaluate_env

        require(self.env is None or self.world is None, "--env, --world", (self.env, self.world), "one of the two")
        require(self.episodes >= 1, "--episodes", self.episodes, "a whole number >= 1")
        if self.world is not None:
            return Evaluator(make(self.world), dataset)
        if self.env is None:
            return None
        env = make_env(self.env, dataset)
        return lambda agent: {"return": float(evaluate_env(env, agent, self.episodes).mean())}


def make_env(name: str, dataset: OfflineDataset | None = None) -> Any:
    """A Gymnasium environment by id, or the ``recorded`` one of a Minari file if its code is Gymnasium's own."""
    import gymnasium

    spec = _recorded(dataset) if name == "recorded" else name
    try:
        return gymnasium.make(spec)
    except (gymnasium.error.Error, ImportError, TypeError, ValueError) as error:
        found = f"{type(error).__name__}: {error}".splitlines()[0]
        mend = "check the id, and install the package that registers it."
        raise ConfigError(f"--env {name!r}", found, "an environment that Gymnasium can make", mend) from error


def _recorded(dataset: OfflineDataset | None) -> Any:
    """The specification in a data set's metadata, if its code is that of a task registered here by Gymnasium itself."""
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
