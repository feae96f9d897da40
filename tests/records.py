"""One record for each dynamics: how to make it, what it refuses, its exact law, what a step costs.

The tests of laws, costs, refusals and pages (``test_records.py``) and of optimizers (``test_optim.py`` and
``test_optim_contracts.py``) are made from it. ``python -m tests.records NAME`` prints the stub of its page.
"""

import inspect
import sys
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

import thermolib as tl
from thermolib import exact

#: Of the oscillators, twenty in each replica, on which laws are tested.
CURVATURE, SIZES = 1.3, {"hidden.weight": 10, "output.weight": 10}
HOT = 0.7
LAW = {"curvature": CURVATURE, "temperature": HOT}


@dataclass
class Record:
    """A dynamics: what makes it, with which arguments, what it refuses, and its optimizer, if it has one."""

    law: Any
    arguments: dict[str, Any]
    refused: dict[str, Any]
    make: Any = None
    forces: int = 1  # asked for in a step
    losses: int = 0
    square: float | None = None  # <q^2> of an oscillator, with the arguments ``sampling``
    sampling: dict[str, Any] = field(default_factory=dict)
    wrong: dict[str, Any] = field(default_factory=dict)  # arguments that break that law
    kicks: float = 0.0  # the standard deviation of the gradient there
    grouped: bool = False  # takes the two groups of tl.optim.layers
    quiet: dict[str, Any] = field(default_factory=dict)  # arguments that switch the noise off
    noisy: bool = True  # draws numbers of its own
    rate: str = "step_size"  # the argument that a learning-rate scheduler changes

    def counterpart(self, velocities: str = "", **given: Any) -> Any:
        """The dynamics with the arguments of its optimizer."""
        return self.law(**given)

    def build(self, module: nn.Module, **changes: Any) -> torch.optim.Optimizer:
        params = tl.optim.layers(module) if self.grouped else module.parameters()
        return self.make(params, **self.arguments | {"seed": 0} | changes)

    def sampler(self, **changes: Any) -> Any:
        """The dynamics whose law is known, on the oscillators."""
        return self.counterpart(**self.arguments | self.sampling | changes).bind(SIZES)

    def page(self) -> str:
        """The stub of its page in ``book/integrators``, whose first snippet runs."""
        name = self.law.__name__
        said = inspect.getdoc(self.law).partition("\n")[0]
        own = inspect.signature(self.law).parameters
        values = ", ".join(f"{n}={x!r}" for n, x in (self.arguments | self.sampling).items() if n in own)
        return f"""# {name}

```python
import torch
from {self.law.__module__} import {name}
import thermolib as tl

law = {name}({values}).bind({SIZES})
run = tl.simulate(lambda q: {CURVATURE} * q.square().sum(1) / 2, law, torch.zeros(100, 20), steps=200)
print(run.final.q.square().mean().item())
```

{said}

## Which values

## Equations and arguments

```{{eval-rst}}
.. auto{"class" if inspect.isclass(self.law) else "function"}:: {self.law.__module__}.{name}
   :no-index:
{"   :no-members:" if inspect.isclass(self.law) else ""}
```
"""


