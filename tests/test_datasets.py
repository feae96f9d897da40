"""Published data: the real files where they are, and one clear sentence where something is wrong with them."""

import functools
import gzip
import hashlib
import re
import shutil
from pathlib import Path

import pooch
import pytest
import requests
import torch
from click.testing import CliRunner

import thermolib as tl
from companion.runs import command, sets
from thermolib.data import registry

TINY = registry.Published("Tiny", "tiny", ("https://a.invalid/", "https://b.invalid/"), {"x.gz": ""})


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A published file of a few bytes, a folder of the reader's, an empty cache, and no network."""
    content = gzip.compress(b"published", mtime=0)
    asked = []

    def offline(self, url, *rest, **more):
        asked.append(url)
        raise requests.exceptions.ConnectionError("no network")

    monkeypatch.setenv("THERMOLIB_DATA", str(tmp_path / "mine"))
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache")
    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", offline)
    published = registry.Published("Tiny", "tiny", TINY.addresses, {"x.gz": hashlib.sha256(content).hexdigest()})
    file = tmp_path / "mine" / "tiny" / "x.gz"
    file.parent.mkdir(parents=True)
    return published, file, content, asked


def test_mnist_is_what_it_is():
    try:
        data = tl.datasets.mnist()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    for part, n in ((data.train, 60_000), (data.test, 10_000)):
        assert part.x.shape == (n, 784) and part.x.dtype == torch.float32
        assert part.x.min() == 0 and part.x.max() == 1
        assert part.y.shape == (n,) and part.y.dtype == torch.int64
    assert data.train.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert torch.bincount(data.test.y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert data.train.x.mean().item() == pytest.approx(0.1306604762738429, rel=1e-5)
    corner = data.test.x.reshape(-1, 28, 28)[0, :7]
    assert corner.sum() == 0  # the seven lies under seven empty rows


def test_higgs_comes_with_the_library(tiny, monkeypatch):
    """Without data of the reader's, without a cache, and without a network."""
    data = tl.datasets.higgs()
    assert data.x.shape == (11_000, 28) and data.x.dtype == torch.float32 and not tiny[3]
    assert data.y.unique().tolist() == [0, 1] and data.y.mean().item() == pytest.approx(0.529, abs=5e-4)
    assert data.x[:, 0].mean().item() == pytest.approx(0.99, abs=0.02)  # features are in units of their mean
    assert {round(x, 4) for x in data.x[:, 8].unique().tolist()} == {0.0, 1.0865, 2.1731}  # how the first jet is tagged
    monkeypatch.setattr(registry, "HIGGS", (registry.HIGGS[0], "0" * 64))
    with pytest.raises(ValueError, match=r"higgs_11k\.csv\.gz is not the file that came with the library: install"):
        tl.datasets.higgs()


def test_the_folder_of_the_reader_comes_first(tiny):
    published, file, content, asked = tiny
    file.write_bytes(content)
    assert registry.fetch(published) == {"x.gz": file} and not asked


@pytest.mark.parametrize("wrong", ["truncated", "another"])
def test_a_file_that_is_not_the_published_one_is_refused(tiny, wrong):
    published, file, content, asked = tiny
    file.write_bytes(content[:-3] if wrong == "truncated" else gzip.compress(b"something else"))
    with pytest.raises(ValueError, match=r"x\.gz is not the published file: its \d+ bytes have the sha256") as error:
        registry.fetch(published)
    assert str(file) in str(error.value) and "\n" not in str(error.value) and not asked


def test_without_network_it_says_what_to_put_where(tiny):
    published, _, _, asked = tiny
    with pytest.raises(FileNotFoundError, match=r"put x\.gz into \S+/mine/tiny and set THERMOLIB_DATA=") as error:
        registry.fetch(published)
    assert "ConnectionError" in str(error.value) and "\n" not in str(error.value)
    assert asked == [address + "x.gz" for address in TINY.addresses]  # every address was tried


@pytest.mark.parametrize("value", [None, ""])
def test_without_the_variable_it_names_one(tiny, monkeypatch, value):
    monkeypatch.delenv("THERMOLIB_DATA")
    if value is not None:
        monkeypatch.setenv("THERMOLIB_DATA", value)
    with pytest.raises(FileNotFoundError, match="set THERMOLIB_DATA="):
        registry.fetch(tiny[0])


def test_the_second_address_serves_when_the_first_sends_another_file(tiny, monkeypatch, tmp_path):
    published, _, content, _ = tiny

    def online(self, url, output_file, *rest, **more):
        with open(output_file, "wb") as out:
            out.write(content if "b.invalid" in url else b"a page that says no")

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", online)
    path = registry.fetch(published)["x.gz"]
    assert path == tmp_path / "cache" / "tiny" / "x.gz" and path.read_bytes() == content


def test_a_spoiled_cache_is_fetched_again(tiny, tmp_path):
    published, _, _, asked = tiny
    cached = tmp_path / "cache" / "tiny" / "x.gz"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"half of it")
    with pytest.raises(FileNotFoundError):
        registry.fetch(published)
    assert asked


