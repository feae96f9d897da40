"""SmallCrush of TestU01 on the library's random words: ``python -m benchmarks.noise_battery``.

The stream is made of blocks of 4 seeds, 16 replicas, 16 steps, 4 draws and 64 indices, all counted from small numbers
as in a real run; the next block has the next 16 steps. The battery runs five times, and each time another one of the
five coordinates runs fastest, so that neighbours in the stream differ in the seed, or in the replica, and so on.

It needs a C compiler and TestU01 (libtestu01-0-dev, in the non-free part of Debian), and takes a few minutes. A p-value
outside [0.001, 0.999] is suspect; of the 75 values of five sound streams, one is expected in every seventh run. With
``--record`` the result goes to results/noise/.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.timing import signed
from thermolib.ground import noise

COORDINATES = ("seed", "replica", "step", "draw", "index")
SEEDS, REPLICAS, STEPS, DRAWS, INDICES = 4, 16, 16, 4, 64
HERE = Path(__file__).parent
RECORD = HERE.parent / "results" / "noise" / "smallcrush.txt"
SUSPECT = 0.001


def blocks(fastest: str) -> Iterator[bytes]:
    """The stream, a block at a time, with the named coordinate running fastest."""
    axis = COORDINATES.index(fastest)
    sizes = (SEEDS, REPLICAS, STEPS)
    seed, replica, step = (x.reshape(-1, 1) for x in torch.meshgrid(*map(torch.arange, sizes), indexing="ij"))
    for first in itertools.count(0, STEPS):
        key = noise.Key(seed, replica, step + first)
        words = torch.stack([key.bits(draw, INDICES) for draw in range(DRAWS)], 1).reshape(*sizes, DRAWS, INDICES)
        yield words.movedim(axis, -1).contiguous().numpy().astype("<u4").tobytes()


def smallcrush(program: Path, fastest: str) -> dict[str, float]:
    """The p-value of every statistic of the battery."""
    process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stdin is not None and process.stderr is not None
    try:
        for block in blocks(fastest):
            process.stdin.write(block)
    except BrokenPipeError:  # the battery has what it needs
        pass
    lines = process.stderr.read().decode()
    if process.wait():
        raise SystemExit(f"the battery ended with exit status {process.returncode}: {lines}")
    return {name.strip(): float(p) for name, p in re.findall(r"^(.*?)\s+([\d.e-]+)$", lines, re.M)}


def main() -> None:
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "battery"
        libraries = ["-ltestu01", "-ltestu01probdist", "-ltestu01mylib", "-lm"]
        try:
            subprocess.run(["cc", "-O2", "-o", program, HERE / "noise_battery.c", *libraries], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise SystemExit(f"the driver could not be compiled; is libtestu01-0-dev installed? ({error})") from None
        for fastest in COORDINATES:
            found = smallcrush(program, fastest)
            suspect = {name: p for name, p in found.items() if not SUSPECT <= p <= 1 - SUSPECT}
            verdict = "all passed" if not suspect else f"suspect: {suspect}"
            low, high = min(found.values()), max(found.values())
            lines.append(f"{fastest:8} fastest: {len(found)} statistics, p from {low:.4f} to {high:.4f}: {verdict}")
            print(lines[-1], flush=True)
    if "--record" in sys.argv[1:]:
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        title = f"SmallCrush (TestU01) on Philox4x32, {noise.ROUNDS} rounds, as keyed and counted by thermolib.noise"
        RECORD.write_text(signed("\n".join([title, "", *lines])) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
