"""What `python launch.py test` runs, inside the environment that it made: checks of the code, then pytest with the arguments given."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(sys.executable).parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER_VARIABLE = "REFT_STUDIO_CHROMIUM"
CHECKS = (
    ("ruff format", ("ruff", "format", "--check", ".")),
    ("ruff check", ("ruff", "check", ".")),
    ("import contract", ("lint-imports",)),
)
TYPES = ("mypy --strict", ("mypy", "--strict"))
"""A minute on one core: it runs beside the tests."""
MOST_WORKERS = 4
"""Each has an app and a browser of its own."""
ONE_PROCESS = ("-n", "--numprocesses", "--dist", "--pdb", "--trace", "no:xdist", "-pno:xdist")
"""Options of pytest that choose the processes themselves, or that need the terminal."""
NO_BROWSER = f"""
NO CHROMIUM: THE BROWSER TESTS WILL BE SKIPPED.
To run them, install Chromium or Chrome (Debian: sudo apt install chromium; Fedora: sudo dnf install chromium; elsewhere from its
vendor), or set {BROWSER_VARIABLE} to its path, and run the tests again.
"""


def find_browser() -> str | None:
    """A Chromium that the browser tests can drive: the one named in the environment, or one on the PATH."""
    return os.environ.get(BROWSER_VARIABLE) or next((path for path in map(shutil.which, BROWSERS) if path), None)


def install_browser() -> None:
    """Install the system's Chromium where that is allowed: as root on a system with apt. Prints what failed, if something did."""
    apt = shutil.which("apt-get")
    if apt is None or os.name == "nt" or os.geteuid() != 0:
        return
    print("Installing Chromium for the browser tests, from the system's packages.", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in ([apt, "update"], [apt, "install", "-y", "--no-install-recommends", "chromium", "fonts-dejavu-core"]):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment)
        if done.returncode != 0:
            print(f"{' '.join(command[:2])} failed:\n{(done.stdout + done.stderr)[-1500:]}", flush=True)
            return


def passes(name: str, command: Sequence[str], environment: dict[str, str]) -> bool:
    """Run a check; its output is shown in one piece, whatever runs beside it."""
    start = time.monotonic()
    program, *arguments = command
    done = subprocess.run([str(PROGRAMS / program), *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)
    ended = f"{name}: {'FAILED' if done.returncode else 'passed'} in {time.monotonic() - start:.1f} s"
    print("\n".join(filter(None, [(done.stdout + done.stderr).strip() if done.returncode else "", ended])), flush=True)
    return done.returncode == 0


def spread(arguments: Sequence[str]) -> list[str]:
    """What pytest is told beyond the arguments given: one process for each core, a file of tests in one of them.

    Nothing where a single file or test is named, or where the arguments say themselves how many processes are wanted.
    """
    named = any((ROOT / argument.partition("::")[0]).is_file() for argument in arguments)
    if named or any(argument.startswith(ONE_PROCESS) for argument in arguments):
        return []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return ["-n", str(min(cores, MOST_WORKERS)), "--dist", "loadfile", "--no-loadscope-reorder"] if cores > 1 else []


def main(arguments: Sequence[str]) -> int:
    """Everything; the tests' closing line closes the output, unless a check failed. Returns 0 if all passed."""
    if find_browser() is None:
        install_browser()
    environment = {**os.environ, "PATH": f"{PROGRAMS}{os.pathsep}{os.environ.get('PATH', '')}"}
    if browser := find_browser():
        environment[BROWSER_VARIABLE] = browser
    failed = [name for name, command in CHECKS if not passes(name, command, environment)]
    if browser is None:
        print(NO_BROWSER, flush=True)
    rest = list(arguments[1:] if arguments[:1] == ["--"] else arguments)

    def check_types() -> None:
        if not passes(*TYPES, environment):
            failed.append(TYPES[0])

    types = threading.Thread(target=check_types)
    types.start()
    code = subprocess.run([sys.executable, "-m", "pytest", *spread(rest), *rest], cwd=ROOT, env=environment).returncode
    types.join()
    if failed:
        print(f"FAILED beside the tests: {', '.join(failed)}; see above.", flush=True)
    return code or (1 if failed else 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
