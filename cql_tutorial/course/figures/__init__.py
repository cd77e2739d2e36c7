"""Every plot of the course. Each function returns a `CaptionedFigure`, whose caption is made from its data."""

from __future__ import annotations

from .base import CaptionedFigure
from .ch00 import discount_weights
from .ch01 import author_error, covered_decisions, nearest_rows, three_logs
from .ch02 import cut_rollouts, interval_coverage, settling
from .ch03 import error_parts, every_draw, greedy_kinds, invented, kinds_and_curve, maximum_bias
from .ch04 import arms, exploration_logs, falling, penalties, push, soft_maximum
from .ch05 import (
    backup_errors,
    bounds_on_arms,
    improvement,
    leads,
    runs_by_alpha,
    sharing,
    survival,
    thresholds,
)
from .ch06 import error_against_cost, error_against_count, estimate_histograms, policy_densities, third_proposal_study
from .ch07 import errors_by_draw, forest, logged_curves, penalty_errors, push_and_error, push_down_shares, tuning_curves
from .ch08 import maze_values, metric_curves
from .ch09 import alpha_ladders, held_table, multipliers, regrets
from .ch10 import best_and_last, best_of, draws_and_seeds, episodes_behind, films, values_and_bounds
from .ch11 import Course, bounded_push, critics_agree, online_curves
from .ch11_soft import good_and_bad, mixed_logs, soft_backups, two_peaks_densities, two_peaks_table
from .ch12 import beside_healthy, detection_map
from .ch13 import episode_shares, estimate_intervals
from .data_report import data_report
from .grids import error_maps, map_and_curve, value_maps
from .rollouts import HANGING, maze_paths, pendulum_moment, pendulum_strip, record_path
from .training import prediction_and_truth

__all__ = [
    "push_down_shares",
    "push_and_error",
    "penalty_errors",
    "errors_by_draw",
    "forest",
    "tuning_curves",
    "logged_curves",
    "HANGING",
    "CaptionedFigure",
    "Course",
    "alpha_ladders",
    "arms",
    "author_error",
    "backup_errors",
    "beside_healthy",
    "best_and_last",
    "best_of",
    "bounded_push",
    "bounds_on_arms",
    "covered_decisions",
    "critics_agree",
    "cut_rollouts",
    "data_report",
    "detection_map",
    "discount_weights",
    "draws_and_seeds",
    "episode_shares",
    "episodes_behind",
    "error_against_cost",
    "error_against_count",
    "error_maps",
    "error_parts",
    "estimate_histograms",
    "estimate_intervals",
    "every_draw",
    "exploration_logs",
    "falling",
    "films",
    "good_and_bad",
    "greedy_kinds",
    "held_table",
    "improvement",
    "interval_coverage",
    "invented",
    "kinds_and_curve",
    "leads",
    "map_and_curve",
    "maximum_bias",
    "maze_paths",
    "maze_values",
    "metric_curves",
    "mixed_logs",
    "multipliers",
    "nearest_rows",
    "online_curves",
    "penalties",
    "pendulum_moment",
    "pendulum_strip",
    "policy_densities",
    "prediction_and_truth",
    "push",
    "record_path",
    "soft_backups",
    "regrets",
    "runs_by_alpha",
    "settling",
    "sharing",
    "soft_maximum",
    "survival",
    "third_proposal_study",
    "three_logs",
    "thresholds",
    "two_peaks_densities",
    "two_peaks_table",
    "value_maps",
    "values_and_bounds",
]
