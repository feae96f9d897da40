"""One file per dynamics. Each is a frozen dataclass of hyperparameters with ``init`` and ``step``."""

from thermolib.integrators.adaptive_langevin import AdaptiveLangevin
from thermolib.integrators.base import Integrator, Positions, Splitting, State
from thermolib.integrators.gradient import SGD, Adam
from thermolib.integrators.langevin import SGLD, Langevin
from thermolib.integrators.momentum import CoolMomentum, Momentum
from thermolib.integrators.monte_carlo import AdaptiveMonteCarlo, Metropolis
from thermolib.integrators.nose_hoover import ChainState, NoseHooverChain
from thermolib.integrators.partitioned import LOL, AdLaLa, LangevinInLayers, Partitioned

__all__ = [
    "LOL",
    "SGD",
    "SGLD",
    "AdLaLa",
    "Adam",
    "AdaptiveLangevin",
    "AdaptiveMonteCarlo",
    "ChainState",
    "CoolMomentum",
    "Integrator",
    "Langevin",
    "LangevinInLayers",
    "Metropolis",
    "Momentum",
    "NoseHooverChain",
    "Partitioned",
    "Positions",
    "Splitting",
    "State",
]
