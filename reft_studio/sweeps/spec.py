"""The recipe of a sweep, in YAML: every combination of bases, tasks, poison ratios, seeds and variants of methods."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from reft_studio import fingerprint
from reft_studio.attacks import ATTACKS
from reft_studio.attacks.disguise import PLAIN
from reft_studio.defenses import DEFENSES
from reft_studio.defenses.defense import Start
from reft_studio.errors import SpecError
from reft_studio.models.spec import LoraSpec, OptimSpec, Settings, preset_named
from reft_studio.scoring import BY_CHANCE, JOINING, OF_TEACHER, SCORERS
from reft_studio.training.naming import number

OWN, NONE, TEACHER = "own", "none", OF_TEACHER
"""Filters that are no scorers: the method's own, none at all, the refusal feature of the teacher."""
ALONE = (JOINING, BY_CHANCE)
"""Scorers that cannot be combined: the ensemble itself, and the control that drops as many rows as another filter."""
Kind = tuple[str, int, str]
MOST_CELLS = 20_000
LISTS = ("models", "tasks", "rows", "poison_ratios", "attacks", "seeds", "variants")
"""Fields of a recipe that multiply."""


class Variant(Settings):
    """A method with settings. A list of values stands for several variants, one per value, and lists multiply."""

    method: str = Field(description="name of the method")
    config: dict[str, Any] = Field(default_factory=dict, description="settings of the method, each a value or a list of values")
    filter: str | tuple[str, ...] = Field(
        OWN,
        description="own: as the method does; none; refusal_feature (the teacher's); another scorer; or several: A+B by the mean of their "
        "log odds, A|B by whether any of them flags",
    )
    teacher: Literal["own", "unregularised", "untouched"] = Field(
        "own", description="that filters and guides: own; unregularised (λ = 0: the aligned weights); untouched (the base as it is)"
    )
    start: Start | tuple[Start, ...] = Field("method", description="where training starts: method, aligned or base")
    adapters: Literal["continue", "fresh"] = Field("continue", description="from aligned weights: continue their adapter, or a fresh one")
    label: str | None = Field(None, max_length=80, description="name in tables; empty: the method with what was changed")

    @model_validator(mode="after")
    def _known(self) -> Self:
        config_class: type[Settings] = DEFENSES.get(self.method).Config
        for values in _products(self.config):
            config_class.checked(**values)
        for name in _tuple(self.filter):
            _check_filter(name)
        return self

    def expanded(self) -> Iterator[Variant]:
        """One variant per combination of the values of its lists."""
        combined = itertools.product(_products(self.config), _tuple(self.filter), _tuple(self.start))
        for config, filtered, start in combined:
            yield self.model_copy(update={"config": config, "filter": filtered, "start": start})

    @property
    def count(self) -> int:
        """Number of variants."""
        values = [value for value in self.config.values() if isinstance(value, list | tuple)]
        return math.prod(map(len, (*values, _tuple(self.filter), _tuple(self.start))))

    @property
    def title(self) -> str:
        """Its name in tables, unique within a recipe."""
        return titled(self)


@dataclass(frozen=True)
class Cell:
    """One run of a sweep: a variant on one base, task, poison ratio and seed."""

    model: str
    task: str
    rows: int
    poison_ratio: float
    attack: str
    seed: int
    variant: Variant

    @property
    def key(self) -> str:
        """Equal for equal runs of any recipe; names the file."""
        return fingerprint.of_value(self.facts)[:16]

    @property
    def kind(self) -> Kind:
        """Determines its duration, together with the settings of its recipe: base, rows and method."""
        return self.model, self.rows, self.variant.method

    @property
    def facts(self) -> dict[str, Any]:
        """Everything that distinguishes it from other cells, as JSON."""
        return {
            "model": self.model,
            "task": self.task,
            "rows": self.rows,
            "poison_ratio": self.poison_ratio,
            "attack": self.attack,
            "seed": self.seed,
            "variant": self.variant.title,
            **self.variant.model_dump(mode="json", exclude={"label"}),
        }


