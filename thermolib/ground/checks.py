"""Refusals in one sentence: the argument, its value, and what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["above", "at_least", "device", "integer", "length", "one_of"]


def _every(name: str, value: Any, ok: Callable[[torch.Tensor], torch.Tensor], allowed: str) -> None:
    if callable(value):  # a schedule, whose values are looked at when a run comes to them
        return
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        tensor = torch.tensor(False)
    if tensor.dtype == torch.bool:  # or what is no tensor at all
        raise ValueError(f"{name}={value!r} is not allowed: it must be a number or one value per replica")
    if tensor.ndim > 2 or tensor.is_complex():
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}: allowed are a number or one value per replica")
    if tensor.numel() and bool(ok(tensor).all()):
        return
    shown = (
        value if not isinstance(value, torch.Tensor) or value.numel() < 5 else tensor[~ok(tensor)].flatten()[0].item()
    )
    raise ValueError(f"{name}={shown} is not allowed: it must be {allowed}")


def above(name: str, value: Any, bound: float = 0.0, infinite: bool = False) -> None:
    """Refuse anything not above the bound; infinity only where it has a meaning."""
    if infinite:
        _every(name, value, lambda t: t > bound, f"above {bound:g} or infinite")
    else:
        _every(name, value, lambda t: (t > bound) & ~t.isnan() & ~t.isinf(), f"finite and above {bound:g}")


def at_least(name: str, value: Any, bound: float = 0.0, below: float = float("inf"), infinite: bool = False) -> None:
    """Refuse anything under the bound, or at or over the upper one; infinity only where it has a meaning."""
    limit = f" and below {below:g}" if below != float("inf") else ""
    end = " or infinite" if infinite else ""

    def ok(t: torch.Tensor) -> torch.Tensor:
        return (t >= bound) & ~t.isnan() & (t < below if not infinite else t <= below)

    _every(name, value, ok, f"at least {bound:g}{limit}{end}" + ("" if infinite else " and finite"))


def integer(name: str, value: Any, least: int) -> int:
    """Refuse anything that is not a whole number of at least the given size."""
    if isinstance(value, bool) or (not isinstance(value, int) and not (hasattr(value, "__index__"))):
        raise ValueError(f"{name}={value!r} is not allowed: it must be a whole number of at least {least}")
    number = value.__index__()
    if number < least:
        raise ValueError(f"{name}={number} is not allowed: it must be at least {least}")
    return number


def length(name: str, value: torch.Tensor, replicas: int) -> None:
    """Refuse a hyperparameter whose number of values is neither one nor the number of replicas."""
    if value.numel() not in (1, replicas):
        raise ValueError(f"{name} has {value.numel()} values for {replicas} replicas: allowed are 1 or {replicas}")


def device(name: str | torch.device | None) -> torch.device:
    """The device asked for, or the GPU if there is one; a device that is not there is refused."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(name)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        there = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        raise ValueError(f"device={str(name)!r} is not there: this machine has {', '.join(there)}") from error
    return found


def one_of(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Refuse a word that is not on the list."""
    if value not in allowed:
        raise ValueError(f"{name}={value!r} is not allowed: it must be {' or '.join(map(repr, allowed))}")
