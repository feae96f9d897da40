"""The command ``companion``: run chapters and batches, and look at what they gave.

What takes its time to import is imported by the command that needs it, so that help and lists are there at once.
"""

from __future__ import annotations

import contextlib
import secrets
import sys
from pathlib import Path
from typing import Any

try:
    import click
except ImportError:
    raise SystemExit("the command needs the extra called book: .venv/bin/pip install -e '.[book]'") from None

from companion.runs import batch, chapters


class Command(click.Group):
    """Says in one sentence what was wrong with what it was asked."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ValueError as error:
            raise click.ClickException(str(error)) from None
        except OSError as error:
            if not error.filename:
                raise
            raise click.ClickException(f"{error.filename}: {error.strerror}") from None


@click.group(cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run the chapters of the companion with other parameters, one at a time or in batches."""


def _parameters(pairs: tuple[str, ...]) -> dict[str, Any]:
    for pair in pairs:
        if "=" not in pair:
            raise ValueError(f"-p {pair} is not allowed: it is KEY=VALUE, as in -p seed=7")
    return {key: chapters.literal(value) for key, _, value in (pair.partition("=") for pair in pairs)}


def _is_batch(target: str) -> bool:
    return target.endswith((".yaml", ".yml"))


@main.command()
@click.argument("target", metavar="notebooks/NAME | BATCH.yaml")
@click.option("-p", "pairs", multiple=True, metavar="KEY=VALUE", help="Set a parameter of a chapter.")
@click.option("--again", is_flag=True, help="Run a chapter although it is done.")
@click.option("--only", multiple=True, metavar="RUN", help="These runs of a batch, and no others.")
@click.option("--workers", type=click.IntRange(1), help="Runs side by side; if not given, one per GPU or core.")
@click.option("--scheduler", default="", metavar="ADDRESS", help="A Dask scheduler for a batch, as in tls://host:8786.")
@click.option("--slurm", default="", metavar="PROFILE.yaml", help="Submit a batch to Slurm, and wait for its end.")
@click.option("--job", is_flag=True, hidden=True)
def run(
    target: str, pairs: tuple[str, ...], again: bool, only: tuple[str, ...], workers: int | None, scheduler: str,
    slurm: str, job: bool,
) -> None:  # fmt: skip
    """Run a chapter, or what is missing, failed or stale of a batch.

    The exit status is 0 where all is done, 3 where chapters were left out whose data are not here, and else 1.
    """
    from companion.runs import places, scheduling
    from companion.runs import slurm as slurms

    if not _is_batch(target):
        if only or workers or scheduler or slurm:
            raise ValueError("--only, --workers, --scheduler and --slurm are for batches, and this is a chapter")
        _run_one(batch.single(target, _parameters(pairs)), again)
        return
    if pairs:
        raise ValueError("-p is for a chapter; a batch says its parameters in its file")
    if again:
        raise ValueError("--again is for a chapter; of a batch, remove the results to be made again")
    if scheduler and slurm:
        raise ValueError("--scheduler and --slurm are both given; say one of them")
    runs, outcomes = select(batch.load(target), only), []
    if job:
        outcomes = slurms.job(Path(target), runs, click.echo)
    elif slurm:
        if left := places.left(runs, click.echo):
            slurms.follow(Path(target), left, Path(slurm), click.echo, only)
    else:
        outcomes = scheduling.run_all(runs, workers=workers or 0, say=click.echo, scheduler=scheduler)
    states = [batch.state(one)[0] for one in runs]
    folders = ", ".join(dict.fromkeys(str(_relative(one.out.parent)) for one in runs))
    click.echo(f"{states.count('done')} of {len(runs)} runs are done; they lie in {folders}")
    left_out = [outcome for outcome in outcomes if outcome.state == "left out"]
    for outcome in left_out:
        click.echo(f"{outcome.name} was left out: {outcome.error}")
    if states.count("done") < len(runs):
        sys.exit(3 if states.count("done") + len(left_out) == len(runs) else 1)


