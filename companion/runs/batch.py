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

A run of a chapter is identified by the content of its notebook, its parameters, the library and the locked environment.
It is *done* when its result is there, was made from exactly these, and no cell raised an exception. A record is done
when it has the parameters that its chapter gives now: whether the library still makes it, only recomputing it can tell.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from companion.evidence.experiment import changed, of_chapter
from companion.evidence.records import Record
from companion.runs.chapters import checked, experiments_of, files, parameters_of, read

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
        return Record(self.project, self.name).making_in.with_suffix(".log")

    def inputs(self) -> dict[str, str]:
        """What identifies the run: a hash for each thing that its result depends on."""
        library = hashlib.sha256()
        for package in ("thermolib", "companion"):
            for path in sorted((Path(__file__).parents[2] / package).rglob("*.py")):
                library.update(path.read_bytes())
        lock = self.project / "constraints.txt"
        contents = {
            "notebook": self.chapter.read_bytes(),
            "parameters": json.dumps(self.parameters, sort_keys=True).encode(),
            "library": library.digest(),
            "environment": lock.read_bytes() if lock.is_file() else b"",
        }
        return {name: hashlib.sha256(content).hexdigest()[:16] for name, content in contents.items()}


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
    parameters = checked(there[stem], parameters_of(read(there[stem])), parameters or {})
    return Run(there[stem], root / "runs" / f"{_file_name(stem, parameters)}.ipynb", parameters)


def of_record(project: Path, name: str, **needs: Any) -> Run:
    """The making of the record ``CHAPTER/EXPERIMENT``. Raises ValueError where there is no such experiment."""
    stem, _, experiment = str(name).partition("/")
    there = files(project)
    if stem not in there:
        raise ValueError(f"there is no chapter {stem!r}; there are: {', '.join(there)}")
    if experiment not in (known := experiments_of(read(there[stem]))):
        raise ValueError(f"{stem}.md has no experiment {experiment!r}; it has: {', '.join(known) or 'none'}")
    return Run(there[stem], Record(project, str(name)).about, experiment=experiment, **needs)


def _file_name(stem: str, parameters: dict[str, Any]) -> str:
    name = "-".join([stem, *(f"{k}={v}" for k, v in parameters.items())])
    if len(name) > 120:
        name = f"{stem}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return re.sub(r"[^\w.=+-]", "_", name)


def load(path: str | Path) -> list[Run]:
    """The runs of a batch, ``batches/NAME.yaml``, which write to ``runs/NAME/``, then those of the batches it includes.

    Raises ValueError, before anything runs, for a file that is not a batch, an unknown key, chapter, experiment or
    parameter, a value of another kind, and two runs of one name.
    """
    import yaml

    path = Path(path).resolve()
    root = path.parent.parent
    if not path.is_file():
        there = ", ".join(f"batches/{p.name}" for p in sorted((Path.cwd() / "batches").glob("*.yaml"))) or "none"
        raise ValueError(f"there is no batch {str(path.name)!r}; there are: {there}")
    try:
        said = yaml.safe_load(path.read_text())
        if unknown := sorted(set(said) - {"include", "runs"}):
            raise ValueError(f"it says {unknown[0]!r}, which is not known; known: include, runs")
        runs = [run for item in said["runs"] for run in _runs(item, root, root / "runs" / path.stem)]
        runs += [run for name in said.get("include", []) for run in load(path.with_name(f"{name}.yaml"))]
    except (yaml.YAMLError, TypeError, KeyError) as error:
        raise ValueError(f"{path.name} is no batch, a list called runs: {' '.join(str(error).split())}") from None
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None
    places = [run.out for run in runs]
    if twice := [run.name for run in runs if places.count(run.out) > 1]:
        raise ValueError(f"{path.name}: two runs are called {twice[0]!r}; give each a name of its own")
    return runs


def _runs(item: dict[str, Any], root: Path, folder: Path) -> Iterator[Run]:
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
        yield of_record(root, item["record"], **needs)
        return
    there = files(root)
    if item["chapter"] not in there:
        raise ValueError(f"there is no chapter {item['chapter']!r}; there are: {', '.join(there)}")
    cross = {name: _values(name, values) for name, values in (item.get("cross") or {}).items()}
    md = there[item["chapter"]]
    known = parameters_of(read(md))
    for values in itertools.product(*cross.values()):
        varied = dict(zip(cross, values, strict=True))
        parameters = checked(md, known, {**(item.get("parameters") or {}), **varied})
        yield Run(md, folder / f"{_file_name(item.get('name') or md.stem, varied)}.ipynb", parameters, **needs)


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
    inputs = run.inputs()
    made, failed = (note(path) for path in (run.out, run.failed))
    if made.get("inputs") == inputs:
        return "done", ""
    if failed.get("inputs") == inputs:
        return "failed", failed.get("error", "")
    if not run.out.is_file():
        return "missing", ""
    if "inputs" not in made:
        return "stale", f"{run.out.name} cannot be read, or was made by hand"
    return "stale", f"changed since: {', '.join(k for k, v in inputs.items() if made['inputs'].get(k) != v)}"


def _state_of_record(run: Run) -> tuple[str, str]:
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


def note(path: Path) -> dict[str, Any]:
    """What a run wrote about itself into its notebook; empty where the file is none of ours, or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))["metadata"]["thermolib"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
