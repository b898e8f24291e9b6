"""Separation of the kinds by every block and token position of a finished teacher, and the prompts its threshold rests on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
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
"""Calibration prompts of each kind stored with their features."""


@dataclass(frozen=True)
class States:
    """Features (n, L, d_model) of both kinds after every block, harmful first, with the prompts."""

    harmful: Tensor
    harmless: Tensor
    prompts: tuple[list[str], list[str]]


@dataclass(frozen=True)
class Directions:
    """One refusal feature per block and position: direction and, unless read raw, centre, (L, P, d_model) float32."""

    direction: Tensor
    centre: Tensor | None

    def cosines(self, states: Tensor) -> Tensor:
        """(n, L, P, d_model) -> (n, L, P) in [-1, 1]; NaN where a prompt has no such token."""
        features = states if self.centre is None else states - self.centre
        return functional.cosine_similarity(features, self.direction[None], dim=-1).clamp(-1, 1)


def write_details(folder: Path, training: tuple[Tensor, Tensor], calibration: States, feature: RefusalFeature) -> None:
    """Write the files of `details.FILES`, for the last prompt token after every block.

    `training` (n, L, d_model) gives the refusal feature of every other block, in the reading of `feature`; the map is measured on the
    calibration prompts, and has one position until all are asked for (`write_map`).
    """
    depth = range(1, training[0].shape[1] + 1)
    layers = [
        feature
        if layer == feature.layer
        else RefusalFeature.between(training[0][:, layer - 1], training[1][:, layer - 1], layer=layer, reading=feature.reading)
        for layer in depth
    ]
    _write_layers(folder / LAYERS, layers, feature.layer)
    sides = (calibration.harmful, calibration.harmless)
    chosen = [_evenly_spaced(len(side)) for side in sides]
    texts = [[prompts[index] for index in indices] for prompts, indices in zip(calibration.prompts, chosen, strict=True)]
    _write_neighbours(
        folder / NEIGHBOURS, texts, [side[indices, feature.layer - 1] for side, indices in zip(sides, chosen, strict=True)], feature
    )
    cosines = [
        np.stack([similarities(layer_feature, side[:, layer_feature.layer - 1]) for layer_feature in layers], axis=1)[..., None]
        for side in sides
    ]
    write_json(folder / MAP, asdict(separation(cosines[0], cosines[1], layer=feature.layer)))  # last: with it, all is there


def write_map(folder: Path, material: Material, feature: RefusalFeature, known: Separation, *, adapter: str | None) -> None:
    """Write the full map into `folder`: the last TAIL positions of every block; those of the last token are kept from `known`.

    A whitened teacher's other positions are read centred.
    """
    with material.session.adapted.active(adapter) as backbone:
        directions = _directions(material, backbone, feature)
        cosines = [_cosines(material, backbone, ids, directions) for ids in (material.calibration.harmful, material.calibration.harmless)]
    whole = separation(cosines[0], cosines[1], layer=feature.layer)
    auroc = [[line[0], *more[1:]] for line, more in zip(known.auroc, whole.auroc, strict=True)]
    write_json(folder / MAP, asdict(replace(whole, auroc=auroc, bands=known.bands)))


def separation(harmful: NDArray[np.float32], harmless: NDArray[np.float32], *, layer: int) -> Separation:
    """The map from cosines (n, L, P) of held-out prompts of both kinds, NaN where a prompt has no such token."""
    _, depth, tail = harmful.shape
    sides = (harmful, harmless)
    return Separation(
        layers=list(range(1, depth + 1)),
        positions=[-1 - column for column in range(tail)],
        auroc=[[_cell(harmful[:, row, column], harmless[:, row, column]) for column in range(tail)] for row in range(depth)],
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
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  no mapping: it has only `keys`
        directions, centres, weights = tensors["directions"], tensors.get("centres"), tensors.get("weights")
        others = [part for part in (centres, weights) if part is not None]
        consistent = directions.ndim == 2 and all(part.shape == directions.shape for part in others) and "metrics" not in tensors
        if not consistent or not all(torch.isfinite(part).all() for part in (directions, *others)):
            raise StoreError(f"{LAYERS} of '{teacher.id}' does not hold one finite direction for each block. Prepare the teacher again.")
    except (OSError, SafetensorError, KeyError) as exc:
        raise StoreError(f"{LAYERS} of '{teacher.id}' cannot be read. Prepare the teacher again.") from exc
    parts = (directions, *(part if part is not None else [None] * len(directions) for part in (centres, weights)))
    return [
        RefusalFeature(direction, layer, centre, weight) for layer, (direction, centre, weight) in enumerate(zip(*parts, strict=True), 1)
    ]


def _write_layers(path: Path, layers: list[RefusalFeature], chosen: int) -> None:
    """Directions and, where the reading has them, centres and weights, (L, d_model)."""
    tensors = {"directions": torch.stack([layer.direction for layer in layers])}
    for name, parts in (("centres", [layer.centre for layer in layers]), ("weights", [layer.weight for layer in layers])):
        if given := [part for part in parts if part is not None]:
            tensors[name] = torch.stack(given)
    save_file(tensors, path, metadata={"layer": str(chosen)})


def _directions(material: Material, backbone: nn.Module, feature: RefusalFeature) -> Directions:
    """Means of both kinds over the training prompts, in float64; the chosen layer's is the refusal feature itself."""
    means = []
    for ids in _both(material.training):
        total, count = torch.zeros(()), torch.zeros(())
        for _, states in _batches(material, backbone, ids):
            present = torch.isfinite(states[..., 0])
            total = total + states.double().nan_to_num(0.0).sum(0)
            count = count + present.double().sum(0)
        means.append(total / count.clamp(min=1)[..., None])
    direction, centre = (means[0] - means[1]).float(), (0.5 * (means[0] + means[1])).float()
    return Directions(direction, None if feature.centre is None else centre)


def _cosines(material: Material, backbone: nn.Module, ids: Ids, directions: Directions) -> NDArray[np.float32]:
    cosines = np.zeros((len(ids), *directions.direction.shape[:2]), dtype=np.float32)
    for plan, states in _batches(material, backbone, ids):
        cosines[plan] = directions.cosines(states).numpy()
    return cosines


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


def _evenly_spaced(count: int) -> list[int]:
    """At most NEAREST_OF evenly spaced indices below `count`."""
    return sorted({int(index) for index in np.linspace(0, count - 1, min(NEAREST_OF, count))})


def _write_neighbours(path: Path, prompts: list[list[str]], features: list[Tensor], feature: RefusalFeature) -> None:
    """Columns: prompt, kind, score (similarity to the refusal feature), feature (float16, as output by the block)."""
    states = torch.cat(features)
    flat = pa.array(states.half().numpy().reshape(-1), pa.float16())
    columns = {
        "prompt": pa.array([prompt for part in prompts for prompt in part], pa.string()),
        "kind": pa.array([kind for kind, part in zip(KINDS, prompts, strict=True) for _ in part], pa.string()),
        "score": pa.array(similarities(feature, states), pa.float32()),
        "feature": pa.FixedSizeListArray.from_arrays(flat, states.shape[1]),
    }
    pq.write_table(pa.table(columns), path, compression="zstd")
