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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

import companion
from companion.evidence.provenance import of_run, reference_loop, write_whole

__all__ = ["Record", "all_records", "root"]

#: Bytes above which a table is compressed.
LARGE = 200_000


def root() -> Path:
    """The project that holds the working directory, or else the one that this package lies in."""
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "notebooks").is_dir() and (folder / "batches").is_dir():
            return folder
    return Path(companion.__file__).resolve().parents[1]


@dataclass
class Making:
    """A record that is being made: ``write`` ends it; ``folder`` is where its checkpoints lie."""

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

    def provenance(self) -> dict[str, Any]:
        """Where it comes from. Raises ValueError where it is missing or damaged."""
        try:
            return json.loads(self.about.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.about} cannot be read: {error}") from None

    def frame(self) -> pd.DataFrame:
        """Its table. Raises ValueError where the table is missing, damaged, or not the one the provenance is of."""
        about = self.provenance()
        try:
            data = self.about.with_name(about["table"]).read_bytes()
            if about["table"].endswith(".gz"):
                data = gzip.decompress(data)
        except (OSError, EOFError, KeyError, gzip.BadGzipFile) as error:
            raise ValueError(f"the table of {self.about} cannot be read: {error}") from None
        if hashlib.sha256(data).hexdigest() != about["sha256"]:
            raise ValueError(f"{about['table']} is not the table that {self.about} is about: make the record again")
        return pd.read_csv(io.BytesIO(data), float_precision="round_trip")

    def store(self, frame: pd.DataFrame, about: Mapping[str, Any]) -> None:
        """Write table and provenance: a reader finds the old record or the new one."""
        text = frame.to_csv(index=False, float_format="%.7g", lineterminator="\n")
        data = text.encode()
        large = len(data) > LARGE
        name = f"{self.about.stem}.csv" + ".gz" * large
        self.about.parent.mkdir(parents=True, exist_ok=True)
        part = self.about.with_name(f"{name}.{os.getpid()}.tmp")
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
        folder = self.project / "runs" / "records" / self.name
        folder.mkdir(parents=True, exist_ok=True)
        with (folder.with_suffix(".lock")).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ValueError(f"another process is making the record {self.name}: wait for it or stop it") from None
            of = folder / "parameters.json"
            asked = json.dumps(parameters, sort_keys=True)
            if of.is_file() and of.read_text() != asked:  # checkpoints of other parameters
                shutil.rmtree(folder)
                folder.mkdir()
            write_whole(of, asked)
            resumed = {"resumed": "the seconds are those since the last start"} if _checkpoints(folder) else {}
            about, making = of_run(self.project) | resumed, Making(folder)
            before, began, cpu = reference_loop(), time.perf_counter(), sum(os.times()[:4])
            yield making
            if making.frame is None:
                return
            spent = {
                "wall seconds": round(time.perf_counter() - began, 1),
                "processor seconds": round(sum(os.times()[:4]) - cpu, 1),
                "reference loop in seconds": round((before + reference_loop()) / 2, 3),
            }
            self.store(making.frame, {"parameters": dict(parameters), **spent, **about})
            shutil.rmtree(folder)


def _checkpoints(folder: Path) -> bool:
    return any(path.name != "parameters.json" for path in folder.iterdir())


def all_records(project: Path) -> list[Record]:
    """The records that a project has."""
    found = []
    for path in sorted((project / "results").glob("*/*.json")):
        with contextlib.suppress(ValueError, AttributeError):
            if "sha256" in json.loads(path.read_text(encoding="utf-8")):
                found.append(Record(project, f"{path.parent.name}/{path.stem}"))
    return found
