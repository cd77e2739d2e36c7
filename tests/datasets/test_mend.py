"""A remedy that is named must work: the file has the defect, then it has not, and no true episode is joined or cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cql_tutorial.datasets import OfflineDataset, defects, mend
from cql_tutorial.errors import ConfigError
from tests.datasets.test_loaders import table

Columns = dict[str, Any]
LENGTHS = (40, 1, 1, 23, 1, 31, 12)  # episodes of one step among them, some one after another
ENDS = "TTTXTTX"
TRUE_ENDS = np.cumsum(LENGTHS) - 1


def clean(lengths: Sequence[int] = LENGTHS, ends: str = ENDS) -> Columns:
    columns = table(lengths, ends)
    columns["place"] = np.arange(len(columns["rewards"]))  # which true row this is
    return columns


def without_next(columns: Columns) -> Columns:
    columns.pop("next_observations")
    return columns


def set_flags(name: str, rows: Any) -> Callable[[Columns], None]:
    return lambda columns: columns[name].__setitem__(rows, True)


def from_next(columns: Columns) -> None:
    ends = TRUE_ENDS[:-1]
    columns["next_observations"][ends] = columns["observations"][ends + 1]


def time_limit(columns: Columns) -> None:
    columns.update(clean((30, 30, 12, 30, 30), "TTTTT"))


def limit_of_49(columns: Columns) -> None:
    columns.update(clean((49, 49, 49, 49), "TTTT"))


def gap(columns: Columns) -> None:
    for name in columns:
        columns[name] = np.delete(columns[name], [50, 51], 0)


def holes(columns: Columns) -> None:
    columns["observations"][[3, 45], [0, 1]] = np.nan
    columns["next_observations"][[2, 44], [0, 1]] = np.nan
    columns["rewards"][60] = np.inf


def holes_without_next(columns: Columns) -> None:
    holes(columns)
    columns.pop("next_observations")


def marked(columns: Columns) -> None:
    columns["observations"][[12, 13, 80], 1] = columns["next_observations"][[11, 12, 79], 1] = -999
    columns["actions"][45, 0] = 9999


def marked_without_next(columns: Columns) -> None:
    marked(columns)
    columns.pop("next_observations")


def outside(columns: Columns) -> None:
    columns["actions"][[3, 50], 1] = [1.5, -1.25]


def half_scale(columns: Columns) -> None:
    columns["actions"] = (columns["actions"] / np.abs(columns["actions"]).max(0)).astype(np.float32)
    columns["actions"][:2] = [[1, 1], [-1, -1]]
    columns |= {"action_low": -3.0, "action_high": 3.0}


def wide_scale(columns: Columns) -> None:
    columns["actions"][:, 1] *= 40


def constant(columns: Columns) -> None:
    columns["observations"][:, 2] = columns["next_observations"][:, 2] = 0.5
    columns["actions"][:, 0] = 0.25


def appended(columns: Columns) -> None:
    for name in columns:
        columns[name] = np.concatenate([columns[name], columns[name][:41]])


def written_twice(columns: Columns) -> None:
    for name in columns:
        columns[name] = np.insert(columns[name], 21, columns[name][20], 0)


def answer(columns: Columns) -> None:
    for name in ("observations", "next_observations"):
        columns[name][:, 1] = columns["rewards"] if name == "observations" else np.r_[columns["rewards"][1:], 0]


def labelled(rows: Sequence[int]) -> Callable[[Columns], None]:
    def spoil(columns: Columns) -> None:
        columns["episode_starts"] = np.r_[0, TRUE_ENDS[:-1] + 1]
        columns["terminations"][list(rows)] = True

    return spoil


def pairs(columns: Columns) -> None:
    columns.update(clean((9,) * 12, "T" * 12))
    columns["terminations"][np.arange(12) * 9 + 7] = True
    columns.pop("next_observations")


def both(columns: Columns) -> None:
    columns.update(clean((9, 8, 7, 6, 5), "TXXXX"))
    columns["truncations"][8] = True


SPOILED: dict[str, tuple[str, Callable[[Columns], Any]]] = {
    "doubled": ("doubled-flags", set_flags("terminations", [38, 95])),
    "labels, doubled": ("inner-flags", labelled([38])),
    "labels, inner": ("inner-flags", labelled([10, 20, 30])),
    "pairs": ("paired-flags", pairs),
    "next state": ("next-episode", from_next),
    "time limit": ("time-limit", time_limit),
    "every length": ("time-limit", limit_of_49),
    "time limit, both": ("time-limit", set_flags("terminations", [64, 108])),
    "both flags": ("both-flags", both),
    "gap": ("jumps", gap),
    "holes": ("not-finite", holes),
    "holes, no next": ("not-finite", holes_without_next),
    "marks": ("marked-values", marked),
    "marks, no next": ("marked-values", marked_without_next),
    "outside": ("clip", outside),
    "unit range": ("rescale", half_scale),
    "own bounds": ("own-bounds", wide_scale),
    "constant": ("constant-columns", constant),
    "appended": ("duplicates", appended),
    "written twice": ("duplicates", written_twice),
    "answer": ("answers", answer),
}
MAY_CUT = {
    "gap",
    "holes",
    "holes, no next",
    "marks",
    "marks, no next",
}  # rows are gone: an episode cannot go on across them


def spans(columns: Columns) -> list[list[int]]:
    """The true rows of each episode of a mapping."""
    ended = columns["terminations"].astype(bool) | columns["truncations"].astype(bool)
    place = columns["place"]
    return [part.tolist() for part in np.split(place, np.flatnonzero(ended) + 1) if len(part)]


def true_episode(row: int, lengths: Sequence[int]) -> int:
    return int(np.searchsorted(np.cumsum(lengths), row, "right"))


@pytest.mark.parametrize("what", SPOILED)
def test_each_remedy_mends_its_defect_and_joins_or_cuts_no_episode(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, spoil = SPOILED[what]
    columns = clean()
    spoil(columns)
    lengths = {"time limit": (30, 30, 12, 30, 30), "every length": (49,) * 4, "pairs": (9,) * 12}.get(what, LENGTHS)
    lengths = (9, 8, 7, 6, 5) if what == "both flags" else lengths
    monkeypatch.setattr(mend, "_ROWS", (*defects.COLUMNS, "place"))
    before = {one.name for one in defects.find(columns)}
    mine = {one.name for one in defects.find(columns) if one.mend == name}
    assert mine, f"no defect whose remedy is {name}: {before}"
    data, said = mend.apply(columns, [name])
    assert len(said) == 1 and said[0].startswith(f"{name}: ") and "nothing" not in said[0]
    after = {one.name for one in defects.find(data)}
    assert not mine & after and after <= before, (mine, after)
    for rows in spans(data):
        assert len({true_episode(row, lengths) for row in rows}) == 1, "two true episodes joined"
    if what not in MAY_CUT:
        whole = [true_episode(rows[0], lengths) for rows in spans(data)]
        assert len(whole) == len(set(whole)), "a true episode cut in two"
        held = sorted(row for rows in spans(data) for row in rows)
        assert held == list(range(sum(lengths))) or what == "next state", "rows lost"
    data.pop("place")
    if "next_observations" in data:
        assert not OfflineDataset.from_arrays(**data)._gaps().any() or what == "answer"
    again, nothing = mend.apply(data, [name])
    assert nothing == [f"{name}: nothing to mend"]
    for key in data:
        np.testing.assert_array_equal(again[key], data[key])


def test_every_remedy_that_a_defect_names_is_tried_above() -> None:
    assert {name for name, _ in SPOILED.values()} == set(mend.REMEDIES)


def without_mend() -> dict[str, tuple[Callable[[Columns], Any], Callable[[Columns], Any]]]:
    """Defects that no program can mend in the file: what spoils it, and what its remedy asks a person to do."""
    fresh = clean()

    def sort_by_time(columns: Columns) -> None:
        for name in ("terminations", "truncations"):
            columns[name][:] = fresh[name]

    def backwards(columns: Columns) -> None:
        columns["episode_starts"] = np.r_[0, TRUE_ENDS[:-1] + 1]
        columns["terminations"][:] = columns["truncations"][:] = False
        columns["terminations"][[0, 42, 66]] = True

    def minutes(columns: Columns) -> None:
        columns["observations"] = columns["observations"].astype(np.float64)
        columns["observations"][:, 0] = 1.7e9 + np.arange(len(columns["rewards"]))

    def from_start(columns: Columns) -> None:
        columns["observations"][:, 0] -= 1.7e9

    choose = lambda columns: columns.update(n_actions=3, actions=np.arange(len(columns["rewards"])) % 3)  # noqa: E731
    return {
        "stored as float16": (
            lambda c: c.update(rewards=c["rewards"].astype(np.float16)),
            lambda c: c.update(rewards=fresh["rewards"]),
        ),
        "distinct values that float32 makes equal": (minutes, from_start),
        "the same reward in every row": (
            lambda c: c.update(rewards=np.zeros_like(c["rewards"]), terminations=np.zeros_like(c["terminations"])),
            lambda c: c.update(rewards=fresh["rewards"]),
        ),
        "whole numbers as actions": (
            lambda c: c.update(actions=(c["actions"][:, :1] > 0).astype(np.float32)),
            lambda c: c.update(n_actions=2, actions=c["actions"][:, 0].astype(np.int64)),
        ),
        "actions never chosen": (
            lambda c: c.update(n_actions=5, actions=np.arange(len(c["rewards"])) % 3),
            choose,
        ),
        "flags within labelled episodes": (backwards, sort_by_time),
        "constant columns": (
            lambda c: c.update(actions=np.zeros_like(c["actions"])),
            lambda c: c.update(actions=fresh["actions"]),
        ),
    }


@pytest.mark.parametrize("name", without_mend())
def test_what_only_a_person_can_mend_is_gone_when_the_advice_is_followed(name: str) -> None:
    spoil, follow = without_mend()[name]
    columns = clean()
    spoil(columns)
    (found,) = [one for one in defects.find(columns) if one.name == name]
    assert found.mend == "" and "Remedy: " in str(found) and found.count > 0
    follow(columns)
    assert name not in {one.name for one in defects.find(columns)}


def test_remedies_go_together_and_unknown_ones_are_named() -> None:
    columns = clean()
    columns.pop("place")
    outside(columns)
    set_flags("terminations", [38])(columns)
    data, said = mend.apply(columns, ["clip", "doubled-flags"])
    assert [one.split(":")[0] for one in said] == ["doubled-flags", "clip"] and not defects.find(data)
    with pytest.raises(ConfigError, match=r"'doubled'.*nearest: doubled-flags"):
        mend.apply(columns, ["doubled"])


def test_a_data_set_is_mended_into_another() -> None:
    columns = clean()
    columns.pop("place")
    set_flags("terminations", [38, 95])(columns)
    dataset = OfflineDataset.from_mapping(columns).with_batch_size(16)
    assert [one.name for one in dataset.defects()] == ["termination flag doubled"]
    mended = dataset.mended("doubled-flags")
    assert mended.episode_lengths().tolist() == list(LENGTHS) and not mended.defects() and mended.batch_size == 16
    assert mended.metadata["mended"] == ["doubled-flags: cleared 2 terminations"]
    assert len(dataset.episode_starts) == len(LENGTHS) + 2  # the old one is untouched
    cut = OfflineDataset.from_mapping(clean((20, 9, 5), "UUT"), episode_starts=[0, 20, 29])
    assert cut.mended("clip").episode_starts.tolist() == cut.episode_starts.tolist()


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=3, max_size=30),
    ends=st.integers(0, 2**30),
    few=st.booleans(),
    with_next=st.booleans(),
)
def test_honest_logs_of_short_episodes_have_no_doubled_flags(
    lengths: list[int], ends: int, few: bool, with_next: bool
) -> None:
    """Also in a world of few states, where a next observation equals the next row's by chance."""
    columns = table(lengths, "".join("TX"[ends >> i & 1] for i in range(len(lengths))))
    if few:
        for name in ("observations", "next_observations"):
            columns[name] = (columns[name] > 0.8).astype(np.float32)
    if not with_next:
        columns.pop("next_observations")
    found = [one.name for one in defects.find(columns) if "flag" in one.name]
    assert "flags within labelled episodes" not in found and "termination flags in pairs" not in found
    if not few:
        assert "termination flag doubled" not in found


