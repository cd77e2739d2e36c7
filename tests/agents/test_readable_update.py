"""One update of CQL can be read: how many lines, functions and files run in it, and how deep the calls go."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import torch

import cql_tutorial
from cql_tutorial import make_agent
from cql_tutorial.networks import EnsembleMLP, relu_network
from tests.agents.test_agents import SMALL, make_batch

PACKAGE = str(Path(cql_tutorial.__file__).parent)


def trace(call: Any) -> dict[str, int]:
    """Distinct lines, functions and files of the package that a call runs, and its deepest chain of functions."""
    lines: set[tuple[str, int]] = set()
    functions: set[tuple[str, str, int]] = set()
    deepest = 0

    def depth(frame: FrameType | None) -> int:
        found = 0
        while frame is not None:
            found += frame.f_code.co_filename.startswith(PACKAGE)
            frame = frame.f_back
        return found

    def local(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            lines.add((frame.f_code.co_filename, frame.f_lineno))
        return local

    def enter(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal deepest
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE):
            return None
        functions.add((code.co_filename, code.co_name, code.co_firstlineno))
        deepest = max(deepest, depth(frame))
        return local

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        call()
    finally:
        sys.settrace(before)
    files = {file for file, _ in lines}
    return {"lines": len(lines), "functions": len(functions), "files": len(files), "depth": deepest}


def test_an_update_of_cql_is_short() -> None:
    """For comparison, counted alike: SimpleSAC 176 lines, 15 functions, 3 files, depth 4; CORL 201, 11, 1, 4."""
    agent = make_agent("cql", SMALL)
    agent.update(make_batch(0, 32))
    found = trace(lambda: agent.update(make_batch(1, 32)))
    print(found)
    assert found["lines"] <= 190 and found["functions"] <= 40 and found["files"] <= 6 and found["depth"] <= 6


def test_all_networks_at_once_are_one_after_the_other() -> None:
    """The form of a GPU, on the CPU: it is the same in both."""
    network = EnsembleMLP([3, 8, 8, 2], 4, generator=torch.Generator().manual_seed(0)).double()
    rows = torch.randn(5, 3, dtype=torch.float64)
    layers = [*zip(network.weights, network.biases, strict=True)]
    together = relu_network(rows.expand(4, 5, 3), layers, torch.baddbmm)
    assert torch.allclose(network(rows), together, atol=1e-14)
    plain = [
        (((rows @ w[0][e] + b[0][e]).relu() @ w[1][e] + b[1][e]).relu()) @ w[2][e] + b[2][e]
        for e in range(4)
        for w, b in [(network.weights, network.biases)]
    ]
    assert torch.allclose(together, torch.stack(plain), atol=1e-14)
