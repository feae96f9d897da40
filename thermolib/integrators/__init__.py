"""One file per dynamics. Each is a frozen dataclass of hyperparameters with ``init`` and ``step``."""

from thermolib.integrators.base import Integrator, Positions, Splitting, State
from thermolib.integrators.gradient import SGD, Adam
from thermolib.integrators.langevin import SGLD, Langevin

__all__ = ["SGD", "SGLD", "Adam", "Integrator", "Langevin", "Positions", "Splitting", "State"]
