"""Random generators: one for each seed and purpose, and where one draws."""

from __future__ import annotations

import numpy as np
import torch


def seeded(seed: int, purpose: int, device: torch.device | str) -> torch.Generator:
    """A generator whose stream depends on (seed, purpose): no two seeds or purposes share one."""
    state = np.random.SeedSequence([seed, purpose]).generate_state(1, np.uint64)[0]
    return torch.Generator(device=device).manual_seed(int(state) >> 1)


def generator_device(generator: torch.Generator | None, otherwise: torch.device) -> torch.device:
    """Where a generator must draw: an evaluation's lives on the CPU even when the agent is on a GPU."""
    return otherwise if generator is None else generator.device