class SweepSpec(Settings):
    """A recipe. All runs of one base have the same settings of optimizer and adapter, so the same number of steps."""

    name: str = Field("sweep", min_length=1, max_length=60, description="name of the recipe, for tables and files")
    note: str = Field("", max_length=2000, description="what the recipe is for, and what about it is a guess")
    models: tuple[str, ...] = Field(("lab",), min_length=1, description="bases: lab, names of the shelf, folders or Hub ids")
    data: str | None = Field(None, description="folder of public prompt sets for a real base; empty: the texts that ship")
    tasks: tuple[str, ...] = Field(("sentiment",), min_length=1, description="downstream tasks")
    rows: tuple[int, ...] = Field((1000,), min_length=1, description="rows of user data, n")
    poison_ratios: tuple[float, ...] = Field((0.1,), min_length=1, description="shares of harmful rows in the user data, p")
    attacks: tuple[str, ...] = Field((PLAIN,), min_length=1, description="disguises of the poison; plain: none")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="each draws its own user data, adapters and batch order")
    train: bool = Field(True, description="false: only ask what each filter finds, and train nothing")
    variants: tuple[Variant, ...] = Field(min_length=1, description="methods as they are compared")
    against: tuple[str, ...] = Field(
        (), description="variants, by their names in tables, that the others are tested against; empty: plain SFT"
    )
    preset: str = Field("auto", description="settings of optimizer and adapter; auto: the lab's for the lab, those for real models else")
    optim: dict[str, Any] = Field(default_factory=dict, description="settings of the optimizer that replace the preset's")
    lora: dict[str, Any] = Field(default_factory=dict, description="settings of the adapter that replace the preset's")
    shipped_teacher: bool = Field(True, description="use the ready teacher and aligned weights of a base, where it has some")
    split: Literal["validation", "test"] = Field("test", description="held-out prompts; settings are chosen on validation only")
    prompts: int = Field(200, ge=1, description="harmful, and as many harmless, test prompts")
    task_prompts: int = Field(500, ge=1, description="test prompts of the task")
    alignment_steps: int = Field(
        80, ge=1, le=10_000, description="steps of aligned weights, and of a teacher, that are made for a real base"
    )

    @field_validator("poison_ratios")
    @classmethod
    def _shares(cls, ratios: tuple[float, ...]) -> tuple[float, ...]:
        if wrong := [ratio for ratio in ratios if not 0 <= ratio <= 1]:
            raise ValueError(f"{wrong[0]} is no share: give numbers from 0 to 1")
        return ratios

    @model_validator(mode="after")
    def _whole(self) -> Self:
        self.optim_of("lab"), self.lora_of("lab")
        for attack in self.attacks:
            ATTACKS.get(attack)
        if (count := self.count) > MOST_CELLS:  # before lists are multiplied, which would take all memory
            raise ValueError(f"the recipe has {count:,} runs; at most {MOST_CELLS:,} are allowed")
        seen = Counter(variant.title for variant in self.expanded)
        if twice := [title for title, times in seen.items() if times > 1]:
            raise ValueError(f"two variants are called '{twice[0]}': give one of them a label, or leave one out")
        if unknown := [name for name in self.against if name not in seen]:
            raise ValueError(f"against names '{unknown[0]}', which is no variant of the recipe. Choose from: {', '.join(seen)}")
        return self

    @property
    def id(self) -> str:
        """Equal for recipes of equal runs, whatever their name, note and reference variants."""
        return "w" + fingerprint.of_value(self.model_dump(mode="json", exclude={"name", "note", "against"}))[:12]

    def alike(self, other: SweepSpec) -> bool:
        """Whether both differ only in their lists, so that they may share runs."""
        listed = {"name", "note", "against", *LISTS}
        return self.model_dump(exclude=listed) == other.model_dump(exclude=listed)

    @property
    def count(self) -> int:
        """Number of runs."""
        others = (self.models, self.tasks, self.rows, self.poison_ratios, self.attacks, self.seeds)
        return math.prod(map(len, others)) * sum(variant.count for variant in self.variants)

    @property
    def expanded(self) -> list[Variant]:
        """The variants, lists expanded."""
        return [each for variant in self.variants for each in variant.expanded()]

    @property
    def cells(self) -> list[Cell]:
        """All runs, grouped by user data."""
        grid = itertools.product(self.models, self.tasks, self.rows, self.poison_ratios, self.attacks, self.seeds, self.expanded)
        return [Cell(*values) for values in grid]

    def optim_of(self, model: str) -> OptimSpec:
        """The optimizer settings of every run on this base."""
        return OptimSpec.checked(**{**preset_named(self._preset(model)).optim.model_dump(), **self.optim})

    def lora_of(self, model: str) -> LoraSpec:
        """The adapter settings of every run on this base."""
        return LoraSpec.checked(**{**preset_named(self._preset(model)).lora.model_dump(), **self.lora})

    def _preset(self, model: str) -> str:
        return ("lab" if model == "lab" else "real") if self.preset == "auto" else self.preset