def test_a_bandit_log_has_no_defect_of_its_flags() -> None:
    n = 300
    rng = np.random.default_rng(0)
    base = {
        "observations": rng.normal(size=(n, 3)),
        "actions": rng.uniform(-1, 1, (n, 1)),
        "rewards": rng.normal(size=n),
    }
    every = OfflineDataset.from_arrays(**base, terminations=np.ones(n, bool))
    assert len(every.episode_starts) == n and every.defects() == []
    flags = rng.random(n) < 0.5
    flags[-1] = True
    mixed = OfflineDataset.from_arrays(**base, terminations=flags)
    assert [one.name for one in mixed.defects()] == []


# ---- returns stop at a gap ------------------------------------------------------------------------------------------


def test_returns_to_go_do_not_cross_a_jump() -> None:
    columns = clean((6, 5), "TX")
    columns.pop("place")
    part = {name: np.delete(column, [3], 0) for name, column in columns.items()}
    dataset = OfflineDataset.from_mapping(part, dtype=torch.float64)
    rewards = part["rewards"].astype(np.float64)
    wanted = rewards.copy()
    for t in (9, 8, 7, 6, 5, 4, 3, 2, 1, 0):
        after = {2: 7.0, 4: 0.0, 9: 7.0}  # the gap, the termination, the truncation
        wanted[t] += 0.9 * (after[t] if t in after else wanted[t + 1])
    np.testing.assert_allclose(dataset.returns_to_go(0.9, truncation_value=7.0).numpy(), wanted, rtol=1e-12)
    rounded = dict(columns, next_observations=columns["next_observations"] * np.float32(1 + 1e-7))
    assert not OfflineDataset.from_mapping(rounded)._gaps().any(), "a rounding is no jump"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "10", torch.full((10,), float("nan")), [1.0, 2.0]])
