"""Figures that a reader moves with a slider: ``python -m book.tools.touch [NAME]`` computes them again.

Each is a file ``book/touch/NAME.json``: what the slider says at each of its places, and for each panel its axes, what
stands still in it and what moves. ``book/_static/touch.js`` draws it, and knows nothing of any of them; the directive
``{touch} NAME`` puts it on a page, data and all, so that a page needs neither a network nor a kernel. Seeds are fixed.
"""

import base64
import io
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from docutils import nodes
from PIL import Image
from scipy.ndimage import zoom
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import thermolib as tl
from companion import claims, plots
from companion.evidence.records import Record

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "book" / "touch"
COLOURS = plots.METHOD_COLOURS
INK = "#222222"  # figures bring their own bright ground, as those of the chapters do
SHADES = 24  # of a decision region


def axis(label: str, low: float, high: float, log: bool = False, ticks: Sequence[float] = ()) -> dict[str, Any]:
    return {"label": label, "low": low, "high": high, "log": log, "ticks": list(ticks)}


def places(step: int, last: int, number: int) -> list[int]:
    """Looks at a run, whole multiples of ``step``, about evenly apart on a logarithmic scale."""
    wanted = np.geomspace(step, last, number)
    return sorted({int(step * max(1, round(w / step))) for w in wanted})


def ground(shares: Sequence[np.ndarray], extent: Sequence[float], data: Any) -> dict[str, Any]:
    """A panel of probabilities, arrays of one shape with the lowest row first, and some of the data on top."""
    left, right, bottom, top = extent
    colours = (255 * plots.REGIONS(np.linspace(0, 1, SHADES))[:, :3]).round().astype(np.uint8)
    rows = np.concatenate([share[::-1] for share in shares])
    strip = Image.fromarray((rows * (SHADES - 1)).round().astype(np.uint8), mode="P")
    strip.putpalette(colours.tobytes())
    file = io.BytesIO()
    strip.save(file, "png", optimize=True)
    points = []
    for label, colour in enumerate(plots.CLASS_COLOURS):
        some = data.x[data.y == label][:150]
        x, y = some.T.tolist()
        points.append({"kind": "points", "x": x, "y": y, "colour": colour, "size": 1.6, "label": f"class {label}"})
    return {
        "x": axis("x₁", left, right),
        "y": axis("x₂", bottom, top),
        "sprite": {
            "source": "data:image/png;base64," + base64.b64encode(file.getvalue()).decode(),
            "width": shares[0].shape[1],
            "height": shares[0].shape[0],
            "frames": len(shares),
        },
        "still": points,
    }


def power(tau: float) -> str:
    """A power of ten, or zero, as text."""
    raised = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    return "10" + str(round(math.log10(tau))).translate(raised) if tau else "0"


def temperature() -> dict[str, Any]:
    """What one classifier of Figure 1 of the first paper decides, at nine temperatures: from the chapter's records."""
    heated, drawn = (Record(ROOT, f"figure_1/{name}").frame() for name in ("heated", "classifiers"))
    last = heated.query("step == step.max()").sort_values("run")
    record = {float(tau): part["test accuracy"].to_numpy() for tau, part in last.groupby("temperature")}
    pictures = drawn[drawn["step"] == drawn["step"].max()].sort_values("row").set_index("temperature")
    shares = [pictures.loc[tau].filter(regex=r"^p\d+$").to_numpy() for tau in record]
    data = tl.datasets.trigonometric(length=3, frequency=2, train=1000, test=1000, noise=0.02)
    panel = ground([zoom(share, 3, order=1) for share in shares], (-0.25, 3.25, -1.35, 1.35), data.test)
    panel["title"] = "what one network decides"
    taus, runs = list(record), list(record.values())
    at = [1e-9 if tau == 0 else tau for tau in taus]
    means, errors = [r.mean() for r in runs], [r.std(ddof=1) / math.sqrt(len(r)) for r in runs]
    curve = {
        "title": f"test accuracy, mean of {len(runs[0])} networks",
        "x": axis("temperature τ (left end: zero)", 5e-10, 0.2, True, [1e-8, 1e-6, 1e-4, 1e-2]),
        "y": axis("test accuracy", 0.74, 0.96),
        "still": [
            {"kind": "line", "x": at, "y": means, "colour": COLOURS["BAOAB"], "label": "BAOAB"},
            *(
                {"kind": "line", "x": [x, x], "y": [m - e, m + e], "colour": COLOURS["BAOAB"]}
                for x, m, e in zip(at, means, errors, strict=True)
            ),
        ],
        "moving": [
            {"kind": "points", "x": [[x] for x in at], "y": [[m] for m in means], "colour": COLOURS["BAOAB"], "size": 5}
        ],
    }
    names = [power(tau) for tau in taus]
    return {
        "title": "Temperature of a classifier",
        "slider": "temperature τ",
        "places": names,
        "start": 5,
        "said": [
            f"τ = {name}: test accuracy {plots.interval(r)} over {len(r)} networks; the one shown has {r[0]:.3f}."
            for name, r in zip(names, runs, strict=True)
        ],
        "alt": "Left, the plane coloured by the class that a network gives it, with a cosine and a sine that cross "
        "six times. Right, test accuracy against temperature: it rises to 0.0001 and falls above.",
        "panels": [panel, curve],
    }


