"""The look of the figures, and that what is drawn is what the numbers say."""

import itertools

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb

import thermolib as tl
from companion.plots import METHOD_COLOURS, decision_regions, mean_curve, style

matplotlib.use("Agg")

# What a figure of each paper may compare.
TOGETHER = [
    ("SGD", "Adam", "SGLD", "BAOAB", "LOL", "AdLaLa"),
    ("SGD", "momentum", "Adam", "CoolMomentum"),
    ("SGD", "Adam", "Metropolis", "aMC"),
    ("SGD", "Adam", "Langevin", "Nosé-Hoover"),
]
# Machado, Oliveira and Fernandes (2009), full strength, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


@pytest.fixture
def ax():
    with matplotlib.rc_context():
        fig, ax = plt.subplots()
        yield ax
        plt.close(fig)


def lab(colour, vision="normal"):
    """A colour as CIELAB, in which distances are about as they are seen."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(VISION[vision]) @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    x, y, z = np.cbrt(np.maximum(xyz / np.array([0.9505, 1.0, 1.089]), 1e-3))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("methods", TOGETHER, ids=" ".join)
def test_methods_of_one_figure_are_told_apart(methods, vision):
    for one, other in itertools.combinations(methods, 2):
        apart = np.linalg.norm(lab(METHOD_COLOURS[one], vision) - lab(METHOD_COLOURS[other], vision))
        assert apart > 15, (one, other, apart)


def test_colours_show_on_white():
    for method, colour in METHOD_COLOURS.items():
        assert lab(colour)[0] < 75, method


def test_every_method_has_a_colour_of_its_own():
    colours = {name: colour for name, colour in METHOD_COLOURS.items() if name != "BAOAB"}
    assert len(set(colours.values())) == len(colours)
    assert METHOD_COLOURS["BAOAB"] == METHOD_COLOURS["Langevin"]


def test_style_gives_the_same_file_twice(tmp_path):
    def draw(path):
        fig, ax = plt.subplots()
        ax.plot([0, 1], label="$x^2$")
        ax.legend()
        fig.savefig(path, metadata={"Date": None})
        plt.close(fig)
        return path.read_bytes()

    with matplotlib.rc_context():
        style()
        assert draw(tmp_path / "a.svg") == draw(tmp_path / "b.svg")
        assert matplotlib.rcParams["savefig.facecolor"] == "white"


@pytest.mark.parametrize("points", [False, True])
def test_a_mean_curve_is_the_mean_and_its_standard_error(ax, points):
    runs = np.random.default_rng(0).normal(size=(3, 8))
    frame = pd.DataFrame({"step": np.repeat([0, 1, 2], 8), "y": runs.reshape(-1)})
    table = mean_curve(ax, frame, "step", "y", points=points, errors=2.0, color="k", label="runs")
    np.testing.assert_allclose(table["mean"], runs.mean(1))
    np.testing.assert_allclose(table["sem"], runs.std(1, ddof=1) / np.sqrt(8))
    np.testing.assert_allclose(ax.lines[0].get_ydata(), runs.mean(1))
    drawn = ax.collections[0]
    heights = [p.vertices[:, 1] for p in drawn.get_paths()]
    low, high = min(h.min() for h in heights), max(h.max() for h in heights)
    error = 2 * runs.std(1, ddof=1) / np.sqrt(8)
    assert low == pytest.approx((runs.mean(1) - error).min()) and high == pytest.approx((runs.mean(1) + error).max())


def half_plane():
    """Two replicas of a network that decide by the sign of x2 - 0.25, one sure and one not."""
    ensemble = tl.Ensemble(tl.models.shlp(2, 2), replicas=2, init=tl.init.zeros(), device="cpu")
    parts = ensemble.named(ensemble.q)
    parts["hidden.weight"][:, 0, 1], parts["hidden.weight"][:, 1, 1] = 1.0, -1.0
    parts["hidden.bias"][:, 0], parts["hidden.bias"][:, 1] = -0.25, 0.25
    size = torch.tensor([1.0, 40.0])
    parts["output.weight"][:, 0, 0], parts["output.weight"][:, 0, 1] = size, -size
    return ensemble


def test_decision_regions_are_where_the_network_decides(ax):
    ensemble = half_plane()
    data = tl.datasets.trigonometric(train=20, test=20).train
    share = decision_regions(ax, ensemble, ensemble.q[1], data, pixels=50, extent=(0.0, 2.0, -1.0, 1.0))
    heights = -1 + 2 * (np.arange(50) + 0.5) / 50
    assert share.shape == (50, 50)
    np.testing.assert_array_equal(share > 0.5, np.repeat((heights > 0.25)[:, None], 50, 1))
    assert len(ax.images) == 1 and ax.get_xlim() == (0.0, 2.0) and ax.get_ylim() == (-1.0, 1.0)
    # the class that a point has and the region of that class are of one hue: blue for 0, orange for 1
    image = ax.images[0]
    low, high = image.cmap(image.norm(0.0)), image.cmap(image.norm(1.0))
    assert low[2] > low[0] and high[0] > high[2]
    blue, orange = (s.get_facecolor()[0] for s in ax.collections[-2:])
    assert blue[2] > blue[0] and orange[0] > orange[2]
    np.testing.assert_allclose(ax.collections[-1].get_offsets(), data.x[data.y == 1])


def test_decision_regions_average_over_replicas(ax):
    ensemble = half_plane()
    parts = [decision_regions(ax, ensemble, q, extent=(0, 1, -1, 1), pixels=20) for q in ensemble.q]
    both = decision_regions(ax, ensemble, ensemble.q, extent=(0, 1, -1, 1), pixels=20)
    assert both.shape == (20, 10)
    np.testing.assert_allclose(both, np.mean(parts, 0), atol=1e-6)


def test_decision_regions_need_a_part_of_the_plane(ax):
    with pytest.raises(ValueError, match="extent=None"):
        decision_regions(ax, half_plane(), torch.zeros(9))