def test_chapters_without_their_data_skip_and_say_why(tmp_path):
    """A chapter names its data in its header; where they are missing, the test run skips it with the reason."""
    import os
    import subprocess
    import sys

    import nbformat

    from book.tools.chapters import NOTEBOOKS, ROOT

    notebook = nbformat.v4.new_notebook(metadata={"thermolib": {"data": ["mnist"]}})
    notebook.cells = [nbformat.v4.new_code_cell("print(1)", execution_count=1)]
    shutil.copy(NOTEBOOKS / "conftest.py", tmp_path)
    nbformat.write(notebook, tmp_path / "chapter.ipynb")
    offline = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": ""}
    empty = {"THERMOLIB_DATA": str(tmp_path / "none"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "--nbval", "--nbval-current-env", "-p", "no:cacheprovider", tmp_path],
        cwd=tmp_path,
        env=os.environ | offline | empty | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert "1 skipped" in done.stdout and "MNIST is not on this machine" in done.stdout, done.stdout + done.stderr


def test_the_page_has_size_licence_and_checksums_of_every_set():
    page = (Path(__file__).parents[1] / "book" / "rerun.md").read_text(encoding="utf-8")
    table = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.M))
    for name, size, licence, where in sets.listed():
        assert table[name].startswith(f"{size} | {licence}") and where
        assert hasattr(tl.datasets, name) or name == "imagenet"
    published = [form for forms, _, _ in sets.FETCHED.values() for form in forms]
    sums = {f"{one.folder}/{file}": known for one in published for file, known in one.sha256.items()}
    sums["thermolib/data/" + registry.HIGGS[0]] = registry.HIGGS[1]
    assert dict(reversed(line) for line in re.findall(r"^([0-9a-f]{64})  (\S+)$", page, re.M)) == sums


def test_the_command_says_where_a_set_is_and_fetches_it(monkeypatch, tmp_path):
    content = b"a few bytes"
    tiny = registry.Published("Tiny", "tiny", (), {"x": hashlib.sha256(content).hexdigest()})
    monkeypatch.setattr(sets, "FETCHED", {"tiny": ((tiny,), "11 B", "CC0")})
    monkeypatch.setenv("THERMOLIB_DATA", str(tmp_path))
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache")
    call = functools.partial(CliRunner().invoke, command.main)
    assert re.search(r"tiny +11 B  CC0 +not here: companion data tiny fetches it", call(["data"]).output)
    done = call(["data", "tiny"])
    assert done.exit_code == 1 and "Tiny is not on this machine and could not be fetched" in done.output
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "x").write_bytes(content)
    assert f"here: {tmp_path / 'tiny'}" in call(["data"]).output
    assert call(["data", "tiny"]).output == f"Tiny: {tmp_path / 'tiny'}, checksums verified\n"
    assert "it comes with scikit-learn" in call(["data", "iris"]).output
