"""Each wrong penalty is wrong in the way its name says, and in no other."""

from __future__ import annotations

import math

import torch

from cql_tutorial import losses
from cql_tutorial.course.wrong_penalties import PENALTIES, PITFALLS

torch.set_num_threads(1)
E, B, N, A = 2, 5, 4, 6
GENERATOR = torch.Generator().manual_seed(0)
Q = torch.randn(E, B, 3 * N, generator=GENERATOR, dtype=torch.float64)
Q_DATA = torch.randn(E, B, generator=GENERATOR, dtype=torch.float64)
LOG_DENSITY = torch.randn(B, 3 * N, generator=GENERATOR, dtype=torch.float64)
LOG_DENSITY[:, :N] = -A * math.log(2.0)


def penalty(name: str) -> torch.Tensor:
    return PITFALLS[name](Q, LOG_DENSITY, Q_DATA, N)


def test_every_pitfall_differs_from_the_right_penalty_and_from_each_other() -> None:
    values = {"correct": losses.cql_penalty(Q, LOG_DENSITY, Q_DATA), **{name: penalty(name) for name in PITFALLS}}
    names = list(values)
    for i, first in enumerate(names):
        assert values[first].shape == (E,)
        for second in names[i + 1 :]:
            assert not torch.allclose(values[first], values[second], atol=1e-3), (first, second)


def test_no_importance_correction_is_the_log_mean_exp() -> None:
    expected = (torch.logsumexp(Q, -1) - math.log(3 * N) - Q_DATA).mean(-1)
    assert torch.allclose(penalty("no_importance_correction"), expected)


def test_no_uniform_density_makes_uniform_candidates_weigh_2_to_the_a_too_little() -> None:
    shifted = Q.clone()
    shifted[..., :N] -= A * math.log(2.0)
    assert torch.allclose(penalty("no_uniform_density"), losses.cql_penalty(shifted, LOG_DENSITY, Q_DATA))


def test_one_sided_proposals_ignore_the_other_side() -> None:
    for name, ignored in (("uniform_only", slice(N, None)), ("policy_only", slice(0, N))):
        changed = Q.clone()
        changed[..., ignored] += 100.0
        assert torch.equal(PITFALLS[name](changed, LOG_DENSITY, Q_DATA, N), penalty(name))


def test_maxima() -> None:
    slow_hard = torch.stack([torch.stack([Q[e, b].max() - Q_DATA[e, b] for b in range(B)]).mean() for e in range(E)])
    slow_batch = torch.stack([Q[e].max() - Q_DATA[e].mean() for e in range(E)])
    assert torch.allclose(penalty("hard_max"), slow_hard) and torch.allclose(penalty("batch_max"), slow_batch)


def test_single_action_uses_one_uniform_and_one_policy_candidate() -> None:
    expected = losses.cql_penalty(Q[..., [0, N]], LOG_DENSITY[:, [0, N]], Q_DATA)
    assert torch.equal(penalty("single_action"), expected)


def test_push_only_is_the_penalty_without_its_pull() -> None:
    expected = losses.cql_penalty(Q, LOG_DENSITY, torch.zeros_like(Q_DATA))
    assert torch.allclose(PENALTIES["push_only"](Q, LOG_DENSITY, Q_DATA, N), expected)
    assert set(PENALTIES) == {*PITFALLS, "push_only"}  # it can be trained with, and is no pitfall