def spirals() -> dict[str, Any]:
    """Adam and AdLaLa on spirals of four turns, side by side along the training: from the chapter's records."""
    drawn, runs = (Record(ROOT, f"partitioned_integrators/{name}").frame() for name in ("pictures", "classifiers"))
    looks = sorted(drawn["step"].unique())
    data = tl.datasets.spirals(turns=4, power=1.0, seed=0)
    panels, curves, moving, reached = [], [], [], {}
    for name in ("Adam", "AdLaLa"):
        of = drawn[drawn["method"] == name].sort_values(["step", "row"]).set_index("step").filter(regex=r"^x\d+$")
        shares = [of.loc[look].to_numpy() / 100 for look in looks]
        panels.append(ground(shares, (-2.1, 2.1, -2.1, 2.1), data.train) | {"title": name, "square": True})
        accuracy = runs[runs["method"] == name].pivot(index="step", columns="run", values="accuracy")
        means = accuracy.mean(axis=1).loc[looks[0] :]
        curves.append({"kind": "line", "x": means.index, "y": means, "colour": COLOURS[name], "label": name})
        dots = {"x": [[look] for look in looks], "y": [[means[look]] for look in looks], "size": 5}
        moving.append({"kind": "points", "colour": COLOURS[name], **dots})
        reached[name] = accuracy
    ahead = reached["AdLaLa"].mean(axis=1) - reached["Adam"].mean(axis=1)
    curve = {
        "title": f"test accuracy, mean of {accuracy.shape[1]} networks",
        "x": axis("training step", 0, 1.02 * looks[-1]),
        "y": axis("test accuracy", 0.45, 1),
        "still": curves,
        "moving": moving,
    }
    return {
        "title": "Training time on spirals of four turns",
        "slider": "training step",
        "play": True,
        "places": [f"{look:,}" for look in looks],
        "start": next(i for i, look in enumerate(looks) if ahead[look] > 0.05),  # where AdLaLa gets ahead
        "said": [
            f"Step {look:,}: test accuracy "
            + ", ".join(f"{name} {plots.interval(accuracy.loc[look])}" for name, accuracy in reached.items())
            + f" over {accuracy.shape[1]} networks."
            for look in looks
        ],
        "alt": "Above, what a network trained by Adam and one trained by AdLaLa decide, with the points of "
        "two spirals. Below, their test accuracy against the training step.",
        "panels": [*panels, curve],
    }


def gradient_noise() -> dict[str, Any]:
    """How a weight spreads under the noise of minibatches, over the step size: closed forms, and a record's point."""
    friction, hs = 10.0, [round(0.02 * k, 2) for k in range(1, 51)]
    how = {"friction": friction, "temperature": 0.0, "gradient_noise": 1.0}
    heat = {
        "exact": [tl.exact.stationary_moments("BAOAB", curvature=1.0, step_size=h, **how).qq for h in hs],
        "the formula": [tl.exact.effective_temperature(step_size=h, **how) for h in hs],
    }
    looks = {"exact": {"colour": COLOURS["BAOAB"]}, "the formula": {"colour": "#777777", "dash": True}}
    runs = Record(ROOT, "gradient_noise/minibatches").frame().query("points > 50 and friction == @friction")["heat"]
    at = np.linspace(-1.8, 1.8, 121)
    density = {name: [np.exp(-(at**2) / 2 / v) for v in values] for name, values in heat.items()}
    low = np.zeros_like(at)
    panel = {
        "title": "the weight under minibatches of one point",
        "x": axis("weight θ − best value, in units of σ_G", -1.8, 1.8, ticks=(-1, 0, 1)),
        "y": axis("density, highest = 1", 0, 1.05),
        "moving": [
            {"kind": "band", "x": at, "y": [low for _ in hs], "top": density["exact"], **looks["exact"]},
            *({"kind": "line", "x": at, "y": rows, "label": n, **looks[n]} for n, rows in density.items()),
        ],
    }
    curve = {
        "title": f"heat at the friction γ = {friction:g}",
        "x": axis("step size h", 0.018, 1.1, True, [0.02, 0.1, 0.4, 1]),
        "y": axis("temperature / σ_G²", 7e-4, 0.5, True, [1e-3, 1e-2, 1e-1]),
        "still": [
            *({"kind": "line", "x": hs, "y": values, "label": n, **looks[n]} for n, values in heat.items()),
            {"kind": "points", "x": [0.4], "y": [runs.mean()], "colour": INK, "size": 4, "label": "measured"},
        ],
        "moving": [
            {
                "kind": "points",
                "x": [[h] for h in hs],
                "y": [[v] for v in values],
                "colour": looks[n]["colour"],
                "size": 6,
            }
            for n, values in heat.items()
        ],
    }
    return {
        "title": "A weight under the noise of its gradient",
        "slider": "step size h",
        "play": True,
        "places": [f"{h:.2f}" for h in hs],
        "start": hs.index(0.4),
        "said": [
            f"h = {h:.2f}, γh = {friction * h:.1f}: the weight has the standard deviation {math.sqrt(true):.3f} σ_G, "
            f"the formula says {math.sqrt(said):.3f} σ_G. The heat is {true / said:.2f} times that of the formula."
            for h, true, said in zip(hs, *heat.values(), strict=True)
        ],
        "alt": "Left, the density of a weight: the exact one becomes wider than the one of the formula as the step "
        "grows. Right, the heat of both against the step size, and the measured heat at 0.4, on the exact line.",
        "panels": [panel, curve],
    }


