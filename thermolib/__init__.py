"""Training neural networks with the physics of heat: integrators, ensembles and the exact answers they must meet."""

from thermolib import (
    datasets,
    exact,
    init,
    losses,
    models,
    noise,
    observe,
    optim,
)
from thermolib.ensemble import Ensemble
from thermolib.integrators import (
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
)
from thermolib.predictions import Prediction, Predictions, Samples
from thermolib.simulate import Final, History, simulate, train
from thermolib.words import Word

__all__ = [
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
    "simulate",
    "train",
]
