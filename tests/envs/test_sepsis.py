"""ICU-Sepsis: the tables of the package's files, exact values, sampling, and what is said where it is missing."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cql_tutorial.envs import Sepsis, sepsis
from cql_tutorial.errors import DataError, DatasetNotFoundError
from cql_tutorial.evaluation import optimal_q, solve_q

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def world() -> Sepsis:
    return Sepsis()


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    path = Path(str(metadata.distribution("icu-sepsis").locate_file("icu_sepsis/envs/assets/dynamics.npz")))
    with np.load(path) as file:
        return {name: file[name] for name in ("tx_mat", "r_mat", "d_0", "expert_policy")}


def survival(world: Sepsis, policy: torch.Tensor) -> float:
    return float(world.start_distribution() @ (policy * solve_q(world, policy)).sum(-1))


def test_known_survival(world: Sepsis) -> None:
    """The figures of the package's own page (.78, .78, .88), and those this course quotes."""
    uniform = torch.full((716, 25), 1 / 25, dtype=torch.float64)
    assert survival(world, uniform) == pytest.approx(0.780, abs=0.002)
    assert survival(world, world.clinician) == pytest.approx(0.782, abs=0.002)
    best = optimal_q(world)
    assert float(world.start_distribution() @ best.amax(-1)) == pytest.approx(0.875, abs=0.002)
    greedy = torch.nn.functional.one_hot(best.argmax(-1), 25).double()
    assert survival(world, greedy) == pytest.approx(float(world.start_distribution() @ best.amax(-1)), abs=1e-6)


def test_tables_are_those_of_the_files(world: Sepsis, arrays: dict[str, np.ndarray]) -> None:
    going = slice(0, 713)
    assert np.array_equal(world.transitions.numpy()[going], arrays["tx_mat"][going])
    assert np.array_equal(world.transition_rewards.numpy()[going], arrays["r_mat"][going])
    expected = (arrays["tx_mat"] * arrays["r_mat"]).sum(-1)
    assert np.allclose(world.expected_rewards.numpy()[going], expected[going], atol=1e-14)
    assert (world.expected_rewards[713:] == 0).all() and world.terminal_states.nonzero().flatten().tolist() == [
        713,
        714,
        715,
    ]
    values = np.random.default_rng(0).normal(size=716)
    assert np.allclose(world.expected_next(torch.tensor(values)).numpy()[going], (arrays["tx_mat"] @ values)[going])
    chain = np.einsum("sa,sat->st", arrays["expert_policy"], arrays["tx_mat"])
    assert np.allclose(world.chain(world.clinician).numpy()[going], chain[going])
    assert np.array_equal(world.start_distribution().numpy(), arrays["d_0"])
    # an inadmissible dose leads where the admissible ones lead on average
    for state in (0, 1, 400):
        mean = world.transitions[state][world.admissible[state]].mean(0)
        assert torch.allclose(
            world.transitions[state][~world.admissible[state]], mean.expand(25 - int(world.admissible[state].sum()), -1)
        )


def test_moves_follow_the_table(world: Sepsis) -> None:
    generator = torch.Generator().manual_seed(0)
    for state, action in ((5, 3), (0, 0), (712, 24)):
        there, rewards, ended = world.move(torch.full((50_000,), state), torch.full((50_000,), action), generator)
        share, p = torch.bincount(there, minlength=716) / 50_000, world.transitions[state, action]
        assert ((share - p).abs() <= 5 * (p * (1 - p) / 50_000).sqrt()).all()  # exactly 0 where p is 0
        assert torch.equal(rewards, (there == 714).double()) and torch.equal(ended, there >= 713)
    after, rewards, ended = world.move(torch.tensor([713, 714, 715]), torch.tensor([0, 1, 24]), generator)
    assert after.tolist() == [713, 714, 715] and rewards.tolist() == [0, 0, 0] and ended.all()
    starts = torch.bincount(world.start_states(100_000, generator), minlength=716) / 100_000
    assert (starts - world.start_distribution()).abs().max() < 0.005 and starts[713:].sum() == 0


def test_the_ladder_gives_each_row_its_own_steps(world: Sepsis) -> None:
    """u = 0 takes the first possible state of a row, u just below 1 the last."""
    here, actions = torch.arange(713), torch.arange(713) % 25
    rows = world.transitions[here, actions] > 0
    for u, pick in ((0.0, rows.int().argmax(-1)), (1 - 2.0**-53, 715 - rows.int().flip(-1).argmax(-1))):
        assert torch.equal(world._next(here, actions, torch.full((713,), u, dtype=torch.float64))[0], pick)


@pytest.mark.slow
def test_the_package_is_not_imported() -> None:
    names = ["icu_sepsis", "gym", "pandas"]
    code = f"import sys; from cql_tutorial.envs import Sepsis; Sepsis(); print(set({names}) & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "set()"
    )


def missing(name: str) -> str:
    raise metadata.PackageNotFoundError(name)


def test_where_it_is_missing_one_error_says_how_to_mend_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    line = r"To mend it: pip install --no-deps icu-sepsis==2\.0\.1"
    sepsis._tables.cache_clear()
    monkeypatch.setattr(sepsis.metadata, "version", missing)
    with pytest.raises(DatasetNotFoundError, match=f"icu-sepsis: found no such package; .*{line}"):
        Sepsis()
    monkeypatch.setattr(sepsis.metadata, "version", lambda name: "1.0.0")
    with pytest.raises(DatasetNotFoundError, match=f"icu-sepsis: found version 1.0.0; expected version 2.0.1.*{line}"):
        Sepsis()
    monkeypatch.setattr(sepsis.metadata, "version", lambda name: "2.0.1")
    here = SimpleNamespace(locate_file=lambda name: tmp_path / Path(name).name)
    monkeypatch.setattr(sepsis.metadata, "distribution", lambda name: here)
    with pytest.raises(DatasetNotFoundError, match=r"found version 2\.0\.1 without dynamics\.npz"):
        Sepsis()
    bad = {"tx_mat": np.zeros((716, 25, 716), np.float32), "d_0": np.zeros(716), "expert_policy": np.zeros((716, 25))}
    np.savez_compressed(tmp_path / "dynamics.npz", **bad)
    with pytest.raises(DataError, match="rows off 1 by up to"):
        Sepsis()
    np.savez_compressed(tmp_path / "dynamics.npz", **(bad | {"tx_mat": np.zeros((2, 2))}))
    with pytest.raises(DataError, match="shapes"):
        Sepsis()
    monkeypatch.undo()
    sepsis._tables.cache_clear()
    assert Sepsis().observation_dim == 716
