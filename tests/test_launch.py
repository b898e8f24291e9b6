"""launch.py on small copies of the project, whose lock files name packages made here: real environments, real pip, no network."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.util
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

LAUNCH = Path(__file__).resolve().parent.parent / "launch.py"
CLI = "import os, sys\nimport tinypkg\nprint('cli', tinypkg.VERSION, os.getcwd(), sys.argv[1:])\n"


def add_wheel(folder: Path, name: str, version: str) -> None:
    """A wheel with one module that knows its version."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", f"VERSION = '{version}'\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


def lock(project: Path, *lines: str, name: str = "requirements.lock") -> None:
    """Write a lock file that finds wheels in the project's folder only."""
    (project / name).write_text("\n".join(["--no-index", f"--find-links {(project / 'wheels').as_uri()}", *lines]) + "\n", "utf-8")


def make_project(root: Path) -> Path:
    """A folder with launch.py, a command line that says what it was given, and one locked package."""
    (root / "reft_studio").mkdir(parents=True)
    (root / "reft_studio" / "__init__.py").touch()
    (root / "reft_studio" / "cli.py").write_text(CLI, "utf-8")
    (root / "tests").mkdir()
    (root / "tests" / "suite.py").write_text("import sys, testpkg\nprint('suite', sys.argv[1:])\n", "utf-8")
    shutil.copy(LAUNCH, root / "launch.py")
    shutil.copytree(LAUNCH.parent / "assets" / "setup", root / "assets" / "setup")
    add_wheel(root / "wheels", "tinypkg", "1.0")
    add_wheel(root / "wheels", "tinypkg", "2.0")
    add_wheel(root / "wheels", "testpkg", "1.0")
    lock(root, "tinypkg==1.0")
    lock(root, "testpkg==1.0", name="requirements-test.lock")
    lock(root, "testpkg==1.0", name="requirements-bench.lock")
    lock(root, "tinypkg", name="requirements-torch.lock")
    return root


def environment() -> dict[str, str]:
    """The environment without this machine's pip settings and folders of modules, but for the guard over the network."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    kept["PYTHONPATH"] = kept["PYTHONPATH"].partition(os.pathsep)[0]
    return {**kept, "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "1"}


def start(project: Path, *arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
    """Start `python launch.py` as a person would, from a terminal where Ctrl-C works: a background shell has its children ignore it."""
    command = [sys.executable, str(project / "launch.py"), *arguments]
    listening = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment(), cwd=cwd, preexec_fn=listening, **pipes)


def run(project: Path, *arguments: str, cwd: Path | None = None) -> SimpleNamespace:
    """Run `python launch.py` to its end."""
    process = start(project, *arguments, cwd=cwd)
    out, err = process.communicate(timeout=120)
    return SimpleNamespace(code=process.returncode, out=out, err=err)


def load(project: Path) -> Any:
    """The project's launch.py as a module, to call its parts."""
    spec = importlib.util.spec_from_file_location("launch_under_test", project / "launch.py")
    assert spec is not None and spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "a clone")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that two people started at the same moment."""
    project = make_project(tmp_path_factory.mktemp("ready") / "a clone")
    both = [start(project, "first"), start(project, "second")]
    results = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], results
    (project / "results.txt").write_text("\n".join(out for out, _ in results), "utf-8")
    return project


# --- it works ----------------------------------------------------------------------------------------------------------------------


def test_two_first_starts_at_once_set_up_once_and_both_go_on(ready: Path) -> None:
    said = (ready / "results.txt").read_text("utf-8")
    assert said.count("Setting up ReFT Studio") == 1
    assert said.count("Another set-up is at work") == 1
    assert "['first']" in said and "['second']" in said


def test_set_up_shows_packages_and_seconds(ready: Path) -> None:
    said = (ready / "results.txt").read_text("utf-8")
    assert "of 1 packages · " in said
    assert " s\n" in said


def test_a_second_start_skips_set_up_in_under_a_second(ready: Path) -> None:
    begin = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run(ready, "doctor", "--json")
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime  # its own, whatever else the machine does
    assert done.code == 0 and "Setting up" not in done.out
    assert "['doctor', '--json']" in done.out
    assert seconds < 1, f"{seconds:.2f} s"


def test_the_command_line_runs_in_the_callers_folder_but_imports_nothing_from_it(ready: Path, tmp_path: Path) -> None:
    (tmp_path / "tinypkg.py").write_text("raise SystemExit('imported from the wrong folder')\n", "utf-8")
    done = run(ready, cwd=tmp_path)
    assert f"cli 1.0 {tmp_path} []" in done.out


def test_the_command_reft_studio_is_the_same(ready: Path, tmp_path: Path) -> None:
    done = subprocess.run([str(ready / ".venv/bin/reft-studio"), "a b"], cwd=tmp_path, capture_output=True, text=True, env=environment())
    assert done.stdout.endswith("['a b']\n"), done.stderr


def test_test_adds_its_packages_to_the_same_environment_and_passes_arguments_on(ready: Path) -> None:
    done = run(ready, "test", "--", "-k", "x")
    assert done.code == 0, done.err
    assert "suite ['--', '-k', 'x']" in done.out
    assert "Setting up" not in run(ready).out
    assert "Setting up" not in run(ready, "test").out


def test_a_moved_folder_is_set_up_again_and_a_new_lock_file_only_updated(ready: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(ready, tmp_path / "moved", symlinks=True))
    lock(moved, "tinypkg==2.0")
    done = run(moved)
    assert "making the environment again" in done.out and "cli 2.0" in done.out
    lock(moved, "tinypkg==1.0")
    updated = run(moved)
    assert "making the environment again" not in updated.out and "cli 1.0" in updated.out
    (moved / ".venv" / "reft-studio-setup").write_text("unfinished", "utf-8")  # as a power cut leaves it
    (moved / ".venv" / "bin" / "python").unlink()
    assert "cli 1.0" in run(moved).out


def test_help_before_set_up_installs_nothing(project: Path) -> None:
    done = run(project, "--help")
    assert done.code == 0 and "python launch.py test" in done.out
    assert not (project / ".venv").exists()


# --- what can go wrong -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def silent_index() -> Iterator[socket.socket]:
    """A package index on this machine that accepts a connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def index_of(server: socket.socket) -> str:
    """Lock file lines that look for a package on this machine's index."""
    return f"--index-url http://127.0.0.1:{server.getsockname()[1]}/\ntinypkg==1.0\n"


