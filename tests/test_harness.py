"""The harness of long trainings: what it keeps, what it refuses, and its command line."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import pytest
import torch

from companion.recipes import harness


@dataclass(frozen=True)
class Settings:
    """What a run is.

    Parameters
    ----------
    method : by which it trains.
    lr : 50 % of
        the distance, or less.
    epochs : passes.
    """

    method: str = "walk"
    lr: float | None = None
    epochs: int = 6


class Walk(harness.Run):
    """Counts; breaks off in the epoch ``bad``, by an interrupt or with a loss that is not finite."""

    device = torch.device("cpu")

    def __init__(self, bad=None, error=None):
        self.layer = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.zeros_(self.layer.weight)
        self.bad, self.error = bad, error
        super().__init__("loss", layer=self.layer)

    def advance(self, look):
        if self.made == self.bad and self.error:
            raise self.error
        self.layer.weight.data += 1
        self.rows.append({"epoch": self.made, "loss": math.inf if self.made == self.bad else 1.5, "looked": look})
        self.made += 1


def train(
    settings: Settings, out: Path | str, *, until: int | None = None, look_every: int = 1, progress: bool = False
):
    """Train.

    Parameters
    ----------
    settings : of the run.
    out : a folder.
    until : stop there.
    look_every : epochs between looks.
    progress : show a bar.
    """
    return walk(out, settings, until=until, look_every=look_every)


def walk(out, settings=Settings(), program=(Settings,), *, until=None, look_every=1, save_every=1, **broken):
    run = Walk(**broken)
    run.keep(out, settings.method, asdict(settings), program, "numpy")
    return run.drive(settings.epochs, "epochs", until, look_every, save_every, progress=False)


def test_a_run_goes_on_and_looks_when_it_is_due(tmp_path):
    assert walk(tmp_path, until=4, look_every=3)["looked"].tolist() == [False, False, True, True]
    whole = walk(tmp_path, look_every=3)
    assert whole["epoch"].tolist() == list(range(6))
    assert whole.index[whole["looked"]].tolist() == [2, 3, 5]
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "history.csv"), whole)
    record = json.loads((tmp_path / "provenance.json").read_text())
    assert record["epochs made"] == 6 and record["method"] == "walk" and record["device"] == "cpu"
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["chunks"][0]
    assert kept["run"]["layer"]["weight"].item() == 6


def test_what_was_not_saved_is_made_again(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        walk(tmp_path, save_every=2, bad=3, error=KeyboardInterrupt())
    assert len(pd.read_csv(tmp_path / "history.csv")) == 2
    assert walk(tmp_path, save_every=2)["epoch"].tolist() == list(range(6))


def test_a_run_whose_loss_is_not_finite_ends(tmp_path):
    assert len(walk(tmp_path, save_every=5, bad=2)) == 3
    assert len(walk(tmp_path, save_every=5)) == 3


def test_every_commit_that_contributed_is_named(tmp_path, monkeypatch):
    for until, name in ((1, "a1"), (2, "a1"), (3, "b2 with changes")):
        monkeypatch.setattr(harness, "provenance", lambda *packages, name=name: {"commit": name})
        walk(tmp_path, until=until)
    assert json.loads((tmp_path / "provenance.json").read_text())["commit"] == "a1, b2 with changes"


def test_a_checkpoint_of_other_settings_or_other_code_is_refused(tmp_path, monkeypatch):
    walk(tmp_path, until=2)
    with pytest.raises(ValueError, match="belongs to another run, of walk"):
        walk(tmp_path, Settings(lr=0.1))
    library = tmp_path / "library"
    library.mkdir()
    (library / "__init__.py").write_text('"""Text."""\nRATE = 0.1\n')
    monkeypatch.setattr(harness.thermolib, "__file__", str(library / "__init__.py"))
    with pytest.raises(ValueError, match="was made by other code, at commit"):
        walk(tmp_path)
    other = tmp_path / "other"
    walk(other, until=2)
    (library / "__init__.py").write_text('"""Another text."""\n\n# why\nRATE = 0.1\n')
    walk(other, until=3)
    (library / "__init__.py").write_text('"""Text."""\nRATE = 0.2\n')
    with pytest.raises(ValueError, match="was made by other code, at commit"):
        walk(other)


def test_the_command_line_is_that_of_settings_and_training(tmp_path, capsys):
    threads = torch.get_num_threads()
    try:
        harness.command(Settings, train, ["--out", str(tmp_path), "--until=2", "--threads=1", "--lr=0.5"], epochs=3)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
    assert capsys.readouterr().out.split()[-3:] == ["1", "1.5", "True"]
    record = json.loads((tmp_path / "provenance.json").read_text())
    assert record["epochs"] == 3 and record["lr"] == 0.5 and record["epochs made"] == 2
    with pytest.raises(SystemExit):
        harness.command(Settings, train, ["--help"])
    help = " ".join(capsys.readouterr().out.split())
    assert "--lr LR 50 % of" in help and "--look-every LOOK_EVERY epochs between looks (default: 1)" in help
    assert "--progress" not in help and "--settings" not in help


def test_the_command_line_says_in_one_sentence_what_ended_it(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r"^threads=0 is not allowed"):
        harness.command(Settings, train, ["--out", str(tmp_path), "--threads=0"])
    with pytest.raises(SystemExit, match=r"^look_every=0 is not allowed"):
        harness.command(Settings, train, ["--out", str(tmp_path), "--look-every=0"])

    def interrupted(self, look):
        raise KeyboardInterrupt

    monkeypatch.setattr(Walk, "advance", interrupted)
    with pytest.raises(SystemExit, match=r"^interrupted: the same command goes on"):
        harness.command(Settings, train, ["--out", str(tmp_path)])
