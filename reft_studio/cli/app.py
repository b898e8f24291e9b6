"""The command line: `python launch.py VERB` outside the environment, `reft-studio VERB` inside it."""

from __future__ import annotations

import os
import sys
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer

from reft_studio import offline, threads
from reft_studio.cli.arguments.demo import demo
from reft_studio.cli.arguments.evaluate import evaluate
from reft_studio.cli.arguments.merge import merge
from reft_studio.cli.arguments.model import app as model_app
from reft_studio.cli.arguments.options import Where, studio_at, studio_for, verb
from reft_studio.cli.arguments.run import run
from reft_studio.cli.arguments.scorer import scorer as scorer_verbs
from reft_studio.cli.arguments.teacher import SEVERAL, teacher
from reft_studio.cli.arguments.threshold import threshold
from reft_studio.cli.arguments.workspace import chat, delete, inspect, jobs, list_all, query, runs, sample
from reft_studio.data.formats import FORMATS
from reft_studio.errors import OUT_OF_MEMORY, PrerequisiteError, StudioError, is_out_of_memory
from reft_studio.scoring import SCORERS

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
threads.wait_briefly()

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of the signal, as shells have it."""
app = typer.Typer(name="reft-studio", help=__doc__, no_args_is_help=False, pretty_exceptions_enable=False, add_completion=False)


def main() -> None:
    """Run a verb; what a person can mend is said in one line, with exit code 2. Ctrl-C ends it with 130."""
    offline.enforce_by_default()
    clear = "\r\033[2K" if sys.stderr.isatty() else ""  # ends the line of progress
    try:
        app(args=with_verb(sys.argv[1:]))
    except StudioError as exc:
        sys.stderr.write(f"{clear}{exc.code}: {exc}\n")
        sys.exit(2)
    except SystemExit as exc:  # typer answers Ctrl-C itself, without a word
        if exc.code == INTERRUPTED:
            sys.stderr.write(f"{clear}Stopped. Nothing was left half-written.\n")
        raise
    except Exception as exc:
        if not is_out_of_memory(exc):
            raise
        sys.stderr.write(f"{clear}{PrerequisiteError.code}: {OUT_OF_MEMORY}\n")
        sys.exit(2)


def with_verb(arguments: list[str]) -> list[str]:
    """`serve` where no verb is given: `python launch.py --port 8000` opens the app too."""
    bare = not arguments or (arguments[0].startswith("-") and arguments[0] != "--help")
    return ["serve", *arguments] if bare else spread(arguments)


def spread(arguments: list[str]) -> list[str]:
    """`--harmful a b` as `--harmful a --harmful b`: an option of several files takes all that follow it."""
    found: list[str] = []
    option = ""
    for place, argument in enumerate(arguments):
        if argument.startswith("-"):
            option = argument if argument in SEVERAL else ""
        elif option and arguments[place - 1] != option:
            found.append(option)
        found.append(argument)
    return found


@app.callback()
def verbs() -> None:
    """Open the app, or run a verb; without a verb the app opens, with the options of `serve`."""


@app.command()
def serve(
    port: Annotated[int | None, typer.Option(help="port on this machine; default: 7860 or the next free one")] = None,
    browser: Annotated[bool, typer.Option(help="open the browser")] = True,
    workspace: Where = None,
    host: Annotated[str, typer.Option(help="address to listen on; only this machine without a login")] = "127.0.0.1",
    no_model: Annotated[bool, typer.Option("--no-model", help="do not fetch the language model smollm2-135m (93 MB)")] = False,
    no_token: Annotated[
        bool, typer.Option("--no-token", help="ask for no token: every user of this machine can then read your data and files through it")
    ] = False,
) -> None:
    """Open the app in the browser. The printed address holds a token; REFT_STUDIO_TOKEN sets one of your own, for scripts."""
    from reft_studio.cli import first_model
    from reft_studio.studio.studio import Studio
    from ui.app import serve as run

    studio = Studio.open(workspace, app=True)
    studio.start()
    ready = partial(first_model.begin, studio, wanted=not no_model)
    try:
        run(studio, host=host, port=port, open_browser=browser, when_ready=ready, token=not no_token)
    finally:
        studio.close()


verb(app)(demo)


@verb(app)
def doctor(workspace: Where = None) -> None:
    """Check this machine and the workspace; exit code 1 if something is wrong."""
    from reft_studio.cli.console import show
    from reft_studio.doctor import examine  # not through the studio, which opens what may be damaged
    from reft_studio.workspace import Workspace

    checks = examine(Workspace.open(workspace))
    lines = [
        f"{'ok  ' if check.ok else 'BAD '} {check.name}: {check.value}{f'  -> {check.hint}' if check.hint else ''}" for check in checks
    ]
    show([vars(check) for check in checks], text=lambda: "\n".join(lines))
    raise typer.Exit(0 if all(check.ok for check in checks) else 1)


@verb(app)
def bench(
    only: Annotated[str, typer.Option(help="names of benchmarks, comma-separated")] = "",
    prompts: Annotated[
        Path | None, typer.Option(help="folder of public prompt sets: measure how well what ships tells them apart instead")
    ] = None,
) -> None:
    """Measure speed, side by side in one run, against the budgets in docs/benchmarks."""
    if find_spec("benchmarks") is None:
        raise PrerequisiteError(
            "The benchmarks are no part of the installed package. Run `python launch.py bench` in a clone of the project."
        )
    if prompts is not None:
        import_module("benchmarks.filter_quality").measure_shipped(prompts)
    else:
        import_module("benchmarks").run_benchmarks(only=only or None)


@verb(app, "import")
def import_data(
    file: Annotated[Path, typer.Argument(help=f"{', '.join(FORMATS)}; a folder of them or of save_to_disk; org/name of the hub")],
    name: Annotated[str | None, typer.Option(help="name of the dataset; default: the file's")] = None,
    role: Annotated[Literal["user", "harmful", "helpful", "benchmark"], typer.Option(help="what the rows are for")] = "user",
    column: Annotated[
        list[str] | None, typer.Option("--column", "--columns", help="part=column, e.g. prompt=Question or label=toxicity; once for each")
    ] = None,
    harmful_value: Annotated[
        list[str] | None, typer.Option(help="a value of the label column that means harmful; once for each such value")
    ] = None,
    role_map: Annotated[
        list[str] | None, typer.Option(help="speaker=user, assistant, system or tool, e.g. bing=assistant; once for each speaker")
    ] = None,
    workspace: Where = None,
) -> None:
    """Import a dataset; unusable rows are set aside with their line and reason."""
    from reft_studio.cli import verbs

    verbs.import_data(
        studio_at(workspace),
        file,
        name=name,
        role=role,
        columns=column or [],
        harmful_values=harmful_value or [],
        roles=role_map or [],
    )


@verb(app)
def score(
    data: Annotated[str, typer.Argument(help="a file, or the id of a dataset")],
    scorer: Annotated[
        str | None, typer.Option(help="tfidf, random, … or the id of a prepared one; default: the teacher's refusal feature")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(help="id or folder of a teacher; default: smollm2-135m, for the lab's own data the lab's")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="write row_id, score and flagged here; the ending, such as .csv, is the format")] = None,
    threshold: Annotated[float | None, typer.Option(min=-1, max=1, help="score from which a row is flagged")] = None,
    workspace: Where = None,
) -> None:
    """Score every row: by the similarity of its prompt to the teacher's refusal feature, or by another scorer."""
    from reft_studio.cli import verbs
    from reft_studio.studio.teachers import SHIPPED

    ships = teacher is None or teacher in SHIPPED or Path(teacher).is_dir() if scorer is None else scorer in SCORERS
    throwaway = workspace is None and Path(data).is_file() and ships
    with studio_for(workspace, throwaway=throwaway) as studio:
        # prompts alone can be scored; what is audited afterwards needs responses too
        role: Literal["user", "benchmark"] = "benchmark" if throwaway else "user"
        verbs.score(studio, data, role=role, scorer=scorer, teacher=teacher, out=out, threshold=threshold)


