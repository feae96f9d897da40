"""The places that say what the project needs agree with each other."""

import re
import subprocess
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def plain(requirement: str) -> str:
    """The name of the package that a requirement is about, spelled in the one way in which names are compared."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def pins() -> dict[str, str]:
    lines = [line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    return {plain(line): line for line in lines if line}


def required() -> list[str]:
    return PROJECT["dependencies"] + [r for extra in PROJECT["optional-dependencies"].values() for r in extra]


def test_what_is_installed_has_every_file_of_the_packages():
    """Also where the project is not installed in place: modules lie in packages, and other files are declared."""
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert setuptools["packages"]["find"]["include"] == ["thermolib*", "companion*"]
    declared = {
        path
        for package, patterns in setuptools["package-data"].items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    listed = subprocess.run(["git", "ls-files", "thermolib", "companion"], cwd=ROOT, capture_output=True, text=True)
    files = [ROOT / name for name in listed.stdout.split()]
    if listed.returncode:  # an archive without a history
        files = [path for name in ("thermolib", "companion") for path in (ROOT / name).rglob("*.*")]
        files = [path for path in files if "__pycache__" not in path.parts]
    assert [path for path in files if path.suffix == ".py" and not (path.parent / "__init__.py").is_file()] == []
    assert {path for path in files if path.suffix != ".py"} == declared and len(declared) > 5


def test_every_requirement_is_pinned_to_one_version():
    assert [r for r in required() if plain(r) not in pins()] == []
    assert [line for line in pins().values() if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []


def test_pins_satisfy_the_requirements():
    from packaging.requirements import Requirement

    wanted = [Requirement(r) for r in required()]
    versions = {name: line.partition("==")[2] for name, line in pins().items()}
    wrong = [str(r) for r in wanted if not r.specifier.contains(versions[plain(r.name)], prereleases=True)]
    assert wrong == []


def test_the_tested_torch_has_no_build_tag_and_brings_no_cuda():
    assert pins()["torch"] == "torch==2.13.0"
    assert pins()["torchvision"] == "torchvision==0.28.0"
    assert [name for name in pins() if re.match("nvidia|cuda|triton", name)] == []


def test_conda_installs_the_same_set():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [d for d in environment["dependencies"] if isinstance(d, str)]
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert environment["name"] == PROJECT["name"]
    assert conda == [f"python{PROJECT['requires-python']}", "pip"]
    assert pip == ["-c constraints.txt", "-e .[book,test,cluster]"]


def test_make_installs_the_same_set():
    assert "-c constraints.txt -e '.[book,test,cluster]'" in (ROOT / "Makefile").read_text()


def test_nobody_is_told_to_install_a_package_of_somebody_else():
    texts = [p for p in ROOT.iterdir() if p.suffix in (".md", ".yml", ".toml", ".cff") or p.name == "Makefile"]
    for folder in ("book", "notebooks", "thermolib", "companion", "batches", ".github", "benchmarks", "tests"):
        texts += [p for p in (ROOT / folder).rglob("*") if p.suffix in (".md", ".py", ".ipynb", ".yml", ".yaml")]
    wrong = re.compile(r"pip3? install[^\n`]*\bthermo" + "lib")  # in two parts, so as not to find itself
    assert [p.name for p in texts if wrong.search(p.read_text(encoding="utf-8"))] == []


def test_the_citation_names_four_papers_of_the_bibliography():
    papers = yaml.safe_load((ROOT / "CITATION.cff").read_text())["references"]
    bibliography = (ROOT / "book" / "references.bib").read_text()
    assert len(papers) == 4
    assert [p["title"] for p in papers if p.get("doi", p.get("url")) not in bibliography] == []


def test_ci_ends_in_make_test():
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("make test")


def test_no_tracked_path_is_a_link():
    """A link points at somebody's machine; git marks it with the mode 120000."""
    listed = subprocess.run(["git", "ls-files", "--stage"], cwd=ROOT, capture_output=True, text=True)
    assert not [line for line in listed.stdout.splitlines() if line.startswith("120000")]


WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())
JOBS = WORKFLOW["jobs"]


def commands(job: dict) -> list[str]:
    """What a job calls, once for each entry of its matrix."""
    runs = [step["run"] for step in job["steps"] if "run" in step]
    entries = job.get("strategy", {}).get("matrix", {}).get("include", [{}])
    found = []
    for entry in entries:
        for run in runs:
            for name, value in entry.items():
                run = run.replace(f"${{{{ matrix.{name} }}}}", value)
            found.append(run)
    return found


def test_the_hosted_workflow_is_make_test_in_shards():
    parts = re.search(r"^PARTS := (.+)$", (ROOT / "Makefile").read_text(), re.M)[1].split()
    often = {name: job for name, job in JOBS.items() if "schedule" not in str(job.get("if"))}
    tested = [run for job in often.values() for run in commands(job) if run.startswith("make test")]
    assert set(tested) == {f"make test PARTS={part}" for part in parts}
    assert {"part": "units", "system": "macos-latest"} in JOBS["test"]["strategy"]["matrix"]["include"]
    assert "container" in JOBS["faults"] and "make test PARTS=faults" in commands(JOBS["faults"])
    assert WORKFLOW["env"]["MISSING"] == "", "what is missing there is no excuse"
    assert set(JOBS["publish"]["needs"]) == {"test", "faults"}


def test_once_a_week_everything_is_computed_and_audited():
    weekly = JOBS["weekly"]
    assert WORKFLOW[True]["schedule"] and weekly["if"] == "github.event_name == 'schedule'"  # YAML reads `on` as true
    assert [run.split()[:2] for run in commands(weekly)[:2]] == [["make", "reproduce"], ["make", "audit"]]
    assert "AUDIT_SHARE=" in commands(weekly)[1]


def test_what_failed_is_kept():
    for name in ("test", "faults", "weekly"):
        kept = [step for step in JOBS[name]["steps"] if "upload-artifact" in step.get("uses", "")]
        assert kept and all(step["if"] == "failure()" and "runs" in step["with"]["path"].split() for step in kept)
