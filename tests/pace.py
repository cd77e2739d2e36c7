"""How fast this machine is now: every time limit of the tests is a multiple of a piece of work that is timed first.

A limit ends what hangs; it judges no speed. On a slow or a busy machine the same piece of work takes longer, and every
limit grows with it.
"""

from __future__ import annotations

import os
import statistics
import time

import torch

# Multiples of the piece of work. Where these were set it took 0.1 s, and the slowest of each kind about a tenth of
# its limit: a cell of a notebook 13 s, a unit test 25 s, a chapter in the browser 60 s, what a page shows 2 s.
LIMITS = {"cell": 1_500, "test": 3_000, "chapter": 6_000, "page": 600, "program": 1_500}
VARIABLE = "CQL_TUTORIAL_TEST_PACE"  # measured once, before the workers start, and handed to them


def work() -> None:
    """What chapters and tests mostly do: small matrices multiplied on one thread, started from Python."""
    weights = torch.full((64, 64), 0.01, requires_grad=True)
    rows = torch.ones(256, 64)
    for _ in range(700):
        loss = (rows @ weights).relu().square().mean()
        (gradient,) = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            weights -= 1e-3 * gradient


def pace() -> float:
    """Wall-clock seconds of the piece of work: the median of five, the first of all left out."""
    if VARIABLE not in os.environ:
        work()
        times = []
        for _ in range(5):
            began = time.perf_counter()
            work()
            times.append(time.perf_counter() - began)
        os.environ[VARIABLE] = str(statistics.median(times))
    return float(os.environ[VARIABLE])


def limit(kind: str) -> float:
    """Seconds after which a thing of this kind (a key of `LIMITS`) counts as hanging."""
    return LIMITS[kind] * pace()
