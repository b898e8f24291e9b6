"""Sets ReFT Studio up in `.venv` beside this file, then hands over to its command line.

    python launch.py            set up on first use, then open the app on 127.0.0.1 and, behind it, fetch the language model
                                smollm2-135m (93 MB, once; --no-model leaves it out)
    python launch.py VERB ...   the same, then run a verb (demo, score, doctor, ...; `--help` lists them)
    python launch.py test ...   set up what the tests need too, check the code, run the tests (... goes to pytest)

Only the standard library is used, and no line is run that Python 3.6 cannot read, so that an old Python can say which one is needed.
"""
# `from __future__ import annotations` is left out on purpose: Python 3.6 stops at it before it can print the message below.

import hashlib
import json
import os
import re
import shlex
import shutil
import sys
import time

MINIMUM = (3, 11)


def old_python_message() -> str:
    """What to tell someone whose Python is too old, with a newer one named if this machine has it."""
    seen = f"ReFT Studio needs Python {MINIMUM[0]}.{MINIMUM[1]} or newer; this is {sys.version.split()[0]} ({sys.executable})."
    found = [name for name in ("python3.11", "python3.12", "python3.13") if shutil.which(name)]
    return seen + "\n" + (f"Try: {found[0]} launch.py" if found else "Install a newer Python and run launch.py with that one.")


if sys.version_info < MINIMUM:
    sys.exit(old_python_message())

import signal  # noqa: E402  an old Python must reach the message above
import subprocess  # noqa: E402
from collections.abc import Iterator, Sequence  # noqa: E402
from contextlib import contextmanager  # noqa: E402
from pathlib import Path  # noqa: E402

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "reft-studio-setup"
LOG = VENV / "setup.log"
EXTRAS = ("test", "bench")
LOCKS = {"runtime": ("requirements.lock",), **{name: ("requirements.lock", f"requirements-{name}.lock") for name in EXTRAS}}
TORCH = "requirements-torch.lock"
UNFINISHED = "unfinished"
INSTALLING = "Installing collected packages"  # from here on pip changes the environment
NEEDED_GB = 3.0
"""Free space asked for before anything is written: 1.9 GB for a CPU build with its byte code, plus pip's own copies while it works."""
VERBS = ROOT / "assets" / "setup" / "verbs.txt"
"""What --help lists before anything is set up; a test holds that it is what the command line says."""
FAILURES = ROOT / "assets" / "setup" / "failures.json"
"""What pip or venv print (a pattern), and what a person can do about it; the first that fits is told."""


class SetupError(Exception):
    """Set-up cannot go on; the message says what to do."""


def venv_program(name: str) -> Path:
    """Where a program of `.venv` is on this system."""
    return VENV / "Scripts" / f"{name}.exe" if os.name == "nt" else VENV / "bin" / name