def _run_one(one: batch.Run, again: bool) -> None:
    from companion.runs import execution, places, shown

    state, why = batch.state(one)
    if state == "done" and not again:
        click.echo(f"{_relative(one.out)} is done{f' ({why})' if why else ''}; --again runs it once more")
        click.echo(shown.held(one.out))
        return
    with places.locked([one]):
        places.sweep([one])
        outcome = execution.execute(one, progress={"disable": None})
    if outcome.error:
        at = f"; the notebook up to there: {_relative(one.failed)}" if one.failed.is_file() else ""
        raise click.ClickException(f"{one.name} {outcome.state}: {outcome.error}{at}")
    click.echo(f"{_relative(one.out)}  {outcome.seconds:.0f} s")
    click.echo(shown.held(one.out))


@main.command()
@click.argument("target", metavar="BATCH.yaml")
@click.option("--slurm", required=True, metavar="PROFILE.yaml", help="How many jobs, and options of sbatch.")
@click.option("--only", multiple=True, metavar="RUN", help="These runs of the batch, and no others.")
def submit(target: str, slurm: str, only: tuple[str, ...]) -> None:
    """Hand what is left of a batch to a job array of Slurm, and return; status says how far it is."""
    from companion.runs import places
    from companion.runs import slurm as slurms

    if not (left := places.left(select(batch.load(target), only), click.echo)):
        click.echo("all runs are done: nothing is submitted")
        return
    number = slurms.submit(Path(target), left, Path(slurm), only)
    click.echo(f"submitted as job {number}: companion status {target} says how far it is")


@main.command()
@click.argument("target", metavar="BATCH.yaml | notebooks/NAME")
@click.option("-p", "pairs", multiple=True, metavar="KEY=VALUE", help="Of a chapter: the parameters it was run with.")
@click.option("--only", multiple=True, metavar="RUN", help="These runs of a batch, and no others.")
def accept(target: str, pairs: tuple[str, ...], only: tuple[str, ...]) -> None:
    """Say that what changed since stale results were made is harmless; each result keeps that, with the date."""
    from companion.evidence.provenance import commit
    from companion.runs import identity

    runs = select(batch.load(target), only) if _is_batch(target) else [batch.single(target, _parameters(pairs))]
    stale = [one for one in runs if batch.state(one)[0] == "stale"]
    for one in stale:
        if one.experiment:
            click.echo(f"{one.name}: a record is not accepted, it is made again")
            continue
        at = commit(one.project, "thermolib", "companion", "notebooks/*.md")
        click.echo(f"{one.name}: accepted, with another {', '.join(identity.accept(one.out, one.inputs(), at))}")
    if not stale:
        click.echo("nothing is stale")


@main.command()
@click.argument("name", metavar="CHAPTER/EXPERIMENT")
@click.option("--log", type=click.Path(path_type=Path), hidden=True)
def record(name: str, log: Path | None) -> None:
    """Make the record of an experiment, with the parameters of its chapter; goes on where it was stopped."""
    from companion.evidence.experiment import of_chapter
    from companion.evidence.records import root
    from companion.runs import execution

    one = batch.of_record(root(), name)
    with execution.under_batch(log) if log else contextlib.nullcontext():
        experiment, parameters = of_chapter(one.chapter)[one.experiment]
        about = experiment.make(parameters).provenance()
    table = one.out.with_name(about["table"])
    click.echo(f"{_relative(table)}  {about['rows']:,} rows, {about['wall seconds']:.0f} s")


@main.command()
@click.argument("names", nargs=-1, metavar="[CHAPTER/EXPERIMENT]...")
@click.option("--share", default=0.01, show_default=True, help="Of the runs of each record; at least one.")
@click.option("--seed", type=click.IntRange(0), help="Of the choice; if not given, another one every time.")
def audit(names: tuple[str, ...], share: float, seed: int | None) -> None:
    """Recompute a slice, chosen at random, of every record, and say what differs.

    The exit status is 0 where all agree, 3 where records were left out whose data are not here, and else 1.
    """
    from companion.runs import audit as audits

    seed = secrets.randbelow(2**32) if seed is None else seed
    found = []
    for visit in audits.audit(share, seed, names):
        click.echo(str(visit))
        found.append(visit)
    slices, wrong = [one.slice for one in found if one.slice], sum(bool(one.problem) for one in found)
    rows = f"{sum(one.rows for one in slices):,} of {sum(one.of for one in slices):,} rows"
    took = sum(one.seconds for one in found)
    many = f"{len(found)} record" + "s" * (len(found) != 1)
    click.echo(f"{many}, {rows} recomputed in {took:.0f} s with the seed {seed}; {wrong} wrong")
    if wrong:
        sys.exit(1)
    if any(one.left_out for one in found):
        sys.exit(3)