def test_a_truncation_value_that_is_no_finite_number_is_refused(value: Any) -> None:
    columns = clean((6, 4), "TX")
    columns.pop("place")
    with pytest.raises(ValueError, match="truncation_value: found"):
        OfflineDataset.from_mapping(columns).returns_to_go(0.9, truncation_value=value)


# ---------------------------------------------------------------- several remedies at once
def test_a_time_limit_is_judged_before_rows_are_dropped() -> None:
    columns = clean((30, 30, 12, 30, 30), "TTTTT")
    columns.pop("place")
    columns["observations"][5, 0] = columns["next_observations"][4, 0] = np.nan
    made, _ = mend.apply(columns, ["not-finite", "time-limit"])
    ends = np.flatnonzero(made["terminations"] | made["truncations"])
    assert made["terminations"].sum() == 1 and made["truncations"].sum() == 5 == len(ends) - 1  # 4 limits and a gap


def test_a_wrong_next_state_at_a_time_limit_is_never_bootstrapped_from() -> None:
    """The row is dropped: its own state in the place of the next would be read, once the termination is none."""
    columns = clean((30, 30, 12, 30, 30), "TTTTT")
    ends = np.flatnonzero(columns["terminations"])[:-1]
    columns["next_observations"][ends] = columns["observations"][ends + 1]
    made, _ = mend.apply(columns, ["time-limit", "next-episode"])
    read = ~made["terminations"].astype(bool)
    assert (made["next_observations"] != made["observations"]).any(1)[read].all()
    assert len(made["rewards"]) == len(columns["rewards"]) - 3


