"""One file per dynamics. Each is a frozen dataclass of hyperparameters with ``init`` and ``step``."""

from thermolib.dynamics.adaptive_langevin import AdaptiveLangevin
from thermolib.dynamics.adlala import AdLaLa
from thermolib.dynamics.base import Integrator, Positions, Splitting, State
from thermolib.dynamics.gradient import SGD, Adam
from thermolib.dynamics.hmc import HMC
from thermolib.dynamics.langevin import SGLD, Langevin
from thermolib.dynamics.lol import LOL, LangevinInLayers
from thermolib.dynamics.momentum import CoolMomentum, Momentum
from thermolib.dynamics.monte_carlo import AdaptiveMonteCarlo, Metropolis
from thermolib.dynamics.nose_hoover import ChainState, NoseHooverChain
from thermolib.dynamics.partitioned import Partitioned
from thermolib.dynamics.preconditioned import PreconditionedSGLD, PreconditionedState

__all__ = [
    "HMC",
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
    "PreconditionedSGLD",
    "PreconditionedState",
    "Splitting",
    "State",
]
