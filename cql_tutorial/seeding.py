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


def numbered_seed(seed: int, purpose: int, number: int) -> int:
    """A seed for each (seed, purpose, number), below 2^31: no draw has to be repeated to reach a later one."""
    return int(np.random.SeedSequence([seed, purpose, number]).generate_state(1, np.uint32)[0]) >> 1


def numbered(seed: int, purpose: int, number: int) -> torch.Generator:
    """A generator on the CPU for each (seed, purpose, number)."""
    words = np.random.SeedSequence([seed, purpose, number]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(words[0]) >> 1)
