"""What every program that trains for hours does besides training: a command line, a history, and going on.

A program has a dataclass of settings, a :class:`Run`, and a function ``train`` that joins them; :func:`command` makes
the command line from the signatures and docstrings of the first and the last.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import inspect
import math
import os
import re
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import torch
from tqdm.auto import tqdm

import thermolib
from companion.evidence.provenance import provenance, write_record
from thermolib.engine.checkpoint import Checkpoint
from thermolib.ground import checks

__all__ = ["Run", "code", "command"]


def code(program: Sequence[Any]) -> str:
    """A short name for what the library and a program compute: constants count, comments and docstrings do not."""
    digest = hashlib.sha256()
    files = [Path(inspect.getfile(part)) for part in program]
    for file in [*sorted(Path(thermolib.__file__).parent.rglob("*.py")), *files]:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
                node.body[0] = ast.Pass()
        digest.update(ast.unparse(tree).encode())
    return digest.hexdigest()


class Run(ABC):
    """A training that can be kept in a folder and goes on from there; a program adds ``device`` and ``advance``.

    Parameters
    ----------
    loss : the column of the history with the loss that ends it when it is not finite.
    parts : all that has a state, by name.

    Attributes: ``made``, epochs or steps so far, and ``rows`` of the history.
    """

    device: torch.device

    def __init__(self, loss: str, **parts: Any) -> None:
        self._column, self._parts = loss, parts
        self.made, self.rows = 0, list[dict[str, float]]()
        self._kept: dict[str, Any] = {"seconds": 0.0}
        self._out: Path | None = None
        self._process = 0

    @abstractmethod
    def advance(self, look: bool) -> None:
        """Make one more epoch or step, and look at the whole data if asked."""

    def state_dict(self) -> dict[str, Any]:
        """What the next epoch or step needs."""
        return {name: part.state_dict() for name, part in self._parts.items()} | {"made": self.made, "rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.made, self.rows = state["made"], state["rows"]
        for name, part in self._parts.items():
            part.load_state_dict(state[name])

    def begin_from(self, checkpoint: Path) -> None:
        """Go on from the checkpoint of another training: of other code, or with another setting."""
        try:
            saved = torch.load(checkpoint, weights_only=True, map_location="cpu")["chunks"][0]
            rows = saved.get("rows", saved["run"].get("rows"))  # which lay beside the run in earlier ones
            state = {"made": len(rows), **saved["run"], "rows": rows}
        except Exception as error:
            raise ValueError(f"checkpoint={checkpoint} is damaged or no checkpoint of a training") from error
        self.load_state_dict(state)

    @property
    def diverged(self) -> bool:
        """Whether the last loss is not finite."""
        return not all(math.isfinite(row[self._column]) for row in self.rows[-1:])

    def keep(
        self,
        out: Path | str,
        method: str,
        what: dict[str, Any],
        program: Sequence[Any],
        *packages: str,
        process: int = 0,
    ) -> None:
        """Keep history, provenance and checkpoint in a folder, and go on from a checkpoint that is there.

        Parameters
        ----------
        out : the folder.
        method : by which it trains.
        what : the settings, and all else that makes it another run, by name.
        program : modules and functions whose files, with the library, are what the run computes with.
        packages : whose versions the provenance has, besides Python's and torch's.
        process : of those that train together; the first writes.

        Raises
        ------
        ValueError : a checkpoint that is damaged, of other settings, or made by other code.
        """
        self._out, self._what, self._packages, self._process = Path(out), what, packages, process
        self._out.mkdir(parents=True, exist_ok=True)
        self._file = Checkpoint(self._out / "checkpoint.pt", {"integrator": method} | what)
        now = {"code": code(program), "commits": [provenance()["commit"]]}
        self._kept = {"seconds": 0.0} | self._file.load().get(0, now)
        if self._kept["code"] != now["code"]:
            raise ValueError(
                f"checkpoint={self._file.path} was made by other code, at commit {self._kept['commits'][-1]}: go on "
                "there, name another folder, or delete it"
            )
        self._kept["commits"] = list(dict.fromkeys(self._kept["commits"] + now["commits"]))
        if "run" in self._kept:
            self.load_state_dict(self._kept.pop("run"))

    def drive(
        self, end: int, unit: str, until: int | None, look_every: int, save_every: int = 1, *, progress: bool
    ) -> pd.DataFrame:
        """Go on to ``until``, or to the ``end``, in epochs or steps, unless it diverges; returns the history.

        It looks at the whole data after each ``look_every`` of them and after the last, and is saved after each
        ``save_every``. Raises ValueError where one of these is below 1, and OSError for a checkpoint that cannot be
        written; the one before it is kept.
        """
        last = end if until is None else min(checks.integer("until", until, 1), end)
        checks.integer("look_every", look_every, 1)
        checks.integer("save_every", save_every, 1)
        began, quiet = time.perf_counter() - self._kept["seconds"], not progress or self._process > 0
        with tqdm(total=last, initial=self.made, unit=f" {unit}", disable=quiet, leave=False) as bar:
            while self.made < last and not self.diverged:
                now = self.made + 1
                self.advance(now % look_every == 0 or now == last)
                bar.update()
                if self._out and (now % save_every == 0 or now == last or self.diverged):
                    state = self.state_dict()  # in every process: some of it may be summed over all of them
                    if self._process == 0:
                        self._save(self._out, state, time.perf_counter() - began, unit)
        return pd.DataFrame(self.rows)

    def _save(self, out: Path, state: dict[str, Any], seconds: float, unit: str) -> None:
        self._file.save({0: self._kept | {"seconds": seconds, "run": state}})
        record = self._what | provenance(*self._packages) | {"commit": ", ".join(self._kept["commits"])}
        record |= {"device": self.device.type, f"{unit} made": self.made, "wall time in seconds": round(seconds)}
        write_record(out, pd.DataFrame(self.rows), record)


def command(
    settings: Callable[..., Any],
    train: Callable[..., pd.DataFrame],
    arguments: Sequence[str] | None = None,
    **defaults: Any,
) -> None:
    """Read a command line, train, and print the last row; what is wrong is said in one sentence.

    Every parameter of ``settings`` and ``train`` that is a number, a text or a path is an option, with the line of its
    docstring as help; ``--threads`` is added. ``defaults`` are those that differ on the command line.
    """
    about = (inspect.getmodule(train).__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(
        f"python -m companion.recipes.{Path(inspect.getfile(train)).stem}", description=about
    )
    names = [_add_options(parser, function, defaults) for function in (settings, train)]
    parser.add_argument("--threads", type=int, help="of PyTorch on the CPU (default: its own choice)")
    given = vars(parser.parse_args(arguments))
    try:
        if given["threads"] is not None:
            torch.set_num_threads(checks.integer("threads", given["threads"], 1))
        of_settings, of_train = ({name: given[name] for name in part} for part in names)
        history = train(settings(**of_settings), **of_train, progress=True)
    except KeyboardInterrupt:
        sys.exit("interrupted: the same command goes on from the last checkpoint")
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    if not int(os.environ.get("RANK", 0)):
        print(history.tail(1).to_string(index=False))


def _add_options(parser: argparse.ArgumentParser, function: Callable[..., Any], defaults: dict[str, Any]) -> list[str]:
    """Add what a function takes to a command line; returns the names."""
    lines = re.findall(r"^ +([a-z][\w, ]*) : (.+)$", function.__doc__ or "", re.M)
    helps = {
        name: text.rstrip(".;").replace("%", "%%").replace("``", "")
        for names, text in lines
        for name in names.split(", ")
    }
    found = []
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        kinds = get_args(parameter.annotation) or (parameter.annotation,)
        if not (kind := next((kind for kind in (Path, float, int, str) if kind in kinds), None)):
            continue
        default = defaults.get(name, parameter.default)
        needed = name == "out" or default is inspect.Parameter.empty
        option: dict[str, Any] = {"required": True} if needed else {"default": default}
        shown = helps[name] + ("" if needed or default is None else " (default: %(default)s)")
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=shown, **option)
        found.append(name)
    return found
