"""The archive: all that is under version control, and metadata that name every record, its chapter and its commit."""

import gzip
import hashlib
import io
import json
import zipfile

import pandas as pd
import pytest
from rocrate.rocrate import ROCrate

from book.tools import archive
from book.tools.chapters import ROOT


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
        names = set(packed.namelist()) - {archive.METADATA, "html/index.html"}
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
