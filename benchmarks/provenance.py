"""Where and when a record was made."""

from __future__ import annotations

import datetime
import platform
import subprocess
from pathlib import Path

import numpy
import torch

__all__ = ["provenance"]


def provenance() -> list[str]:
    """Lines that say the date, the commit, the versions and the machine."""
    return [
        f"date       {datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        f"commit     {_commit()}",
        f"versions   Python {platform.python_version()}, torch {torch.__version__}, numpy {numpy.__version__}",
        f"processor  {_processor()}",
        f"threads    {torch.get_num_threads()}",
    ]


def _commit() -> str:
    folder = Path(__file__).parent
    git = ["git", "-C", str(folder)]
    try:
        commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no", "--", "../thermolib", "."],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit.stdout.strip() + (" with changes" if changed.stdout.strip() else "")


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
