"""Training that stops to look, early often and later seldom."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

import thermolib as tl

__all__ = ["EARLY", "curves", "looks_until", "train_to"]

#: Steps at which every record is looked at, so that a slice of it can be recomputed in seconds.
EARLY = (1, 10, 50, 200)


def looks_until(steps: int, *also: int) -> list[int]:
    """The early looks and those in ``also``, up to ``steps``, in order."""
    return sorted(step for step in {*EARLY, *also} if step <= steps)


def train_to(
    looks: Sequence[int],
    ensemble: tl.Ensemble,
    law: Any,
    data: Any,
    *,
    checkpoints: Path | None = None,
    name: str = "",
    **given: Any,
) -> Iterator[tuple[int, tl.History]]:
    """Train to each of ``looks`` in turn, as one run: yields the step and the history that ends there.

    ``given`` is what :func:`thermolib.train` takes, whose ``every`` is the whole leg unless it is said. With a folder
    for ``checkpoints``, the legs of this ``name`` go on where they were stopped. A terminal shows how far it is.
    """
    file = re.sub(r"[^\w.=+-]+", "_", name)
    at: int = 0
    start: Any = ensemble.q
    with tqdm(total=looks[-1], unit=" steps", leave=False, disable=None) as bar:
        for look in looks:
            bar.set_description(f"{name} to step {look}")
            keep = {"checkpoint": checkpoints / f"{file}-{look}.pt"} if checkpoints else {}
            how = {"every": look - at, "progress": False} | given | keep
            history = tl.train(ensemble, law, data, steps=look - at, start=start, **how)
            bar.update(look - at)
            yield look, history
            at, start = look, dataclasses.replace(history.final, mode=None)  # later legs repay compiling


def curves(
    ensemble: tl.Ensemble, law: Any, data: Any, steps: int, every: int, *, observe: dict[str, Any], **given: Any
) -> pd.DataFrame:
    """Train with few stops: what is observed early, at every so many steps and at the end; ``given`` as above."""
    frames, now = [], 0
    how: dict[str, Any] = {"observe": observe, "every": every, "compile": steps >= 1000} | given
    for step, history in train_to(looks_until(steps, every, steps), ensemble, law, data, **how):
        frame = history.frame[history.frame.step > now]
        seen = frame.step.isin((*EARLY, steps)) | (frame.step % every == 0)
        frames.append(frame.loc[seen, ["step", *observe]])
        now = step
    return pd.concat(frames, ignore_index=True)
