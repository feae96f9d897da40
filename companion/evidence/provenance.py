"""Where a record comes from: commit, versions, machine, date."""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from companion.installed import versions

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["commit", "of_run", "processor", "provenance", "reference_loop", "write_record"]


def provenance(*packages: str) -> dict[str, str]:
    """What to store beside a result; ``packages`` are named with their versions beside Python's and torch's."""
    import torch  # where it is needed, here and below: the command and the tests of files do without

    return {
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        "commit": commit(Path(__file__).parent, "."),
        "versions": versions("torch", *packages),
        "machine": torch.cuda.get_device_name() if torch.cuda.is_available() else processor(),
        "threads": str(torch.get_num_threads()),
    }


def of_run(root: Path) -> dict[str, Any]:
    """Where a run of a project is made: commit, versions, machine, device, precision, threads, date."""
    import torch

    return {
        "commit": commit(root, "thermolib", "companion", "notebooks/*.md"),
        "versions": versions("torch", "numpy", "pandas", "scipy"),
        "machine": f"{os.cpu_count()} cores, {processor()}",
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "precision": str(torch.get_default_dtype()).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
    }


def reference_loop() -> float:
    """Seconds of a fixed piece of work, so that the seconds of different machines compare.

    2,000 steps of gradient descent on one perceptron 2-100-1, with a Python loop over its tensors, on one thread: what
    the papers' own programs do. The best of three.
    """
    import torch

    threads, generator = torch.get_num_threads(), torch.Generator().manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(2, 100), torch.nn.ReLU(), torch.nn.Linear(100, 1))
    x, y = torch.rand(20, 2, generator=generator), torch.rand(20, 1, generator=generator)
    times = []
    torch.set_num_threads(1)
    try:
        for _ in range(3):
            began = time.perf_counter()
            for _ in range(2000):
                gradients = torch.autograd.grad((module(x) - y).square().mean(), tuple(module.parameters()))
                with torch.no_grad():
                    for parameter, gradient in zip(module.parameters(), gradients, strict=True):
                        parameter.sub_(0.01 * gradient)
            times.append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)
    return min(times)


def commit(folder: Path, *paths: str) -> str:
    """The commit that ``folder`` is at, with a word where one of ``paths`` below it differs from that."""

    def git(*command: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *command], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        name, changed = git("rev-parse", "--short=12", "HEAD"), git("status", "--porcelain", "--", *paths)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name + (" with changes" if changed else "")


def processor() -> str:
    """The name of the processor."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*:\s*(.+)", info.read_text(encoding="utf-8")) if info.is_file() else []
    return names[0] if names else platform.processor() or platform.machine()


def write_record(folder: Path, history: pd.DataFrame, record: dict[str, Any]) -> None:
    """Write ``history.csv`` and ``provenance.json`` to ``folder``, each whole or not at all."""
    texts = {
        "history.csv": history.to_csv(index=False, float_format="%.6g"),
        "provenance.json": json.dumps(record, indent=1) + "\n",
    }
    for name, text in texts.items():
        write_whole(folder / name, text)


def write_whole(path: Path, text: str) -> None:
    """Write a text beside its place, then rename: whoever reads sees the old one or the new one, and no part."""
    part = path.with_name(f"{path.name}.tmp")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