RECORDS = {
    "Langevin": Record(
        tl.Langevin,
        {"step_size": 0.1, "friction": 2.0, "temperature": 1e-3},
        {"step_size": 0.0, "friction": -1.0, "temperature": -1.0, "word": "AOA"},
        tl.optim.Langevin,
        quiet={"temperature": 0.0},
        sampling={"step_size": 0.5, "temperature": HOT},
        wrong={"temperature": 1.3 * HOT},
        square=exact.stationary_moments("BAOAB", step_size=0.5, friction=2.0, **LAW).qq,
    ),
    "SGLD": Record(
        tl.SGLD,
        {"step_size": 0.1, "temperature": 1e-3},
        {"step_size": -0.1, "temperature": -1.0},
        tl.optim.SGLD,
        quiet={"temperature": 0.0},
        sampling={"step_size": 0.3, "temperature": HOT},
        wrong={"temperature": 1.3 * HOT},
        square=exact.sgld_moment(step_size=0.3, **LAW),
    ),
    "AdaptiveLangevin": Record(
        tl.AdaptiveLangevin,
        {"step_size": 0.1, "temperature": 1e-3, "noise": 0.05, "coupling": 0.2},
        {"step_size": 0.0, "noise": -1.0, "coupling": 0.0, "convention": "none", "word": "BACXCAB"},
        tl.optim.AdaptiveLangevin,
        quiet={"noise": 0.0},
        sampling={"step_size": 0.05, "temperature": HOT, "noise": 1.0},
        wrong={"temperature": 1.3 * HOT},
        square=HOT / CURVATURE,
    ),
    "AdaptiveLangevin, thermostat per tensor": Record(
        tl.AdaptiveLangevin,
        {"step_size": 0.1, "temperature": 1e-3, "noise": 0.05, "coupling": 0.2, "thermostats": "tensor"},
        {"thermostats": "layer"},
        tl.optim.AdaptiveLangevin,
        quiet={"noise": 0.0},
        sampling={"step_size": 0.05, "temperature": HOT, "noise": 1.0},
        wrong={"temperature": 1.3 * HOT},
        square=HOT / CURVATURE,
    ),
    "LangevinInLayers": Record(
        tl.LangevinInLayers,
        {"step_size": 0.1, "friction": (1.0, 3.0), "temperature": (1e-3, 1e-4)},
        {"step_size": 0.0, "friction": (1.0, -3.0), "temperature": (1.0, 2.0, 3.0)},
        tl.optim.LangevinInLayers,
        grouped=True,
        quiet={"temperature": (0.0, 0.0)},
        sampling={"step_size": 0.4, "temperature": (HOT, 0.3)},
        wrong={"temperature": (0.3, 0.3)},
        square=(HOT + 0.3) / 2 / CURVATURE,
    ),
    "LOL": Record(
        tl.LOL,
        {"step_size": 0.1, "friction": 1.0, "temperature": (1e-3, 0.0)},
        {"step_size": 0.0, "friction": -1.0, "temperature": (-1.0, 0.0)},
        tl.optim.LOL,
        grouped=True,
        quiet={"temperature": (0.0, 0.0)},
        sampling={"step_size": 0.4, "temperature": (HOT, 0.3)},
        wrong={"temperature": (HOT, 0.0)},
        square=(HOT + 0.3) / 2 / CURVATURE,
    ),
    "AdLaLa": Record(
        tl.AdLaLa,
        {"step_size": 0.1, "temperature": (1e-3, 1e-4), "friction": 1.0, "noise": 0.05, "coupling": 0.2},
        {"step_size": 0.0, "noise": -1.0, "temperature": (-1.0, 0.0), "friction": -1.0},
        tl.optim.AdLaLa,
        grouped=True,
        quiet={"temperature": (1e-3, 0.0), "noise": 0.0},
        sampling={"step_size": 0.05, "temperature": (HOT, 0.3), "noise": 1.0},
        wrong={"temperature": (0.3, 0.3)},
        square=(HOT + 0.3) / 2 / CURVATURE,
    ),
    "NoseHooverChain": Record(
        tl.NoseHooverChain,
        {"step_size": 0.1, "temperature": 1e-3, "chain_length": 3, "velocities": "maxwell"},
        {"step_size": 0.0, "temperature": -1.0, "chain_length": 0, "masses": 0.0, "substeps": 2, "velocities": "hot"},
        tl.optim.NoseHooverChain,
        quiet={"velocities": "rest"},
    ),
    "NoseHooverChain, chain per tensor": Record(
        tl.NoseHooverChain,
        {"step_size": 0.1, "temperature": 1e-3, "masses": (2.0, 1.0), "thermostats": "tensor", "velocities": "maxwell"},
        {"thermostats": "layer", "masses": (1.0, 2.0, 3.0)},
        tl.optim.NoseHooverChain,
        quiet={"velocities": "rest"},
    ),
    "PreconditionedSGLD": Record(
        tl.PreconditionedSGLD,
        {"step_size": 0.1, "temperature": 1e-3, "epsilon": 1.0},
        {"step_size": 0.0, "temperature": -1.0, "alpha": 1.0, "epsilon": 0.0},
        tl.optim.PreconditionedSGLD,
        quiet={"temperature": 0.0},
        sampling={"step_size": 3e3, "temperature": HOT, "epsilon": 1e4},  # where the preconditioner is fixed
        wrong={"temperature": 1.3 * HOT},
        square=exact.sgld_moment(step_size=0.3, **LAW),
    ),
    "HMC": Record(
        tl.HMC,
        {"step_size": 0.1, "temperature": 1e-3, "leaps": 4},
        {"step_size": 0.0, "temperature": -1.0, "leaps": 0},
        forces=5,
        losses=1,
        sampling={"step_size": 0.7, "temperature": HOT},
        wrong={"temperature": 1.3 * HOT},
        square=HOT / CURVATURE,
    ),
    "Metropolis": Record(
        tl.Metropolis,
        {"step_size": 0.1, "temperature": 1e-3},
        {"step_size": 0.0, "temperature": -1.0},
        forces=0,
        losses=1,
        sampling={"step_size": 0.4, "temperature": HOT},
        wrong={"temperature": 1.3 * HOT},
        square=HOT / CURVATURE,
    ),
    "AdaptiveMonteCarlo": Record(
        tl.AdaptiveMonteCarlo,
        {"step_size": 0.1},
        {"step_size": 0.0, "temperature": -1.0, "patience": 0.5, "mean_rate": float("inf"), "signal_norm": 2},
        forces=0,
        losses=1,
        sampling={"step_size": 0.4, "temperature": HOT, "mean_rate": 0.0, "patience": 1e9},
        wrong={"temperature": 1.3 * HOT},
        square=HOT / CURVATURE,
    ),
    "SGD": Record(
        tl.SGD,
        {"step_size": 0.1},
        {"step_size": 0.0, "clip": 0.0},
        wrong={"step_size": 0.13},
        kicks=1.0,
        square=exact.heavy_ball_moment(curvature=CURVATURE, rate=0.1, momentum=0.0, gradient_noise=1.0),
    ),
    "Adam": Record(
        tl.Adam, {"step_size": 0.1}, {"step_size": 0.0, "beta1": 1.0, "beta2": -0.1, "epsilon": -1.0, "clip": 0.0}
    ),
    "Momentum": Record(
        tl.Momentum,
        {"lr": 0.1},
        {"lr": 0.0, "rho": 1.0},
        rate="lr",
        wrong={"rho": 0.8},
        kicks=1.0,
        square=exact.heavy_ball_moment(curvature=CURVATURE, rate=0.1, momentum=0.9, gradient_noise=1.0),
    ),
}
for cooling in tl.dynamics.momentum.COOLING:
    RECORDS[f"CoolMomentum, {cooling}"] = Record(
        tl.CoolMomentum,
        {"lr": 0.1, "rho0": 0.9, "steps": 20, "warmup": 2, "cooling": cooling},
        {"lr": 0.0, "rho0": 1.0, "steps": 0, "warmup": -1, "cooling": "none"},
        tl.optim.CoolMomentum,
        noisy=False,
        rate="lr",
        sampling={"steps": 1e9, "warmup": 0},
        wrong={"rho0": 0.8},
        kicks=1.0,
        square=exact.cool_momentum_moment(curvature=CURVATURE, rate=0.1, momentum=0.9, gradient_noise=1.0),
    )

OPTIMIZERS = {name: record for name, record in RECORDS.items() if record.make is not None}

if __name__ == "__main__":
    print(RECORDS[sys.argv[1]].page())
