"""The limits of this code base, kept by a test: sizes, who may import what, what may not be written at all."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE_LINES = 400
FUNCTION_LINES = 60
HEAVY = ("torch", "transformers", "peft", "accelerate", "sklearn", "gguf")
APP = ("reft_studio.studio.studio", "reft_studio.cli.app", "ui.app")
SQL = re.compile(
    r"^\s*(SELECT\b.*\bFROM\b|INSERT (OR \w+ )?INTO\b|UPDATE \w+ SET\b|DELETE FROM\b|CREATE (TABLE|INDEX|VIEW)\b|PRAGMA \w)", re.DOTALL
)
VAGUE = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}
UNSAFE_CALLS = {"os.system", "os.popen", "pickle.load", "pickle.loads", "torch.load", "eval", "exec"}
LEFT_OPEN = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
SOMEBODYS_FOLDER = re.compile(r"/(?:home|Users)/\w+/|/(?:root|work)/|[A-Z]:\\Users\\")
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def python_files(*folders: str) -> list[Path]:
    """Our Python files, of the whole project or of some folders or files."""
    starts = [ROOT / name for name in folders or ("launch.py", "reft_studio", "ui", "benchmarks", "tools", "tests")]
    return sorted(path for start in starts for path in ([start] if start.is_file() else start.rglob("*.py")))


def product_files() -> list[Path]:
    return python_files("launch.py", "reft_studio", "ui")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@cache
def nodes(path: Path) -> list[ast.AST]:
    """Every syntax node of a file: most tests go through all of them."""
    return list(ast.walk(tree(path)))


def where(path: Path, node: ast.AST | None = None) -> str:
    """`folder/file.py:line`, as editors open it."""
    return f"{path.relative_to(ROOT).as_posix()}" + (f":{getattr(node, 'lineno', 1)}" if node else "")


def found(files: list[Path], offends: Callable[[ast.AST], bool], *, allowed: tuple[str, ...] = ()) -> list[str]:
    """Places outside the allowed folders or files where a syntax node offends."""
    elsewhere = [path for path in files if not where(path).startswith(allowed or ("-",))]
    return [where(path, node) for path in elsewhere for node in nodes(path) if offends(node)]


def imports(*names: str) -> Callable[[ast.AST], bool]:
    """A test for an import of one of these top-level packages."""

    def offends(node: ast.AST) -> bool:
        if isinstance(node, ast.Import):
            return any(alias.name.partition(".")[0] in names for alias in node.names)
        return isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").partition(".")[0] in names

    return offends


def test_there_is_something_to_check() -> None:
    assert len(product_files()) > 50 and len(python_files("tests")) > 10


# --- sizes and shape ---------------------------------------------------------------------------------------------------------------


def test_no_file_is_longer_than_400_lines() -> None:
    files = [*python_files(), *(ROOT / "ui").rglob("*.js")]
    lengths = {where(path): len(path.read_text("utf-8").splitlines()) for path in files}
    assert {name: lines for name, lines in lengths.items() if lines > FILE_LINES} == {}


def test_no_function_is_longer_than_60_lines() -> None:
    def too_long(node: ast.AST) -> bool:
        return isinstance(node, FunctionNode) and (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES

    assert found(python_files(), too_long) == []


def test_behaviour_is_inherited_over_one_level_only() -> None:
    """A class without methods, such as the base of all settings or of all errors, adds no level: there is nothing to look up in it."""
    parents: dict[str, set[str]] = {}
    places: dict[str, str] = {}
    behaves: set[str] = set()
    for path in product_files():
        for node in nodes(path):
            if isinstance(node, ast.ClassDef):
                places[node.name] = where(path, node)
                parents[node.name] = {ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in node.bases}
                if any(isinstance(part, FunctionNode) for part in node.body):
                    behaves.add(node.name)
    deep = [f"{place} {name}({base})" for name, place in places.items() for base in parents[name] & behaves if parents[base] & behaves]
    assert deep == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [where(path) for path in product_files() if path.stem in VAGUE or path.parent.name in VAGUE] == []


# --- who may do what ---------------------------------------------------------------------------------------------------------------


def test_gradio_is_imported_in_pages_only() -> None:
    assert found(product_files(), imports("gradio", "gradio_client"), allowed=("ui/",)) == []


def test_pages_queue_no_work_and_write_no_decision_past_the_studio() -> None:
    def acts(node: ast.AST) -> bool:
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Attribute)):
            return False
        queued = node.func.value.attr == "jobs" and node.func.attr in ("submit", "submit_once")
        return queued or (node.func.value.attr == "log" and node.func.attr in ("decide", "decide_many", "decide_bulk", "undo", "redo"))

    assert found(python_files("ui"), acts) == []


def test_databases_are_imported_in_store_and_data_only() -> None:
    assert found(product_files(), imports("sqlite3", "duckdb"), allowed=("reft_studio/store/", "reft_studio/data/")) == []


def test_sql_is_written_in_store_and_data_only() -> None:
    def is_sql(node: ast.AST) -> bool:
        return isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.match(node.value) is not None

    assert found(product_files(), is_sql, allowed=("reft_studio/store/", "reft_studio/data/")) == []


def test_models_are_loaded_in_models_only() -> None:
    def loads(node: ast.AST) -> bool:
        return isinstance(node, ast.Attribute) and node.attr == "from_pretrained"

    made = ("reft_studio/lab/build.py", "reft_studio/lab/pretraining.py")
    assert found(product_files(), loads, allowed=("reft_studio/models/", *made)) == []


def test_scipy_makes_intervals_in_stats_and_sparse_matrices_of_words_only() -> None:
    words = ("reft_studio/scoring/text_fit.py", "reft_studio/data/splits.py")
    bounds = ("reft_studio/stats.py", "reft_studio/paired.py", "reft_studio/audit/bounds.py")
    assert found(product_files(), imports("scipy"), allowed=(*bounds, "reft_studio/evaluation/train_judge.py", *words)) == []


def test_peers_of_the_benchmarks_are_imported_nowhere_else() -> None:
    assert found(product_files(), imports("trl", "datasets")) == []


def test_scikit_learn_fits_scorers_and_the_judge_and_nothing_else() -> None:
    assert (
        found(
            product_files(),
            imports("sklearn"),
            allowed=("reft_studio/scoring/", "reft_studio/evaluation/train_judge.py"),
        )
        == []
    )


def test_the_user_interface_imports_no_model_library() -> None:
    assert found(python_files("ui"), imports(*HEAVY)) == []


def child(code: str) -> str:
    """Run code in a fresh Python of this environment; returns what it printed."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_app_process_loads_no_model_library() -> None:
    """One process for all its modules: after each, what has been loaded until then."""
    code = "import importlib, sys\n" + "".join(
        f"importlib.import_module({module!r})\nprint(*({module!r} + ': ' + name for name in {HEAVY!r} if name in sys.modules))\n"
        for module in APP
    )
    assert child(code).split() == []


