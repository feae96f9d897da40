"""Checkpoints: written whole or not at all, read without executing anything, refused where they do not belong."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

__all__ = ["Checkpoint", "fingerprint"]

#: Another number whenever what a file holds changes.
FORMAT = 1


def fingerprint(description: dict[str, Any]) -> str:
    """A short name for what a run is; tensors count by their content."""

    def content(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            # a clone: where a size is one, what counts as contiguous may have any stride, and bytes have none but one
            raw = value.detach().cpu().clone(memory_format=torch.contiguous_format)
            digest = hashlib.sha256(raw.reshape(-1).view(torch.uint8).numpy().tobytes()).hexdigest()
            return [str(value.dtype), list(value.shape), digest]
        return str(value)

    return hashlib.sha256(json.dumps(description, default=content, sort_keys=True).encode()).hexdigest()


class Checkpoint:
    """The state of a run in one file.

    ``loss`` is that at the start of the run, where there is one: it tells functions from each other that share a name.

    Raises ValueError, naming the file and the way out, where the file is damaged, of another version or of another run.
    """

    def __init__(self, path: Path, description: dict[str, Any], loss: torch.Tensor | None = None) -> None:
        self.path = path
        self._loss = torch.zeros(()) if loss is None else loss.detach().cpu()
        self._name = fingerprint(description)
        self._integrator = str(description["integrator"])
        if not path.parent.is_dir():
            raise ValueError(f"checkpoint={path} is not allowed: the folder {path.parent} does not exist")
        for left in path.parent.glob(f"{path.name}.*.part"):  # of a run that was killed while writing
            left.unlink(missing_ok=True)

    def load(self) -> dict[int, dict[str, Any]]:
        """What was saved for each chunk; nothing if there is no file."""
        if not self.path.exists():
            return {}
        try:
            saved = torch.load(self.path, weights_only=True, map_location="cpu")
            written = saved["format"]
            if written == FORMAT:
                name, loss, integrator, chunks = saved["run"], saved["loss"], saved["integrator"], saved["chunks"]
        except Exception as error:
            raise ValueError(
                f"checkpoint={self.path} is damaged or no checkpoint: name another file, or delete it to begin anew"
            ) from error
        if written != FORMAT:
            raise ValueError(
                f"checkpoint={self.path} was written by another version of thermolib: name another file, or delete it"
            )
        # another processor may round differently
        if name != self._name or not torch.allclose(loss, self._loss, rtol=1e-3, equal_nan=True):
            raise ValueError(
                f"checkpoint={self.path} belongs to another run, of {integrator}: name another file, or delete it"
            )
        return chunks

    def save(self, chunks: dict[int, dict[str, Any]]) -> None:
        """Write to a file beside, then rename: a reader sees the old or the new one."""
        part = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        head = {"format": FORMAT, "run": self._name, "loss": self._loss, "integrator": self._integrator}
        with _uninterrupted():
            try:
                with open(part, "wb") as file:
                    torch.save(head | {"chunks": chunks}, file)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(part, self.path)
            except (OSError, RuntimeError) as error:
                part.unlink(missing_ok=True)
                # on a full disk PyTorch's writer fails once more while it closes, and hides what the disk said
                said = error if isinstance(error, OSError) else error.__context__ or error
                raise OSError(
                    f"checkpoint={self.path} could not be written, the one before it is kept: {said}"
                ) from error


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put off an interrupt from the keyboard: PyTorch's writer loses it, or takes it for an error of the disk."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is None:
        yield  # interrupts are the main thread's, and Python's
        return
    caught: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: caught.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if caught:
            signal.raise_signal(signal.SIGINT)
