"""The devices that models run on, one job at a time each; determined without loading torch."""

from __future__ import annotations

import os
import platform
from functools import cache

from reft_studio.models import memory

CPU = "cpu"


@cache
def devices() -> tuple[str, ...]:
    """Names of the accelerators, as PyTorch numbers them in this process; only "cpu" if there is none."""
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return ("mps",)
    return tuple(space.device for space in memory.gpus()) or (CPU,)


def visible(device: str | None) -> dict[str, str]:
    """Environment variables with which a process sees only this GPU, as its first; empty for other devices."""
    if device is None or not device.startswith("cuda:"):
        return {}
    number, shown = int(device.partition(":")[2]), os.environ.get("CUDA_VISIBLE_DEVICES")
    names = shown.split(",") if shown is not None else []
    return {"CUDA_VISIBLE_DEVICES": names[number].strip() if number < len(names) else str(number)}


def title(device: str) -> str:
    """`the GPU`, `GPU 1` (if there are several), `the processor`."""
    if device == CPU:
        return "the processor"
    several = sum(device_ != CPU for device_ in devices()) > 1
    return f"GPU {device.partition(':')[2] or 0}" if several else "the GPU"
