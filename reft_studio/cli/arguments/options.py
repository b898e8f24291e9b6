"""Options that several verbs share, and the workspace a verb works in."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, ParamSpec, TypeVar, get_type_hints

import typer

from reft_studio.defenses import DEFENSES
from reft_studio.errors import SpecError
from reft_studio.evaluation.benchmarks import own_rules
from reft_studio.evaluation.judges import JUDGES
from reft_studio.evaluation.judges.spec import JudgeSpec

if TYPE_CHECKING:
    from reft_studio.studio.studio import Studio

Where = Annotated[Path | None, typer.Option("--workspace", help="project folder; default: the user's data directory")]
AsJson = Annotated[bool, typer.Option("--json", help="print the result as JSON, for machines")]
JsonFile = Annotated[Path | None, typer.Option("--json-file", metavar="FILE", help="write the result as JSON to this file, too")]

Harmful = Annotated[str | None, typer.Option(help="file or dataset of harmful prompts (HS)")]
Harmless = Annotated[str | None, typer.Option(help="file or dataset of harmless prompts (over-refusal)")]
BenchmarkName = Annotated[str, typer.Option(help=f"rule for your task: {', '.join(own_rules())}")]
MethodName = Annotated[str | None, typer.Option(help=f"method: {', '.join(DEFENSES)}; default: ref_teacher")]
JudgeName = Annotated[str | None, typer.Option(help=f"{', '.join(JUDGES)}; default: {JudgeSpec().name}, for the lab its own")]
SpecFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="[SPEC.JSON]", help="settings of a run, as it leaves them in its folder or the Train page saves them; or a list"
    ),
]
Watch = Annotated[
    str, typer.Option(help="look at the model's answers while it trains: auto (up to 5 % of the time), off, or every so many steps")
]
ReportTo = Annotated[Literal["none", "trackio", "wandb"], typer.Option(help="tell another program of every step, if it is installed")]
N = TypeVar("N", int, float)
P = ParamSpec("P")


def answering(function: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the options --json and --json-file, which decide what `console.show` does with its result."""

    @wraps(function)
    def with_output(*arguments: Any, as_json: bool = False, json_file: Path | None = None, **options: Any) -> None:
        from reft_studio.cli.console import Output, output  # late: --help must not wait for what it imports

        with output(Output(as_json, json_file)):
            function(*arguments, **options)

    hints = get_type_hints(function, include_extras=True)
    signature = inspect.signature(function)
    own = [one.replace(annotation=hints[one.name]) for one in signature.parameters.values()]
    kind = inspect.Parameter.KEYWORD_ONLY
    more = [
        inspect.Parameter("as_json", kind, default=False, annotation=AsJson),
        inspect.Parameter("json_file", kind, default=None, annotation=JsonFile),
    ]
    # typer reads the signature for the order and the defaults, and the annotations for the options
    vars(with_output)["__signature__"] = signature.replace(parameters=[*own, *more])
    with_output.__annotations__ = {**hints, "as_json": AsJson, "json_file": JsonFile}
    return with_output


def verb(app: typer.Typer, name: str | None = None) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Make a function a verb of the command line whose result can be had as JSON."""

    def register(function: Callable[P, None]) -> Callable[P, None]:
        app.command(name)(answering(function))
        return function

    return register


def studio_at(workspace: Path | None) -> Studio:
    """The studio of a project folder, the user's own if none is named."""
    from reft_studio.studio.studio import Studio  # late: --help must not wait for what it imports

    return Studio.open(workspace)


@contextmanager
def studio_for(workspace: Path | None, *, throwaway: bool = True) -> Iterator[Studio]:
    """The studio of the workspace named, or of one that is gone afterwards: trying something out leaves the user's project as it was.

    What needs something of the user's project (not `throwaway`) is done there.
    """
    if workspace is not None or not throwaway:
        yield studio_at(workspace)
        return
    with tempfile.TemporaryDirectory(prefix="reft-studio-") as folder:
        yield studio_at(Path(folder))


def numbers(text: str, kind: type[N], example: str) -> tuple[N, ...]:
    """`0,1,2` as numbers. Raises SpecError, with an example, for what is no list of them."""
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError as exc:
        raise SpecError(f"'{text}' is no list of numbers. Give for example {example}.") from exc


Start = Annotated[
    Literal["method", "aligned", "base"] | None,
    typer.Option(help="start from aligned weights, or from the base as it is (an instruct model); default: as the method does"),
]
Adapters = Annotated[
    Literal["continue", "fresh"] | None,
    typer.Option(help="from aligned weights: continue their adapter, or train a fresh one on top of it; default: continue"),
]
HarmfulAnswers = Annotated[
    str | None,
    typer.Option(
        help="id of harmful prompts with harmful answers, for methods that learn from them; default: placeholders that say nothing"
    ),
]
Refusals = Annotated[
    str | None, typer.Option(help="alignment data: id of harmful prompts with refusals; default: those the teacher was made of")
]
Answers = Annotated[
    str | None, typer.Option(help="alignment data: id of harmless prompts with answers; default: those the teacher was made of")
]
PresetName = Annotated[
    str | None,
    typer.Option(help="settings of optimizer and adapter: lab, lab-quick, real, kaist or booster; auto: lab for the lab, else real"),
]
Setting = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="any other setting, e.g. optim.learning_rate=1e-4, lora.rank=8, loading.dtype=bfloat16, method_config.alpha=1"
    ),
]
