"""Offline data: episodes, sampling that resumes, returns that agree with their definition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cql_tutorial.datasets import OfflineDataset
from cql_tutorial.errors import ConfigError, DataError
from tests.datasets.test_checks import arrays


def make(
    lengths: Sequence[int] = (5, 4, 7),
    ends: str | Sequence[str] = "TXT",
    n_actions: int | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> OfflineDataset:
    """Episodes whose ends are T(ermination), X (truncation), B(oth) or U(nfinished); observations chain within one."""
    rng = np.random.default_rng(seed)
    obs, nxt, term, trunc = [], [], [], []
    for length, end in zip(lengths, ends, strict=True):
        chain = rng.normal(size=(length + 1, 3))
        obs.append(chain[:-1])
        nxt.append(chain[1:])
        last = np.arange(length) == length - 1
        term.append(last & (end in "TB"))
        trunc.append(last & (end in "XB"))
    n = sum(lengths)
    actions = rng.uniform(-1, 1, (n, 2)) if n_actions is None else rng.integers(0, n_actions, n)
    return OfflineDataset.from_arrays(
        np.concatenate(obs),
        actions,
        rng.normal(size=n),
        np.concatenate(nxt),
        np.concatenate(term),
        np.concatenate(trunc),
        episode_starts=np.cumsum([0, *lengths[:-1]]),
        n_actions=n_actions,
        dtype=dtype,
        **options,
    )


def same(a: OfflineDataset, b: OfflineDataset) -> bool:
    names = "observations actions rewards next_observations terminations truncations episode_starts clipped"
    pairs = [(getattr(a, name), getattr(b, name)) for name in names.split()]
    return all(x.dtype == y.dtype and torch.equal(x, y) for x, y in pairs)


# ---- episodes -------------------------------------------------------------------------------------------------------


def test_episode_boundaries() -> None:
    term, trunc = np.arange(6) == 1, (np.arange(6) == 3) | (np.arange(6) == 1)
    data = arrays() | {"terminations": term, "truncations": trunc}
    dataset = OfflineDataset.from_arrays(**data)
    assert dataset.episode_starts.tolist() == [0, 2, 4] and dataset.episode_lengths().tolist() == [2, 2, 2]
    facts = dataset.describe()
    assert (facts["terminations"], facts["truncations"], facts["unfinished_episodes"]) == (1, 1, 1)
    cut = OfflineDataset.from_arrays(**data, episode_starts=[0, 2, 4, 5])
    assert cut.episode_starts.tolist() == [0, 2, 4, 5] and cut.describe()["unfinished_episodes"] == 2
    tail = OfflineDataset.from_arrays(**{**data, "terminations": np.arange(6) == 5, "truncations": None})
    assert tail.episode_starts.tolist() == [0] and tail.describe()["unfinished_episodes"] == 0


def test_next_observations_are_derived_only_inside_episodes() -> None:
    data = arrays() | {"next_observations": None, "terminations": (np.arange(6) == 2) | (np.arange(6) == 5)}
    dataset = OfflineDataset.from_arrays(**data)
    rows = torch.tensor([1, 2, 2, 4, 5, 5])  # a terminated row repeats itself: nothing bootstraps from it
    assert torch.equal(dataset.next_observations, dataset.observations[rows])


# ---- mini-batches ---------------------------------------------------------------------------------------------------


def numbered(n: int) -> OfflineDataset:
    """Row t has t in every column: a batch shows which rows it holds, and whether its columns belong together."""
    t = np.arange(n, dtype=np.float32)
    return OfflineDataset.from_arrays(
        t[:, None], t[:, None] / n, t, t[:, None] + 1, np.arange(n) % 10 == 4, np.arange(n) % 10 == 9
    )


def test_an_epoch_covers_every_row_at_most_once_in_a_new_order() -> None:
    dataset = numbered(1000)
    epochs = [list(dataset) for _ in range(2)]
    for batches in epochs:
        assert len(batches) == 3 and all(batch.rewards.shape == (256,) for batch in batches)
        rows = torch.cat([batch.rewards for batch in batches])
        assert len(rows.unique()) == 768
        for batch in batches:
            assert torch.equal(batch.observations[:, 0], batch.rewards)
            assert torch.equal(batch.next_observations[:, 0], batch.rewards + 1)
            assert torch.allclose(batch.actions[:, 0] * 1000, batch.rewards)
            assert torch.equal(batch.terminations, batch.rewards % 10 == 4)
    first, second = (torch.cat([batch.rewards for batch in batches]) for batches in epochs)
    assert not torch.equal(first, second) and dataset.epoch == 2
    again = torch.cat([batch.rewards for batch in numbered(1000)])
    assert torch.equal(first, again)
    other = torch.cat([batch.rewards for batch in replace(numbered(1000), seed=1)])
    assert not torch.equal(first, other)
    whole = torch.cat([batch.rewards for batch in dataset.with_batch_size(250)])
    assert torch.equal(whole.sort().values, dataset.rewards)


def test_a_small_data_set_says_what_to_do() -> None:
    with pytest.raises(DataError, match=r"found 255 transitions.*mini-batch of 256.*with_batch_size.*batches\("):
        iter(numbered(255))
    assert len(list(numbered(256))) == 1 and len(numbered(255)) == 255
    assert len(list(numbered(255).with_batch_size(100))) == 2


@pytest.mark.parametrize("size", [256, 3000])
def test_resumed_batches_equal_the_tail_across_blocks(size: int) -> None:
    dataset, block = numbered(500), max(1, 2**18 // size)
    steps = 2 * block + 5
    whole = [batch.rewards for batch in dataset.batches(steps, size, seed=3)]
    assert len(whole) == steps
    for start in (0, 1, block - 1, block, block + 1, 2 * block, steps - 1, steps):
        tail = [batch.rewards for batch in dataset.batches(steps, size, seed=3, start=start)]
        assert len(tail) == steps - start and all(map(torch.equal, tail, whole[start:]))
    assert all(map(torch.equal, (b.rewards for b in dataset.batches(7, size, seed=3)), whole[:7]))
    assert not torch.equal(whole[0], whole[block])
    assert not torch.equal(whole[0], next(dataset.batches(1, size, seed=4)).rewards)
    assert list(dataset.batches(3, size, start=5)) == []


def test_sampled_rows_are_uniform() -> None:
    counts = torch.zeros(50)
    for batch in numbered(50).batches(400, 250, seed=0):  # 100,000 draws
        counts += torch.bincount(batch.rewards.long(), minlength=50)
    assert counts.sum() == 100_000
    assert stats.chisquare(counts.numpy()).pvalue > 1e-4


@pytest.mark.parametrize("bad", [{"batch_size": 0}, {"seed": -1}, {"start": -1}, {"steps": 1.5}, {"batch_size": "8"}])
def test_bad_sampling_arguments_at_once(bad: dict[str, Any]) -> None:
    name = next(iter(bad))
    with pytest.raises(ConfigError, match=f"{name}: found .* expected a whole number"):
        numbered(50).batches(**{"steps": 3, **bad})


def test_batches_carry_returns_to_go_when_asked() -> None:
    dataset = numbered(300)
    assert next(iter(dataset)).returns_to_go is None
    expected = dataset.returns_to_go(0.9)
    batch = next(dataset.with_returns_to_go(0.9).batches(1, 64))
    assert batch.returns_to_go is not None and torch.equal(batch.returns_to_go, expected[batch.rewards.long()])
    double = dataset.with_returns_to_go(0.9).to(dtype=torch.float64)
    assert next(iter(double))["returns_to_go"].dtype == torch.float64


def test_discrete_batches_keep_integers() -> None:
    dataset = make((200, 200), "TX", n_actions=4)
    batch = next(iter(dataset.to(dtype=torch.float64)))
    assert batch.actions.shape == (256,) and batch.actions.dtype == torch.int64 and dataset.action_dim == 4
    assert dataset.discrete and dataset.action_low is None


# ---- returns --------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    episodes=st.lists(st.tuples(st.integers(1, 9), st.sampled_from("TXBU")), min_size=1, max_size=6),
    discount=st.sampled_from([0.0, 0.3, 0.99, 1.0]),
    scale=st.sampled_from([1.0, 0.1, -2.0]),
    how=st.sampled_from(["none", "scalar", "tensor"]),
    seed=st.integers(0, 1000),
)
def test_returns_to_go_against_the_definition(
    episodes: list[tuple[int, str]], discount: float, scale: float, how: str, seed: int
) -> None:
    lengths, ends = zip(*episodes, strict=True)
    dataset = make(lengths, ends, seed=seed, dtype=torch.float64)
    values = torch.arange(len(dataset), dtype=torch.float64) + 10
    cases: dict[str, tuple[Any, Any]] = {
        "none": (None, lambda row: 0.0),
        "scalar": (5.0, lambda row: 5.0),
        "tensor": (values, lambda row: float(values[row])),
    }
    given_value, value_of = cases[how]
    expected, start = [], 0
    for length, end in episodes:
        beyond = 0.0 if end in "TB" else value_of(start + length - 1)
        for t in range(length):
            rewards = dataset.rewards[start + t : start + length].tolist()
            total = sum(discount**k * scale * reward for k, reward in enumerate(rewards))
            expected.append(total + discount ** len(rewards) * beyond)
        start += length
    found = dataset.returns_to_go(discount, scale, given_value)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_returns_to_go_of_a_long_episode_stays_finite() -> None:
    n = 100_000
    dataset = OfflineDataset.from_arrays(
        np.zeros((n, 1)), np.zeros((n, 1)), np.ones(n), np.zeros((n, 1)), np.zeros(n), dtype=torch.float64
    )
    found = dataset.returns_to_go(0.9)  # 0.9**100000 underflows: forms that divide by it give NaN
    assert torch.isfinite(found).all()
    assert found[0].item() == pytest.approx(10.0, rel=1e-9) and found[-1].item() == 1.0
    with pytest.raises(ConfigError, match=r"discount: found 1\.01"):
        dataset.returns_to_go(1.01)
    with pytest.raises(DataError, match=r"truncation_value: found shape \(3,\)"):
        dataset.returns_to_go(0.9, truncation_value=torch.zeros(3))


def test_episode_returns_top_episodes_and_splits() -> None:
    lengths = (3, 5, 2, 4, 6, 1, 2, 3, 4, 5)
    dataset = make(lengths, "TXUTBXTXTU")
    bounds = np.cumsum([0, *lengths])
    by_hand = [dataset.rewards[a : a + n].sum().item() for a, n in zip(bounds[:-1], lengths, strict=True)]
    np.testing.assert_allclose(dataset.episode_returns(), by_hand, rtol=1e-5, atol=1e-6)
    best = dataset.top_episodes(0.3)
    assert sorted(best.episode_returns().tolist()) == pytest.approx(sorted(by_hand)[-3:], rel=1e-5)
    assert torch.equal(dataset.top_episodes(1.0).observations, dataset.observations)
    assert dataset.top_episodes(0.001).episode_lengths().tolist() == [lengths[int(np.argmax(by_hand))]]
    assert same(dataset.top_episodes(1.0), dataset)
    train, held = dataset.split(0.3, seed=1)
    assert len(held.episode_starts) == 3 and len(train.episode_starts) == 7 and len(train) + len(held) == len(dataset)
    firsts = {tuple(row) for row in train.observations.tolist()} & {tuple(row) for row in held.observations.tolist()}
    assert not firsts
    assert same(dataset.split(0.3, seed=1)[1], held) and not same(dataset.split(0.3, seed=2)[1], held)
    with pytest.raises(DataError, match=r"fraction 0\.5 of 1 episodes"):
        make((5,), "T").split(0.5)
    with pytest.raises(ConfigError, match="fraction: found 0"):
        dataset.top_episodes(0)


def test_subset_cuts_episodes_at_gaps() -> None:
    dataset = make((4, 4), "TX")
    part = dataset.subset([0, 1, 3, 4, 5])
    assert part.episode_starts.tolist() == [0, 2, 3] and part.describe()["unfinished_episodes"] == 2
    assert part.describe()["jump_share"] == 0
    assert torch.equal(dataset.subset(torch.arange(8) >= 4).rewards, dataset.rewards[4:])
    assert torch.equal(dataset.subset([0, -1]).rewards, dataset.rewards[[0, 7]])  # as in Python
    for rows, message in (
        ([], "at least one row"),
        ([8], r"index 8 is out of bounds.*row numbers below 8"),
        ([0.5], "row numbers"),
        ([True], r"mask \[1\].*a mask of 8 bools"),
    ):
        with pytest.raises(DataError, match=message):
            dataset.subset(rows)


def test_describe_counts_and_prints() -> None:
    data = arrays()
    data["observations"][3] = data["observations"][2]
    data["actions"][:] = [[0.2, 1.0]]
    data["next_observations"][:-1] = data["observations"][1:]
    data["next_observations"][0] += 1
    facts = OfflineDataset.from_arrays(**data, id="six").describe()
    assert facts["transitions"] == 6 and facts["episodes"] == 1 and facts["actions_at_bounds"] == 0.5
    assert facts["jump_share"] == pytest.approx(1 / 5) and facts["duplicate_share"] == pytest.approx(1 / 6)
    assert facts["episode_returns"]["mean"] == pytest.approx(data["rewards"].sum(), rel=1e-5)
    text = str(facts)
    assert text.splitlines()[0].split() == ["id", "six"] and "jump share             0.2" in text
    assert facts["observations"]["max"] == pytest.approx(data["observations"].max(0).tolist())
    discrete = make((50, 50), "TX", n_actions=3).describe()
    assert sum(discrete["action_shares"]) == pytest.approx(1) and len(discrete["action_shares"]) == 3


def test_fingerprint_sees_every_stored_number() -> None:
    dataset = make()
    assert dataset.fingerprint() == make().fingerprint() == replace(dataset, seed=4).fingerprint()
    assert len({make(seed=s).fingerprint() for s in range(3)}) == 3
    assert dataset.subset(range(15)).fingerprint() != dataset.fingerprint() != make(ends="TXX").fingerprint()
