"""What every agent is: settings, networks and optimisers on one device, a seeded generator, data in and actions out."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ..batch import Batch, Noise, as_tensor, check_batch
from ..errors import CheckpointError, ConfigError, CQLTutorialError, DataError
from ..networks import MAX_ACTION, Distribution
from ..seeding import seeded
from . import checkpoint
from .config import DTYPES, AgentConfig, parse_config, resolve_device
from .normaliser import ObservationNormaliser, column_statistics, given_statistics

AgentT = TypeVar("AgentT", bound="Agent")
INITIAL, UPDATES, ACTING = range(3)  # what a random stream is for


class Agent(nn.Module):
    """Base of all agents. A subclass sets ``name`` and ``config_class`` and writes `update` and `distribution`.

    Networks and single learned numbers are attributes, as in any ``nn.Module``; `add_optimizer` gives them a step.
    """

    name: ClassVar[str]
    config_class: ClassVar[type[AgentConfig]]
    discrete: ClassVar[bool] = False
    normaliser: ObservationNormaliser | None

    def __init__(self, config: Mapping[str, Any] | AgentConfig) -> None:
        super().__init__()
        self.config: AgentConfig = parse_config(self.config_class, config)
        self.device = resolve_device(self.config.device)
        self.dtype = DTYPES[self.config.dtype]
        # Initial weights are drawn on the CPU, so that a seed means the same start on every device.
        self._init_generator = seeded(self.config.seed, INITIAL, "cpu")
        self.generator = seeded(self.config.seed, UPDATES, self.device)
        self._acting = seeded(self.config.seed, ACTING, self.device)
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.held: frozenset[str] = frozenset()  # optimisers that make no step, see `hold`
        self.told: set[str] = set()  # warnings that are given once
        self._low, self._high = (
            torch.tensor(bound, dtype=self.dtype, device=self.device)
            for bound in (self.config.action_low, self.config.action_high)
        )
        self.normaliser = None
        if self.config.normalize_observations:
            self.normaliser = ObservationNormaliser(self.config.state_dim, self.dtype, self.device)

    # ------------------------------------------------------------ what a subclass writes
    def update(self, batch: Mapping[str, Any], noise: Noise | None = None) -> dict[str, Tensor]:
        """One step of everything that learns, on one batch; returns 0-d tensors on the device.

        Shapes and dtypes are checked, values never, as that would wait for a GPU: an action that does not exist, or a
        nan, is what `OfflineDataset` refuses.
        """
        raise NotImplementedError

    def draw_noise(self, batch_size: int) -> Noise:
        """The random numbers of one update, from the agent's own generator; none unless the agent needs some."""
        return Noise()

    def distribution(self, observations: Tensor) -> Distribution:
        """The policy's distribution over actions for ``observations [n, S]`` as `as_observations` gives them."""
        raise NotImplementedError

    def prepare_dataset(self, dataset: Any) -> Any:
        """The data that `fit` trains on: all of them, unless the agent says otherwise."""
        return dataset

    def check_training(self, row: Mapping[str, float], batch: Mapping[str, Any]) -> None:
        """Warn, once, of learning that has come to a stop: `fit` calls this with each logged row and its last batch."""

    def check_multiplier(self) -> None:
        """Warn, by name, of a multiplier at a bound; `fit` calls this as it logs. Without a multiplier: nothing."""

    # ------------------------------------------------------------ for subclasses
    @property
    def initial_value(self) -> float:
        """The setting of that name as the networks have it, times ``reward_scale``: critics' last bias at the start."""
        return float(getattr(self.config, "initial_value", 0.0)) * self.config.reward_scale

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers from the agent's own generator, on its device."""
        return torch.randn(shape, generator=self.generator, dtype=self.dtype, device=self.device)

    def learnable(self, value: float) -> nn.Parameter:
        """A single number to be learned, such as the logarithm of the temperature."""
        return nn.Parameter(torch.full((), value, dtype=self.dtype, device=self.device))

    def add_optimizer(self, name: str, parameters: list[nn.Parameter], lr: float, weight_decay: float = 0.0) -> None:
        """Adam with its moments allocated up front: checkpoints are copied in place, and no step waits for a GPU."""
        optimizer = torch.optim.Adam(parameters, lr=lr, weight_decay=weight_decay, fused=True)
        for parameter in parameters:
            optimizer.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=self.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        self.optimizers[name] = optimizer

    def step(self, name: str, loss: Tensor) -> None:
        """One optimiser step on the parameters of ``name`` alone; no other gradient is computed or kept."""
        if name in self.held:
            return
        optimizer = self.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        with subnormals_as_zero():
            loss.backward(inputs=optimizer.param_groups[0]["params"])
            optimizer.step()

    def hold(self, *names: str) -> AbstractContextManager[None]:
        """Within this, updates leave what these optimisers move as it is; all else goes on, target networks too.

        ``with agent.hold("actor", "temperature")`` around all but the last of G updates is REDQ's ratio of G steps of
        the critics to one of the policy. Raises `ConfigError` for a name that is not in ``agent.optimizers``.
        """
        for name in names:
            if name not in self.optimizers:
                mend = "hold one of these, or leave it out where the agent does not learn it."
                raise ConfigError("hold", repr(name), f"one of {list(self.optimizers)}", mend)
        return _holding(self, frozenset(names))

    # ------------------------------------------------------------ data in
    def prepare(self, batch: Mapping[str, Any], normalise: bool = True) -> Batch:
        """Check shapes and dtypes (never values, which would sync), move to the device, change to the networks' units.

        Actions become -1 to 1, rewards and returns-to-go are multiplied by ``reward_scale``, observations normalised
        (unless ``normalise`` is False: agents with other statistics may then share the batch).
        """
        raw, scale = Batch.of(batch), self.config.reward_scale
        check_batch(raw, self.config.state_dim, self.config.action_dim, self.discrete)
        actions = raw.actions.to(self.device).long() if self.discrete else self.scale_action(self._place(raw.actions))
        states, next_states = self._place(raw.observations), self._place(raw.next_observations)
        if self.normaliser is not None and normalise:
            states, next_states = self.normaliser(states), self.normaliser(next_states)
        return Batch(
            observations=states,
            actions=actions,
            rewards=self._place(raw.rewards) * scale,
            next_observations=next_states,
            terminations=self._place(raw.terminations),
            returns_to_go=None if raw.returns_to_go is None else self._place(raw.returns_to_go) * scale,
        )

    def _place(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.device, self.dtype)

    def scale_action(self, actions: Tensor) -> Tensor:
        """Environment units to [-1, 1], moved inside to 1 - 1e-6 where rounding or the log touched the bound."""
        return (2.0 * (actions - self._low) / (self._high - self._low) - 1.0).clamp(-MAX_ACTION, MAX_ACTION)

    def unscale_action(self, actions: Tensor) -> Tensor:
        """[-1, 1] to environment units, within the bounds to the last digit; a discrete action is left as it is."""
        if self.discrete:
            return actions
        scaled = self._low + 0.5 * (actions + 1.0) * (self._high - self._low)
        return torch.maximum(torch.minimum(scaled, self._high), self._low)

    def set_observation_statistics(self, mean: Any, std: Any, rows: int = 1) -> None:
        """Say by hand what observations are normalised by, ``[S]`` each; `fit` takes them from its data otherwise.

        Raises `ConfigError` unless ``normalize_observations`` is set, `DataError` for what are no such numbers.
        """
        if self.normaliser is None:
            mend = "build the agent with normalize_observations=True."
            raise ConfigError("config['normalize_observations']", "False", "True, to use statistics", mend)
        self.normaliser.set(*given_statistics(mean, std, self.config.state_dim), rows)

    def take_statistics(self, observations: Tensor) -> None:
        """Take the statistics of training rows ``[N, S]``, if the agent wants some and has none yet."""
        if self.normaliser is not None and not self.normaliser.ready:
            self.normaliser.set(*column_statistics(observations, self.dtype), len(observations))

    def as_observations(self, observations: Any) -> Tensor:
        """Observations ``[n, S]`` as the networks take them: on the device, in the dtype, normalised if that is set.

        Raises `DataError` on another width, `ConfigError` where statistics are due and not known.
        """
        tensor = self.check_observations(observations)
        return tensor if self.normaliser is None else self.normaliser(tensor)

    def check_observations(self, observations: Any) -> Tensor:
        """Observations ``[n, S]`` in their own units, on the agent's device and in its dtype; raises `DataError`."""
        tensor = self._place(as_tensor(observations, "observations"))
        if tensor.dim() != 2 or tensor.shape[1] != self.config.state_dim:
            expected = f"shape [n, {self.config.state_dim}]"
            raise DataError("observations", f"shape {list(tensor.shape)}", expected, "match the agent's state_dim.")
        return tensor

    def as_actions(self, actions: Any) -> Tensor:
        """Actions in the environment's units as the networks take them: ``[n, A]`` in [-1, 1], or ``[n]`` integers.

        Raises `DataError` on another shape, or for floats where integers are due.
        """
        if self.discrete:
            index = as_tensor(actions, "actions").to(self.device)
            if index.is_floating_point() or index.dim() != 1:
                found = f"dtype {index.dtype}, shape {list(index.shape)}"
                raise DataError("actions", found, "integers, shape [n]", "pass the index of each action.")
            return index.long()
        tensor = self._place(as_tensor(actions, "actions"))
        if tensor.dim() != 2 or tensor.shape[1] != self.config.action_dim:
            expected = f"shape [n, {self.config.action_dim}]"
            raise DataError("actions", f"shape {list(tensor.shape)}", expected, "match the agent's action_dim.")
        return self.scale_action(tensor)

    # ------------------------------------------------------------ actions out
    def policy(self, deterministic: bool = False) -> AgentPolicy:
        """The learned policy as a callable ``(observations, generator) -> actions`` in environment units."""
        return AgentPolicy(self, deterministic)

    @torch.no_grad()
    def act(self, observations: Any, deterministic: bool = True) -> np.ndarray:
        """Actions in the environment's units for one observation ``[S]`` or many ``[n, S]``.

        Random actions come from a stream of their own: acting never changes what an update will draw.
        """
        tensor = as_tensor(observations, "observations")
        many = tensor if tensor.dim() > 1 else tensor[None]
        if not bool(torch.isfinite(many).all()):  # nan in, nan out to an actuator
            raise DataError(
                "observations", "values that are not finite", "finite numbers", "mend your sensor's reading."
            )
        actions = self.policy(deterministic)(self.check_observations(many), self._acting).cpu().numpy()
        return actions if tensor.dim() > 1 else actions[0]

    # ------------------------------------------------------------ checkpoints
    def state(self) -> dict[str, Tensor]:
        """Every tensor that an exact continuation needs: networks, targets, optimisers, random generator."""
        return checkpoint.agent_tensors(self)

    def save(self, path: str | Path) -> None:
        """Write a checkpoint (safetensors with a JSON header) to a temporary file, then rename it into place.

        Raises `ConfigError` for a class without a ``name`` of its own: its file would come back as another class.
        """
        self.check_name()
        checkpoint.write_tensors(path, self.state(), checkpoint.agent_header(self))

    def export(self, path: str | Path, format: str = "torch", stochastic: bool = False) -> Path:
        """Write the policy as one file for another process: statistics, bounds and network in one graph, any batch.

        ``format`` "torch" is a ``torch.export`` program (.pt2), "onnx" an ONNX model (extra ``onnx``). The graph maps
        ``observations [B, S]`` to what `act` gives; ``stochastic`` ones take ``noise [B, A]`` beside it (standard
        normal, or uniform in (0, 1) for choices). It cannot raise an error: a row that is not finite gives nan, or
        action -1. What it is stands in its metadata. Raises `ConfigError` for an agent that has no statistics yet or a
        missing package, `CheckpointError` where the file cannot be written.
        """
        from .export import export

        return export(self, path, format, stochastic)

    def load_state(self, path: str | Path) -> None:
        """Copy a checkpoint into this agent in place; raises `CheckpointError` if it belongs to another one."""
        checkpoint.copy_state(self, *checkpoint.read_tensors(path), path)

    @classmethod
    def load(cls: type[AgentT], path: str | Path, device: str = "auto") -> AgentT:
        """Build the agent of a checkpoint on ``device``; raises `CheckpointError` if it holds another one."""
        tensors, header = checkpoint.read_tensors(path)
        if header["agent"] != cls.name:
            expected = f"a checkpoint of {cls.__name__} ({cls.name!r})"
            raise CheckpointError(str(path), f"agent {header['agent']!r}", expected, "use agents.load_agent.")
        resolve_device(str(device))  # a bad device is the caller's mistake, not the file's
        try:
            agent = cls({**checkpoint.header_settings(header), "device": device})
        except (CQLTutorialError, ValueError, TypeError) as error:
            mend = "load it with the version of this package that wrote it."
            raise CheckpointError(str(path), f"unusable settings ({error})", "known settings", mend) from error
        checkpoint.copy_state(agent, tensors, header, path)
        return agent

    def check_name(self) -> None:
        """Raise `ConfigError` where the class has its ``name`` from another one, under which it would be loaded."""
        kind = type(self)
        if "name" not in vars(kind):
            found = f"{self.name!r}, the name of {next(k for k in kind.__mro__ if 'name' in vars(k)).__name__}"
            mend = f'set {kind.__name__}.name = "..."; agents.register_agent makes make_agent and load_agent know it.'
            raise ConfigError(f"{kind.__name__}.name", found, "a name of its own, as its files are told by it", mend)


