"""One file for a repository of data: ``python -m book.tools.archive``, which ``make archive`` calls.

It holds what is under version control and the built book in ``html/``, and says in ``ro-crate-metadata.json``, as
RO-Crate 1.3 has it, what each record is, which chapter it is of and which commit made it. Tables are CSV: they open
without the project.
"""

from __future__ import annotations

import json
import mimetypes
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import yaml

from book.tools import build
from book.tools.chapters import ROOT

METADATA = "ro-crate-metadata.json"
LICENCE = "https://spdx.org/licenses/BSD-3-Clause"


def _git(root: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout


def tracked(root: Path) -> list[str]:
    """The files under version control, but for links."""
    return [name for name in _git(root, "ls-files", "-z").split("\0") if (root / name).is_file()]


def metadata(root: Path, names: list[str], html: bool) -> dict[str, Any]:
    """What is in the archive, as RO-Crate has it."""
    cited = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    commit, date = _git(root, "log", "-1", "--format=%H %cs").split()
    files, tables = [], {}
    for about in (name for name in names if name.startswith("results/") and name.endswith(".json")):
        made = json.loads((root / about).read_text(encoding="utf-8"))
        if isinstance(made, dict) and "sha256" in made and "table" in made:
            tables[(Path(about).parent / made["table"]).as_posix()] = about, made
    for name in names:
        kind = mimetypes.guess_type(name)[0] or "text/plain"
        one: dict[str, Any] = {"@id": name, "@type": "File", "name": Path(name).name, "encodingFormat": kind}
        one["contentSize"] = str((root / name).stat().st_size)
        if name in tables:
            about, made = tables[name]
            chapter = f"notebooks/{Path(about).parent.name}.md"
            one |= {"description": f"record {about.removeprefix('results/')}", "sha256": made["sha256"]}
            one |= {"version": str(made.get("commit", "")), "subjectOf": {"@id": about}, "isBasedOn": {"@id": chapter}}
        files.append(one)
    parts = [{"@id": one["@id"]} for one in files] + [{"@id": "html/"}] * html
    root_entity = {
        "@id": "./", "@type": "Dataset", "name": cited["title"], "description": cited["title"], "version": commit,
        "datePublished": date, "license": {"@id": LICENCE}, "author": {"@id": "#authors"}, "hasPart": parts,
    }  # fmt: skip
    graph = [
        {"@id": METADATA, "@type": "CreativeWork", "about": {"@id": "./"},
         "conformsTo": {"@id": "https://w3id.org/ro/crate/1.3"}},
        root_entity,
        {"@id": "#authors", "@type": "Organization", "name": cited["authors"][0]["name"]},
        {"@id": LICENCE, "@type": "CreativeWork", "name": "BSD-3-Clause", "description": "BSD 3-Clause licence"},
        *files,
        *([{"@id": "html/", "@type": "Dataset", "name": "the book", "description": "begins with index.html"}] * html),
    ]  # fmt: skip
    return {"@context": "https://w3id.org/ro/crate/1.3/context", "@graph": graph}


def write(root: Path, html: Path | None, out: Path) -> None:
    names = tracked(root)
    out.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(METADATA, json.dumps(metadata(root, names, bool(html)), indent=1, ensure_ascii=False))
        for name in names:
            archive.write(root / name, name)
        if html:
            archive.mkdir("html")  # it is named in the metadata, and so has an entry of its own
        for path in sorted(html.rglob("*")) if html else ():
            if path.is_file():
                archive.write(path, f"html/{path.relative_to(html).as_posix()}")


def main() -> None:
    if changed := _git(ROOT, "status", "--porcelain", "--untracked-files=no").strip():
        sys.exit(f"an archive is of a commit; commit first what has changed:\n{changed}")
    if not build.fresh():
        build.build()
    out = ROOT / "_build" / f"thermo-companion-{_git(ROOT, 'rev-parse', '--short', 'HEAD').strip()}.zip"
    write(ROOT, build.HTML, out)
    print(f"{out}  {out.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
