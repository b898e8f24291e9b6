"""Writes the lock files anew from pyproject.toml: exact versions, each with the SHA-256 of its wheels for every platform and Python.

python -m tools.lock [--upgrade]      uses `uv` from the PATH and the package index that it is configured for

Versions stay as they are unless `--upgrade` is given. torch stands in its own file, by its version only: which build of it is installed
(CPU, or a GPU's) is the person's choice, and the GPU builds name their own libraries.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OF_TORCH = ("filelock", "fsspec", "jinja2", "mpmath", "networkx", "setuptools", "sympy", "typing-extensions")
"""What every build of torch needs: locked with the rest, so that installing torch brings nothing else but its own libraries."""
HEADER = {
    "requirements.lock": "The exact versions ReFT Studio was tested with, on Python 3.11, without torch (requirements-torch.lock)",
    "requirements-test.lock": "What `python launch.py test` needs beyond requirements.lock",
    "requirements-bench.lock": "What `python launch.py bench` needs beyond requirements.lock: the peers that it races",
}
MADE_BY = "made by `python -m tools.lock`"
_PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==", re.MULTILINE)


def main(arguments: list[str]) -> None:
    """Write every lock file."""
    known = "" if "--upgrade" in arguments else "".join((ROOT / name).read_text("utf-8") for name in HEADER if (ROOT / name).is_file())
    base = compiled([], known)
    write("requirements.lock", base)
    for extra in ("test", "bench"):
        write(f"requirements-{extra}.lock", without(compiled(["--extra", extra], base + known), names(base)))


def compiled(options: list[str], known: str) -> str:
    """Pins with hashes for every platform; versions in `known` (text of lock files) stay. Raises CalledProcessError if uv fails."""
    with tempfile.TemporaryDirectory() as folder:
        constraints, excluded, more = (Path(folder) / name for name in ("constraints.txt", "excluded.txt", "more.in"))
        constraints.write_text("\n".join(sorted({pin for pin in re.findall(r"^[\w.-]+==[\w.+!-]+", known, re.MULTILINE)})), "utf-8")
        excluded.write_text("torch\n", "utf-8")
        more.write_text("\n".join(OF_TORCH), "utf-8")
        command = ["uv", "pip", "compile", "--quiet", "pyproject.toml", str(more), *options, "--universal", "--python-version", "3.11"]
        command += ["--generate-hashes", "--only-binary", ":all:", "--no-header", "--no-annotate", "--no-emit-index-url"]
        command += ["--constraints", str(constraints), "--excludes", str(excluded)]
        return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def names(text: str) -> set[str]:
    """The packages of a lock file, as it spells them."""
    return set(_PIN.findall(text))


def without(text: str, left_out: set[str]) -> str:
    """A lock file's text without some packages."""
    blocks = re.split(r"(?m)^(?=[A-Za-z0-9])", text)
    return "".join(block for block in blocks if (pin := _PIN.match(block)) and pin[1] not in left_out)


def write(name: str, pins: str) -> None:
    """Write a lock file of ours."""
    (ROOT / name).write_text(f"# {HEADER[name]}; {MADE_BY}.\n{pins}", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
