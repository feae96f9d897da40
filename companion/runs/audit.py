"""An audit: every record is visited, and a slice of it, chosen at random, is recomputed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from companion.evidence.experiment import Difference, Slice, changed, of_chapter
from companion.evidence.records import Record, all_records, root
from companion.runs.chapters import files, lacking, read

__all__ = ["Visit", "audit"]


@dataclass(frozen=True)
class Visit:
    """What came of a record: the slice that agrees, or what is wrong with the record, or why it was left out."""

    name: str
    seconds: float
    slice: Slice | None = None
    problem: str = ""
    left_out: str = ""

    def __str__(self) -> str:
        if not self.slice:
            return self.problem or f"{self.name} was left out: {self.left_out}"
        rows, largest = f"{self.slice.rows:,} of {self.slice.of:,} rows", f"{self.slice.largest:.1e}"
        return f"{self.name}: {rows}, largest difference {largest}, {self.seconds:.1f} s"


def audit(share: float = 0.01, seed: int = 0, names: Sequence[str] = ()) -> Iterator[Visit]:
    """Visit the records of the project that holds the working directory.

    Parameters
    ----------
    share : of each record's runs, at least one of each kind is recomputed.
    seed : of the choice.
    names : of records, ``CHAPTER/EXPERIMENT``; all of them if not given.

    A record is wrong where a recomputed row differs, where its experiment is gone, has other parameters now or fails,
    and where its files are damaged. It is left out where data of its chapter are not to be had.

    Raises
    ------
    ValueError : a share that is none; a record that is not there.
    """
    import torch  # here, so that the command begins at once

    if not 0 < share <= 1:
        raise ValueError(f"share={share:g} is not allowed: it must be above 0 and at most 1")
    there = {record.name: record for record in all_records(root())}
    if unknown := [name for name in names if name not in there]:
        raise ValueError(f"there is no record {unknown[0]!r}; there are: {', '.join(there) or 'none'}")
    for record in [there[name] for name in names or there]:
        began, precision = time.perf_counter(), torch.get_default_dtype()
        found, problem, left_out = None, "", ""
        try:
            md = files(record.project).get(record.name.partition("/")[0])
            left_out = lacking(read(md)) if md else ""
            if not left_out:
                found = _recomputed(record, md, share, seed)
        except Difference as error:
            problem = str(error)
        except Exception as error:  # whatever a chapter raises says that its record cannot be recomputed
            problem = f"{record.name}: {error if isinstance(error, ValueError) else f'{type(error).__name__}: {error}'}"
        finally:
            torch.set_default_dtype(precision)  # a chapter may have one of its own
        yield Visit(record.name, time.perf_counter() - began, found, " ".join(problem.split()), left_out)


def _recomputed(record: Record, md: Path | None, share: float, seed: int) -> Slice:
    name = record.name.partition("/")[2]
    experiments = of_chapter(md) if md else {}
    if name not in experiments:
        raise ValueError("the experiment is gone, its record is still there")
    one, parameters = experiments[name]
    if since := changed(record.provenance()["parameters"], parameters):
        raise ValueError(f"{', '.join(since)} changed since it was made: make it again")
    return one.recompute_at_random(share, seed)
