"""What can be read off a run: accuracies, losses, thermometers, predictions.

An observation is a function of the state that returns one number per replica. The state is seen at the end of a whole
step, that is, of the word as it was written: ``BAOAB`` shows the positions where the force is taken, ``BAOA`` the
momenta as they are around O. Each thermometer says what that means for it.
"""

from thermolib.observe.networks import accuracy, determination, loss, r_squared
from thermolib.observe.predictions import Prediction, Predictions
from thermolib.observe.samples import Samples
from thermolib.observe.scores import calibration_error, coverage, interval, log_density
from thermolib.observe.thermometers import (
    Thermometer,
    configurational_temperature,
    extended_energy,
    kinetic_temperature,
    laplacian,
    momentum_temperature,
    squared_gradient,
    virial_temperature,
)

__all__ = [
    "Prediction",
    "Predictions",
    "Samples",
    "Thermometer",
    "accuracy",
    "calibration_error",
    "configurational_temperature",
    "coverage",
    "determination",
    "extended_energy",
    "interval",
    "kinetic_temperature",
    "laplacian",
    "log_density",
    "loss",
    "momentum_temperature",
    "r_squared",
    "squared_gradient",
    "virial_temperature",
]