def select(runs: list[batch.Run], only: tuple[str, ...]) -> list[batch.Run]:
    """The runs of these names, or all. Raises ValueError for a name that no run has."""
    names = [one.name for one in runs]
    if unknown := sorted(set(only) - set(names)):
        raise ValueError(f"there is no run {unknown[0]!r} in this batch; there are: {', '.join(names)}")
    return [one for one in runs if not only or one.name in only]


@main.command()
def ls() -> None:
    """List the chapters with their parameters, and the batches."""
    here = Path.cwd()
    for name, md in chapters.files(here).items():
        click.echo(f"notebooks/{name}")
        try:
            lines = [f"{key} = {value}" for key, value in chapters.parameters_of(md).items()]
            lines += [f"record {name}/{experiment}" for experiment in chapters.experiments_of(md)]
        except ValueError as error:  # the others are listed all the same
            lines = [str(error)]
        click.echo("".join(f"    {line}\n" for line in lines), nl=False)
    for path in sorted((here / "batches").glob("*.yaml")):
        try:
            click.echo(f"batches/{path.name}: {len(batch.load(path))} runs")
        except ValueError as error:
            click.echo(f"batches/{path.name}: {error}")


@main.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
def data(names: tuple[str, ...]) -> None:
    """List the data sets with size, licence and where they are; fetch those that are named."""
    from companion.runs import sets

    for line in sets.fetch(names):
        click.echo(line)
    if not names:
        for name, size, licence, where in sets.listed():
            click.echo(f"{name:9} {size:>12}  {licence:32}  {where}")


@main.command()
@click.argument("target", metavar="BATCH.yaml")
def status(target: str) -> None:
    """Say which runs of a batch are done, missing, failed or stale, and why.

    The exit status is 0 where all are done, and else 1.
    """
    runs = batch.load(target)
    states = [batch.state(one) for one in runs]
    width = max(len(one.name) for one in runs)
    for one, (state, why) in zip(runs, states, strict=True):
        click.echo(f"{one.name:{width}}  {state:8}{why}".rstrip())
    kinds = [state for state, _ in states]
    click.echo(", ".join(f"{kinds.count(kind)} {kind}" for kind in ("done", "missing", "failed", "stale")))
    from companion.runs.slurm import NEVER, queue

    if jobs := queue(Path(target)):
        click.echo(f"job {jobs[0]}: {jobs[1]}{', which Slurm will not start' * bool(NEVER.search(jobs[1]))}")
    if kinds.count("done") < len(runs):
        sys.exit(1)


@main.command()
@click.argument("target", metavar="BATCH.yaml | notebooks/NAME")
@click.option("-p", "pairs", multiple=True, metavar="KEY=VALUE", help="Of a chapter: the parameters it was run with.")
@click.option("--csv", is_flag=True, help="As CSV.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the CSV to this file, whole or not at all.")
def results(target: str, pairs: tuple[str, ...], csv: bool, out: Path | None) -> None:
    """Tabulate parameters, glued numbers and claims of the runs that are there."""
    from companion.evidence.provenance import write_whole
    from companion.runs import shown

    runs = batch.load(target) if _is_batch(target) else [batch.single(target, _parameters(pairs))]
    table = shown.results(runs)
    if out:
        try:
            write_whole(out, table.to_csv(index=False))
        except OSError as error:
            raise click.ClickException(f"{out} could not be written: {error.strerror}") from None
    elif csv:
        click.echo(table.to_csv(index=False), nl=False)
    else:
        click.echo(table.drop(columns="claim", errors="ignore").to_string(index=False, na_rep=""))


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
