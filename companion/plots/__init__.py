"""One look for the figures and the tables of all chapters."""

from companion.plots.figures import CLASS_COLOURS, METHOD_COLOURS, REGIONS, decision_regions, mean_curve, style
from companion.plots.tables import Table, interval

__all__ = ["CLASS_COLOURS", "METHOD_COLOURS", "REGIONS", "Table", "decision_regions", "interval", "mean_curve", "style"]
