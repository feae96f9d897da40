"""``python -m thermolib`` is the command ``thermolib``."""

from thermolib.cli import main

if __name__ == "__main__":
    main(prog_name="thermolib")
