"""Training neural networks with the physics of heat: integrators, ensembles and the exact answers they must meet."""

from thermolib import data as datasets
from thermolib import exact, observe, optim
from thermolib.dynamics import (
    HMC,
    LOL,
    SGD,
    SGLD,
    Adam,
    AdaptiveLangevin,
    AdaptiveMonteCarlo,
    AdLaLa,
    CoolMomentum,
    Langevin,
    LangevinInLayers,
    Metropolis,
    Momentum,
    NoseHooverChain,
    Partitioned,
    PreconditionedSGLD,
)
from thermolib.engine.history import Final, History
from thermolib.engine.simulate import simulate
from thermolib.engine.train import train
from thermolib.ground import noise, schedules
from thermolib.ground.words import Word
from thermolib.nets import init, losses, models
from thermolib.nets.ensemble import Ensemble
from thermolib.observe.predictions import Prediction, Predictions
from thermolib.observe.samples import Samples

__all__ = [
    "HMC",
    "LOL",
    "SGD",
    "SGLD",
    "AdLaLa",
    "Adam",
    "AdaptiveLangevin",
    "AdaptiveMonteCarlo",
    "CoolMomentum",
    "Ensemble",
    "Final",
    "History",
    "Langevin",
    "LangevinInLayers",
    "Metropolis",
    "Momentum",
    "NoseHooverChain",
    "Partitioned",
    "PreconditionedSGLD",
    "Prediction",
    "Predictions",
    "Samples",
    "Word",
    "datasets",
    "exact",
    "init",
    "losses",
    "models",
    "noise",
    "observe",
    "optim",
    "schedules",
    "simulate",
    "train",
]
