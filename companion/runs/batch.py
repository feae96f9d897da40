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

A run is identified by the content of its notebook, its parameters, the library and the locked environment. It is *done*
when its result is there, was made from exactly these, and no cell raised an exception.
"""

from __future__ import annotations

import ast
import contextlib
import datetime
import fcntl
import glob
import hashlib
import itertools
import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

import companion
import thermolib

from companion.claims import former
from companion.evidence.provenance import commit, processor, versions

__all__ = ["Outcome", "Run", "chapters", "execute", "literal", "load", "locked", "results", "single", "state", "sweep"]

_KEYS = ("chapter", "parameters", "cross", "name", "gpus", "hours", "memory")
_VERSIONS = ("torch", "numpy", "pandas", "scipy")
_PARTIAL = ".partial.ipynb"


@dataclass(frozen=True)
class Run:
    """A chapter with parameters, where its result lies, and what it needs.

    Parameters
    ----------
    chapter : the ``.md`` file.
    out : the ``.ipynb`` that the run writes.
    parameters : name to value.
    gpus, hours, memory : what it needs, hours and GiB being limits; zero is none.
    """

    chapter: Path
    out: Path
    parameters: dict[str, Any] = field(default_factory=dict)
    gpus: int = 0
    hours: float = 0.0
    memory: float = 0.0

    @property
    def name(self) -> str:
        return self.out.stem

    @property
    def failed(self) -> Path:
        """Where the notebook of a run that failed is kept, with its error."""
        return self.out.with_suffix(".failed.ipynb")

    def inputs(self) -> dict[str, str]:
        """What identifies the run: a hash for each thing that its result depends on."""
        library = hashlib.sha256()
        for package in (Path(thermolib.__file__).parent, Path(companion.__file__).parent):
            for path in sorted(package.rglob("*.py")):
                library.update(path.read_bytes())
        lock = self.chapter.parent.parent / "constraints.txt"
        contents = {
            "notebook": self.chapter.read_bytes(),
            "parameters": json.dumps(self.parameters, sort_keys=True).encode(),
            "library": library.digest(),
            "environment": lock.read_bytes() if lock.is_file() else b"",
        }
        return {name: hashlib.sha256(content).hexdigest()[:16] for name, content in contents.items()}


@dataclass(frozen=True)
class Outcome:
    """How a run ended: ``done`` or ``failed``, after how many seconds, and with what error."""

    name: str
    state: str
    seconds: float
    error: str = ""


def chapters(root: Path) -> dict[str, Path]:
    """The chapters of a project: stem to ``.md`` file."""
    return {path.stem: path for path in sorted((root / "notebooks").glob("*.md"))}


def read(md: Path) -> Any:
    """The chapter as a notebook without outputs. Cells are numbered, so that one text always gives one file."""
    import jupytext

    notebook = jupytext.read(md)
    for i, cell in enumerate(notebook.cells):
        cell["id"] = f"c{i:03d}"
    notebook.metadata.get("jupytext", {}).pop("text_representation", None)  # it holds the version of jupytext
    return notebook


def parameters_of(notebook: Any) -> dict[str, str]:
    """What the cell tagged ``parameters`` assigns: name to value, as it is written there."""
    from papermill.inspection import _infer_parameters

    for cell in notebook.cells:
        cell.metadata.setdefault("tags", [])  # papermill expects them on every cell
    return {p.name: p.default for p in _infer_parameters(notebook, name="python3", language="python")}


def literal(text: str) -> Any:
    """``1e-5`` is a number, ``[1, 2]`` a list, ``BAOAB`` a word."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def checked(md: Path, known: dict[str, str], parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters, where ``known`` has each of them and each is of the kind that stands there.

    Raises ValueError otherwise: papermill itself would only log an unknown name, and run with the defaults.
    """
    found = {}
    for name, value in parameters.items():
        if name not in known:
            raise ValueError(f"{md.name} has no parameter {name!r}; it has: {', '.join(known) or 'none'}")
        default = literal(known[name])
        if isinstance(value, str) and not isinstance(default, str):
            value = literal(value)  # YAML reads 1e-5 as text
        if not _alike(value, default):
            raise ValueError(f"{name}={value!r} is not allowed for {md.name}: {_kind(default)}, as in {known[name]}")
        found[name] = value
    return found


def _alike(value: Any, default: Any) -> bool:
    if default is None:
        return True
    if isinstance(value, bool) or isinstance(default, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    if isinstance(default, list | tuple):
        return isinstance(value, list | tuple) and (not default or all(_alike(v, default[0]) for v in value))
    if isinstance(default, dict):
        return (
            isinstance(value, dict)
            and set(value) == set(default)
            and all(_alike(value[k], default[k]) for k in default)
        )
    return isinstance(value, type(default))


def _kind(default: Any) -> str:
    kinds = {bool: "it is True or False", int: "it is a whole number", float: "it is a number", str: "it is text"}
    if isinstance(default, list | tuple):
        return "it is a list" + (f" of which each: {_kind(default[0])}" if default else "")
    if isinstance(default, dict):
        return "it is a dict with these keys and values of these kinds"
    return kinds.get(type(default), f"it is of type {type(default).__name__}")


def single(chapter: str | Path, parameters: dict[str, Any] | None = None) -> Run:
    """One chapter, ``notebooks/NAME`` with or without its ending, as a run that writes to ``runs/``.

    Raises ValueError for a chapter that is not there, an unknown parameter, a value of another kind.
    """
    path = Path(chapter).resolve()
    root = path.parent.parent
    stem = path.stem if path.suffix in (".md", ".ipynb") else path.name
    there = chapters(root)
    if path.parent.name != "notebooks" or stem not in there:
        known = ", ".join(f"notebooks/{name}" for name in chapters(Path.cwd())) or "none: there is no folder notebooks/"
        raise ValueError(f"there is no chapter {str(chapter)!r}; there are: {known}")
    parameters = checked(there[stem], parameters_of(read(there[stem])), parameters or {})
    return Run(there[stem], root / "runs" / f"{_file_name(stem, parameters)}.ipynb", parameters)


def _file_name(stem: str, parameters: dict[str, Any]) -> str:
    name = "-".join([stem, *(f"{k}={v}" for k, v in parameters.items())])
    if len(name) > 120:
        name = f"{stem}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return re.sub(r"[^\w.=+-]", "_", name)


def load(path: str | Path) -> list[Run]:
    """The runs of a batch, ``batches/NAME.yaml``, which write to ``runs/NAME/``, then those of the batches it includes.

    Raises ValueError, before anything runs, for a file that is not a batch, an unknown key, chapter or parameter, a
    value of another kind, and two runs of one name.
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
    if twice := [place.stem for place in places if places.count(place) > 1]:
        raise ValueError(f"{path.name}: two runs are called {twice[0]!r}; give each a name of its own")
    return runs