@pytest.mark.parametrize("drop", ["duplicates", "jumps"])
def test_a_flag_within_an_episode_does_not_become_a_label(drop: str) -> None:
    columns = clean((20, 20, 20), "XXX")
    columns.pop("place")
    columns["truncations"][[7, 33]] = True
    labels = [0, 20, 40]
    if drop == "duplicates":
        columns = {name: np.concatenate([values, values[40:]]) for name, values in columns.items()}
        labels.append(60)
    else:
        columns = {name: np.delete(values, [50, 51], 0) for name, values in columns.items()}
    once, _ = mend.apply({**columns, "episode_starts": labels}, [drop])
    kept = {key: value for key, value in once.items() if key in (*defects.COLUMNS, "episode_starts")}
    assert [one.count for one in defects.find(kept) if one.mend == "inner-flags"] == [2]
    made, _ = mend.apply(kept, ["inner-flags"])
    assert np.flatnonzero(made["truncations"]).tolist() == ([19, 39, 59] if drop == "duplicates" else [19, 39, 49, 57])


def test_a_termination_is_kept_whose_next_state_is_missing() -> None:
    columns = clean()
    columns.pop("place")
    end = int(np.flatnonzero(columns["terminations"])[0])
    columns["next_observations"][end, 0] = np.nan
    made, said = mend.apply(columns, ["not-finite"])
    assert len(made["rewards"]) == len(columns["rewards"]) and "kept 1 termination" in said[0]
    assert np.isfinite(made["next_observations"]).all() and made["terminations"][end]