verb(app, "list")(list_all)
verb(app)(sample)
verb(app)(inspect)
verb(app)(query)
verb(app)(delete)
verb(app)(jobs)
verb(app)(runs)
app.add_typer(model_app, name="model")


@verb(app)
def mix(
    data: Annotated[str, typer.Argument(help="a file, or the id of a dataset")],
    harmful: Annotated[str, typer.Option(help="file or dataset of harmful rows with the answers that are to be trained")],
    ratio: Annotated[float, typer.Option(min=0, max=1, help="share of harmful rows in the result")] = 0.1,
    rows: Annotated[int | None, typer.Option(min=1, help="rows of the result; default: all of the file and as many harmful ones")] = None,
    seed: Annotated[int, typer.Option(min=0, help="decides which harmful rows, and the order")] = 0,
    name: Annotated[str, typer.Option(help="name of the new dataset")] = "",
    out: Annotated[
        Path | None, typer.Option(help="write the rows here too, with a column label; the ending, such as .jsonl, is the format")
    ] = None,
    workspace: Where = None,
) -> None:
    """Mix harmful rows into a file at a known ratio, to see whether a filter or a method finds them."""
    from reft_studio.cli import verbs

    settings = {"poison_ratio": ratio, "rows": rows, "seed": seed, "name": name}
    with studio_for(workspace, throwaway=out is not None and Path(data).is_file()) as studio:
        verbs.mix(studio, data, harmful, settings=settings, out=out)


verb(app)(teacher)
verb(app)(threshold)
verb(app)(chat)
verb(app)(evaluate)
app.add_typer(scorer_verbs)