def noise() -> dict[str, Any]:
    """Figure 15 of the first paper: a map whose pixels show their classifier, from the chapter's records."""
    runs, drawn = (Record(ROOT, f"noise_and_temperature/{name}").frame() for name in ("noise_map", "pixels"))
    at = ["temperature", "noise"]
    means = runs[runs["step"] == runs["step"].max()].groupby(at)["accuracy"].mean()
    pictures = drawn[drawn["step"] == drawn["step"].max()].sort_values("row").set_index(at).sort_index(kind="stable")
    hot, noises = (sorted(drawn[name].unique()) for name in at)
    cells = [(tau, sigma) for tau in reversed(hot) for sigma in noises]  # row by row, from above
    shares = [pictures.loc[cell].filter(regex=r"^x\d+$").to_numpy() / 100 for cell in cells]
    alone = [float(pictures.loc[cell]["accuracy"].iloc[0]) for cell in cells]
    data = tl.datasets.spirals(4, 1000, 1000, seed=0)
    shade = matplotlib.colors.Normalize(0.5, 1)
    colours = [plt.get_cmap("viridis")(shade(means[cell])) for cell in cells]
    chart = {
        "title": "mean test accuracy in %",
        "square": True,
        "x": {"label": "additive noise σ_A"},
        "y": {"label": "temperature τ₁"},
        "map": {
            "x": [power(sigma) if 0 < sigma < 0.005 else f"{sigma:g}".replace("0.", ".") for sigma in noises],
            "y": [power(tau) for tau in reversed(hot)],
            "colours": [matplotlib.colors.to_hex(colour) for colour in colours],
            "ink": ["#ffffff" if shade(means[cell]) < 0.6 else INK for cell in cells],
            "says": [f"{100 * means[cell]:.0f}" for cell in cells],
        },
    }
    panel = ground(shares, (-2.1, 2.1, -2.1, 2.1), data.train) | {"title": "what one of them decides", "square": True}
    return {
        "title": "Additive noise and temperature",
        "slider": "pixel (touch the map, or use the arrow keys)",
        "places": [f"σ_A = {sigma:g}, τ₁ = {power(tau)}" for tau, sigma in cells],
        "start": cells.index((1e-6, 0.01)),
        "said": [
            f"Additive noise {cell[1]:g} at the temperature {power(cell[0])}: mean test accuracy {means[cell]:.3f}; "
            f"the network shown has {one:.3f}."
            for cell, one in zip(cells, alone, strict=True)
        ],
        "alt": "Left, a map of the test accuracy over additive noise and temperature. Right, what the network of the "
        "pixel that is touched decides: without noise a few straight cuts, with enough of it the arms of two spirals.",
        "panels": [chart, panel],
    }


