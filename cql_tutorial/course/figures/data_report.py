"""One log at a glance: what `describe()` says in numbers, in four panels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .base import BLACK, GREY, PURPLE, SKY, VERMILION, CaptionedFigure

_LINES = ((BLACK, "-"), (GREY, "--"), (SKY, "-."), (PURPLE, ":"))  # of at most four action dimensions
_ENDS = (("termination", VERMILION, "o"), ("truncation", GREY, "s"), ("unfinished", BLACK, "x"))


def data_report(dataset: Any) -> CaptionedFigure:
    """Draw returns in the order of recording, episode lengths by how they end, actions in their bounds, rewards."""
    figure = CaptionedFigure(figsize=(9.0, 6.4))
    (first, second), (third, fourth) = figure.subplots(2, 2)
    last = (dataset.episode_starts + dataset.episode_lengths() - 1).cpu()
    term, trunc = dataset.terminations.cpu()[last], dataset.truncations.cpu()[last]
    ends = {"termination": term, "truncation": trunc & ~term, "unfinished": ~trunc & ~term}
    returns, lengths = dataset.episode_returns().cpu().numpy(), dataset.episode_lengths().cpu().numpy()
    _episodes(first, returns, ends)
    _lengths(second, lengths, ends)
    actions = _choices(third, dataset) if dataset.discrete else _actions(third, dataset)
    rewards = dataset.rewards.cpu().numpy()
    fourth.hist(rewards, 50, color=GREY)
    fourth.axvline(rewards.mean(), color=BLACK, linestyle="--", label=f"mean {rewards.mean(dtype=float):.3g}")
    fourth.set(title="rewards", xlabel="reward", ylabel="rows, log scale", yscale="log")
    fourth.set_ylim(bottom=0.7)
    fourth.legend(fontsize=8, frameon=False)
    for axis in (first, second, fourth):
        axis.grid(alpha=0.25)
    figure.suptitle(f"{dataset.id}: {len(dataset):,} transitions, {len(last):,} episodes", fontsize=11)
    said = ", ".join(f"{int(mask.sum())} end in a {name}" for name, mask in ends.items() if name != "unfinished")
    unfinished = f", {int(ends['unfinished'].sum())} are unfinished" if ends["unfinished"].any() else ""
    found = [one.name for one in dataset.defects(duplicates=False)]
    low, middle, high = np.percentile(returns, [0, 50, 100])
    figure.caption = (
        f"{len(last):,} episodes of {lengths.min()} to {lengths.max()} steps: {said}{unfinished}. "
        f"Returns from {low:.4g} to {high:.4g}, half of them below {middle:.4g}; "
        f"rewards from {rewards.min():.4g} to {rewards.max():.4g}. "
        f"{actions} Known defects: {', '.join(found) or 'none'}."
    )
    return figure


def _episodes(axis: Any, returns: np.ndarray, ends: dict[str, torch.Tensor]) -> None:
    places = np.arange(len(returns))
    for name, colour, mark in _ENDS:
        mask = ends[name].numpy()
        if mask.any():
            axis.plot(places[mask], returns[mask], mark, color=colour, markersize=3, label=name, rasterized=True)
    window = max(1, len(returns) // 20)
    if window >= 5:
        mean = np.convolve(returns, np.ones(window) / window, "valid")
        axis.plot(places[window - 1 :], mean, color=BLACK, label=f"mean of {window} episodes up to here")
    axis.set(title="returns, in the order of recording", xlabel="episode", ylabel="return (undiscounted)")
    axis.legend(fontsize=8, title="ends in", title_fontsize=8)


def _lengths(axis: Any, lengths: np.ndarray, ends: dict[str, torch.Tensor]) -> None:
    edges = np.linspace(lengths.min() - 0.5, lengths.max() + 0.5, min(40, int(np.ptp(lengths)) + 1) + 1)
    kinds = [(name, colour) for name, colour, _ in _ENDS if ends[name].any()]
    axis.hist(
        [lengths[ends[name].numpy()] for name, _ in kinds],
        edges,
        stacked=True,
        color=[colour for _, colour in kinds],
        label=[name for name, _ in kinds],
    )
    if np.ptp(lengths) == 0:
        axis.set_xlim(lengths[0] - 5, lengths[0] + 5)
    axis.set(title="episode lengths", xlabel="steps", ylabel="episodes", ylim=(0, 1.35 * axis.get_ylim()[1]))
    axis.legend(fontsize=8, title="ends in", title_fontsize=8)


def _choices(axis: Any, dataset: Any) -> str:
    shares = torch.bincount(dataset.actions.cpu(), minlength=dataset.n_actions).double() / len(dataset)
    axis.bar(range(dataset.n_actions), shares.numpy(), color=SKY)
    axis.set(title="actions", xlabel="choice", ylabel="share of rows", ylim=(0, 1.05 * float(shares.max())))
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(axis="y", alpha=0.25)
    never = int((shares == 0).sum())
    most = int(shares.argmax())
    return f"Of {dataset.n_actions} actions {never} never occur; action {most} is taken most, in {shares[most]:.0%}."


def _actions(axis: Any, dataset: Any) -> str:
    """Draw each dimension's histogram between its bounds (0 and 1): lines for up to four, a map for more."""
    actions, width = dataset.actions.cpu().double(), dataset.action_dim
    low, high = (torch.as_tensor(bound).double() for bound in (dataset.action_low, dataset.action_high))
    actions = ((actions - low) / (high - low)).numpy()
    edges = np.linspace(0, 1, 41)
    shares = [np.histogram(column.clip(0, 1), edges)[0] / len(column) for column in actions.T]
    at_bounds = ((actions <= 1e-3) | (actions >= 1 - 1e-3)).mean(0)  # within 0.1 % of the range, as describe() says
    if width <= len(_LINES):
        for i, (share, (colour, style)) in enumerate(zip(shares, _LINES, strict=False)):
            axis.stairs(
                share, edges, color=colour, linestyle=style, label=f"dimension {i}: {at_bounds[i]:.1%} at a bound"
            )
        for bound in (0, 1):
            axis.axvline(bound, color=GREY, linewidth=0.8)
        axis.set(xlabel="action, from lowest to highest", ylabel="share of rows", ylim=(0, 1.4 * np.max(shares)))
        axis.legend(fontsize=8, frameon=False, loc="upper center")
        axis.grid(alpha=0.25)
    else:
        drawn = axis.imshow(
            np.array(shares).T, origin="lower", extent=(-0.5, width - 0.5, 0, 1), aspect="auto", cmap="cividis"
        )
        axis.get_figure().colorbar(drawn, ax=axis, label="share of rows")
        axis.set(xlabel="dimension", ylabel="action, from lowest to highest")
        axis.xaxis.get_major_locator().set_params(integer=True)
    clipped = int(dataset.clipped.sum())
    axis.set_title("actions within their bounds" + (f"; clipped in {clipped:,} rows" if clipped else ""))
    share, worst = at_bounds.mean(), int(at_bounds.argmax())
    return f"{share:.1%} of action values lie at a bound, most in dimension {worst} ({at_bounds[worst]:.1%})."