def titled(variant: Variant) -> str:
    """`Ref-Teacher, alpha 0.3 + filter Words (TF-IDF)`: the method, or its label, with the changed settings."""
    info, filtered = DEFENSES.get(variant.method).info, str(variant.filter)
    words = [variant.label or info.title]
    words += [f"{name} {_words(value)}" for name, value in variant.config.items()] if variant.label is None else []
    words += {"unregularised": ["teacher with λ 0"], "untouched": ["untouched teacher"]}.get(variant.teacher, [])
    if filtered == NONE and info.uses_filter:
        words.append("without filter")
    elif filtered == TEACHER and not info.uses_filter:
        words.append("+ filter")
    elif filtered not in (OWN, NONE, TEACHER):
        words.append(f"+ filter {filter_title(filtered)}")
    words += {"aligned": ["from aligned weights"], "base": ["from the base"]}.get(str(variant.start), [])
    words += ["fresh adapter"] if variant.adapters == "fresh" else []
    return ", ".join(words).replace(", + ", " + ")


def filter_title(name: str) -> str:
    """A filter's name in tables: that of its scorer, or of those it combines."""
    members, join = members_of(name)
    return (" + " if join == "log_odds" else " or ").join(SCORERS.get(member).info.title for member in members)


def members_of(name: str) -> tuple[list[str], Literal["log_odds", "any"]]:
    """The scorers that a filter combines (one if it combines none), and how."""
    return (name.split("|"), "any") if "|" in name else (name.split("+"), "log_odds")


def _check_filter(name: str) -> None:
    """Raises ValueError for an invalid filter."""
    members, _ = members_of(name)
    single = (OWN, NONE, *(member for member in SCORERS if member != JOINING))
    if name == JOINING:
        raise ValueError("a filter 'ensemble' needs its members: write refusal_feature+tfidf (mean) or refusal_feature|tfidf (any)")
    joined = [member for member in SCORERS if member not in ALONE]
    if len(members) > 1 and (wrong := [member for member in members if member not in joined]):
        raise ValueError(f"'{wrong[0]}' in filter '{name}' cannot be joined. Choose from: {', '.join(joined)}")
    if len(members) == 1 and name not in single:
        raise ValueError(f"filter is '{name}'. Choose one of: {', '.join(single)}; or join several with + or |")


def _words(value: Any) -> str:
    return number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _products(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Settings without lists, one per combination of the list values."""
    values = [value if isinstance(value, list | tuple) else [value] for value in config.values()]
    return [dict(zip(config, combination, strict=True)) for combination in itertools.product(*values)]


def _tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


@dataclass(frozen=True)
class Share:
    """The groups of runs of this process: those whose number modulo `of` is `part`."""

    part: int = 0
    of: int = 1

    @classmethod
    def read(cls, text: str) -> Self:
        """`2/3` is the second of three. Raises SpecError for anything else."""
        part, slash, of = text.partition("/")
        if not (slash and part.isdigit() and of.isdigit() and 1 <= int(part) <= int(of)):
            raise SpecError(f"The share is '{text[:20]}'. Write 1/2 for the first of two processes, 2/2 for the second.")
        return cls(int(part) - 1, int(of))

    def takes(self, number: int) -> bool:
        """Whether the group with this number, from 0, is in this share."""
        return number % self.of == self.part
