"""Networks of an ensemble that are kept along a run, in memory or on the disk."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from thermolib.data import Splits
from thermolib.engine.checkpoint import fingerprint
from thermolib.ground import checks
from thermolib.nets.ensemble import Ensemble
from thermolib.observe.predictions import Prediction, Predictions, lost

__all__ = ["Samples"]


class Samples:
    r"""Networks kept along a run, for predictions at any input later.

    When ``limit`` of them are kept, every second one is dropped and the period is doubled, so that a run of any length
    leaves between ``limit / 2`` and ``limit``, evenly spaced. Pass it to :func:`thermolib.train` as ``collect``.

    Parameters
    ----------
    ensemble : the networks that are trained.
    after, every : as for :class:`Predictions`.
    limit : samples of each replica to keep at most.

    Raises
    ------
    ValueError : a negative number of steps, a period below one, a limit below two; predictions or a file that are
        asked for before there is a sample.
    """

    def __init__(self, ensemble: Ensemble, after: int = 0, every: int = 1, limit: int = 256) -> None:
        self.ensemble = ensemble
        self.after = checks.integer("after", after, 0)
        self.every = checks.integer("every", every, 1)
        self.limit = checks.integer("limit", limit, 2)
        self._hyperparameters: dict[str, list[float]] = {}
        self._parts: dict[int, _Part] = {}
        self._file: Any = None
        self._about: dict[str, str] = {}  # what stands in the head of a file

    def begin(self, hyperparameters: Mapping[str, Tensor]) -> None:
        """Note the hyperparameters of a run, ``[R]`` each."""
        self._hyperparameters = {name: value.tolist() for name, value in hyperparameters.items()}

    def read(self, ensemble: Ensemble, q: Tensor, rows: Tensor) -> Tensor:
        """The positions themselves."""
        return q

    def add(self, q: Tensor, step: int = 0, part: int = 0, diverged: Tensor | None = None) -> None:
        """Add one sample of each replica, ``[R, P]``, or count it only, where every second or fourth is kept.

        Parameters
        ----------
        q : the parameters of the networks, ``[R, P]``.
        step : of the run, which is kept with the sample.
        part : the number of the replicas that run together, where some run apart from others.
        diverged : which replicas have diverged, ``[R]``: predictions and files say so.

        Raises
        ------
        ValueError : positions that are not those of networks of the ensemble.
        """
        if q.ndim != 2 or q.shape[1] != self.ensemble.parameters:
            raise ValueError(f"q has shape {tuple(q.shape)}: it must be [replicas, {self.ensemble.parameters}]")
        gone = lost(q).cpu() if diverged is None else diverged
        self._parts.setdefault(part, _Part(len(q))).add(q, step, gone, self.limit)

    def saved(self, part: int) -> dict[str, Any] | None:
        """What a checkpoint keeps of a part; None where there is no sample yet."""
        return copy.copy(vars(self._parts[part])) if part in self._parts else None

    def restore(self, part: int, saved: dict[str, Any] | None) -> None:
        """Take back what :meth:`saved` returned."""
        self._parts.pop(part, None)
        if saved is not None:
            self._parts[part] = _Part(0)
            vars(self._parts[part]).update(saved)

    @property
    def run(self) -> dict[str, Any]:
        """What made the samples: ``seed`` and ``replicas`` of the ensemble, and the hyperparameters of the dynamics,
        one value for each replica."""
        if self._file is not None:
            return json.loads(self._about["run"])
        replicas = self.ensemble.replicas.tolist()
        return {"seed": self.ensemble.seed, "replicas": replicas, **self._hyperparameters}

    @property
    def steps(self) -> list[int]:
        """The steps of the run at which the samples were taken."""
        if self._file is not None:
            return json.loads(self._about["steps"])
        return [step for step, _ in self._parts[0].kept] if self._parts else []

    def __len__(self) -> int:
        """Samples of each replica that are kept."""
        return len(self.steps)

    def __iter__(self) -> Iterator[Tensor]:
        """The samples in their order, ``[R, P]`` each; from a file, one at a time."""
        for number in range(len(self)):
            if self._file is not None:
                values = [self._file.get_slice(name)[number] for name in self.ensemble.names]
                yield torch.cat([value.reshape(len(value), -1) for value in values], 1)
            else:
                yield torch.cat([self._parts[part].kept[number][1] for part in sorted(self._parts)])

    def predict(self, x: Tensor | Splits, transform: Callable[[Tensor], Tensor] | None = None) -> Prediction:
        """Mean, spread and votes over the samples, in the memory of one sample's predictions.

        Raises ValueError where there are no samples.
        """
        return self.predictions(x, transform=transform).result

    def predictions(
        self, x: Tensor | Splits, keep: int = 128, transform: Callable[[Tensor], Tensor] | None = None
    ) -> Predictions:
        """As :meth:`predict`, with the samples that quantiles need."""
        found = Predictions(x, keep=keep, transform=transform)
        for q in self:
            outputs = found.read(self.ensemble, q, torch.arange(len(q)))
            found.add(outputs, diverged=self._gone() | lost(q) | lost(outputs.cpu()))
        return found

    def _gone(self) -> Tensor:
        """Which replicas have diverged, ``[R]``."""
        if self._file is not None:
            return torch.tensor(json.loads(self._about["diverged"]))
        return torch.cat([self._parts[part].lost for part in sorted(self._parts)])

    def save(self, path: str | Path) -> None:
        """Write the samples to a safetensors file, which PyTorch, NumPy and JAX can open.

        It holds each parameter of the module under its name, ``[S, R, *shape]``, and as texts in JSON the ``steps``,
        the ``run``, and which replicas have ``diverged``. Raises ValueError where there are no samples.
        """
        if not len(self):
            raise ValueError("there are no samples to save")
        values = self.ensemble.named(torch.stack(list(self)))
        about = {"steps": self.steps, "run": self.run, "diverged": self._gone().tolist()}
        texts = {name: json.dumps(value) for name, value in about.items()}
        texts |= {"module": _kind(self.ensemble), "fingerprint": _identity(self.ensemble)}
        save_file({name: values[name].contiguous() for name in self.ensemble.names}, path, texts)

    @classmethod
    def load(cls, path: str | Path, ensemble: Ensemble) -> Samples:
        """Samples in a file, which stays on the disk: predictions read them one at a time.

        Raises
        ------
        ValueError : a file that holds no samples, or those of another module: with other layers, names or shapes, or
            other values of what is not trained.
        """
        found = cls(ensemble)
        try:
            found._file = safe_open(path, "pt")
            found._about = found._file.metadata() or {}
            theirs = found._about["module"]
        except (SafetensorError, KeyError) as error:
            raise ValueError(
                f"path={path} holds no samples: it must be a file that Samples.save has written"
            ) from error
        if found._about["fingerprint"] != _identity(ensemble):
            raise ValueError(
                f"path={path} holds samples of another module, {theirs}: it must be the same as {_kind(ensemble)}, "
                "with the same values of what is not trained"
            )
        return found


def _kind(ensemble: Ensemble) -> str:
    return f"{type(ensemble.module).__name__} of {ensemble.parameters} parameters"


def _identity(ensemble: Ensemble) -> str:
    """A short name for the layers, names and shapes of a module, and for the values that it has itself."""
    fixed = {name: value for name, value in ensemble.module.state_dict().items() if name not in ensemble.names}
    shapes = list(zip(ensemble.names, ensemble.shapes, strict=True))
    return fingerprint({"module": str(ensemble.module), "parameters": shapes, "fixed": fixed})


class _Part:
    """The samples of the replicas that run together."""

    def __init__(self, replicas: int) -> None:
        self.kept: list[tuple[int, Tensor]] = []
        self.stride, self.seen = 1, 0
        self.lost = torch.zeros(replicas, dtype=torch.bool)

    def add(self, q: Tensor, step: int, gone: Tensor, limit: int) -> None:
        if self.seen % self.stride == 0:
            self.kept = [*self.kept, (step, q.detach().cpu().clone())]
            if len(self.kept) == limit:
                self.kept, self.stride = self.kept[::2], 2 * self.stride
        self.seen += 1
        self.lost = self.lost | gone