def test_importing_every_module_does_nothing_else() -> None:
    """No thread, no child process, no file in the current folder; the network guard of conftest.py watches the rest."""
    names = [where(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in python_files("reft_studio", "ui")]
    code = f"""
import importlib, os, threading, psutil
before = (threading.active_count(), set(os.listdir()))
for name in {names!r}:
    importlib.import_module(name)
assert threading.active_count() == before[0], threading.enumerate()
assert not psutil.Process().children(), psutil.Process().children()
assert set(os.listdir()) - before[1] <= {{"__pycache__"}}, set(os.listdir()) - before[1]
"""
    child(code)


# --- what may not be written -------------------------------------------------------------------------------------------------------


def test_no_shell_and_no_code_from_models() -> None:
    def unsafe(node: ast.AST) -> bool:
        if not isinstance(node, ast.Call):
            return False
        flags = {word.arg for word in node.keywords if not (isinstance(word.value, ast.Constant) and word.value.value is False)}
        return bool(flags & {"shell", "trust_remote_code"}) or ast.unparse(node.func) in UNSAFE_CALLS

    assert found(product_files(), unsafe) == []


def test_no_error_is_swallowed_silently() -> None:
    """An exception of our own that only ends a loop early, named with an underscore, is no error."""

    def says_nothing(line: ast.stmt) -> bool:
        return isinstance(line, ast.Pass) or (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))

    def silent(node: ast.AST) -> bool:
        if not isinstance(node, ast.ExceptHandler):
            return False
        return node.type is None or (all(map(says_nothing, node.body)) and not ast.unparse(node.type).startswith("_"))

    assert found(product_files(), silent) == []


def public(path: Path) -> Iterator[ast.ClassDef | FunctionNode]:
    """Classes and functions that other modules may use; methods explain themselves or have a sentence."""
    for node in tree(path).body:
        if isinstance(node, ast.ClassDef | FunctionNode) and not node.name.startswith("_"):
            yield node


def test_every_module_class_and_function_says_what_it_is_for() -> None:
    modules = [where(path) for path in product_files() if not ast.get_docstring(tree(path))]
    parts = [f"{where(path, node)} {node.name}" for path in product_files() for node in public(path) if not ast.get_docstring(node)]
    assert modules + parts == []


def test_nothing_is_left_for_later() -> None:
    texts = {path: path.read_text("utf-8").splitlines() for path in product_files()}
    assert [f"{where(path)}:{n}" for path, lines in texts.items() for n, line in enumerate(lines, 1) if LEFT_OPEN.search(line)] == []


def tracked_files() -> list[Path]:
    """Every file of the project that git knows; without git, every file that is text by its name."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 0:
        return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]
    return [path for path in ROOT.rglob("*") if path.suffix in {".py", ".md", ".toml", ".js", ".css", ".html", ".j2", ".json"}]


def test_no_file_names_a_folder_of_somebodys_machine() -> None:
    named = []
    for path in tracked_files():
        data = path.read_bytes()
        if b"\0" not in data[:4096] and (hit := SOMEBODYS_FOLDER.search(data.decode("utf-8", "replace"))):
            named.append(f"{where(path)}: {hit[0]}")
    assert named == []


def test_the_glossary_has_at_most_thirty_terms_each_in_a_file_that_exists() -> None:
    page = (ROOT / "docs" / "development.md").read_text("utf-8")
    files = re.findall(r"^\| .+ \| .+ \| `(.+)` \|$", page.split("\n## Glossary\n")[1].split("\n## ")[0], re.MULTILINE)
    assert 20 <= len(files) <= 30 and [file for file in files if not (ROOT / "reft_studio" / file).is_file()] == []
