"""Tables as tables: a frame as HTML with a caption, and as plain text."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

__all__ = ["Table", "interval"]


class Table:
    """A frame as a reader wants it: numbers to the right, a caption, heads with scope, scrolling inside itself.

    Parameters
    ----------
    frame : the cells; its index becomes the heads of the rows, unless it is a plain range.
    caption : one sentence above the table.
    formats : of columns, as in ``"{:.3f}"``; text stays as it is.
    best : columns, each with ``max`` or ``min``, whose best number is in bold.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        caption: str,
        formats: Mapping[str, str] | None = None,
        best: Mapping[str, str] | None = None,
    ) -> None:
        self.frame, self.caption = frame, caption
        name = hashlib.sha256(caption.encode()).hexdigest()[:8]  # the same table gives the same page
        style = frame.style.set_uuid(name).format(dict(formats or {}), na_rep="").set_caption(caption)
        if isinstance(frame.index, pd.RangeIndex):
            style = style.hide(axis="index")
        for column, which in (best or {}).items():
            extreme = frame[column].max() if which == "max" else frame[column].min()
            bold = lambda value, extreme=extreme: "font-weight: bold" if value == extreme else ""  # noqa: E731
            style = style.map(bold, subset=[column])
        self._style, self._formats = style, dict(formats or {})

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        page = self._style.to_html(table_attributes='class="results"', doctype_html=False)
        return {"text/html": f'<div class="results-box" tabindex="0">{page}</div>', "text/plain": str(self)}

    def __str__(self) -> str:
        shown = self.frame.copy().astype(object)
        for column, form in self._formats.items():
            shown[column] = ["" if pd.isna(value) else form.format(value) for value in self.frame[column]]
        return f"{self.caption}\n{shown.to_string(index=not isinstance(self.frame.index, pd.RangeIndex))}"

    __repr__ = __str__


def interval(values: Any, digits: int = 3) -> str:
    """The mean of independent runs with half of its 95 % t interval, as in ``0.957 ± 0.003``; just the mean of one."""
    runs = np.asarray(values, dtype=float)
    if len(runs) < 2:
        return f"{runs.mean():.{digits}f}"
    half = stats.t.ppf(0.975, len(runs) - 1) * runs.std(ddof=1) / len(runs) ** 0.5
    return f"{runs.mean():.{digits}f} ± {half:.{digits}f}"
