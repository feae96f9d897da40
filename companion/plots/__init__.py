"""One look for the figures and the tables of all chapters."""

from companion.plots.figures import CLASS_COLOURS, METHOD_COLOURS, decision_regions, mean_curve, style

__all__ = ["CLASS_COLOURS", "METHOD_COLOURS", "decision_regions", "mean_curve", "style"]
