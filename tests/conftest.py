"""What every test shares: one thread (workers run side by side), no data sets of the user's, reproducible examples."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import hypothesis
import pytest
import torch

from cql_tutorial.course import wrong_calibrations, wrong_penalties  # noqa: F401  (their agents, the same in every run)
from tests.pace import limit

torch.set_num_threads(1)
hypothesis.settings.register_profile("course", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("course")


@pytest.hookimpl(tryfirst=True)  # before the plugins read their options
def pytest_configure(config: pytest.Config) -> None:
    """Set the limits that pytest-timeout and nbval keep, unless the command line names others."""
    if config.getoption("timeout", None) is None:
        config.option.timeout = limit("test")
    if not any(argument.startswith("--nbval-cell-timeout") for argument in config.invocation_params.args):
        config.option.nbval_cell_timeout = limit("cell")
        config.option.nbval_kernel_startup_timeout = limit("page")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One worker a core for the whole suite, none for what is named: starting them takes longer than most files."""
    return (os.cpu_count() or 1) if config.args == config.getini("testpaths") else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first, so that two workers end together."""
    longest = ("browser", "notebook", "fuzz", "slow")

    def rank(item: pytest.Item) -> int:
        if item.path.suffix == ".ipynb":
            return 1
        return next((place for place, name in enumerate(longest) if item.get_closest_marker(name)), len(longest))

    ranks: dict[object, int] = {}
    for item in items:
        ranks[item.path] = min(rank(item), ranks.get(item.path, len(longest)))
    items.sort(key=lambda item: ranks[item.path])  # stable: the order within a file stays


@pytest.fixture(autouse=True)
def _only_our_data_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see the checkout's data sets and those they make, never the ones this user happens to have."""
    monkeypatch.delenv("MINARI_DATASETS_PATH", raising=False)


# For a subprocess: after this, importing a package named in the set `hidden` fails as if it were not installed.
HIDE_PACKAGES = """
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, *rest):
        return None if name.split(".")[0] in hidden else self.finder.find_spec(name, *rest)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path = [Without(finder) for finder in sys.meta_path]
"""
