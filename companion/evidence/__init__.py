"""Experiments, their records, and where these come from."""

from companion.evidence.experiment import Difference, Evidence, Experiment, Slice, experiment
from companion.evidence.records import Record
from companion.evidence.tidy import numbers, table

__all__ = ["Difference", "Evidence", "Experiment", "Record", "Slice", "experiment", "numbers", "table"]
