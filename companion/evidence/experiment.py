"""Experiments: one function from parameters to a tidy table, run at three scales.

An experiment stands in a chapter, in a cell tagged ``experiment``::

    @experiment("weights", keys=["method", "run", "step"], pick=["runs"],
                check={"runs": 2, "steps": 200}, quick={"runs": 4, "steps": 2000})
    def spirals(runs, steps, seed, *, checkpoints=None):
        ...
        return frame

    found = spirals.load(scale, runs=runs, steps=steps, seed=seed)

=========  ==========================================================================================================
record     the paper's scale: the values of the chapter's cell tagged ``parameters``. A batch makes it, its table lies
           in ``results/``, and the chapter at rest loads it.
check      a slice of the record, recomputed in seconds: its rows are rows of the record
quick      a small version that a reader computes: ``companion run notebooks/weights -p scale=quick``
=========  ==========================================================================================================

A slice can be compared with its record because noise is a function of seed, replica and step: a few runs of an
ensemble, computed alone for the first few hundred steps, are the same trajectories, to rounding.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
import types
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from companion.evidence.records import Record, as_stored, root, run_folder
from companion.evidence.tidy import numbers, table

__all__ = ["Difference", "Evidence", "Experiment", "Slice", "experiment"]

RECORD, QUICK = "record", "quick"


class Difference(AssertionError):
    """A row of a recomputed slice that is not in the record, or not the same there."""


@dataclasses.dataclass(frozen=True)
class Slice:
    """What was recomputed of a record: rows compared, rows it has, and the largest relative difference."""

    name: str
    rows: int
    of: int
    largest: float
    rtol: float

    def __str__(self) -> str:
        return f"{self.name}: {self.rows:,} of {self.of:,} rows recomputed, all within {self.rtol:g}"


@dataclasses.dataclass(frozen=True)
class Evidence:
    """The table of an experiment, and where it comes from.

    Attributes
    ----------
    frame : the table.
    scale : ``record``, or ``your run`` where it was computed live with other parameters.
    parameters : those it was made with.
    record : the table of the record beside it, also where ``frame`` is a live one; None where there is no record.
    provenance : of the record; empty for a live table.
    """

    name: str
    frame: pd.DataFrame
    scale: str
    parameters: dict[str, Any]
    record: pd.DataFrame | None
    provenance: dict[str, Any]

    @property
    def together(self) -> pd.DataFrame:
        """The record, and the live table below it where there is one; the column ``evidence`` says which."""
        parts = [self.frame.assign(evidence=self.scale)]
        if self.scale != RECORD and self.record is not None:
            parts.insert(0, self.record.assign(evidence=RECORD))
        return pd.concat(parts, ignore_index=True)

    def labelled(self, columns: Mapping[str, Any]) -> Evidence:
        """The same evidence with what was made of it: label to one value a run, where statements are judged by it."""
        parts = [table(label=label, run=range(len(v)), value=v, step=0) for label, v in columns.items()]
        return dataclasses.replace(self, frame=pd.concat(parts))


class Experiment:
    """An experiment of a chapter; see the module's text.

    Parameters
    ----------
    function : its parameters are names to values that JSON knows; it returns a table, an empty one where they leave
        nothing to run. A keyword-only ``checkpoints`` is given a folder where it may keep what lets it go on after it
        was stopped.
    chapter : the stem of the chapter's file.
    keys : the columns that identify a row; the others are measured.
    check, quick : what differs from the record's parameters at these scales.
    pick : parameters of which an audit chooses values at random: of a list some of its items, of a number n some of
        0 to n - 1, given as a list.
    further : parameters of ``check`` that keep the record's value in some of the audits, for nothing here amplifies
        rounding, and a run is the same to its end.
    rtol : within which a recomputed row agrees.
    atol : by column, for counts and shares, where one point more or less is a step; 1e-6 for other columns.
    """

    def __init__(
        self, function: Callable[..., pd.DataFrame], chapter: str, *, keys: Sequence[str], check: Mapping[str, Any],
        quick: Mapping[str, Any], pick: Sequence[str] = (), further: Sequence[str] = (), rtol: float = 1e-3,
        atol: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        self.function, self.chapter, self.keys = function, chapter, list(keys)
        self.check, self.quick, self.pick, self.further = dict(check), dict(quick), list(pick), list(further)
        self.rtol, self.atol = rtol, dict(atol or {})
        found = inspect.signature(function).parameters.values()
        self.resumes = any(p.name == "checkpoints" and p.kind is p.KEYWORD_ONLY for p in found)
        self.defaults = {p.name: p.default for p in found if p.kind is not p.KEYWORD_ONLY}
        for what, given in (("check", check), ("quick", quick), ("pick", dict.fromkeys(pick))):
            if unknown := sorted(set(given) - set(self.defaults)):
                raise ValueError(f"{what}={unknown[0]!r} is no parameter of {function.__name__}")
        if unknown := sorted(set(self.further) - set(check)):
            raise ValueError(f"further={unknown[0]!r} is none of what check changes: {', '.join(check)}")
        self.__doc__ = function.__doc__

    def __call__(self, *args: Any, **given: Any) -> pd.DataFrame:
        """The function itself."""
        return self.function(*args, **given)

    @property
    def name(self) -> str:
        return f"{self.chapter}/{self.function.__name__}"

    @property
    def record(self) -> Record:
        """The record of this experiment in the project that holds the working directory."""
        return Record(root(), self.name)

    def parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters: what is given, and defaults. Raises ValueError for an unknown name and a missing value."""
        if unknown := sorted(set(given) - set(self.defaults)):
            raise ValueError(f"{unknown[0]!r} is no parameter of {self.name}; it has: {', '.join(self.defaults)}")
        found = self.defaults | dict(given)
        if missing := [name for name, value in found.items() if value is inspect.Parameter.empty]:
            raise ValueError(f"{self.name} needs a value for {missing[0]!r}")
        return json.loads(json.dumps(found))  # as the provenance has them: a tuple is a list there

    def load(self, scale: str = RECORD, **given: Any) -> Evidence:
        """The record where ``scale`` is "record" and these are its parameters; else computed now.

        With "quick", the parameters are those of the quick scale, except where another value than the record's is
        given; where there is no record, all of them. Raises ValueError for another scale, and where there is no record
        to load.
        """
        if scale not in (RECORD, QUICK):
            raise ValueError(f"scale={scale!r} is not allowed: it must be 'record' or 'quick'")
        asked, record = self.parameters(given), self.record
        if not record.exists() and scale == RECORD:
            raise ValueError(
                f"there is no record of {self.name}: companion record {self.name} makes it, -p scale=quick a small one"
            )
        kept = record.provenance() if record.exists() else {}
        of = kept.get("parameters", asked)
        if scale == QUICK:
            asked |= {name: value for name, value in self.quick.items() if asked[name] == of.get(name)}
        frame = record.frame() if kept else None
        if frame is not None and asked == of:
            return Evidence(self.name, frame, RECORD, asked, frame, kept)
        kept_in = {"checkpoints": run_folder(self.function.__name__, asked)} if self.resumes else {}
        return Evidence(self.name, as_stored(self.function(**asked, **kept_in)), "your run", asked, frame, {})

    def make(self, given: Mapping[str, Any]) -> Record:
        """Compute the record with these parameters and write it, whole or not at all."""
        parameters, record = self.parameters(given), self.record
        with record.making(parameters) as making:
            extra = {"checkpoints": making.folder} if self.resumes else {}
            making.write(self.function(**parameters, **extra))
        return record

    def recompute(self, changes: Mapping[str, Any] | None = None) -> Slice:
        """Recompute a slice of the record, ``check`` if not said otherwise.

        Raises Difference where a row is not in the record, or differs by more than ``atol + rtol * |record|``.
        """
        return self.compare(self._part(self.check if changes is None else changes), self.record.frame())

    def recompute_at_random(self, share: float, seed: int) -> Slice:
        """Recompute randomly chosen runs, as :meth:`slice_at_random` says; a choice of none is followed by another."""
        for attempt in range(100):
            if len(part := self._part(self.slice_at_random(share, seed, attempt))):
                break
        return self.compare(part, self.record.frame())

    def _part(self, changes: Mapping[str, Any]) -> pd.DataFrame:
        return self.function(**(self.record.provenance()["parameters"] | dict(changes)))

    def compare(self, part: pd.DataFrame, whole: pd.DataFrame) -> Slice:
        """A table against the record that has its rows; raises as :meth:`recompute`. Text must be the same."""
        if not len(part):
            raise Difference(f"{self.name}: the slice has no rows")
        part = as_stored(part)
        if missing := [name for name in part.columns if name not in whole.columns]:
            raise Difference(f"{self.name}: the record has no column {missing[0]!r}")
        part = part.reindex(columns=whole.columns)  # what other methods alone have is empty in these rows
        for key in self.keys:
            if part[key].dtype.kind in "iu" and whole[key].dtype.kind == "f":
                part[key] = part[key].astype(float)  # the slice has 1 where the record has 0.1 too
        for one in (part, whole):
            if (twice := one[self.keys].duplicated()).any():
                raise Difference(f"{self.name}: two rows have the keys {self._keys(one, int(twice.argmax()))}")
        both = part.merge(whole, on=self.keys, suffixes=("", "|"), how="left", indicator=True)
        if lost := int((both["_merge"] != "both").sum()):
            raise Difference(f"{self.name}: {lost} of {len(part)} recomputed rows are not in the record")
        largest = 0.0
        for name in part.columns.drop(self.keys):
            now, then = both[name], both[f"{name}|"]
            same = ((now == then) | (now.isna() & then.isna())).to_numpy(bool)
            apart, size = np.where(same, 0.0, np.inf), np.zeros(len(both))
            if pd.api.types.is_numeric_dtype(now) and pd.api.types.is_numeric_dtype(then):
                a, b = now.to_numpy(float), then.to_numpy(float)
                known = np.isfinite(a) & np.isfinite(b)
                apart[known], size[known] = np.abs(a[known] - b[known]), np.abs(b[known])
            slack = self.atol.get(name, 1e-6)
            if not (apart <= slack + self.rtol * size).all():
                worst = int(np.argmax(apart))
                raise Difference(
                    f"{self.name}, {self._keys(both, worst)}: {name} is {now[worst]}, the record has {then[worst]}"
                )
            largest = max(largest, float((apart / (size + slack)).max()))
        return Slice(self.name, len(part), len(whole), largest, self.rtol)

    def _keys(self, frame: pd.DataFrame, row: int) -> str:
        return ", ".join(f"{key} = {frame[key].iloc[row]}" for key in self.keys)

    def slice_at_random(self, share: float, seed: int, attempt: int = 0) -> dict[str, Any]:
        """The changes that make a slice of randomly chosen runs, of a share of them, at least one of each ``pick``.

        Where the chapter's own slice takes n of them, at least n: products of one row are rounded otherwise than those
        of several, and hot networks amplify that within steps. One slice of four goes as far as ``further`` allows.
        """
        generator = np.random.default_rng([seed, attempt, zlib.crc32(self.name.encode())])
        parameters = self.record.provenance()["parameters"]
        to_the_end = generator.random() < 0.25
        changes = {name: value for name, value in self.check.items() if not (to_the_end and name in self.further)}
        for name in self.pick:
            there = parameters[name]
            items, own = numbers(there), self.check.get(name, 1)
            count = max(own if isinstance(own, int) else 1, round(share * len(items)))
            chosen = sorted(generator.choice(len(items), count, replace=False).tolist())
            changes[name] = [items[i] for i in chosen]
        return changes