def helps() -> dict[str, Any]:
    """Where simmering helps on the sine: a map whose cells show the fits behind it, from the chapter's records."""
    runs, drawn = (Record(ROOT, f"does_simmering_help/{name}").frame() for name in ("sine", "fits"))
    last = drawn["step"].max()
    warm = runs[(runs["dynamics"] == "chain") & (runs["step"] == last)]
    adam = runs[runs["dynamics"] == "Adam"].set_index(["step", "run"])["score"]
    hot, epochs = (sorted(drawn[name].unique()) for name in ("temperature", "epochs"))
    cells = [(until, tau) for until in epochs for tau in hot]  # row by row, from above
    won, change, judged = {}, {}, {}
    for until, tau in cells:
        part = warm[(warm["epochs"] == until) & (warm["temperature"] == tau)]
        gain = part.set_index("run")["score"] - adam.loc[until]
        won[until, tau], change[until, tau] = float((gain > 0).mean()), gain
        judged[until, tau] = claims.share(float((gain > 0).sum() + (gain == 0).sum() / 2), len(gain)).verdict
    clear = {cell: found in ("reproduced", "contradicted") for cell, found in judged.items()}
    blue = plt.get_cmap("RdBu")
    shades = [blue(0.15 + 0.7 * won[cell]) if clear[cell] else "#e4e4e4" for cell in cells]
    named = {tau: "0" if tau < 1e-8 else f"{tau:g}".replace("0.", ".", 1) for tau in hot}
    chart = {
        "title": "better than Adam, % of splits",
        "square": True,
        "x": {"label": "temperature"},
        "y": {"label": "epochs of Adam"},
        "map": {
            "x": [named[tau] for tau in hot],
            "y": [f"{until:,}" for until in epochs],
            "colours": [matplotlib.colors.to_hex(shade) for shade in shades],
            "ink": ["#ffffff" if clear[cell] and abs(won[cell] - 0.5) > 0.33 else INK for cell in cells],
            "says": [f"{100 * won[cell]:.0f}" for cell in cells],
        },
    }
    fit = drawn[drawn["step"] == last].sort_values("x").set_index(["epochs", "temperature"]).sort_index(kind="stable")
    line = fit.loc[cells[0]]["axis"]
    points = tl.datasets.random_splits(tl.datasets.noisy_sine(replicas=1, seed=0), 65, 1, seed=0)
    dots = {"kind": "points", "size": 2}
    lines = {"kind": "line", "x": line}
    single = [f"network {k}" for k in range(0, 8, 2)]
    panel = {
        "title": "the first split",
        "x": axis("x", -1, 1),
        "y": axis("y", -1.7, 1.7),
        "still": [
            dots | {"x": part.x[0, :, 0], "y": part.y[0], "colour": colour, "label": label}
            for part, colour, label in ((points.train, INK, "training"), (points.test, "#d55e00", "test"))
        ]
        + [lines | {"y": np.sin(2 * np.pi * line), "colour": "#117755", "dash": True, "label": "sine"}],
        "moving": [
            lines | {"y": [fit.loc[cell][name] for cell in cells], "colour": "#b9b0dd", "thin": True} for name in single
        ]
        + [
            lines | {"y": [fit.loc[cell][name] for cell in cells], "colour": COLOURS[method], "label": label}
            for name, method, label in (("Adam", "Adam", "Adam"), ("ensemble", "Nosé-Hoover", "ensemble"))
        ],
    }
    return {
        "title": "Where simmering helps on the noisy sine",
        "slider": "cell (touch the map, or use the arrow keys)",
        "places": [f"{until:,} epochs, T = {named[tau]}" for until, tau in cells],
        "start": cells.index((2000, 0.05)),
        "said": [
            f"{until:,} epochs of Adam, then T = {named[tau]}: in {100 * won[until, tau]:.0f} % of {len(gain)} splits "
            f"the ensemble has the higher test R²; the median change is {change[until, tau].median():+.4f}, in the "
            f"split shown {change[until, tau].loc[0]:+.4f}."
            for until, tau in cells
        ],
        "alt": "Left, a map of the share of splits that an ensemble improves, over temperature and epochs of Adam. "
        "Right, the points of one split, the sine, Adam's fit, some warm networks and their average.",
        "panels": [chart, panel],
    }