class AgentPolicy:
    """A learned policy as a callable ``(observations, generator) -> actions`` in environment units.

    Deterministic means the distribution's mode.
    """

    def __init__(self, agent: Agent, deterministic: bool) -> None:
        self.agent, self.deterministic = agent, deterministic

    def distribution(self, observations: Tensor) -> Any:
        """The agent's distribution over actions in [-1, 1], or over their indices, for ``observations [n, S]``."""
        return self.agent.distribution(self.agent.as_observations(observations))

    @torch.no_grad()
    def __call__(self, observations: Tensor, generator: torch.Generator | None = None) -> Tensor:
        if not self.deterministic:
            return self.sample(observations, generator)[0]
        return self.agent.unscale_action(self.distribution(observations).mode())

    @torch.no_grad()
    def sample(self, observations: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Actions in environment units and their log-density on [-1, 1]^A (log-probability), as `log_prob` gives."""
        actions, log_prob = self.distribution(observations).draw(generator)
        return self.agent.unscale_action(actions), log_prob


@contextmanager
def _holding(agent: Agent, names: frozenset[str]) -> Iterator[None]:
    before, agent.held = agent.held, agent.held | names
    try:
        yield
    finally:
        agent.held = before


@contextmanager
def subnormals_as_zero() -> Iterator[None]:
    """Numbers below 1e-38 count as 0 in this thread: a CPU multiplies them a hundred times slower than others.

    CQL's penalty is full of them: a candidate whose Q lies 80 below the best has softmax weight e^-80.
    """
    # torch has no getter for the switch: half the smallest normal float is 0 exactly when it is on.
    before = sys.float_info.min / 2 == 0.0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
