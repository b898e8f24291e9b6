"""What `python launch.py test` runs, inside the environment that it made: checks of the code, then pytest with the arguments given."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
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
    ("mypy --strict", ("mypy", "--strict")),
    ("import contract", ("lint-imports",)),
)
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


def check(environment: dict[str, str]) -> list[str]:
    """Run the checks that read the code only. Returns the names of those that failed."""
    failed = []
    for name, (program, *arguments) in CHECKS:
        start = time.monotonic()
        code = subprocess.run([str(PROGRAMS / program), *arguments], cwd=ROOT, env=environment).returncode
        print(f"{name}: {'FAILED' if code else 'passed'} in {time.monotonic() - start:.1f} s", flush=True)
        if code:
            failed.append(name)
    return failed


def main(arguments: Sequence[str]) -> int:
    """Everything; pytest is last, so that its closing line closes the output. Returns 0 if all passed."""
    if find_browser() is None:
        install_browser()
    environment = {**os.environ, "PATH": f"{PROGRAMS}{os.pathsep}{os.environ.get('PATH', '')}"}
    if browser := find_browser():
        environment[BROWSER_VARIABLE] = browser
    failed = check(environment)
    if browser is None:
        print(NO_BROWSER, flush=True)
    rest = arguments[1:] if arguments[:1] == ["--"] else arguments
    code = subprocess.run([sys.executable, "-m", "pytest", *rest], cwd=ROOT, env=environment).returncode
    if failed:
        print(f"FAILED before the tests: {', '.join(failed)}; see above.", flush=True)
    return code or (1 if failed else 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