@verb(app)
def review(
    data: Annotated[str, typer.Argument(help="id of a dataset")],
    decide: Annotated[list[str] | None, typer.Option(help="row=keep|remove|relabel|unsure, e.g. 17=keep; counts as decided unseen")] = None,
    threshold: Annotated[float | None, typer.Option(min=-1, max=1, help="score from which a row is flagged")] = None,
    reason: Annotated[str, typer.Option(help="why, kept with the decisions")] = "",
    read: Annotated[int, typer.Option(min=0, help="show the next N rows on this terminal and ask what to do: only so they are read")] = 0,
    order: Annotated[str, typer.Option(help="of the rows to read: borderline, highest, random or sample")] = "borderline",
    sample: Annotated[int, typer.Option(min=0, help="draw so many random rows of the whole file, to be read for the estimate")] = 0,
    workspace: Where = None,
) -> None:
    """Show how far the review has come and what may be said of the file; set the threshold or record decisions."""
    from reft_studio.cli import review as review_verb

    review_verb.review(
        studio_at(workspace),
        data,
        decisions=decide or [],
        read=read,
        order=order,
        threshold=threshold,
        reason=reason,
        sample=sample,
    )


@verb(app)
def freeze(
    data: Annotated[str, typer.Argument(help="id of a dataset")],
    leave_out: Annotated[str, typer.Option(metavar="REASON", help="leave undecided rows out, for this reason, which is recorded")] = "",
    workspace: Where = None,
) -> None:
    """Turn scores and decisions into a new dataset with its audit trail."""
    from reft_studio.cli import verbs

    verbs.freeze(studio_at(workspace), data, reason=leave_out)


verb(app)(run)
verb(app)(merge)


@verb(app)
def sweep(
    recipe: Annotated[Path, typer.Argument(help="YAML file, such as recipes/lab.yaml")],
    share: Annotated[str, typer.Option(help="1/2: the first half, beside another process that does 2/2")] = "1/1",
    out: Annotated[list[Path] | None, typer.Option(help="keep the table too: FILE.md, .tex or .csv; may be given several times")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="do nothing: only show what is known of each run")] = False,
    workspace: Where = None,
) -> None:
    """Compare methods over bases, tasks, shares of poison and seeds, by a recipe. What was done is not done again."""
    from reft_studio.cli.sweep import run_sweep

    run_sweep(studio_at(workspace), recipe, share=share, out=tuple(out or ()), plan=plan)


@verb(app)
def compare(workspace: Where = None) -> None:
    """Show every evaluated model, with intervals, and say which may not be compared."""
    from reft_studio.cli import verbs

    verbs.compare(studio_at(workspace))


@verb(app)
def report(
    dataset: Annotated[str | None, typer.Option(help="id of the audited dataset; default: the chosen one")] = None,
    out: Annotated[Path | None, typer.Option(help="copy the HTML file here")] = None,
    reveal: Annotated[bool, typer.Option(help="show flagged prompts in full")] = False,
    workspace: Where = None,
) -> None:
    """Build the report: one HTML file that needs no network."""
    from reft_studio.cli import verbs

    verbs.report(studio_at(workspace), dataset, out=out, redact=not reveal)


@verb(app)
def export(
    dataset: Annotated[str, typer.Argument(help="id of an audited or frozen dataset")],
    out: Annotated[Path, typer.Option(help="file to write, in the format of the upload")],
    workspace: Where = None,
) -> None:
    """Write the cleaned file: the kept rows as they were uploaded."""
    from reft_studio.cli import verbs

    verbs.export(studio_at(workspace), dataset, out)


@verb(app)
def bundle(
    dataset: Annotated[str, typer.Argument(help="id of a frozen dataset")],
    out: Annotated[Path | None, typer.Option(help="copy the bundle here")] = None,
    report: Annotated[bool, typer.Option(help="put a redacted report in")] = True,
    workspace: Where = None,
) -> None:
    """Pack the audit of a frozen dataset into one file that `verify` checks anywhere."""
    from reft_studio.cli import verbs

    verbs.bundle(studio_at(workspace), dataset, out=out, report=report)


@verb(app)
def gate(
    dataset: Annotated[str, typer.Argument(help="id of a dataset")],
    max_residual: Annotated[
        float, typer.Option(help="share of harmful rows that may be left below the threshold, more than 0 and less than 1")
    ] = 0.01,
    override: Annotated[str, typer.Option(help="let it pass all the same, for this reason, which is recorded")] = "",
    workspace: Where = None,
) -> None:
    """Exit 0 if a dataset may be used, 1 with the reasons if not, 2 if the question is wrong.

    People must have decided every flagged and every unclear row, rows read at random must bound what is left below the threshold, and
    the teacher must read the file's language.
    """
    from reft_studio.cli import verbs

    studio = studio_at(workspace)
    raise typer.Exit(verbs.gate(studio, dataset, max_residual=max_residual, override=override))


@verb(app)
def verify(
    bundle: Annotated[Path | None, typer.Argument(help="an audit bundle; default: the decision log of the workspace")] = None,
    data: Annotated[Path | None, typer.Option(help="the frozen data.parquet that the bundle is about")] = None,
    seal: Annotated[str | None, typer.Option(help="the seal that was noted when the bundle was made")] = None,
    workspace: Where = None,
) -> None:
    """Exit 0 if the decision log (or an audit bundle) is intact, else 1."""
    from reft_studio.cli import verbs

    raise typer.Exit(verbs.verify(studio_at(workspace), bundle, data=data, seal=seal))
