"""Claims: the verdict follows its rule, numbers are written with their errors, bad input gets one sentence."""

import math

import numpy as np
import pytest
import torch

from companion.claims.former import (
    DIFFERS,
    NOT_RUN,
    REPRODUCED,
    Claims,
    improved,
    mean_error,
    median_error,
    plus_minus,
    read,
    share,
    summary,
    to_html,
)

RUNS = [0.94, 0.96, 0.95, 0.97, 0.93]  # mean 0.95, standard deviation 0.0158, standard error 0.0071


@pytest.fixture
def claims():
    return Claims("partitioned", "langevin_splittings")


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor, lambda r: torch.tensor(r, requires_grad=True)])
def test_runs_may_be_lists_arrays_or_tensors(claims, kind):
    assert claims.number("a", "sentence", "Fig. 1", paper=0.96, runs=kind(RUNS)) == REPRODUCED
    assert claims.rows[0]["ours"] == "0.9500 ± 0.0071 (5 runs)"


def test_number_is_reproduced_up_to_its_stated_margin(claims):
    s = np.std(RUNS, ddof=1)
    margin = 2 * np.sqrt(s**2 / 4 + s**2 / 5) + 0.005
    for i, (paper, verdict) in enumerate(
        [
            (0.95 + margin - 1e-6, REPRODUCED),
            (0.95 + margin + 1e-6, DIFFERS),
            (0.95 - margin + 1e-6, REPRODUCED),
            (0.95 - margin - 1e-6, DIFFERS),
        ]
    ):
        assert claims.number(f"c{i}", "sentence", "Fig. 1", paper=paper, runs=RUNS, paper_runs=4) == verdict


def test_the_last_printed_digit_of_the_paper_counts(claims):
    same = [0.9, 0.9, 0.9]
    assert claims.number("a", "sentence", "Fig. 1", paper=0.904, runs=same, digits=2) == REPRODUCED
    assert claims.number("b", "sentence", "Fig. 1", paper=0.904, runs=same, digits=3) == DIFFERS
    assert [r["paper"] for r in claims.rows] == ["0.90", "0.904"]


def test_order_needs_three_standard_errors(claims):
    low = np.array([0.0, 1.0, 2.0])  # standard error of a difference of two such: 0.816
    assert claims.order("a", "sentence", "Fig. 1", larger=low + 2.5, smaller=low, paper=(0.9, 0.8)) == REPRODUCED
    assert claims.order("b", "sentence", "Fig. 1", larger=low + 2.4, smaller=low) == DIFFERS
    assert claims.order("c", "sentence", "Fig. 1", larger=low - 2.5, smaller=low) == DIFFERS
    assert "0.9 > 0.8" in claims.rows[0]["paper"]
    assert "not resolved" in claims.rows[1]["detail"]
    assert "the other one" in claims.rows[2]["detail"]


def test_exact_and_holds(claims):
    assert claims.exact("a", "sentence", "Eq. 3", paper=1 / 3, ours=torch.tensor(0.33334), tolerance=1e-4) == REPRODUCED
    assert claims.exact("b", "sentence", "Eq. 3", paper=1 / 3, ours=0.334, tolerance=1e-4) == DIFFERS
    assert claims.holds("c", "sentence", "p. 4", value=np.True_) == REPRODUCED
    assert claims.holds("d", "sentence", "p. 4", value=False, detail="no minimum found") == DIFFERS


def test_not_run_shows_a_smaller_run_and_never_judges_it(claims):
    verdict = claims.not_run("a", "sentence", "Fig. 2", paper=0.77, runs=RUNS, command="make reproduce", detail="1/8")
    assert verdict == NOT_RUN
    assert claims.not_run("b", "sentence", "Fig. 2", command="make reproduce") == NOT_RUN
    assert claims.rows[0]["ours"] == "0.9500 ± 0.0071 at a smaller scale (5 runs)"
    assert summary(claims.rows) == "2 claims: 0 reproduced, 0 differ, 2 not run at this scale"


@pytest.mark.parametrize(
    ("mean", "error", "text"),
    [
        (0.95731, 0.00312, "0.9573 ± 0.0031"),
        (93.4, 1.23, "93.4 ± 1.2"),
        (1234.5, 67.8, "1234 ± 68"),
        (0.0, 0.02, "0.000 ± 0.020"),
        (1.2342e-9, 4.0e-11, "1.234e-09 ± 4.0e-11"),
        (1.0, 0.0, "1 ± 0"),
    ],
)
def test_plus_minus(mean, error, text):
    assert plus_minus(mean, error) == text


