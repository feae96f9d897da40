"""Python reads this when it starts, in the processes and kernels that the tests and the chapters start."""

import torchvision_operators

torchvision_operators.install()