def _runs(item: dict[str, Any], root: Path, folder: Path) -> Iterator[Run]:
    if not isinstance(item, dict):
        raise TypeError(f"{item!r} is no run")
    if unknown := sorted(set(item) - set(_KEYS)):
        raise ValueError(
            f"{item.get('chapter', 'a run')} says {unknown[0]!r}, which is not known; known: {', '.join(_KEYS)}"
        )
    there = chapters(root)
    if item["chapter"] not in there:
        raise ValueError(f"there is no chapter {item['chapter']!r}; there are: {', '.join(there)}")
    cross = {name: _values(name, values) for name, values in (item.get("cross") or {}).items()}
    needs = {name: item.get(name, 0) for name in ("gpus", "hours", "memory")}
    for name, value in needs.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise ValueError(f"{name}={value!r} is not allowed for {item['chapter']}: it is a number, zero for none")
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


def note(path: Path) -> dict[str, Any]:
    """What a run wrote about itself into its notebook; empty where the file is none of ours, or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))["metadata"]["thermolib"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def execute(run: Run, progress: bool | dict[str, Any] = False) -> Outcome:
    """Execute a run in this process and write its notebook, whole or not at all.

    A run that fails keeps what it had reached beside it, as ``NAME.failed.ipynb``, and leaves an earlier result as it
    is. ``progress`` shows a bar in cells; a dict says how, in the words of tqdm.
    """
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    inputs, began, now = run.inputs(), time.perf_counter(), datetime.datetime.now(datetime.UTC)
    where = provenance(run.chapter.parent.parent)  # now, before the files change under a run that takes hours
    partial = run.out.with_name(f"{run.name}~{socket.gethostname()}.{os.getpid()}{_PARTIAL}")
    notebook, error = read(run.chapter), ""
    parameters_of(notebook)  # gives every cell the tags that papermill expects
    try:
        run.out.parent.mkdir(parents=True, exist_ok=True)
        with Watch(run) as watch:
            try:
                papermill.execute_notebook(
                    notebook,
                    str(partial),
                    parameters=run.parameters,
                    cwd=run.chapter.parent,
                    kernel_name="python3",
                    progress_bar=progress,
                    extra_arguments=["--IPKernelApp.log_level=ERROR"],  # each kernel would warn about its local port
                )
            except PapermillExecutionError as raised:
                error = f"{raised.ename}: {raised.evalue}"
            except DeadKernelError as raised:
                error = f"the kernel died: {raised}"
        error = watch.broken or error
        done = nbformat.read(partial, as_version=4)
        # papermill puts the whole notebook there
        done.metadata.setdefault("papermill", {})["input_path"] = run.chapter.name
        seconds = time.perf_counter() - began
        done.metadata["thermolib"] = {
            "inputs": inputs,
            "parameters": run.parameters,
            "error": error,
            "started": f"{now:%Y-%m-%d %H:%M:%S} UTC",
            "seconds": round(seconds, 1),
            "peak memory in GiB": round(watch.peak / 2**30, 2),
            **where,
        }
        nbformat.write(done, partial)
        os.replace(partial, run.failed if error else run.out)
        if not error:
            run.failed.unlink(missing_ok=True)
    except OSError as raised:
        error = f"{run.out} could not be written: {raised.strerror or raised}; free some space there and run it again"
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    return Outcome(run.name, "failed" if error else "done", time.perf_counter() - began, error)


class Watch:
    """Looks at what a run uses twice a second, and stops its kernel where that is more than allowed."""

    def __init__(self, run: Run) -> None:
        self.run, self.peak, self.broken = run, 0, ""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        import psutil

        here, began = psutil.Process(), time.monotonic()
        while not self._end.wait(0.5):
            used, children = 0, here.children(recursive=True)
            for child in children:
                with contextlib.suppress(psutil.Error):
                    used += child.memory_info().rss
            self.peak = max(self.peak, used)
            if self.run.hours and time.monotonic() - began > 3600 * self.run.hours:
                self.broken = f"stopped: it ran for more than the {self.run.hours:g} hours that its batch allows"
            elif self.run.memory and used > self.run.memory * 2**30:
                self.broken = f"stopped: it used more than the {self.run.memory:g} GiB that its batch allows"
            if self.broken:
                for child in children:
                    with contextlib.suppress(psutil.Error):
                        child.kill()
                return


def provenance(root: Path) -> dict[str, Any]:
    """Where a run is made: commit, versions, processor, GPU, threads."""
    import torch

    return {
        "commit": commit(root, "thermolib", "companion", "notebooks/*.md"),
        "versions": versions(*_VERSIONS),
        "machine": f"{os.cpu_count()} cores, {processor()}",
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
    }


def sweep(runs: Sequence[Run]) -> list[Path]:
    """Remove the partial files of these runs that were killed; returns them. Call it where none is under way."""
    left = [path for run in runs for path in sorted(run.out.parent.glob(f"{glob.escape(run.name)}~*{_PARTIAL}"))]
    for path in left:
        path.unlink(missing_ok=True)
    return left


@contextlib.contextmanager
def locked(runs: Sequence[Run]) -> Iterator[None]:
    """Keep these runs to this process. Raises ValueError where another is at one of them."""
    with contextlib.ExitStack() as stack:
        files = {}
        for run in runs:
            folder = run.out.parent
            if folder not in files:
                folder.mkdir(parents=True, exist_ok=True)
                files[folder] = stack.enter_context((folder / ".lock").open("a"))
            place = int(hashlib.sha256(run.name.encode()).hexdigest()[:15], 16)  # a byte of its own for each run
            try:
                fcntl.lockf(files[folder], fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except OSError:
                raise ValueError(f"another process is running {run.name} of {folder}: wait for it or stop it") from None
        yield


def results(runs: list[Run]) -> pd.DataFrame:
    """A tidy table of what the runs that are there show: one row for each claim and each glued number.

    Columns: ``run``, ``state``, the parameters, ``id``, ``claim``, ``paper``, ``ours``, ``verdict``.
    """
    rows = []
    for run in runs:
        head = {"run": run.name, "state": state(run)[0], **run.parameters}
        if not run.out.is_file():
            rows.append(head)
            continue
        names = {"id": "id", "claim": "sentence", "paper": "paper", "ours": "ours", "verdict": "verdict"}
        for shown in claimed(run.out):
            rows += [{**head, **{k: row.get(v, "") for k, v in names.items()}} for row in shown["claims"]]
        for output in outputs(run.out):
            if glued := output.get("metadata", {}).get("scrapbook", {}).get("name"):
                text = next((v for k, v in output.get("data", {}).items() if k.endswith("text/plain")), "")
                rows.append({**head, "id": glued, "ours": "".join(text)})
    return pd.DataFrame(rows)


def outputs(path: Path) -> list[dict[str, Any]]:
    """All outputs of an executed notebook."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [output for cell in cells for output in cell.get("outputs", [])]


def claimed(path: Path) -> list[dict[str, Any]]:
    """What each ``Claims`` object of an executed notebook shows."""
    pages = ["".join(output.get("data", {}).get("text/html", "")) for output in outputs(path)]
    return [shown for page in pages if (shown := former.read(page))]


def held(path: Path) -> str:
    """How many claims an executed notebook makes, and what became of them."""
    return former.summary([row for shown in claimed(path) for row in shown["claims"]])
