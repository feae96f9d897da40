"""Training neural networks with the physics of heat: integrators, ensembles and the exact answers they must meet."""

from thermolib import claims, datasets, init, losses, models, noise, observe
from thermolib.ensemble import Ensemble
from thermolib.integrators import (
    LOL,
    SGD,
    SGLD,
    Adam,
    AdaptiveLangevin,
    AdLaLa,
    Langevin,
    LangevinInLayers,
    Partitioned,
)
from thermolib.simulate import Final, History, simulate, train
from thermolib.words import Word

__all__ = [
    "LOL",
    "SGD",
    "SGLD",
    "AdLaLa",
    "Adam",
    "AdaptiveLangevin",
    "Ensemble",
    "Final",
    "History",
    "Langevin",
    "LangevinInLayers",
    "Partitioned",
    "Word",
    "claims",
    "datasets",
    "init",
    "losses",
    "models",
    "noise",
    "observe",
    "simulate",
    "train",
]