def clean_environment() -> dict[str, str]:
    """The environment without what would bring other packages than the locked ones, or another place to install to, into `.venv`."""
    unwanted = {"PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "__PYVENV_LAUNCHER__"}
    return {name: value for name, value in os.environ.items() if name not in unwanted}


# --- is it set up? -----------------------------------------------------------------------------------------------------------------


def identity() -> str:
    """Where `.venv` is and which Python it uses; either changes when the folder is moved or that Python is replaced."""
    return f"{VENV} {os.path.realpath(venv_program('python'))}"


def key(group: str) -> str:
    """Name and content of a group's lock files, as one line of the stamp."""
    digest = hashlib.sha256()
    for name in (*LOCKS[group], TORCH):
        digest.update((ROOT / name).read_bytes())
    return f"{group} {digest.hexdigest()}"


def read_stamp() -> list[str]:
    """Lines of the stamp: identity first, then one key per group that is installed; empty if there is none."""
    try:
        return STAMP.read_text("utf-8").splitlines()
    except OSError:
        return []


def is_ready(group: str) -> bool:
    """Whether a set-up of this group, with these lock files, was finished here and its Python is still there."""
    lines = read_stamp()
    return bool(lines) and lines[0] == identity() and key(group) in lines[1:] and venv_program("python").exists()


def write_stamp(text: str) -> None:
    """Replace the stamp in one step: it is the last thing that a set-up writes."""
    temporary = STAMP.with_suffix(".tmp")
    temporary.write_text(text, "utf-8")
    temporary.replace(STAMP)


def write_finished(keys: Sequence[str]) -> None:
    """Note down what is installed completely."""
    write_stamp("\n".join([identity(), *dict.fromkeys(keys)]) + "\n")


# --- set up ------------------------------------------------------------------------------------------------------------------------


class Progress:
    """One line that is rewritten on a terminal; elsewhere a new line when the stage changes and every 15 s."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.live = sys.stdout.isatty()
        self.stage, self.printed_at = "", -60.0

    def show(self, stage: str, detail: str) -> None:
        """Show where set-up is, with the seconds since it began."""
        elapsed = time.monotonic() - self.start
        text = f"  {stage}{detail} · {elapsed:.0f} s"
        if self.live:
            print(f"\r{text:<78}", end="", flush=True)
        elif stage != self.stage or elapsed - self.printed_at >= 15:
            print(text, flush=True)
            self.printed_at = elapsed
        self.stage = stage

    def finish(self, text: str) -> None:
        """End the line with a result."""
        line = f"  {text} · {time.monotonic() - self.start:.0f} s"
        print(f"\r{line:<78}" if self.live else line, flush=True)


@contextmanager
def only_one() -> Iterator[int]:
    """Hold the set-up lock; waits, and says so, while another set-up has it. Yields its file descriptor.

    The operating system lets go of it when the last process that holds it ends. pip inherits it: if this process is killed while pip
    works on, the next start waits for that pip instead of deleting the folder under it.
    """
    with (ROOT / ".setup-lock").open("a") as file:
        waiting = False
        while not try_lock(file.fileno()):
            if not waiting:
                print("Another set-up is at work in this folder; waiting for it to end (Ctrl-C to give up).", flush=True)
            waiting = True
            time.sleep(0.5)
        yield file.fileno()


def try_lock(descriptor: int) -> bool:
    """Take an exclusive lock on an open file if nobody has it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def set_up(group: str) -> None:
    """Make `.venv` hold what the group's lock files name. Raises SetupError with what to do."""
    with only_one() as lock:
        if is_ready(group):  # the set-up that was waited for did it
            return
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that pip is ended too
        print(f"Setting up ReFT Studio in {VENV}, once. About 0.5 GB to fetch; 3 GB with a GPU build of PyTorch.", flush=True)
        remove_broken()
        progress = Progress()
        done = [key(name) for name in LOCKS if key(name) in read_stamp()]
        if not venv_program("python").exists():
            require_space()
            progress.show("making the environment", "")
            make_venv()
        write_stamp(UNFINISHED)
        try:
            install(group, lock, progress)
        except SetupError:
            if INSTALLING not in LOG.read_text("utf-8", "replace"):  # pip only looked and fetched: the environment is as it was
                write_finished(done)
            raise
        compile_packages(progress)
        link_project()
        write_finished([*done, key("runtime"), key(group)])
        progress.finish("ready")


def require_space() -> None:
    """Refuse to begin what cannot end."""
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < NEEDED_GB:
        raise SetupError(
            f"Only {free:.1f} GB are free on the disk of {ROOT}; set-up needs about {NEEDED_GB:.0f} GB.\n"
            "Free some space, or move this folder to a larger disk, and start again."
        )


def remove_broken() -> None:
    """Delete a `.venv` of ours that was left unfinished, was moved, or lost its Python. Raises SetupError if it is not ours."""
    lines = read_stamp()
    if not lines and (VENV / "pyvenv.cfg").exists():
        raise SetupError(f"{VENV} was not made by launch.py, which therefore leaves it alone. Rename or delete it, then start again.")
    if lines and (lines[0] != identity() or not works()):  # UNFINISHED is no identity either
        print("  the last set-up was not finished, or its Python is gone: making the environment again", flush=True)
        retired = ROOT / f".setup-old-{os.getpid()}"
        VENV.rename(retired)  # one step: a Ctrl-C during the slow deletion leaves no half environment under the name .venv
        shutil.rmtree(retired, ignore_errors=True)


def works() -> bool:
    """Whether the Python of `.venv` starts and has pip."""
    command = [str(venv_program("python")), "-c", "import pip"]
    try:
        return subprocess.run(command, capture_output=True, timeout=60, env=clean_environment()).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def make_venv() -> None:
    """Make an empty `.venv` with pip. Raises SetupError where the system's Python comes without the parts that this needs."""
    VENV.mkdir(exist_ok=True)
    write_stamp(UNFINISHED)  # first, so that an interrupted start is known as ours
    base = getattr(sys, "_base_executable", None) or sys.executable  # not the Python of an environment that is active just now
    done = subprocess.run([base, "-m", "venv", str(VENV)], capture_output=True, text=True, env=clean_environment())
    if done.returncode == 0:
        return
    said = done.stdout + done.stderr
    if "ensurepip" in said or "No module named venv" in said:
        raise SetupError(
            f"This Python ({base}) comes without venv.\n"
            f"On Debian or Ubuntu: sudo apt install python{sys.version_info[0]}.{sys.version_info[1]}-venv\n"
            "Elsewhere: install the full Python package. Then start again."
        )
    raise SetupError(explain(said) or f"No environment could be made in {VENV}:\n{tail(said)}")


def install(group: str, lock: int, progress: Progress) -> None:
    """Let pip install the group's lock files, then torch, showing how far it is. Raises SetupError with the reason if it fails.

    The lock files name everything with its hashes, so pip looks for nothing else (--no-deps). torch is locked by its version only: its
    build is the person's choice, and one for a GPU brings its own libraries.
    """
    LOG.write_bytes(b"")
    run_pip(
        ["--no-deps", *(part for name in LOCKS[group] for part in ("-r", str(ROOT / name)))], count_wanted(LOCKS[group]), lock, progress
    )
    run_pip(["-r", str(ROOT / TORCH)], count_wanted([TORCH]), lock, progress)


def run_pip(arguments: Sequence[str], wanted: int, lock: int, progress: Progress) -> None:
    """One `pip install`, its output at the end of the log. Wheels only: no code of a package runs, and no compiler is needed."""
    options = ["--only-binary", ":all:", "--no-compile", "--no-input", "--progress-bar", "off", "--disable-pip-version-check"]
    command = [str(venv_program("python")), "-m", "pip", "install", *options, *arguments]
    inherited = () if os.name == "nt" else (lock,)
    before = LOG.stat().st_size
    with LOG.open("ab") as log:
        pip = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=clean_environment(), pass_fds=inherited
        )
        try:
            while pip.poll() is None:
                progress.show(*stage_of(said_since(before), wanted))
                time.sleep(0.25)
        finally:
            if pip.poll() is None:  # Ctrl-C, or a signal to this process alone
                pip.terminate()
                pip.wait()
    if pip.returncode != 0:
        said = said_since(before)
        progress.finish("failed")
        raise SetupError(explain(said) or f"pip could not install the packages:\n{tail(said)}\nAll it said is in {LOG}.")


