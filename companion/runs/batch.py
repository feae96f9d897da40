"""Chapters with other parameters, one or a whole batch of them, and the record of what was run.

A *run* is a chapter with parameters; a *batch* is a YAML file that lists runs::

    include: [paper-1]                        # then the runs of batches/paper-1.yaml, which keep their own folder
    runs:
      - chapter: langevin_splittings          # the stem of a file in notebooks/
        parameters: {seeds: 16}               # what differs from the chapter's cell tagged `parameters`
        cross: {seed: 0..4, friction: [1.0, 10.0]}   # one run for each combination; a..b is a range of whole numbers
        name: long                            # where a chapter stands more than once
        gpus: 1                               # what the run needs: GPUs,
        hours: 2.0                            # the hours after which it is stopped,
        memory: 8.0                           # the GiB above which it is stopped
      - record: weights/spirals               # an experiment of a chapter, whose record is made; with the same needs

A run of a chapter is identified by the code of its notebook, its parameters, the library and the installed versions.
It is *done* when its result is there, was made from exactly these, and no cell raised an exception. A record is done
when it has the parameters that its chapter gives now: whether the library still makes it, only recomputing it can tell.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from companion.runs import identity
from companion.runs.chapters import checked, experiments_of, files, parameters_of
from companion.runs.identity import note

__all__ = ["Run", "load", "note", "of_record", "said", "single", "state"]

_NEEDS = ("gpus", "hours", "memory")
_KEYS = {"chapter": ("chapter", "parameters", "cross", "name", *_NEEDS), "record": ("record", *_NEEDS)}
#: How the last line of a run's log begins where the run failed.
FAILED = "failed: "


@dataclass(frozen=True)
class Run:
    """A chapter with parameters, or the making of a record; where its result lies, and what it needs.

    Parameters
    ----------
    chapter : the ``.md`` file.
    out : the ``.ipynb`` that the run writes, or the ``.json`` of the record.
    parameters : name to value; of a record none, since it has those of the chapter.
    experiment : of the chapter, where a record is to be made.
    gpus, hours, memory : what it needs, hours and GiB being limits; zero is none.
    """

    chapter: Path
    out: Path
    parameters: dict[str, Any] = field(default_factory=dict)
    experiment: str = ""
    gpus: int = 0
    hours: float = 0.0
    memory: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.chapter.stem}/{self.experiment}" if self.experiment else self.out.stem

    @property
    def project(self) -> Path:
        return self.chapter.parent.parent

    @property
    def failed(self) -> Path:
        """Where the notebook of a run that failed is kept, with its error."""
        return self.out.with_suffix(".failed.ipynb")

    @property
    def log(self) -> Path:
        """Where a record that is being made says how far it has come."""
        from companion.evidence.records import Record

        return Record(self.project, self.name).making_in.with_suffix(".log")

    @property
    def checkpoints(self) -> Path:
        """The folder in which a run of a chapter keeps what lets it go on after it was stopped."""
        return self.out.with_suffix(".checkpoints")

    def inputs(self) -> dict[str, str]:
        """What identifies the run: a short text for each thing that its result depends on."""
        return identity.inputs(self.chapter, self.parameters)


def single(chapter: str | Path, parameters: dict[str, Any] | None = None) -> Run:
    """One chapter, ``notebooks/NAME`` with or without its ending, as a run that writes to ``runs/``.

    Raises ValueError for a chapter that is not there, an unknown parameter, a value of another kind.
    """
    path = Path(chapter).resolve()
    root = path.parent.parent
    stem = path.stem if path.suffix in (".md", ".ipynb") else path.name
    there = files(root)
    if path.parent.name != "notebooks" or stem not in there:
        known = ", ".join(f"notebooks/{name}" for name in files(Path.cwd())) or "none: there is no folder notebooks/"
        raise ValueError(f"there is no chapter {str(chapter)!r}; there are: {known}")
    names = parameters_of(there[stem])
    given = checked(there[stem], names, parameters or {})
    parameters = {name: given[name] for name in names if name in given}  # whatever order they were given in
    return Run(there[stem], root / "runs" / f"{_file_name(stem, parameters)}.ipynb", parameters)


def of_record(project: Path, name: str, **needs: Any) -> Run:
    """The making of the record ``CHAPTER/EXPERIMENT``. Raises ValueError where there is no such experiment."""
    return _of_record(project, name, files(project), needs)


def _of_record(project: Path, name: str, there: dict[str, Path], needs: dict[str, Any]) -> Run:
    stem, _, experiment = name.partition("/")
    if stem not in there:
        raise ValueError(f"there is no chapter {stem!r}; there are: {', '.join(there)}")
    if experiment not in (known := experiments_of(there[stem])):
        raise ValueError(f"{stem}.md has no experiment {experiment!r}; it has: {', '.join(known) or 'none'}")
    about = project / "results" / f"{name}.json"  # as evidence.records has it
    return Run(there[stem], about, experiment=experiment, **needs)


def _file_name(stem: str, parameters: dict[str, Any]) -> str:
    """A name of a file; where it cannot say all, with a short hash of all."""
    name = "-".join([stem, *(f"{k}={v}" for k, v in parameters.items())])
    short = hashlib.sha256(name.encode()).hexdigest()
    long = len(name) > 120
    plain = re.sub(r"[^\w.=+-]", "_", stem if long else name)
    return f"{plain}-{short[:12]}" if long else plain if plain == name else f"{plain}-{short[:6]}"


def load(path: str | Path, within: tuple[Path, ...] = ()) -> list[Run]:
    """The runs of a batch, ``batches/NAME.yaml``, which write to ``runs/NAME/``, then those of the batches it includes.

    Raises ValueError, before anything runs, for a file that is not a batch, an unknown key, chapter, experiment or
    parameter, a value of another kind, two runs of one name, no run, and batches that include each other.
    """
    import yaml

    path = Path(path).resolve()
    root = path.parent.parent
    if not path.is_file():
        there = ", ".join(f"batches/{p.name}" for p in sorted((Path.cwd() / "batches").glob("*.yaml"))) or "none"
        raise ValueError(f"there is no batch {str(path.name)!r}; there are: {there}")
    if path in within:
        raise ValueError(f"{path.name} includes itself, through {', '.join(one.name for one in within)}")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        said = yaml.load(path.read_text(encoding="utf-8"), loader)
        if unknown := sorted(set(said) - {"include", "runs"}):
            raise ValueError(f"it says {unknown[0]!r}, which is not known; known: include, runs")
        project = _Project(root, root / "runs" / path.stem)
        runs = [run for item in said["runs"] or [] for run in project.runs(item)]
        included = [path.with_name(f"{name}.yaml") for name in said.get("include") or []]
        runs += [run for other in included for run in load(other, (*within, path))]
    except (yaml.YAMLError, TypeError, KeyError, AttributeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is no batch, a list called runs: {' '.join(str(error).split())}") from None
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None
    if not runs:
        raise ValueError(f"{path.name} has no runs")
    place, times = Counter(run.out for run in runs).most_common(1)[0]
    if times > 1:
        twice = next(run.name for run in runs if run.out == place)
        raise ValueError(f"{path.name}: two runs are called {twice!r}; give each a name of its own")
    return runs


class _Project:
    """The chapters that the items of a batch name, and the folder that their runs write to."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.folder, self.there = root, folder, files(root)

    def runs(self, item: dict[str, Any]) -> Iterator[Run]:
        if not isinstance(item, dict):
            raise TypeError(f"{item!r} is no run")
        kind = "record" if "record" in item else "chapter"
        if unknown := sorted(set(item) - set(_KEYS[kind])):
            raise ValueError(
                f"{item.get(kind, 'a run')} says {unknown[0]!r}, which is not known; known: {', '.join(_KEYS[kind])}"
            )
        needs = {name: item.get(name, 0) for name in _NEEDS}
        for name, value in needs.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                raise ValueError(f"{name}={value!r} is not allowed for {item[kind]}: it is a number, zero for none")
        if kind == "record":
            yield _of_record(self.root, str(item["record"]), self.there, needs)
            return
        if item["chapter"] not in self.there:
            raise ValueError(f"there is no chapter {item['chapter']!r}; there are: {', '.join(self.there)}")
        for name in ("parameters", "cross"):
            if not isinstance(item.get(name) or {}, dict):
                raise ValueError(
                    f"{name}: {item[name]!r} is not allowed for {item['chapter']}: it is names with values, as in "
                    + ("{seed: 0..4}" if name == "cross" else "{seed: 0}")
                )
        cross = {name: _values(name, values) for name, values in (item.get("cross") or {}).items()}
        md = self.there[item["chapter"]]
        known = parameters_of(md)
        for values in itertools.product(*cross.values()):
            varied = dict(zip(cross, values, strict=True))
            parameters = checked(md, known, {**(item.get("parameters") or {}), **varied})
            out = self.folder / f"{_file_name(str(item.get('name') or md.stem), varied)}.ipynb"
            yield Run(md, out, parameters, **needs)


