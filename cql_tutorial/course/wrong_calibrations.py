"""Wrong calibrations of Cal-QL, named as wrong: they are trained with to *measure* what a mistake does. Never use them.

Some put the maximum in another place of the penalty, some take other returns-to-go for the bound. All penalties share
one signature: ``q_candidates [E, B, K], log_density [B, K], q_data [E, B], returns_to_go [B], n_uniform -> [E]``, where
the first ``n_uniform`` candidates are the uniform ones and the rest were drawn from policies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..agents import CQLAgent, register_agent
from ..agents.cal_ql import CalQLAgent, CalQLConfig, returns_of, with_returns_to_go
from ..batch import Noise
from ..losses import calibrate, cql_penalty

Penalty = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]
FACTOR = 10.0  # of the rewards whose returns-to-go are in another unit


def correct(q: Tensor, log_density: Tensor, q_data: Tensor, returns_to_go: Tensor, n_uniform: int) -> Tensor:
    """Right: the policy's candidates are raised to G before the log-density is subtracted, and nothing else is."""
    raised = torch.cat([q[..., :n_uniform], calibrate(q[..., n_uniform:], returns_to_go)], -1)
    return cql_penalty(raised, log_density, q_data)


def no_bound(q: Tensor, log_density: Tensor, q_data: Tensor, returns_to_go: Tensor, n_uniform: int) -> Tensor:
    """CQL: nothing is raised."""
    return cql_penalty(q, log_density, q_data)


def after_density(q: Tensor, log_density: Tensor, q_data: Tensor, returns_to_go: Tensor, n_uniform: int) -> Tensor:
    """WRONG: ``max(Q - log pi, G)``, the maximum after the log-density is subtracted (seen in a published library).

    Where log pi < 0 a candidate below G is still pushed, and where log pi > 0 one above G is not.
    """
    weighted = q - log_density
    weighted = torch.cat([weighted[..., :n_uniform], calibrate(weighted[..., n_uniform:], returns_to_go)], -1)
    return cql_penalty(weighted, torch.zeros_like(log_density), q_data)


def uniform_too(q: Tensor, log_density: Tensor, q_data: Tensor, returns_to_go: Tensor, n_uniform: int) -> Tensor:
    """WRONG: the uniform candidates are raised to G too, so that nothing at all is pushed below G."""
    return cql_penalty(calibrate(q, returns_to_go), log_density, q_data)


def min_for_max(q: Tensor, log_density: Tensor, q_data: Tensor, returns_to_go: Tensor, n_uniform: int) -> Tensor:
    """WRONG: ``min(Q, G)``: candidates below G are pushed down, those above it are not."""
    lowered = torch.minimum(q[..., n_uniform:], returns_to_go[:, None])
    return cql_penalty(torch.cat([q[..., :n_uniform], lowered], -1), log_density, q_data)


def data_term_too(q: Tensor, log_density: Tensor, q_data: Tensor, returns_to_go: Tensor, n_uniform: int) -> Tensor:
    """WRONG: the logged action's value is raised to G too, so that nothing pulls it up where it is below."""
    return correct(q, log_density, torch.maximum(q_data, returns_to_go), returns_to_go, n_uniform)


PENALTIES: dict[str, Penalty] = {
    function.__name__: function
    for function in (correct, no_bound, after_density, uniform_too, min_for_max, data_term_too)
}


# ---------------------------------------------------------------- other returns-to-go
def cut_at_truncation(dataset: Any, config: CalQLConfig) -> Any:
    """WRONG: nothing is earned after the recording was cut. With rewards >= 0 the bound is low, with <= 0 high."""
    return with_returns_to_go(dataset, config.discount, 0.0)


def undiscounted(dataset: Any, config: CalQLConfig) -> Any:
    """WRONG: the plain sum of the rewards that are left in the recording, beside values that are discounted."""
    return with_returns_to_go(dataset, 1.0, 0.0)


def other_unit(dataset: Any, config: CalQLConfig) -> Any:
    """WRONG: returns-to-go of rewards `FACTOR` times as large as those of the losses."""
    right = with_returns_to_go(dataset, config.discount, config.truncation_value)
    return replace(right, batch_returns=FACTOR * right.batch_returns)


RETURNS: dict[str, Callable[[Any, CalQLConfig], Any]] = {
    function.__name__: function for function in (cut_at_truncation, undiscounted, other_unit)
}
VERSIONS = (*PENALTIES, *RETURNS)
WRONG = tuple(name for name in VERSIONS if name not in ("correct", "no_bound"))


@dataclass(frozen=True, kw_only=True)
class CalibrationVersionConfig(CalQLConfig):
    """Settings of Cal-QL, and the name of one of `VERSIONS`."""

    version: str = "correct"
    """Name of the calibration to train with, one of VERSIONS."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.one_of("version", *VERSIONS)


class CalibrationVersionAgent(CalQLAgent):
    """Cal-QL calibrated as ``config.version`` says; ``make_agent("cal-ql-version", config)`` builds one.

    The update is CQL's, whose penalty is another; the metric ``bound_rate`` is that of `CalQLAgent` for all versions:
    the share of the policy's candidates below the returns-to-go that the version reads.
    """

    name = "cal-ql-version"
    config_class = CalibrationVersionConfig
    config: CalibrationVersionConfig

    def prepare_dataset(self, dataset: Any) -> Any:
        """The same rows with the returns-to-go of the version; a data set that carries some already keeps them."""
        returns = RETURNS.get(self.config.version)
        return super().prepare_dataset(dataset) if returns is None else returns(dataset, self.config)

    def update(self, batch: Mapping[str, Any], noise: Noise | None = None) -> dict[str, Tensor]:
        """One update; metrics are those of `CalQLAgent`. Raises `DataError` for a batch without returns-to-go."""
        self._returns_to_go = returns_of(self.prepare(batch))  # for the penalty, which CQL's update calls
        metrics = CQLAgent.update(self, batch, noise)
        return {**metrics, "bound_rate": self._bound_rate}

    def penalty(self, q_candidates: Tensor, log_density: Tensor, q_data: Tensor) -> Tensor:
        """The penalty of each critic: ``[E, B, K], [B, K], [E, B] -> [E]``."""
        returns, n_uniform = self._returns_to_go, self.config.cql_n_actions
        below = q_candidates.detach()[..., n_uniform:] < returns[:, None]
        self._bound_rate = below.to(self.dtype).mean()
        penalty = PENALTIES.get(self.config.version, correct)
        return penalty(q_candidates, log_density, q_data, returns, n_uniform)


register_agent("cal-ql-version", CalibrationVersionAgent)
