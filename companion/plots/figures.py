"""One look for all figures: a colour for each method, curves with their standard errors, decision regions."""

from __future__ import annotations

import sys
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from torch import Tensor

from thermolib.data import Split
from thermolib.nets.ensemble import Ensemble

__all__ = ["METHOD_COLOURS", "REGIONS", "decision_regions", "mean_curve", "style"]

#: One colour per method, in every chapter. Those that share a figure differ for colour-blind readers too.
METHOD_COLOURS = {
    "SGD": "#999999",
    "momentum": "#222222",
    "Adam": "#e69f00",
    "SGLD": "#56b4e9",
    "Langevin": "#0072b2",
    "BAOAB": "#0072b2",
    "LOL": "#117755",
    "AdLaLa": "#d55e00",
    "CoolMomentum": "#b0307a",
    "Metropolis": "#66772f",
    "aMC": "#7a3200",
    "Nosé-Hoover": "#332288",
}

CLASS_COLOURS = ("#0b5394", "#b45309")
#: From class 0 over doubt to class 1.
REGIONS = LinearSegmentedColormap.from_list("regions", ["#a9cdec", "#f7f7f7", "#f6c892"])

_RC: dict[Any, Any] = {
    "figure.figsize": (7.0, 3.6),
    "figure.dpi": 144,  # of the parts of a figure that are pixels
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",  # pages can be dark; figures bring their own ground
    "savefig.facecolor": "white",
    "svg.hashsalt": "thermolib",  # the same figure gives the same file
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same everywhere
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
}


def style() -> None:
    """Set the look of all figures of a chapter; call it once. Notebooks show them as SVG, which stays sharp."""
    plt.rcParams.update(_RC)
    if "ipykernel" in sys.modules:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("svg", metadata={"Date": None})


def mean_curve(
    ax: Axes, frame: pd.DataFrame, x: str, y: str, *, points: bool = False, errors: float = 1.0, **line: Any
) -> pd.DataFrame:
    """Draw the mean over replicas of a column against another, with its standard error.

    Parameters
    ----------
    ax : where to draw.
    frame : a tidy table with one row per replica and value of x, such as ``History.frame``.
    x, y : its columns.
    points : markers with bars; a line in a band otherwise.
    errors : standard errors that a bar or the band reaches to either side.
    line : what ``Axes.plot`` takes: ``color``, ``label``, ``marker`` and so on.

    Returns
    -------
    DataFrame : ``mean`` and ``sem`` for each value of x.
    """
    table = frame.groupby(x)[y].agg(["mean", "sem"])
    at, mean, error = table.index.to_numpy(), table["mean"].to_numpy(), errors * table["sem"].fillna(0.0).to_numpy()
    if points:
        bars: dict[str, Any] = {"fmt": "o", "capsize": 2.5, "elinewidth": 1.2, **line}
        ax.errorbar(at, mean, error, **bars)
    else:
        (drawn,) = ax.plot(at, mean, **line)
        ax.fill_between(at, mean - error, mean + error, color=drawn.get_color(), alpha=0.25, linewidth=0)
    return table


def decision_regions(
    ax: Axes,
    ensemble: Ensemble,
    q: Tensor,
    data: Split | None = None,
    *,
    pixels: int = 240,
    margin: float = 0.08,
    extent: tuple[float, float, float, float] | None = None,
    size: float = 5.0,
) -> np.ndarray:
    """Colour the plane by the class that networks with two inputs and one logit give it, with data on top.

    Parameters
    ----------
    ax : where to draw.
    ensemble : the networks.
    q : parameters of one replica ``[P]``, or of several ``[R, P]``, whose probabilities are averaged.
    data : points to draw and to take the extent from.
    pixels : of the longer side.
    margin : around the data, as a share of their extent.
    extent : left, right, bottom, top, where there are no data or another extent is wanted.
    size : of a point.

    Returns
    -------
    ndarray : the probabilities of class 1 on the grid, the lowest row first.

    Raises
    ------
    ValueError : neither data nor an extent.
    """
    if extent is None:
        if data is None:
            raise ValueError("extent=None is not allowed without data: one of them must say which part of the plane")
        low, high = data.x.min(0).values, data.x.max(0).values
        room = margin * (high - low)
        left, bottom = (low - room).tolist()
        right, top = (high + room).tolist()
        extent = (left, right, bottom, top)
    width, height = extent[1] - extent[0], extent[3] - extent[2]
    columns = max(2, round(pixels * min(1.0, width / height)))
    rows = max(2, round(pixels * min(1.0, height / width)))
    # points at the middle of pixels
    x1 = extent[0] + width * (torch.arange(columns) + 0.5) / columns
    x2 = extent[2] + height * (torch.arange(rows) + 0.5) / rows
    plane = torch.cartesian_prod(x2, x1).flip(1)
    output = ensemble.predict(plane, q if q.ndim == 2 else q[None])
    share = output.reshape(len(output), rows, columns).sigmoid().mean(0).cpu().numpy()
    # an SVG then holds the pixels that were computed, and not many times as many that were interpolated
    look: dict[str, Any] = {"interpolation": "none", "vmin": 0, "vmax": 1}
    ax.imshow(share, origin="lower", extent=extent, aspect="auto", cmap=REGIONS, **look)
    ax.contour(x1.numpy(), x2.numpy(), share, levels=[0.5], colors="#555555", linewidths=0.8)
    ax.grid(False)
    if data is not None:
        for label, colour in enumerate(CLASS_COLOURS):
            points = data.x[data.y == label].cpu().numpy()
            ax.scatter(points[:, 0], points[:, 1], s=size, c=colour, linewidths=0, rasterized=True)
    ax.set_xlim(extent[0], extent[1])
    ax.set_ylim(extent[2], extent[3])
    return share
