"""Is this machine ready? `python -m cql_tutorial.cli.doctor` looks, trains for ten updates, says how to mend a fault.

It imports only the standard library until a check needs more, so that it can report that torch itself is missing.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.requirements import Requirement

COURSE = ("jupyterlab", "ipywidgets", "matplotlib")  # what the notebooks need beyond the package
FILES_ONLY = {"icu-sepsis": "2.0.1"}  # the same as in envs/sepsis.py, which cannot be imported without torch
NEEDED_IMPORTS = {
    "minari.dataset._storages.hdf5_storage": "to read and write data sets",
    "gymnasium": "to roll policies out",
    "h5py": "to read HDF5 files",
    "safetensors.torch": "to save agents",
    "scipy.stats": "for intervals",
}
SLOW_UPDATE = 0.3  # seconds: some ten times what two ordinary cores need
REINSTALL = "install the packages again: make clean, then make setup"


@dataclass(frozen=True)
class Finding:
    """One line of the report: "ok", "warning" or "problem", what was looked at, what was found, how to mend it."""

    status: str
    subject: str
    found: str
    mend: str = ""

    def __str__(self) -> str:
        line = f"{self.status:<8} {self.subject:<14} {self.found}"
        return f"{line}\n{'':<23} -> {self.mend}" if self.mend else line


@dataclass(frozen=True)
class Report:
    """All findings; `ok` where none is a problem (warnings leave the course usable)."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        return all(finding.status != "problem" for finding in self.findings)

    def __str__(self) -> str:
        problems, warnings = ([f.status for f in self.findings].count(status) for status in ("problem", "warning"))
        verdict = f"This machine is {'' if self.ok else 'not '}ready: {problems} problem(s), {warnings} warning(s)."
        return "\n".join([*map(str, self.findings), verdict])


def doctor() -> Report:
    """Look at Python, packages, devices and data, and train for ten updates; never raises."""
    findings: list[Finding] = []
    for check in (_python, _packages, _imports, _devices, _data, _training):
        try:
            findings.extend(check())
        except Exception as error:  # a broken installation can fail in any way; the report must still come out
            name = check.__name__.removeprefix("_")
            findings.append(Finding("problem", name, f"{type(error).__name__}: {error}", REINSTALL))
    return Report(tuple(findings))


def _python() -> Iterator[Finding]:
    # No path and no kernel name anywhere in the report: chapter 00 shows it, and outputs are committed.
    yield Finding("ok", "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _packages() -> Iterator[Finding]:
    """Each requirement in the project's metadata; a missing course package only matters to the notebooks."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        yield Finding("problem", "packaging", "not installed: no package was held against its range", REINSTALL)
        return
    try:
        lines = metadata.requires("cql-tutorial") or []
    except metadata.PackageNotFoundError:
        mend, lines = "in the checkout: pip install -e . --no-deps", []
        yield Finding("warning", "cql-tutorial", "not installed: no ranges to hold the packages against", mend)
    for requirement in map(Requirement, lines):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield _package(requirement)
        elif requirement.name in COURSE:
            yield _package(requirement, " (for the notebooks)")
    for name, version in FILES_ONLY.items():
        yield _package(Requirement(f"{name}=={version}"), " (for chapters 01 and 05)", "--no-deps ")


def _package(requirement: Requirement, purpose: str = "", options: str = "") -> Finding:
    """Compare a package's installed version with its range; ``purpose`` says what is lost without it, if not all."""
    name, wanted = requirement.name, requirement.specifier
    try:
        found = metadata.version(name)
        if wanted.contains(found, prereleases=True):
            return Finding("ok", name, found)
    except metadata.PackageNotFoundError:
        found = "not installed"
    status = "warning" if purpose else "problem"
    return Finding(status, name, f"{found}, wanted {wanted}{purpose}", f"pip install {options}'{name}{wanted}'")


def _imports() -> Iterator[Finding]:
    """What the packages import in their turn when they are used: one may be needed and declared by none."""
    for module, purpose in NEEDED_IMPORTS.items():
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            package = str(error.name).split(".")[0]
            if package == module.split(".")[0]:  # it is missing itself, which `_packages` says
                continue
            name = {"PIL": "pillow"}.get(package, package)
            found = f"{package} is missing, which {module.split('.')[0]} imports ({purpose})"
            yield Finding("problem", name, found, f"pip install {name}")


def _devices() -> Iterator[Finding]:
    import torch

    threads, cores = torch.get_num_threads(), os.cpu_count() or 1
    mend = f"set OMP_NUM_THREADS={cores} before Python starts" if threads > cores else ""
    yield Finding("warning" if mend else "ok", "threads", f"{threads} on {cores} core(s)", mend)
    if torch.cuda.is_available():
        yield Finding("ok", "cuda", ", ".join(map(torch.cuda.get_device_name, range(torch.cuda.device_count()))))
    elif torch.version.cuda:
        mend = "fine for the course; if there should be a GPU, look at its driver with nvidia-smi"
        yield Finding("warning", "cuda", f"torch is built for CUDA {torch.version.cuda}, but finds no GPU", mend)
    else:
        yield Finding("ok", "cuda", "torch is built for the CPU, which is all the course needs")


def _data() -> Iterator[Finding]:
    """Data sets in the places that `load_dataset` looks at."""
    from ..datasets.files import search_places
    from ..datasets.minari_io import ids

    found = sorted({name for place in search_places() for name in ids(place)})
    if found:
        yield Finding("ok", "data sets", f"{len(found)}: {', '.join(found)}")
    else:
        mend = "in a checkout: make data; elsewhere: set MINARI_DATASETS_PATH to the folder that holds them"
        yield Finding("warning", "data sets", "none found", mend)


def _training() -> Iterator[Finding]:
    import torch

    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        seconds, finite = _ten_updates(device)
        found = f"10 updates of CQL, {1000 * seconds:.1f} ms each (batch 256, two layers of 256, 10 candidates)"
        status, mend = "ok", ""
        if not finite:
            status, found, mend = "problem", f"{found}; a metric is not finite", REINSTALL
        elif seconds > SLOW_UPDATE:
            status, mend = "warning", "slow: close other programs, or set OMP_NUM_THREADS to the number of free cores"
        yield Finding(status, f"training, {device}", found, mend)


def _ten_updates(device: str) -> tuple[float, bool]:
    """Return seconds per update, after one to warm up, and whether every metric was finite."""
    import torch

    from ..agents import CQLAgent

    generator = torch.Generator().manual_seed(0)
    agent = CQLAgent({"state_dim": 3, "action_dim": 1, "device": device})
    shapes = {"observations": (256, 3), "actions": (256, 1), "rewards": (256,), "next_observations": (256, 3)}
    batch = {name: 2 * torch.rand(shape, generator=generator).to(device) - 1 for name, shape in shapes.items()}
    batch["terminations"] = torch.zeros(256, dtype=torch.bool, device=device)
    seconds, finite = 0.0, True
    for updates in (1, 10):
        start = time.perf_counter()
        for _ in range(updates):
            metrics = agent.update(batch)
        # Reading the metrics also waits for a GPU, where updates are only queued.
        finite = finite and all(bool(torch.isfinite(value)) for value in metrics.values())
        seconds = (time.perf_counter() - start) / updates
    return seconds, finite


def main() -> int:
    """Print the report; 0 where the machine is ready, 1 where it is not."""
    report = doctor()
    print(report)
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