def experiment(chapter: str, **about: Any) -> Callable[[Callable[..., pd.DataFrame]], Experiment]:
    """Make a function an :class:`Experiment` of a chapter; ``about`` is what that takes."""
    return lambda function: Experiment(function, chapter, **about)


def changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The names of the parameters that have another value now."""
    return sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))


def of_chapter(md: Path) -> dict[str, tuple[Experiment, dict[str, Any]]]:
    """The experiments of a chapter, each with the record's parameters: name to both.

    Runs the cells tagged ``parameters``, ``setup`` and ``experiment``, and no others. Raises ValueError where one of
    them fails.
    """
    import jupytext

    module = types.ModuleType(f"chapter_{md.stem}")
    sys.modules[module.__name__] = module  # where dataclasses look for what a cell defines
    space, given = vars(module), dict[str, Any]()
    for number, cell in enumerate(jupytext.read(md).cells):
        tags = set(cell.metadata.get("tags", []))
        if cell.cell_type == "code" and tags & {"parameters", "setup", "experiment"}:
            try:
                exec(compile(cell.source, f"{md.name}, cell {number}", "exec"), space)
            except Exception as error:
                raise ValueError(f"{md.name}, cell {number}: {type(error).__name__}: {error}") from error
            if "parameters" in tags:
                given = {name: value for name, value in space.items() if not name.startswith("__")}
    found = {one.function.__name__: one for one in space.values() if isinstance(one, Experiment)}
    if strange := [one for one in found.values() if one.chapter != md.stem]:
        raise ValueError(f"{md.name} defines an experiment of another chapter: {strange[0].name}")
    return {
        name: (one, one.parameters({k: v for k, v in given.items() if k in one.defaults}))
        for name, one in found.items()
    }