def said_since(start: int) -> str:
    """What pip said from a byte of its log on."""
    return LOG.read_bytes()[start:].decode("utf-8", "replace")


def count_wanted(names: Sequence[str]) -> int:
    """Packages that lock files name; a GPU build of PyTorch brings more."""
    lines = [line for name in names for line in (ROOT / name).read_text("utf-8").splitlines()]
    return sum(1 for line in lines if re.match(r"[A-Za-z0-9]", line))


def stage_of(said: str, wanted: int) -> tuple[str, str]:
    """Read from pip's output, and from the folder it fills, what it is doing: (stage, " n of m packages")."""
    if INSTALLING in said:
        return "installing", f" {count_installed()} of {max(wanted, count_installed())} packages"
    fetched = len(set(re.findall(r"^\s*(?:Downloading|Using cached|Processing) (\S+\.whl)(?: |$)", said, re.MULTILINE)))
    already = len(re.findall(r"^Requirement already satisfied: .*\(from -r ", said, re.MULTILINE))
    return "fetching", f" {fetched + already} of {max(wanted, fetched + already)} packages"


def site_packages() -> Path:
    """The folder in `.venv` that packages are installed into."""
    found = sorted(VENV.glob("lib/python*/site-packages")) + sorted(VENV.glob("Lib/site-packages"))
    if not found:
        raise SetupError(f"{VENV} holds no site-packages folder. Delete {VENV} and start again.")
    return found[0]


