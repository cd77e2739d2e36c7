"""What pyproject.toml cannot say: a wheel carries the checkout's data/ (6 MB), so that `load_dataset` finds it."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ("gridworld", "maze", "pendulum", "policies", "results")


class BuildWithData(build_py):
    """Copy the data sets and the result tables beside the package; an editable install reads the checkout's own."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for name in SHIPPED:
            target = Path(self.build_lib) / "cql_tutorial" / "shipped" / name
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(Path("data") / name, target)


setup(cmdclass={"build_py": BuildWithData})
