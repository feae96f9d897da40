"""Records: the tables of experiments in ``results/``, written whole or not at all, with where they come from.

``results/CHAPTER/EXPERIMENT.csv`` (``.csv.gz`` where it is large) is the table, ``EXPERIMENT.json`` beside it the
provenance. The second names the first by its checksum, so that a half-written pair is never read.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import io
import json
import os
import shutil
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import companion
from companion.evidence.provenance import of_run, reference_loop, write_whole

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Record", "all_records", "as_stored", "root", "run_folder"]

#: The variable that names the folder in which the run of a chapter keeps its checkpoints.
FOLDER = "COMPANION_CHECKPOINTS"

#: Bytes above which a table is compressed.
LARGE = 200_000


def root() -> Path:
    """The project that holds the working directory, or else the one that this package lies in."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "notebooks").is_dir() and (folder / "batches").is_dir():
            return folder
    return Path(companion.__file__).resolve().parents[1]


def run_folder(name: str, parameters: Mapping[str, Any]) -> Path | None:
    """Where the run that executes this chapter keeps the checkpoints of an experiment; None where nobody runs it."""
    if not (folder := os.environ.get(FOLDER)):
        return None
    asked = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:12]
    path = Path(folder) / name / asked
    path.mkdir(parents=True, exist_ok=True)
    return path


@dataclass
class Making:
    """A record that is being made: ``write`` ends it; ``folder`` is where its checkpoints lie.

    A table whose ``attrs`` have ``adopted`` holds rows that were made before: it says where each part comes from.
    """

    folder: Path
    frame: pd.DataFrame | None = None

    def write(self, frame: pd.DataFrame) -> None:
        self.frame = frame


@dataclass(frozen=True)
class Record:
    """The record of an experiment, ``CHAPTER/EXPERIMENT``, in a project."""

    project: Path
    name: str

    @property
    def about(self) -> Path:
        """The file of its provenance."""
        return self.project / "results" / f"{self.name}.json"

    @property
    def table(self) -> Path:
        """The file of its table."""
        return self.about.with_name(self.provenance()["table"])

    def exists(self) -> bool:
        return self.about.is_file()

    @property
    def making_in(self) -> Path:
        """The folder of the checkpoints of a record that is being made."""
        return self.project / "runs" / "records" / self.name

    def provenance(self) -> dict[str, Any]:
        """Where it comes from. Raises ValueError where it is missing or damaged."""
        try:
            about = json.loads(self.about.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.about} cannot be read: {error}") from None
        if missing := [key for key in ("table", "sha256", "parameters") if key not in about]:
            raise ValueError(f"{self.about} is no provenance of a record: it has no {missing[0]!r}")
        return about

    def frame(self) -> pd.DataFrame:
        """Its table. Raises ValueError where the table is missing, damaged, or not the one the provenance is of."""
        about = self.provenance()
        try:
            data = self.about.with_name(about["table"]).read_bytes()
            if about["table"].endswith(".gz"):
                data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"the table of {self.about} cannot be read: {error}") from None
        if hashlib.sha256(data).hexdigest() != about["sha256"]:
            raise ValueError(f"{about['table']} is not the table that {self.about} is about: make the record again")
        return _read(data)

    def store(self, frame: pd.DataFrame, about: Mapping[str, Any]) -> None:
        """Write table and provenance: a reader finds the old record, the new one, or a pair that it refuses."""
        data = _written(frame)
        large = len(data) > LARGE
        name = f"{self.about.stem}.csv" + ".gz" * large
        self.about.parent.mkdir(parents=True, exist_ok=True)
        part = self.about.with_name(f"{name}.tmp")
        part.write_bytes(gzip.compress(data, 9, mtime=0) if large else data)
        os.replace(part, self.about.with_name(name))
        what = {"table": name, "rows": len(frame), "sha256": hashlib.sha256(data).hexdigest(), **about}
        write_whole(self.about, json.dumps(what, indent=1, ensure_ascii=False) + "\n")
        other = self.about.with_name(f"{self.about.stem}.csv" + ".gz" * (not large))
        other.unlink(missing_ok=True)

    @contextlib.contextmanager
    def making(self, parameters: Mapping[str, Any]) -> Iterator[Making]:
        """Keep the record to this process while it is made; checkpoints stay until it is written.

        Raises ValueError where another process is making it.
        """
        folder = self.making_in
        folder.mkdir(parents=True, exist_ok=True)
        with (folder.with_suffix(".lock")).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ValueError(f"another process is making the record {self.name}: wait for it or stop it") from None
            for left in self.about.parent.glob(f"{self.about.stem}.*.tmp"):  # of a process that was killed
                left.unlink(missing_ok=True)
            of, asked = folder / "started.json", json.loads(json.dumps(parameters))
            before_it = json.loads(of.read_text()) if of.is_file() else {}
            if before_it and before_it["parameters"] != asked:  # checkpoints of other parameters
                shutil.rmtree(folder)
                folder.mkdir()
                before_it = {}
            about, making = of_run(self.project), Making(folder)
            commits = list(dict.fromkeys([*before_it.get("commits", []), about["commit"]]))
            resumed = any(path.name != of.name for path in folder.iterdir())
            if resumed:
                about["commit"] = ", ".join(commits)
            # A start that was killed has not said what it took, and its None stays.
            earlier = before_it.get("spent") if resumed else [0.0, 0.0]
            state = {"parameters": asked, "commits": commits}
            write_whole(of, json.dumps(state))
            before, began, cpu = reference_loop(), time.perf_counter(), sum(os.times()[:4])

            def so_far() -> list[float]:
                since = time.perf_counter() - began, sum(os.times()[:4]) - cpu
                return [round(was + more, 1) for was, more in zip(earlier or (0.0, 0.0), since, strict=True)]

            try:
                yield making
            finally:
                if making.frame is None and earlier is not None:
                    write_whole(of, json.dumps(state | {"spent": so_far()}))
            if making.frame is None:
                return
            if earlier is None:
                about["resumed"] = "the seconds are those since the last start"
            wall, processor = so_far()
            spent = {
                "wall seconds": wall,
                "processor seconds": processor,
                "reference loop in seconds": round((before + reference_loop()) / 2, 3),
            }
            adopted = {name: said for name, said in making.frame.attrs.items() if name == "adopted"}
            self.store(making.frame, {"parameters": asked, **spent, **about, **adopted})
            shutil.rmtree(folder)


def _written(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False, float_format="%.7g", lineterminator="\n").encode()


def _read(data: bytes) -> pd.DataFrame:
    import pandas as pd  # here, so that the command begins at once

    return pd.read_csv(io.BytesIO(data)).copy()  # in one piece, where there are many columns


def as_stored(frame: pd.DataFrame) -> pd.DataFrame:
    """A table as it would come back from its record, with numbers of seven digits."""
    return _read(_written(frame))


def all_records(project: Path) -> list[Record]:
    """The records that a project has, damaged ones among them."""
    found = []
    for path in sorted((project / "results").glob("*/*.json")):
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            about = {"sha256": ""}  # who reads it is told what is wrong
        if isinstance(about, dict) and "sha256" in about:
            found.append(Record(project, f"{path.parent.name}/{path.stem}"))
    return found