def test_an_interrupt_ends_pip_and_the_next_start_repairs(project: Path, silent_index: socket.socket) -> None:
    (project / "requirements.lock").write_text(index_of(silent_index), "utf-8")
    process = start(project)
    silent_index.settimeout(60)
    connection, _ = silent_index.accept()  # pip is at work
    with connection, contextlib.suppress(ConnectionResetError):
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130 and "the next start completes the set-up" in err and "Traceback" not in err
        connection.settimeout(10)
        while connection.recv(4096):  # pip's request, then the end that only a dead pip sends
            pass
    lock(project, "tinypkg==1.0")
    repaired = run(project)
    assert "making the environment again" in repaired.out and "cli 1.0" in repaired.out


def test_each_failure_of_pip_says_what_to_do_and_the_next_start_goes_on_from_there(project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        (project / "requirements.lock").write_text(index_of(server), "utf-8")
    unreachable = run(project)  # nobody listens any more
    assert unreachable.code == 1 and "The package index cannot be reached" in unreachable.err
    lock(project, "tinypkg==9.9")
    missing = run(project)
    assert missing.code == 1 and "no build for this Python" in missing.err
    (project / "requirements.lock").write_text("--no-such-option\n", "utf-8")
    unknown = run(project)
    assert unknown.code == 1 and "no such option" in unknown.err and "setup.log" in unknown.err
    assert "Traceback" not in unreachable.err + missing.err + unknown.err
    lock(project, "tinypkg==1.0")
    done = run(project)
    assert "making the environment again" not in done.out and "cli 1.0" in done.out


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "The disk is full"),
        ("WARNING: Retrying: NewConnectionError: [Errno -3] Temporary failure in name resolution\nERROR: No matching", "cannot be reached"),
        ("pip._vendor.urllib3.exceptions.ReadTimeoutError: Read timed out.\nERROR: No matching distribution found", "cannot be reached"),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]", "PIP_CERT"),
        ("ERROR: No matching distribution found for torch==2.13.0", "Use Python 3.11 to 3.13"),
    ],
)
def test_known_failures_of_pip_say_what_to_do(said: str, advice: str) -> None:
    assert advice in load(LAUNCH.parent).explain(said)