def count_installed() -> int:
    """Packages whose installation is complete, without pip itself; pip writes RECORD last."""
    return max(0, sum(1 for _ in site_packages().glob("*.dist-info/RECORD")) - 1)


def compile_packages(progress: Progress) -> None:
    """Write the byte code on all cores (pip would use one), so that the first page does not wait for it.

    Some packages ship files that cannot be compiled, for their own tests: no error here, as it is none to pip.
    """
    progress.show("preparing for a quick start", "")
    command = [str(venv_program("python")), "-m", "compileall", "-q", "-j", "0", str(site_packages())]
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=clean_environment())


def link_project() -> None:
    """Let `.venv` import this folder from anywhere, and put the command `reft-studio` into it."""
    (site_packages() / "reft_studio.pth").write_text(f"{ROOT}\n", "utf-8")
    if os.name == "nt":
        venv_program("reft-studio").with_suffix(".cmd").write_text('@"%~dp0python.exe" -m reft_studio.cli %*\n', "utf-8")
        return
    script = venv_program("reft-studio")
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(str(venv_program("python")))} -m reft_studio.cli "$@"\n', "utf-8")
    script.chmod(0o755)


def tail(said: str) -> str:
    """The last lines of a program's output, indented."""
    return "\n".join("    " + line for line in said.strip().splitlines()[-12:])


def explain(said: str) -> str | None:
    """What a person can do about a failure, from the output of pip or venv; None if it is not a known one."""
    known = json.loads(FAILURES.read_text("utf-8"))
    return next((str(one["advice"]) for one in known if re.search(one["said"], said, re.IGNORECASE)), None)


# --- hand over ---------------------------------------------------------------------------------------------------------------------


def hand_over(command: Sequence[str]) -> int:
    """Become the Python of `.venv` with these arguments, in the caller's folder; on Windows, wait for it instead.

    PYTHONSAFEPATH keeps files in the caller's folder from being imported in place of packages.
    """
    python = str(venv_program("python"))
    environment = {**clean_environment(), "PYTHONSAFEPATH": "1"}
    if os.name == "nt":
        return subprocess.run([python, *command], env=environment).returncode
    os.execve(python, [python, *command], environment)


def prepare(group: str) -> int:
    """Set up if that is not done yet. Returns 0, or the exit code after telling what is wrong and what to do."""
    try:
        if not is_ready(group):
            set_up(group)
        return 0
    except KeyboardInterrupt:
        message, code = "Stopped. Nothing is broken: the next start completes the set-up.", 130
    except SetupError as problem:
        message, code = str(problem), 1
    except OSError as problem:
        message, code = explain(str(problem)) or f"Set-up cannot write into {ROOT}: {problem}. Copy this folder to a place of yours.", 1
    print(f"\n{message}", file=sys.stderr)
    return code


def main(arguments: list[str]) -> int:
    """Set up what the verb needs, then run it. Returns the exit code."""
    testing = arguments[:1] == ["test"]
    group = arguments[0] if arguments and arguments[0] in EXTRAS else "runtime"
    if arguments[:1] in (["-h"], ["--help"]) and not is_ready(group):  # help should not cost a set-up
        print(__doc__ + "\n" + VERBS.read_text("utf-8"), end="")
        return 0
    code = prepare(group)
    if code:
        return code
    return hand_over([str(ROOT / "tests" / "suite.py"), *arguments[1:]] if testing else ["-m", "reft_studio.cli", *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
