"""How every block and token position tells the kinds apart under a finished teacher, and the prompts its threshold rests on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from reft_studio import stats
from reft_studio.errors import StoreError
from reft_studio.models.features import tail_states
from reft_studio.teacher.calibration import similarities
from reft_studio.teacher.details import LAYERS, MAP, NEIGHBOURS, Separation
from reft_studio.teacher.material import Ids, Kinds, Material
from reft_studio.teacher.pool import KINDS, LEAST
from reft_studio.teacher.refusal_feature import RefusalFeature
from reft_studio.teacher.teacher import TeacherInfo
from reft_studio.workspace import write_json

TAIL = 10
"""Token positions counted from the end: the header of the usual chat templates, and the last words before it."""
QUANTILES = (0.05, 0.5, 0.95)
NEAREST_OF = 500
"""Calibration prompts of each kind that are kept with their features."""


@dataclass(frozen=True)
class Directions:
    """One refusal feature for every block and position: direction and, in the centred variant, centre, (L, P, d_model) float32."""

    direction: Tensor
    centre: Tensor | None

    def cosines(self, states: Tensor) -> Tensor:
        """(n, L, P, d_model) -> (n, L, P) in [-1, 1]; NaN where a prompt has no such token."""
        found = states if self.centre is None else states - self.centre
        return functional.cosine_similarity(found, self.direction[None], dim=-1).clamp(-1, 1)


def write_details(folder: Path, material: Material, feature: RefusalFeature, *, adapter: str | None) -> None:
    """Measure the teacher whose adapter is loaded under `adapter` and write the files of `details.FILES` into `folder`.

    Directions come from the training prompts, what is measured from the calibration prompts.
    """
    centred = feature.centre is not None
    with material.session.adapted.active(adapter) as backbone:
        directions = _directions(material, backbone, feature, centred=centred)
        cosines = [_cosines(material, backbone, ids, directions) for ids in (material.calibration.harmful, material.calibration.harmless)]
        chosen = [_some(ids) for ids in (material.calibration.harmful, material.calibration.harmless)]
        kept = Kinds(*([ids[place] for place in places] for ids, places in zip(_both(material.calibration), chosen, strict=True)))
        features = material.features(backbone, kept, [feature.layer])
    tensors = {"directions": directions.direction[:, 0].contiguous()}
    if directions.centre is not None:
        tensors["centres"] = directions.centre[:, 0].contiguous()
    save_file(tensors, folder / LAYERS, metadata={"layer": str(feature.layer)})  # one entry: their order is not fixed
    prompts = [material.prompts[f"calibration_{kind}"] for kind in KINDS]
    texts = [[prompts[side][place] for place in places] for side, places in enumerate(chosen)]
    _write_neighbours(folder / NEIGHBOURS, texts, [part[:, 0] for part in features], feature)
    write_json(folder / MAP, asdict(separation(cosines[0], cosines[1], layer=feature.layer)))  # last: with it, all is there


def separation(harmful: NDArray[np.float32], harmless: NDArray[np.float32], *, layer: int) -> Separation:
    """The map from cosines (n, L, P) of held-out prompts of both kinds, NaN where a prompt has no such token."""
    _, depth, tail = harmful.shape
    sides = (harmful, harmless)
    return Separation(
        layers=list(range(1, depth + 1)),
        positions=[-1 - place for place in range(tail)],
        auroc=[[_cell(harmful[:, row, place], harmless[:, row, place]) for place in range(tail)] for row in range(depth)],
        layer=layer,
        position=-1,
        harmful=len(harmful),
        harmless=len(harmless),
        bands={
            kind: [[round(float(value), 5) for value in np.quantile(side[:, row, 0], QUANTILES)] for row in range(depth)]
            for kind, side in zip(KINDS, sides, strict=True)
        },
    )


def load_layers(teacher: TeacherInfo) -> list[RefusalFeature]:
    """The refusal feature after each block, first block first. Raises StoreError if the file is missing or damaged."""
    try:
        with safe_open(teacher.folder / LAYERS, "pt") as file:
            found = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  no mapping: it has only `keys`
        directions, centres = found["directions"], found.get("centres")
        if directions.ndim != 2 or not torch.isfinite(directions).all() or (centres is not None and centres.shape != directions.shape):
            raise StoreError(f"{LAYERS} of '{teacher.id}' does not hold one finite direction for each block. Prepare the teacher again.")
    except (OSError, SafetensorError, KeyError) as exc:
        raise StoreError(f"{LAYERS} of '{teacher.id}' cannot be read. Prepare the teacher again.") from exc
    return [RefusalFeature(directions[row], row + 1, None if centres is None else centres[row]) for row in range(len(directions))]


def _directions(material: Material, backbone: nn.Module, feature: RefusalFeature, *, centred: bool) -> Directions:
    """Means of both kinds over the training prompts, in float64; the chosen layer's is the refusal feature itself."""
    means = []
    for ids in _both(material.training):
        total, count = torch.zeros(()), torch.zeros(())
        for _, states in _batches(material, backbone, ids):
            there = torch.isfinite(states[..., 0])
            total = total + states.double().nan_to_num(0.0).sum(0)
            count = count + there.double().sum(0)
        means.append(total / count.clamp(min=1)[..., None])
    direction, centre = (means[0] - means[1]).float(), (0.5 * (means[0] + means[1])).float()
    direction[feature.layer - 1, 0] = feature.direction
    if feature.centre is not None:
        centre[feature.layer - 1, 0] = feature.centre
    return Directions(direction, centre if centred else None)


def _cosines(material: Material, backbone: nn.Module, ids: Ids, directions: Directions) -> NDArray[np.float32]:
    found = np.zeros((len(ids), *directions.direction.shape[:2]), dtype=np.float32)
    for plan, states in _batches(material, backbone, ids):
        found[plan] = directions.cosines(states).numpy()
    return found


def _batches(material: Material, backbone: nn.Module, ids: Ids) -> Iterator[tuple[list[int], Tensor]]:
    for plan, states in tail_states(material.session.model, backbone, ids, tail=TAIL):
        material.progress.check()
        yield plan, states


def _cell(harmful: NDArray[np.float32], harmless: NDArray[np.float32]) -> float | None:
    if min(int(np.isfinite(harmful).sum()), int(np.isfinite(harmless).sum())) < LEAST:
        return None
    return round(stats.auroc(harmful, harmless), 5)


def _both(kinds: Kinds) -> tuple[Ids, Ids]:
    return kinds.harmful, kinds.harmless


def _some(ids: Ids) -> list[int]:
    """Places of at most NEAREST_OF prompts, spread evenly."""
    return sorted({int(place) for place in np.linspace(0, len(ids) - 1, min(NEAREST_OF, len(ids)))})


def _write_neighbours(path: Path, prompts: list[list[str]], features: list[Tensor], feature: RefusalFeature) -> None:
    """prompt, kind, score (cosine to the refusal feature), feature (float16, as it left the block)."""
    states = torch.cat(features)
    flat = pa.array(states.half().numpy().reshape(-1), pa.float16())
    columns = {
        "prompt": pa.array([prompt for part in prompts for prompt in part], pa.string()),
        "kind": pa.array([kind for kind, part in zip(KINDS, prompts, strict=True) for _ in part], pa.string()),
        "score": pa.array(similarities(feature, states), pa.float32()),
        "feature": pa.FixedSizeListArray.from_arrays(flat, states.shape[1]),
    }
    pq.write_table(pa.table(columns), path, compression="zstd")
