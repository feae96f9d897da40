"""Training neural networks with the physics of heat: integrators, ensembles and the exact answers they must meet."""

from thermolib import claims, datasets, init, losses, models, noise, observe
from thermolib.ensemble import Ensemble
from thermolib.integrators import SGD, SGLD, Adam, Langevin
from thermolib.simulate import Final, History, simulate, train
from thermolib.words import Word

__all__ = [
    "SGD",
    "SGLD",
    "Adam",
    "Ensemble",
    "Final",
    "History",
    "Langevin",
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
