"""Training neural networks with the physics of heat: integrators, ensembles and the exact answers they must meet."""

from thermolib import claims, costs, datasets, exact, init, landscapes, losses, models, noise, observe, optim, plots
from thermolib.costs import Costs
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
    "Costs",
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
    "claims",
    "costs",
    "datasets",
    "exact",
    "init",
    "landscapes",
    "losses",
    "models",
    "noise",
    "observe",
    "optim",
    "plots",
    "simulate",
    "train",
]
