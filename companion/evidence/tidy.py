"""What experiments say in a line: which runs are asked for, and a row for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["numbers", "table"]


def numbers(runs: int | Sequence[Any]) -> list[Any]:
    """The runs of a number of runs, or those listed, as a slice of a record asks for them."""
    return list(range(runs)) if isinstance(runs, int) else list(runs)


def table(**columns: Any) -> pd.DataFrame:
    """A row for each run, from columns that have one value a run or one for all."""
    return pd.DataFrame({name: np.asarray(value) for name, value in columns.items()})
