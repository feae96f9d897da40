"""Figure 1 with many seeds: ``python results/fig1/record.py`` writes runs.csv and provenance.json beside itself.

Every run is the paper's: trigonometric data with a = 3 and b = 2, 1000 points to train and 1000 to test, 500 hidden
nodes, BAOAB with h = 0.4 and friction 10, batches of 20, 50,000 steps. What varies is the temperature, how the
parameters start, and whether the data follow the equation as it is printed.
"""

import json
import os
import platform
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import torch

import thermolib as tl

HERE = Path(__file__).parent
SEEDS, STEPS, SEED = 16, 50_000, 1000
STARTS = {"normal 0.01": tl.init.normal(0.01), "PyTorch": tl.init.uniform_fan_in()}
EQUATIONS = {"corrected": False, "printed": True}
FOUR = [1e-8, 1e-7, 1e-6, 1e-5]
MORE = [0.0, *FOUR, 1e-4, 1e-3, 1e-2, 1e-1]
PLAN = [("normal 0.01", "corrected", MORE), ("PyTorch", "corrected", MORE), ("normal 0.01", "printed", FOUR)]


def run(start: str, equation: str, temperatures: list[float], seed: int) -> pd.DataFrame:
    """All temperatures of one kind of start and data, as one ensemble."""
    data = tl.datasets.trigonometric(length=3, frequency=2, as_printed=EQUATIONS[equation])
    tau = torch.tensor(temperatures, dtype=torch.float64).repeat_interleave(SEEDS)
    networks = tl.Ensemble(tl.models.shlp(2, 500), len(tau), init=STARTS[start], seed=seed)
    history = tl.train(
        networks,
        tl.Langevin("BAOAB", step_size=0.4, friction=10.0, temperature=tau),
        data,
        loss=tl.losses.bce,
        batch_size=20,
        steps=STEPS,
        every=STEPS,
        observe={"test accuracy": tl.observe.accuracy(data.test), "train accuracy": tl.observe.accuracy(data.train)},
    )
    table = history.last[["replica", "test accuracy", "train accuracy", "diverged"]]
    # float32 holds no 1e-5: the temperatures are written as they were asked for
    return table.assign(temperature=tau.numpy(), start=start, equation=equation, seed=seed)


def main() -> None:
    began = time.perf_counter()
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, cwd=HERE)
    runs = pd.concat([run(*kind, seed=SEED + number) for number, kind in enumerate(PLAN)])
    columns = ["start", "equation", "temperature", "seed", "replica", "test accuracy", "train accuracy", "diverged"]
    runs[columns].to_csv(HERE / "runs.csv", index=False, float_format="%.6g")
    record = {
        "what": "Figure 1 at the paper's scale, 16 seeds for each temperature",
        "command": "python results/fig1/record.py",
        "commit": commit.stdout.strip(),
        "date": datetime.now(UTC).date().isoformat(),
        "wall time in seconds": round(time.perf_counter() - began),
        "processor time in seconds": round(time.process_time()),
        "threads": torch.get_num_threads(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    (HERE / "provenance.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
