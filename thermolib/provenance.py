"""Where a record comes from: commit, versions, machine, date."""

from __future__ import annotations

import datetime
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

__all__ = ["provenance"]


def provenance(*packages: str) -> dict[str, str]:
    """What to store beside a result; ``packages`` are named with their versions beside Python's and torch's."""
    versions = {"Python": platform.python_version(), "torch": torch.__version__}
    versions |= {name: version(name) for name in packages}
    return {
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        "commit": _commit(),
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
        "machine": _machine(),
        "threads": str(torch.get_num_threads()),
    }


def _commit() -> str:
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        name = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        state = [*git, "status", "--porcelain", "--untracked-files=no", "--", "."]
        changed = subprocess.run(state, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name.stdout.strip() + (" with changes" if changed.stdout.strip() else "")


def _machine() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
