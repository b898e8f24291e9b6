"""The key under which step times are shared between runs. Needs no torch."""

from __future__ import annotations

from reft_studio import fingerprint
from reft_studio.training.spec import RunSpec

FOLDER = "probes"
"""In the workspace's cache: seconds per step, as measured by `probe`."""
_FREE = ("steps", "epochs", "epochs_of", "learning_rate", "schedule", "warmup", "weight_decay", "max_grad_norm")


def probe_key(spec: RunSpec) -> str:
    """One key for runs with equal step times: they train the same parts of the same model on the same data, at any length and seed."""
    fields = {"model", "dataset", "method", "lora", "loading", "optim"}
    values = spec.model_dump(mode="json", include=fields)
    values["optim"] = {name: value for name, value in values["optim"].items() if name not in _FREE}
    return fingerprint.of_value(values)[: fingerprint.SHORT]