def _values(name: str, values: Any) -> list[Any]:
    if isinstance(values, str) and (ends := re.fullmatch(r"(-?\d+)\.\.(-?\d+)", values)):
        return list(range(int(ends[1]), int(ends[2]) + 1))
    if not isinstance(values, list) or not values:
        raise ValueError(f"cross: {name}={values!r} is not allowed: it is a list of values, or a range such as 0..9")
    return values


def state(run: Run) -> tuple[str, str]:
    """``done``, ``missing``, ``failed`` or ``stale``, and why."""
    if run.experiment:
        return _state_of_record(run)
    inputs, made = run.inputs(), note(run.out)
    if made.get("inputs") == inputs:
        return "done", _accepted(made)
    failed = note(run.failed)
    if failed.get("inputs") == inputs:
        return "failed", failed.get("error", "")
    if not run.out.is_file():
        return "missing", ""
    if not isinstance(made.get("inputs"), dict):
        return "stale", f"{run.out.name} cannot be read, or was made by hand"
    return "stale", f"changed since: {', '.join(k for k, v in inputs.items() if made['inputs'].get(k) != v)}"


def _accepted(made: dict[str, Any]) -> str:
    if not (last := made.get("accepted", [None])[-1]):
        return ""
    return f"accepted on {last['on']} as harmless: another {', '.join(last['changed'])}"


def _state_of_record(run: Run) -> tuple[str, str]:
    from companion.evidence.experiment import changed, of_chapter  # here, since they bring pandas
    from companion.evidence.records import Record

    record, last = Record(run.project, run.name), said(run)
    stale = ""
    if record.exists():
        try:
            record.frame()
            since = changed(record.provenance()["parameters"], of_chapter(run.chapter)[run.experiment][1])
            stale = f"changed since: {', '.join(since)}" if since else ""
        except ValueError as error:
            stale = str(error)
        if not stale:
            return "done", ""
    if last.startswith(FAILED):
        return "failed", last.removeprefix(FAILED)
    return ("stale", stale) if stale else ("missing", last)


def said(run: Run) -> str:
    """What the last attempt to make a record said last: how far it has come, or why it failed."""
    try:
        return run.log.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
