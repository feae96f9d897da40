"""Lets torchvision be imported where its wheel does not fit the build of torch.

A wheel of torchvision that was built for CUDA cannot load its own operators beside a torch without CUDA, and then fails
on import, because it describes two operators that nobody declared. The images that this project reads need none of
them. Here they are declared, when torchvision is imported and if its library cannot be loaded.
"""

import ctypes
import importlib.abc
import importlib.util
import sys
from pathlib import Path

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept = []  # what is declared lasts as long as the object that declared it


def declare() -> None:
    """Declare the operators, unless torchvision can bring them itself."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return
    import torch

    try:
        for library in Path(spec.origin).parent.glob("_C*.so"):
            ctypes.CDLL(str(library))
    except OSError:
        operators = torch.library.Library("torchvision", "DEF")
        for schema in SCHEMAS:
            operators.define(schema)
        _kept.append(operators)


class Finder(importlib.abc.MetaPathFinder):
    """Finds nothing, but knows when torchvision is looked for."""

    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            declare()
        return None


def install() -> None:
    if "torchvision" not in sys.modules and not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())
