"""One compiled kernel sequence per kind of step: traced once, then called with tensors only.

A step is traced to a graph of tensor operations and handed to TorchInductor. All hyperparameters, seeds and counters
are tensor inputs, so a change of their values meets the same graph; there are no guards to check at every call.
What was compiled stays on the disk, in ``~/.cache/thermolib/compiled``, and the next process takes it from there.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import sysconfig
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pooch
import torch
from torch import Tensor
from torch._guards import TracingContext, tracing
from torch._subclasses import FakeTensorMode

__all__ = ["compilations", "compile_graph", "compile_step", "possible", "recorded"]

Flat = Callable[..., Sequence[Tensor]]

#: What was compiled, and the graph it came from, which keeps captured tensors alive.
_compiled: dict[tuple, tuple[Callable, Any]] = {}


def compilations() -> int:
    """How many steps this process has compiled."""
    return len(_compiled)


@functools.cache
def possible(device: str) -> bool:
    """Whether this machine can compile: on a CPU that needs a C++ compiler and Python's headers. Warns once if not."""
    if device != "cpu":
        return True
    from torch._inductor import config

    wanted = config.cpp.cxx if isinstance(config.cpp.cxx, (tuple, list)) else (config.cpp.cxx,)
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    missing = "no C++ compiler was found" if not any(name and shutil.which(name) for name in wanted) else ""
    if not missing and not headers.exists():
        missing = f"{headers} is not there"
    if not missing:
        return True
    warnings.warn(
        f"{missing}, so steps run eagerly: the same numbers, several times slower",
        RuntimeWarning,
        stacklevel=3,
    )
    return False


def _keep() -> str:
    """The folder in which TorchInductor keeps what it compiles: in the user's cache, which nobody else can write to.

    Its own folder has a name that anybody can guess, in a place where all may write, and what lies there is executed.
    The one that the user names in ``TORCHINDUCTOR_CACHE_DIR`` is taken as it is.
    """
    if named := os.environ.get("TORCHINDUCTOR_CACHE_DIR"):
        from torch._inductor.runtime.cache_dir_utils import default_cache_dir

        if named != default_cache_dir():  # torch puts its own there when it is the first to look
            return named
    folder = Path(pooch.os_cache("thermolib")) / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError:  # as in a container, where the home of an account may not be its own
        folder = Path(tempfile.mkdtemp(prefix="thermolib-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    return str(folder)


def compile_step(step: Flat, example: Sequence[Tensor]) -> Callable[..., Sequence[Tensor]]:
    """The compiled form of a function of tensors, taken from this process if the same graph was compiled before.

    Compiled with the number of threads that torch has now.
    """
    return compile_graph(recorded(step, example), example)


def recorded(step: Flat, example: Sequence[Tensor]) -> torch.fx.GraphModule:
    """The graph of the tensor operations that a function does."""
    _keep()  # before torch looks where to
    from torch.fx.experimental.proxy_tensor import make_fx  # with what it brings, a tenth of the library's start

    with tracing(TracingContext(FakeTensorMode(allow_fallback_kernels=True))):  # else each operation sets up its own
        return make_fx(step)(*example)


def compile_graph(graph: torch.fx.GraphModule, example: Sequence[Tensor]) -> Callable[..., Sequence[Tensor]]:
    """The compiled form of a graph of tensor operations that gives a sequence."""
    constants = tuple(
        id(getattr(graph, str(node.target))) for node in graph.graph.nodes if node.op == "get_attr"
    )  # captured tensors are part of what was compiled; they are kept alive, so their ids stay unique
    kinds = tuple((t.shape, t.dtype, t.device) for t in example)
    identity = (graph.code, kinds, constants, torch.get_num_threads())
    if identity not in _compiled:
        folder = _keep()
        from torch._inductor import codecache, config
        from torch._inductor import compile as inductor_compile
        from torch.fx.experimental.symbolic_shapes import ShapeEnv

        codecache._HEADER_DIR = os.path.join(folder, "headers")  # wherever the rest goes, torch would keep its own
        codecache._HEADER_LOCK_DIR = os.path.join(folder, "headers", "locks")
        # Only where shapes could be symbolic does TorchInductor look for what other processes have compiled, and only
        # settings, not the state of torch, tell it that the number of threads was another. Shapes are those of the
        # example and need no look at every call.
        context = TracingContext(FakeTensorMode(shape_env=ShapeEnv()))
        # On a CPU what calls the kernels is compiled as well: written in Python it takes as long as they do where
        # networks are small. The tangent of _plain_tanh has no entry for C++, only a detour that is no faster.
        device = example[0].device.type
        tanh = any(node.target is torch.ops.aten.tanh.default for node in graph.graph.nodes)
        settings = {
            "cpp.threads": torch.get_num_threads(),
            "size_asserts": False,
            "cpp_wrapper": device == "cpu" and not tanh,
        }
        with tracing(context), config.patch(settings), _plain_tanh(device):
            _compiled[identity] = inductor_compile(graph, list(example)), graph
    return _compiled[identity][0]


@contextlib.contextmanager
def _plain_tanh(device: str) -> Iterator[None]:
    """On a CPU, call PyTorch's own hyperbolic tangent: the one that TorchInductor writes takes six times as long."""
    from torch._inductor import lowering

    tanh = torch.ops.aten.tanh.default
    written = lowering.lowerings[tanh]
    if device == "cpu":
        lowering.lowerings[tanh] = lowering.fallback_handler(tanh, add_to_fallback_set=False)
    try:
        yield
    finally:
        lowering.lowerings[tanh] = written
