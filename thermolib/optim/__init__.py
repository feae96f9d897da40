r"""The integrators as optimizers, for any ``nn.Module`` and its own training loop.

``backward()`` has evaluated the gradient at the current parameters when an optimizer is asked to step, so every word
is rotated to begin with B: BAOAB runs as B A O A, with one gradient a step. Noise is a function of (seed, number of the
parameter, step, draw, index), so that it is the same on every device, and on every rank of DistributedDataParallel
without being sent.

Parameter groups, ``state_dict`` and learning-rate schedulers work as in PyTorch. The step size :math:`h` of a group is
its entry ``lr``; the other hyperparameters keep their names and may be changed between steps.
"""

from thermolib.optim.base import of
from thermolib.optim.contract import named
from thermolib.optim.in_layers import LOL, AdLaLa, LangevinInLayers, layers
from thermolib.optim.momentum import CoolMomentum
from thermolib.optim.monte_carlo import AdaptiveMonteCarlo
from thermolib.optim.single import SGLD, AdaptiveLangevin, Langevin, NoseHooverChain, PreconditionedSGLD

__all__ = [
    "LOL",
    "SGLD",
    "AdLaLa",
    "AdaptiveLangevin",
    "AdaptiveMonteCarlo",
    "CoolMomentum",
    "Langevin",
    "LangevinInLayers",
    "NoseHooverChain",
    "PreconditionedSGLD",
    "layers",
    "named",
    "of",
]