def cooling() -> dict[str, Any]:
    """Particles on a landscape of many minima: cooled by momentum, or at a constant momentum."""
    tilt, lr, rho0, steps, runs, frames = 2.0, 0.01, 0.99, 3000, 240, 50
    hottest = 8.0

    def dents(q: torch.Tensor) -> torch.Tensor:
        return (tilt / 2 * q.square() + 1 - torch.cos(2 * math.pi * q)).sum(1)

    start = 8 * tl.noise.key(0, runs).uniform(tl.noise.DATA, 1) - 4
    strength = math.sqrt(4 / lr * (1 - rho0) / (1 + rho0) * hottest)
    methods = {
        "CoolMomentum": tl.CoolMomentum(lr, rho0, steps),
        "momentum": tl.Momentum(lr=lr * 1.9 / 2, rho=0.9),
    }
    x = np.linspace(-4.3, 4.3, 300)
    ground = {"kind": "line", "x": x, "y": tilt / 2 * x**2 + 1 - np.cos(2 * np.pi * x), "colour": "#777777"}
    at = list(range(0, steps + 1, steps // frames))
    share = torch.tensor(at, dtype=torch.float64) / steps
    rho = tl.dynamics.momentum.cooled(torch.tensor(rho0, dtype=torch.float64), share, "paper").numpy()
    low = hottest * (1 - rho0) / (1 + rho0)
    heat = {"CoolMomentum": low * (1 + rho) / (1 - rho), "momentum": np.full(len(at), low * 1.9 / 0.1)}
    panels, share_found = [], {}
    for name, law in methods.items():
        history = tl.simulate(
            dents,
            law,
            start,
            steps,
            seed=0,
            gradient_noise=strength,
            every=steps // frames,
            observe={"x": lambda state: state.q[:, 0]},
            compile=True,
        )
        table = history.frame.pivot(index="step", columns="replica", values="x").loc[at].to_numpy()
        heights = tilt / 2 * table**2 + 1 - np.cos(2 * np.pi * table)
        share_found[name] = (np.abs(table) < 0.5).mean(1)
        dots = {"kind": "points", "x": table[:, :80], "y": heights[:, :80], "colour": COLOURS[name], "size": 2.6}
        title = name if name == "CoolMomentum" else "momentum, constant ρ = 0.9"
        panels.append(
            {
                "title": title,
                "x": axis("position", -4.3, 4.3),
                "y": axis("loss U", 0, 20),
                "still": [ground],
                "moving": [dots],
            }
        )
    curve = {
        "title": "temperature",
        "x": axis("step", 0, steps),
        "y": axis("temperature T", 0.03, 12, True, [0.1, 1, 10]),
        "still": [{"kind": "line", "x": at, "y": heat[n], "colour": COLOURS[n], "label": n} for n in methods],
        "moving": [
            {"kind": "points", "x": [[a] for a in at], "y": [[t] for t in heat[n]], "colour": COLOURS[n], "size": 5}
            for n in methods
        ],
    }
    return {
        "title": "The cooling of CoolMomentum",
        "slider": "step",
        "places": [f"{a:,}" for a in at],
        "start": 0,
        "said": [
            f"Step {a:,}: CoolMomentum has ρ = {rho[i]:.2f} and T = {heat['CoolMomentum'][i]:.2f}; in the deepest "
            f"minimum are {100 * share_found['CoolMomentum'][i]:.0f} % of its {runs} particles, and "
            f"{100 * share_found['momentum'][i]:.0f} % of those at constant momentum, T = {heat['momentum'][i]:.2f}."
            for i, a in enumerate(at)
        ],
        "alt": "Left and middle, particles on a bowl with dents: those of CoolMomentum gather in the deepest minimum, "
        "those at constant momentum stay spread over several. Right, the two temperatures against the step.",
        "panels": [*panels, curve],
    }


def nucleation() -> dict[str, Any]:
    """A network of sixteen layers leaves its plateau: losses of twenty runs and the functions of some of them."""
    points, steps, runs, shown = 64, 2000, 20, 5
    theta = (torch.arange(points)[:, None] + 0.5) / points
    target = tl.datasets.Split(theta, 0.5 * ((theta > 0.5) & (theta < 0.75)).float())
    plateau = float(target.y.var(correction=0))
    networks = tl.Ensemble(tl.models.mlp((1, *[4] * 15, 10, 1)), runs, tl.init.normal(0.01), seed=0)
    law = tl.AdaptiveMonteCarlo(0.01, 0.01, 100, True)
    at, begin, outputs, losses = places(10, steps, 50), None, [], []
    for look in at:
        done = begin.step if begin else 0
        history = tl.train(
            networks,
            law,
            target,
            loss=tl.losses.mse,
            steps=look - done,
            every=10,
            observe={"loss": lambda state: state.loss},
            start=begin,
            compile="trace",
        )
        begin = history.final
        losses.append(history.frame[history.frame["step"] > done])
        outputs.append(networks.predict(theta, begin.q)[:, :, 0])
    table = pd.concat(losses).pivot_table(index="step", columns="replica", values="loss")
    now = np.array([table.loc[a].to_numpy() for a in at])
    left = (now < 0.96 * plateau).sum(1)
    order = np.argsort(table.iloc[-1].to_numpy())
    some = order[np.linspace(0, runs - 1, shown).round().astype(int)]
    palette = ["#0072b2", "#d55e00", "#117755", "#b0307a", "#e69f00"]
    thin = places(10, steps, 110)
    curve = {
        "title": f"loss of {runs} runs",
        "x": axis("epoch", 9, 1.1 * steps, True, [10, 100, 1000]),
        "y": axis("loss U", 3e-4, 0.1, True, [1e-3, 1e-2, 1e-1]),
        "still": [
            {"kind": "line", "x": [9, 1.1 * steps], "y": [plateau, plateau], "colour": INK, "dash": True, "thin": True},
            *(
                {"kind": "line", "x": thin, "y": table.loc[thin, r], "colour": "#bbbbbb", "thin": True}
                for r in range(runs)
                if r not in some
            ),
            *(
                {"kind": "line", "x": thin, "y": table.loc[thin, r], "colour": c, "thin": True}
                for r, c in zip(some, palette, strict=True)
            ),
        ],
        "moving": [
            {
                "kind": "points",
                "x": [[a] for a in at],
                "y": [[now[i, r]] for i in range(len(at))],
                "colour": c,
                "size": 4.5,
            }
            for r, c in zip(some, palette, strict=True)
        ],
    }
    flat = theta[:, 0].tolist()
    function = {
        "title": f"the functions of {shown} of them",
        "x": axis("θ", 0, 1),
        "y": axis("output", -0.2, 0.7),
        "still": [
            {
                "kind": "line",
                "x": [0, 0.5, 0.5, 0.75, 0.75, 1],
                "y": [0, 0, 0.5, 0.5, 0, 0],
                "colour": INK,
                "dash": True,
                "label": "target",
            }
        ],
        "moving": [
            {"kind": "line", "x": flat, "y": [o[r].tolist() for o in outputs], "colour": c}
            for r, c in zip(some, palette, strict=True)
        ],
    }
    return {
        "title": "Nucleation of deep networks",
        "slider": "epoch",
        "places": [f"{a:,}" for a in at],
        "start": len(at) // 3,
        "said": [f"Epoch {a:,}: {n} of {runs} runs have left the plateau." for a, n in zip(at, left, strict=True)],
        "alt": "Left, the losses of twenty networks of sixteen layers: each stays on a plateau and leaves it at a time "
        "of its own. Right, their functions: constant on the plateau, a bump over the target's step later.",
        "panels": [curve, function],
    }


def valley() -> dict[str, Any]:
    """Paths of adaptive Monte Carlo down Rosenbrock's valley, for three mean rates, from the record of the chapter."""
    rows = Record(ROOT, "adaptivity/valley").frame().query("patience == 20")
    rates, shades = sorted(rows["rate"].unique()), ("#777777", "#0072b2", "#d55e00")
    steps, last = sorted(rows["step"][(rows["step"] % 20 == 0)].unique()), int(rows["step"].max())
    at = sorted({min(steps, key=lambda step: abs(step - wanted)) for wanted in places(20, last, 60)})
    ways = {rate: rows.query("rate == @rate and run == 0").set_index("step").loc[steps] for rate in rates}
    medians = rows.query("step % 200 == 0").pivot_table(index="step", columns="rate", values="f", aggfunc="median")
    x, y = np.meshgrid(np.linspace(-2.3, 1.7, 160), np.linspace(-0.5, 2.7, 160))
    height = (1 - x) ** 2 + 100 * (y - x**2) ** 2
    drawing, ax = plt.subplots()
    curves = [seg[::2] for level in ax.contour(x, y, height, levels=np.logspace(-1, 3, 5)).allsegs for seg in level]
    plt.close(drawing)
    look = list(zip(rates, shades, strict=True))
    before = [[step for step in steps if step <= now] for now in at]
    path = {
        "title": "one particle for each ε",
        "x": axis("x", -2.3, 1.7, ticks=(-2, -1, 0, 1)),
        "y": axis("y", -0.5, 2.7, ticks=(0, 1, 2)),
        "still": [
            *({"kind": "line", "x": c[:, 0], "y": c[:, 1], "colour": "#cccccc", "thin": True} for c in curves),
            {"kind": "points", "x": [1], "y": [1], "colour": "#cc0000", "size": 5, "label": "minimum"},
        ],
        "moving": [
            {
                "kind": "line",
                "x": [[-2, *ways[rate]["x"].loc[some]] for some in before],
                "y": [[2, *ways[rate]["y"].loc[some]] for some in before],
                "colour": colour,
                "label": f"ε = {rate:g}",
            }
            for rate, colour in look
        ]
        + [
            {
                "kind": "points",
                "x": [[v] for v in ways[rate]["x"].loc[at]],
                "y": [[v] for v in ways[rate]["y"].loc[at]],
                "colour": colour,
                "size": 4.5,
            }
            for rate, colour in look
        ],
    }
    curve = {
        "title": f"f; lines: median of {rows['run'].nunique()} particles",
        "x": axis("moves", 0, 1.02 * last),
        "y": axis("f(x, y)", 1e-26, 1e4, True, [1e-24, 1e-16, 1e-8, 1]),
        "still": [
            {"kind": "line", "x": medians.index, "y": medians[rate], "colour": colour, "thin": True}
            for rate, colour in look
        ],
        "moving": [
            {
                "kind": "points",
                "x": [[a] for a in at],
                "y": [[v] for v in ways[rate]["f"].loc[at]],
                "colour": colour,
                "size": 5,
            }
            for rate, colour in look
        ],
    }
    logs = np.log10([[ways[rate]["f"].loc[a] for rate in rates] for a in at])
    return {
        "title": "Paths down Rosenbrock's valley",
        "slider": "moves",
        "play": True,
        "places": [f"{a:,}" for a in at],
        "start": at.index(min(at, key=lambda a: abs(a - 500))),
        "said": [
            f"After {a:,} moves log₁₀ f is "
            + ", ".join(f"{v:.1f} at ε = {r:g}" for r, v in zip(rates, some, strict=True)).replace("-", "−")
            + "."
            for a, some in zip(at, logs, strict=True)
        ],
        "alt": "Left, the paths of three particles along a bent valley: one with a large mean rate is first at the "
        "minimum. Right, the function against the moves; only with a mean rate of 0.1 it falls to the depth of 1e-24.",
        "panels": [path, curve],
    }


def simmering() -> dict[str, Any]:
    """The ensemble of simmering on the noisy sine, as networks are added to it."""
    divisions, one, loss = 20, 1, tl.losses.in_units(tl.losses.sse)
    raw = tl.datasets.random_splits(tl.datasets.noisy_sine(replicas=divisions, seed=0), 65, divisions, seed=0)
    data = tl.datasets.min_max(raw, targets=True)
    line = torch.linspace(-1, 1, 81)
    curve = tl.datasets.Splits(
        line[None, :, None].expand(divisions, -1, 1), torch.sin(2 * math.pi * line).expand(divisions, -1)
    )
    fine = tl.datasets.min_max(tl.datasets.Data(raw.train, curve), targets=True).test
    networks = tl.Ensemble(tl.models.mlp((1, 20, 20, 1), "tanh"), divisions, init=tl.init.glorot_normal(), seed=0)
    adam = tl.Adam(0.002, epsilon=1e-7)
    most = tl.train(networks, adam, data, loss=loss, steps=1999, every=1999)
    cold = tl.train(networks, adam, data, loss=loss, steps=1, start=most.final, compile=False).final.q
    chain = tl.NoseHooverChain(0.002, 0.05, 2, 1.0, increment=0.01, stair=1000)
    start = chain.init(cold, (cold - most.final.q) / 0.002)
    warm = tl.train(networks, chain, data, loss=loss, steps=7000, every=7000, start=start).final
    found = tl.Predictions(fine, every=10, keep=512)
    tl.train(networks, chain, data, loss=loss, steps=3000, every=3000, start=warm, collect=found)
    kept = found.kept[..., 0]  # [S, R, B]
    truth = fine.y[..., 0] if fine.y.ndim == 3 else fine.y
    before = networks.predict(fine.x, cold, own=True)[..., 0]

    def misses(output: torch.Tensor) -> np.ndarray:
        return (1 - tl.observe.determination(output, truth)).clamp(max=1).numpy()

    counts = sorted({round(n) for n in np.geomspace(1, len(kept), 28)})
    means = [kept[:n].mean(0) for n in counts]
    bands = [torch.quantile(kept[:n, one], torch.tensor([0.05, 0.95]), dim=0) for n in counts]
    x = fine.x[one, :, 0].tolist()
    panel = {
        "title": "one division of the data",
        "x": axis("x (scaled)", -1, 1),
        "y": axis("y (scaled)", -1.5, 1.5),
        "still": [
            {
                "kind": "points",
                "x": data.train.x[one, :, 0],
                "y": data.train.y[one, :, 0],
                "colour": INK,
                "size": 2,
                "label": "training data",
            },
            {"kind": "line", "x": x, "y": truth[one], "colour": "#117755", "label": "sine", "dash": True},
            {"kind": "line", "x": x, "y": before[one], "colour": COLOURS["Adam"], "label": "Adam"},
        ],
        "moving": [
            {
                "kind": "band",
                "x": x,
                "y": [b[0].tolist() for b in bands],
                "top": [b[1].tolist() for b in bands],
                "colour": COLOURS["Nosé-Hoover"],
            },
            {
                "kind": "line",
                "x": x,
                "y": [m[one].tolist() for m in means],
                "colour": COLOURS["Nosé-Hoover"],
                "label": "simmering",
            },
        ],
    }
    distance = [misses(m) for m in means]
    level = float(np.median(misses(before)))
    middle = [float(np.median(d)) for d in distance]
    right = {
        "title": f"distance from the sine, median of {divisions} divisions",
        "x": axis("networks in the ensemble", 0.9, 1.15 * counts[-1], True, [1, 10, 100]),
        "y": axis("1 − R²", 0, 1.25 * max(*middle, level)),
        "still": [
            {
                "kind": "line",
                "x": [0.9, 1.15 * counts[-1]],
                "y": [level, level],
                "colour": COLOURS["Adam"],
                "label": "Adam",
            },
            {"kind": "line", "x": counts, "y": middle, "colour": COLOURS["Nosé-Hoover"], "label": "simmering"},
        ],
        "moving": [
            {
                "kind": "points",
                "x": [[n] for n in counts],
                "y": [[m] for m in middle],
                "colour": COLOURS["Nosé-Hoover"],
                "size": 5,
            }
        ],
    }
    return {
        "title": "A simmering ensemble grows",
        "slider": "networks in the ensemble",
        "places": [str(n) for n in counts],
        "start": 0,
        "said": [
            f"{n} network{'s' * (n > 1)}: the median distance from the sine, 1 − R², is {m:.4f}; Adam's is {level:.4f}."
            for n, m in zip(counts, middle, strict=True)
        ],
        "alt": "Left, noisy points of a sine, the curve that Adam fits, and the mean of a growing number of networks "
        "with the band that holds 90 % of them. Right, the distance from the sine against their number.",
        "panels": [panel, right],
    }


FIGURES: dict[str, Callable[[], dict[str, Any]]] = {
    f.__name__: f for f in (gradient_noise, temperature, spirals, noise, helps, cooling, nucleation, valley, simmering)
}


def plain(value: Any) -> Any:
    """What JSON can hold, with four digits: more would not be seen."""
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray | torch.Tensor | pd.Index | pd.Series):
        return [plain(v) for v in (value.tolist() if hasattr(value, "tolist") else value)]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return None if not math.isfinite(value) else float(f"{value:.4g}")
    return value


class Touch(SphinxDirective):
    """``{touch} NAME``: the figure, its slider, and its data."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        path = Path(self.env.srcdir) / "book" / "touch" / f"{name}.json"
        self.env.note_dependency(str(path))
        data = json.loads(path.read_text(encoding="utf-8"))
        last, start = len(data["places"]) - 1, data["start"]
        inside = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
        button = '<button type="button" aria-pressed="false">Play</button>' if data.get("play") else ""
        html = f"""
<figure class="touch" id="moving-{name}">
<p class="control"><label for="slider-{name}">{data["slider"]}</label>
<input type="range" id="slider-{name}" min="0" max="{last}" step="1" value="{start}"
  aria-valuetext="{data["places"][start]}"><b>{data["places"][start]}</b>{button}</p>
<div class="panels"></div>
<figcaption aria-live="polite">{data["said"][start]}</figcaption>
<script type="application/json">{inside}</script>
</figure>"""
        return [nodes.raw("", html, format="html")]


class Oscillator(SphinxDirective):
    """``{oscillator}``, with ``noise``, ``chain`` or ``wells``, in the page by ``book/_static/oscillator.js``."""

    optional_arguments = 1
    SLIDERS: ClassVar = {
        "words": (
            ("h", "step size h", 0.05, 1.9, 0.05, 0.6),
            ("gamma", "friction γ", -2, 2, 0.1, 0),
            ("tau", "temperature τ", -5, 0, 0.5, 0),
        ),
        "noise": (
            ("sigma", "noise in the force σ", 0, 3, 0.25, 2),
            ("h", "step size h", 0.05, 0.4, 0.05, 0.2),
            ("gamma", "friction γ", 0.1, 1, 0.1, 0.5),
        ),
        "chain": (("links", "links of the chain", 1, 3, 1, 1), ("start", "start at rest, q", 0.3, 4, 0.1, 1.5)),
        "wells": (("steps", "steps of the run", 1.5, 3.75, 0.25, 3),),
    }
    LOOK: ClassVar = {
        "words": "Left, oscillators in the plane of position and momentum; right, what two thermometers read.",
        "noise": "Left, temperatures at a fixed friction and with a thermostat; right, the friction over time.",
        "chain": "Left, the path of one oscillator in the plane of position and velocity; right, two means along it.",
        "wells": "Left, particles in two copies of a double well; right, the share in the deeper well over time.",
    }

    def run(self) -> list[nodes.Node]:
        (name,) = self.arguments or ["words"]
        rows = "".join(
            f'<label>{label} <input type="range" name="{of}" min="{low}" max="{high}" step="{step}" value="{value}">'
            f'<output data-of="{of}"></output></label>'
            for of, label, low, high, step, value in self.SLIDERS[name]
        )
        if name == "words":
            words = "".join(f"<option>{word}</option>" for word in ("OBA", "BAOAB", "BAOA", "ABOBA", "OBABO", "ABO"))
            rows = f'<label>word <select name="word">{words}</select></label>{rows}'
        html = f"""
<figure class="touch live" id="live-{name}">
<p class="control">{rows}
<button type="button" aria-pressed="false">Play</button></p>
<div class="panels" role="img" aria-label="{self.LOOK[name]}"><div class="panel"><svg viewBox="0 0 300 300"></svg></div>
<div class="panel"><svg viewBox="0 0 300 300"></svg></div></div>
<figcaption aria-live="polite"></figcaption>
</figure>"""
        return [nodes.raw("", html, format="html")]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("touch", Touch)
    app.add_directive("oscillator", Oscillator)
    for script in ("touch.js", "oscillator.js"):
        app.add_js_file(script, loading_method="defer")
    return {"parallel_read_safe": True}


def main() -> None:
    names = sys.argv[1:] or list(FIGURES)
    if unknown := [name for name in names if name not in FIGURES]:
        raise SystemExit(f"there is no figure {unknown[0]!r}; there are: {', '.join(FIGURES)}")
    for name in names:
        text = json.dumps(plain(FIGURES[name]()), ensure_ascii=False, separators=(",", ":"))
        (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        print(f"{name}: {len(text.encode()) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
