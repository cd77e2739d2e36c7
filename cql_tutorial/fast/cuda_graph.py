"""Not yet run on a GPU. The whole update as one CUDA graph: batch, noise, losses, gradients and steps, in one start.

On a GPU a small update costs what starting its two hundred kernels costs. Captured once and replayed, they start
themselves. That wants static memory, no word from the host (index and noise are drawn on the device, metrics add up
there) and settings that do not change: `fused` is such an update. Without a GPU the same program runs call by call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..batch import REQUIRED, Batch, Noise
from ..errors import ConfigError, check_int
from .fused import FusedUpdate

PRECISIONS = ("float32", "tf32", "bfloat16")
WARM_UP = 3  # updates on a side stream before the capture, as torch asks for


class GraphRunner:
    """Trains one SAC or CQL agent by a static program, which on a GPU is captured as a CUDA graph.

    ``dataset`` is an `OfflineDataset` or a mapping of its columns. ``run(n)`` makes n updates; each draws its rows
    uniformly with replacement, then its noise, from the agent's own generator on the device. So a run is repeatable,
    and goes on exactly from a checkpoint of the agent, but its batches are *not* those of ``dataset.batches``, which
    `fit` takes. Networks, optimisers and learned numbers are updated where they lie: `Agent.save`, `evaluate` and
    `Agent.load_state` work at any time between two calls of `run`. ``precision`` "tf32" or "bfloat16" multiplies
    matrices less exactly (parameters, sums and losses stay as they are). Raises `ConfigError` for another kind of agent
    or precision, `DataError` for data that do not fit.
    """

    def __init__(self, agent: Any, dataset: Any, *, batch_size: int = 256, precision: str = "float32") -> None:
        if precision not in PRECISIONS or (precision == "tf32" and agent.device.type != "cuda"):
            found = f"{precision!r} on {agent.device.type!r}"
            raise ConfigError("precision", found, f"one of {PRECISIONS}", "choose 'float32'; 'tf32' needs a GPU.")
        self.agent, self.precision, self.updates = agent, precision, 0
        low = torch.bfloat16 if precision == "bfloat16" else None
        self.program = FusedUpdate([agent], chunk_bytes=0, matmul_dtype=low)
        source = dataset if isinstance(dataset, Mapping) else {name: getattr(dataset, name) for name in REQUIRED}
        ready = agent.prepare(source, normalise=False)
        agent.take_statistics(ready.observations)
        columns = [ready[name] if ready[name].dim() > 1 else ready[name][:, None] for name in REQUIRED]
        self.table = torch.cat(columns, 1)  # a row a transition: a batch is a single gather
        size = check_int("batch_size", batch_size, 1)
        self.index = torch.zeros(size, dtype=torch.long, device=agent.device)
        self.rows = self.table.new_zeros(size, self.table.shape[1])
        parts = dict(zip(REQUIRED, self.rows[None].split([column.shape[1] for column in columns], 2), strict=True))
        parts |= {name: parts[name].squeeze(2) for name in ("rewards", "terminations")}
        self.batch = Batch(**parts)  # observations in their own units: a loaded agent may have other statistics
        self.sums: dict[str, Tensor] = {}
        self.counted = 0
        self._graph: Any = None
        self._captured: torch.Generator | None = None

    # ------------------------------------------------------------ one update
    def update(self, noise: Noise | None = None) -> dict[str, Tensor]:
        """The static program: the rows of ``index``, an update on them, metrics added up; each metric is ``[1]``."""
        drawn = self.agent.draw_noise(len(self.index)) if noise is None else noise
        torch.index_select(self.table, 0, self.index, out=self.rows)
        lifted = {name: value[None] for name, value in vars(drawn).items() if value is not None}
        metrics = self.program.update(self._normalised(), Noise(**lifted))
        if not self.sums:
            self.sums = {name: torch.zeros_like(value) for name, value in metrics.items()}
        torch._foreach_add_(list(self.sums.values()), [metrics[name] for name in self.sums])
        return metrics

    def _normalised(self) -> Batch:
        batch, normalise = self.batch, self.agent.normaliser
        if normalise is None:
            return batch
        states = normalise(batch.observations), normalise(batch.next_observations)
        return replace(batch, observations=states[0], next_observations=states[1])

    def _draw_and_update(self) -> None:
        torch.randint(len(self.table), self.index.shape, generator=self.agent.generator, out=self.index)
        self.update()

    # ------------------------------------------------------------ many updates
    def run(self, updates: int) -> None:
        """Make so many updates; on a GPU the host only starts them and does not wait."""
        if self.agent.normaliser is not None:
            self.agent.normaliser.ready  # noqa: B018  (asked here, as a capture must not wait for the device)
        if self.program.refresh():  # other settings: a captured graph would not see them
            self._graph, self.updates = None, 0
        with self._multiplication():
            for _ in range(check_int("updates", updates, 0)):
                if self._captured is not self.agent.generator:  # at first, or after a load that made a new one
                    self._graph, self._captured, self.updates = None, self.agent.generator, 0
                if self.agent.device.type != "cuda":
                    self._draw_and_update()
                elif self.updates < WARM_UP:
                    self._on_a_side_stream()
                else:
                    self._graph = self._graph or self._capture()
                    self._graph.replay()
                self.updates, self.counted = self.updates + 1, self.counted + 1

    def metrics(self) -> dict[str, float]:
        """The mean of each metric since the last call: the one time the host waits. Empty before an update."""
        if not self.counted:
            return {}
        values = torch.cat(list(self.sums.values())).cpu().double().div(self.counted).tolist()
        torch._foreach_zero_(list(self.sums.values()))
        self.counted = 0
        return dict(zip(self.sums, values, strict=True))

    def load_state(self, path: str | Path) -> None:
        """Load a checkpoint into the agent, in place: a captured graph goes on from it."""
        self.agent.load_state(path)

    def _on_a_side_stream(self) -> None:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self._draw_and_update()
        torch.cuda.current_stream().wait_stream(side)

    def _capture(self) -> Any:
        """Record an update without making it. The generator is registered: every replay draws what comes next."""
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.agent.generator)
        with torch.cuda.graph(graph):
            self._draw_and_update()
        return graph

    @contextmanager
    def _multiplication(self) -> Iterator[None]:
        """float32 matrices are multiplied as ``precision`` says, which a capture keeps."""
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if self.precision == "tf32" else "highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