def test_the_error_of_a_median_is_what_medians_scatter_by():
    samples = np.random.default_rng(0).normal(3.0, 2.0, (4000, 101))
    found = np.array([[float(x) for x in median_error(row).split(" ± ")] for row in samples[:400]])
    assert found[:, 1].mean() == pytest.approx(np.median(samples, axis=1).std(), rel=0.06)
    astray = [*range(99), 1e9, 1e9]
    assert median_error(astray) == "50.0 ± 4.6"


def test_a_draw_is_half_an_improvement():
    assert improved([2.0, 1.0, 3.0, 0.0], [1.0, 1.0, 4.0, -1.0]) == share([1.0, 0.5, 0.0, 1.0])
    with pytest.raises(ValueError, match="after has 2 trials and before 3"):
        improved([1.0, 2.0], [1.0, 2.0, 3.0])


def test_a_share_of_trials_has_an_error_that_is_never_zero():
    assert share([1.0] * 8) == pytest.approx((0.9, math.sqrt(0.009)))
    assert share([0.5] * 10) == pytest.approx((0.5, math.sqrt(0.25 / 12)))
    with pytest.raises(ValueError, match="hits"):
        share([1.0])


def test_mean_error():
    assert mean_error(RUNS) == "0.9500 ± 0.0071"


def test_a_chapter_shows_a_table_and_hands_over_its_data(claims):
    claims.number("acc", "accuracy < 1 & rising </script>", "Fig. 1", paper=0.96, runs=RUNS, figure="fig-regions")
    bundle = claims._repr_mimebundle_()
    data = {"paper": "partitioned", "chapter": "langevin_splittings", "claims": claims.rows}
    assert read(bundle["text/html"]) == data
    assert read("<table></table>") is None
    assert 'id="claim-acc"' in bundle["text/html"] and 'href="#fig-regions"' in bundle["text/html"]
    assert "accuracy &lt; 1 &amp; rising &lt;/script&gt;" in bundle["text/html"]
    assert "[reproduced] accuracy < 1 & rising </script> (Fig. 1)" in bundle["text/plain"]
    assert 'href="page.html#claim-acc"' in to_html(claims.rows, "page.html", link=True)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda c: Claims("unknown", "x"), "paper='unknown' is not known"),
        (lambda c: Claims("partitioned", "x.md"), "chapter='x.md'"),
        (lambda c: c.number("a b", "s", "w", paper=1, runs=RUNS), "id='a b'"),
        (lambda c: c.number("a", "", "w", paper=1, runs=RUNS), "needs a sentence"),
        (lambda c: c.number("a", "s", "w", paper="much", runs=RUNS), "paper='much' is not a number"),
        (lambda c: c.number("a", "s", "w", paper=float("nan"), runs=RUNS), "not a finite number"),
        (lambda c: c.number("a", "s", "w", paper=1, runs=[0.9]), "at least 2"),
        (lambda c: c.number("a", "s", "w", paper=1, runs=[[0.9, 1.0]]), "shape"),
        (lambda c: c.number("a", "s", "w", paper=1, runs=[0.9, float("nan")]), "1 value"),
        (lambda c: c.number("a", "s", "w", paper=1, runs=["x", "y"]), "not numbers"),
        (lambda c: c.number("a", "s", "w", paper=1, runs=RUNS, paper_runs=0), "paper_runs=0"),
        (lambda c: c.exact("a", "s", "w", paper=1, ours=1, tolerance=0), "tolerance=0"),
        (lambda c: c.holds("a", "s", "w", value=1), "value=1 must be True or False"),
        (lambda c: c.not_run("a", "s", "w", command=" "), "command is empty"),
    ],
)
def test_bad_input_gets_one_sentence(claims, call, words):
    with pytest.raises(ValueError, match=words.replace("(", r"\(")) as caught:
        call(claims)
    assert "\n" not in str(caught.value)


def test_an_id_is_used_once(claims):
    claims.holds("a", "s", "w", value=True)
    with pytest.raises(ValueError, match="already"):
        claims.holds("a", "s", "w", value=True)
