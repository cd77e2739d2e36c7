"""The runs of a benchmark on a Ray cluster: one task a run, which goes on from its own checkpoint wherever it lands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..errors import ConfigError

RETRIES = 20  # of a run whose worker was lost; what it lost is the way from its last checkpoint


def on_ray(
    work: Callable[[list[Any]], list[dict[str, Any]]],
    groups: list[list[Any]],
    address: str | None = None,
    gpus: float = 0.0,
) -> Iterator[list[dict[str, Any]]]:
    """The rows of each group as soon as they are there, made on one core each of the cluster at ``address``.

    None starts (or joins) one on this machine. ``gpus`` is what a run takes of one; a fraction lets several share it.
    A run whose worker is lost starts again on another one: the folder of its checkpoint must be one that all machines
    see. Raises `ConfigError` where ray is missing or no cluster answers.
    """
    try:
        import ray
    except ImportError as error:
        mend = "pip install 'cql-tutorial[ray]', or leave out --engine ray."
        raise ConfigError("engine", "no ray", "the package ray", mend) from error
    own = not ray.is_initialized()
    try:
        if own:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError) as error:
        mend = "start one with `ray start --head`, or leave out --address."
        raise ConfigError("address", f"{type(error).__name__}: {error}", "a Ray cluster that answers", mend) from error
    try:
        remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES)(work_on)
        waiting = [remote.remote(work, group) for group in groups]
        while waiting:
            finished, waiting = ray.wait(waiting)
            yield from map(ray.get, finished)
    finally:
        if own:
            ray.shutdown()


def work_on(work: Callable[[list[Any]], list[dict[str, Any]]], group: list[Any]) -> list[dict[str, Any]]:
    """`work(group)` under a name that Ray can show."""
    return work(group)
