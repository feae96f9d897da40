"""The archive: all that is under version control, and metadata that name every record, its chapter and its commit."""

import gzip
import hashlib
import io
import json
import shutil
import subprocess
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import rocrate
from rocrate.rocrate import ROCrate
from rocrate_validator import models, services
from rocrate_validator.utils import http

from book.tools import archive
from book.tools.chapters import ROOT
from companion.evidence.records import all_records


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    if not (ROOT / ".git").exists():
        pytest.skip("the history is not here")
    folder = tmp_path_factory.mktemp("archive")
    (folder / "html").mkdir()
    (folder / "html" / "index.html").write_text("the book")
    archive.write(ROOT, folder / "html", folder / "a.zip")
    return folder / "a.zip"


def test_every_file_is_there_and_every_record_says_where_it_comes_from(written):
    with zipfile.ZipFile(written) as packed:
        about = {one["@id"]: one for one in json.loads(packed.read(archive.METADATA))["@graph"]}
        names = set(packed.namelist()) - {archive.METADATA, "html/", "html/index.html"}
        assert names == set(archive.tracked(ROOT)) and {"LICENSE", "CITATION.cff"} <= names
        assert {part["@id"] for part in about["./"]["hasPart"]} == names | {"html/"}
        records = [one for one in about.values() if "sha256" in one]
        assert len(records) > 20
        for one in records:
            assert one["isBasedOn"]["@id"] in names and one["subjectOf"]["@id"] in names and one["version"]
            table = packed.read(one["@id"])
            table = gzip.decompress(table) if one["@id"].endswith(".gz") else table
            assert hashlib.sha256(table).hexdigest() == one["sha256"]
        assert len(pd.read_csv(io.BytesIO(table)))


def test_the_reader_of_such_archives_finds_every_file(written, tmp_path):
    with zipfile.ZipFile(written) as packed:
        packed.extractall(tmp_path)
    read = ROCrate(tmp_path)
    assert {one.id for one in read.data_entities} == {*archive.tracked(ROOT), "html/"}
    assert read.root_dataset["license"].id == archive.LICENCE and read.root_dataset["datePublished"]


@pytest.fixture
def small(tmp_path):
    """The archive of a project with one record, which takes the validator seconds."""
    project, record = tmp_path / "project", all_records(ROOT)[0]
    chapter = ROOT / "notebooks" / f"{record.name.partition('/')[0]}.md"
    for path in (ROOT / "CITATION.cff", ROOT / "LICENSE", chapter, record.about, record.table):
        to = project / path.relative_to(ROOT)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to)
    (project / "html").mkdir()
    (project / "html" / "index.html").write_text("the book")
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "-A", "--", ".", ":!html"], [*who, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", *words], cwd=project, check=True)
    archive.write(project, project / "html", tmp_path / "a.zip")
    return tmp_path / "a.zip"


def judged(path, monkeypatch):
    """What the validator of RO-Crate requires and does not find; the only page that it fetches comes with rocrate."""
    context = Path(rocrate.__file__).with_name("data") / "ro-crate.jsonld"
    known = json.loads(context.read_text(encoding="utf-8"))
    kind = {"Content-Type": "application/ld+json"}

    def get(self, url, **_):
        assert url == known["@id"] == "https://w3id.org/ro/crate/1.3/context"
        return SimpleNamespace(status_code=200, headers=kind, text=context.read_text(), json=lambda: known)

    monkeypatch.setattr(http.HttpRequester, "get", get, raising=False)  # it has it from its session
    asked = {"rocrate_uri": str(path), "profile_identifier": "ro-crate-1.3", "cache_path": path.parent / "cache"}
    found = services.validate(services.ValidationSettings(**asked, requirement_severity=models.Severity.REQUIRED))
    return [issue.message for issue in found.get_issues()]


def test_the_validator_of_such_archives_has_nothing_against_it(small, monkeypatch):
    assert judged(small, monkeypatch) == []


def test_the_validator_would_notice_a_file_that_is_not_there_and_a_word_that_is_none(small, monkeypatch, tmp_path):
    with zipfile.ZipFile(small) as packed, zipfile.ZipFile(tmp_path / "b.zip", "w") as wrong:
        for name in packed.namelist():
            text = packed.read(name)
            if name == archive.METADATA:
                text = text.replace(b'"sha256"', b'"checksum of"')
            if name != "LICENSE":
                wrong.writestr(name, text)
    said = " ".join(judged(tmp_path / "b.zip", monkeypatch))
    assert "LICENSE" in said and "checksum of" in said