def test_a_full_disk_is_refused_before_anything_is_made(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = load(project)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=2e8))
    assert module.main([]) == 1
    assert "Only 0.2 GB are free" in capsys.readouterr().err
    assert not (project / ".venv").exists()


def test_a_folder_that_cannot_be_written_says_so(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = load(project)
    (project / ".setup-lock").mkdir()  # root may write anywhere, but nobody opens a folder as a file
    assert module.main([]) == 1
    assert "cannot write into" in capsys.readouterr().err


def test_a_python_without_venv_names_the_package_to_install(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = load(project)
    said = "The virtual environment was not created successfully because ensurepip is not available.\n"
    monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=1, stdout=said, stderr=""))
    assert module.main([]) == 1
    assert f"sudo apt install python3.{sys.version_info.minor}-venv" in capsys.readouterr().err


def test_an_environment_that_is_somebody_elses_is_left_alone(project: Path) -> None:
    theirs = project / ".venv" / "pyvenv.cfg"
    theirs.parent.mkdir()
    theirs.write_text("home = elsewhere\n", "utf-8")
    failed = run(project)
    assert failed.code == 1 and "was not made by launch.py" in failed.err
    assert theirs.read_text("utf-8") == "home = elsewhere\n"


def test_an_old_python_is_told_which_one_is_needed() -> None:
    pretend = f"import runpy, sys; sys.version_info = (3, 9, 18); runpy.run_path({str(LAUNCH)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", pretend], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("ReFT Studio needs Python 3.11 or newer") and "Traceback" not in done.stderr


def test_an_old_python_can_read_the_file_as_far_as_that_message() -> None:
    ast.parse(LAUNCH.read_text("utf-8"), feature_version=(3, 6))


# --- the real lock files -----------------------------------------------------------------------------------------------------------


def locked(name: str) -> dict[str, str]:
    """Version by package."""
    return dict(re.findall(r"^([a-z0-9][a-z0-9.-]*)==(\S+)", (LAUNCH.parent / name).read_text("utf-8"), re.MULTILINE))


def test_every_locked_package_but_torch_has_the_hash_of_its_wheels() -> None:
    assert (LAUNCH.parent / "requirements-torch.lock").read_text("utf-8").splitlines()[-1] == "torch==2.13.0"
    for group in ("", "-test", "-bench"):
        text = (LAUNCH.parent / f"requirements{group}.lock").read_text("utf-8")
        blocks = re.split(r"(?m)^(?=[a-z0-9])", text)[1:]
        assert blocks and not [block.split()[0] for block in blocks if not re.search(r"--hash=sha256:[0-9a-f]{64}", block)]


def test_a_package_that_is_not_the_tested_one_is_refused(project: Path) -> None:
    lock(project, f"tinypkg==1.0 --hash=sha256:{'0' * 64}")
    done = run(project)
    assert done.code == 1 and "its SHA-256 differs from the lock file's" in done.err


def test_lock_files_hold_exact_versions_no_gpu_packages_and_nothing_twice() -> None:
    runtime, extra, peers = (locked(f"requirements{group}.lock") for group in ("", "-test", "-bench"))
    assert "torch" not in runtime  # its build is the person's choice
    assert not [name for name in {*runtime, *extra, *peers} if name.lower().startswith(("nvidia", "triton", "cuda"))]
    assert not set(runtime) & {*extra, *peers}


def test_every_dependency_of_the_project_is_locked() -> None:
    project = tomllib.loads((LAUNCH.parent / "pyproject.toml").read_text("utf-8"))["project"]
    runtime = {*locked("requirements.lock"), *locked("requirements-torch.lock")}
    both = runtime | set(locked("requirements-test.lock"))
    assert {line.split(">=")[0] for line in project["dependencies"]} <= runtime
    assert {line.split(">=")[0] for line in project["optional-dependencies"]["test"]} <= both
    assert {line.split(">=")[0] for line in project["optional-dependencies"]["bench"]} <= set(locked("requirements-bench.lock"))
