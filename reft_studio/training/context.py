"""Implements the services that a run provides to its defense: batches, gradients of its losses, the teacher's hidden states."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache, partial
from typing import Any, cast

import torch
from torch import Tensor

from reft_studio import seeding
from reft_studio.defenses.defense import Kind
from reft_studio.errors import SpecError, TrainingError
from reft_studio.models.accumulate import Accumulator, Around, Losses, MicroBatches, Pass
from reft_studio.models.batching import Batch, Example, Stream, collate
from reft_studio.models.fit import StepLog
from reft_studio.models.fused import Head, check_head
from reft_studio.models.joint_losses import Capture, Joint, StatesLosses
from reft_studio.models.loading import LoadedModel
from reft_studio.models.low_rank import Layers
from reft_studio.models.packing import Packer
from reft_studio.models.session import Session
from reft_studio.models.snapshot import Resumable
from reft_studio.models.supervised import Supervised, hidden_states, supervise
from reft_studio.models.weights import Gradient, Weights, add_gradient
from reft_studio.training.cost import Costs
from reft_studio.training.spec import RunSpec
from reft_studio.training.start_log_probabilities import StartLogProbabilities
from reft_studio.training.teacher_states import CacheLocation, TeacherStates

STUDENT = "student"
HALVES: dict[str, Kind] = {"harmful": "refusals", "helpful": "answers"}
"""The halves of an alignment batch, and the kind of rows in each."""
NAMES: dict[Kind, str] = {
    "refusals": "harmful prompts with refusals (harmful)",
    "answers": "harmless prompts with answers (helpful)",
    "harmful": "harmful prompts with harmful answers (harmful_answers)",
    "user": "user rows with a response that its filter keeps",
}
CONFLICT_EVERY = 20
"""Steps between two measurements of the gradient conflict; each costs one more backward pass."""


class AlignmentData:
    """Tokenised guiding rows by kind, and the teacher's hidden states of those drawn so far.

    Refusals come first, then answers; an example's index is its position in `examples`, which holds both. `truncated` rows were cut.
    """

    def __init__(
        self,
        session: Session,
        harmful: Sequence[Example],
        helpful: Sequence[Example],
        harmful_answers: Sequence[Example] = (),
        *,
        truncated: int = 0,
    ) -> None:
        self.session, self.truncated = session, truncated
        rows = [*harmful, *helpful]
        self.examples = [Example(row.ids, row.prompt, index) for index, row in enumerate(rows)]
        self.kinds: Mapping[Kind, Sequence[Example]] = {
            "refusals": self.examples[: len(harmful)],
            "answers": self.examples[len(harmful) :],
            "harmful": list(harmful_answers),
        }
        self.cache: TeacherStates | None = None
        self.head: Head | None = None
        """Of a teacher that is another model, what makes logits of its states; None: the student's own."""
        self._teacher: str | None = None
        self._drawn: dict[int, Tensor] = {}

    def cache_teacher(self, adapter: str | None, *, location: CacheLocation | None = None) -> None:
        """Use `adapter` (None: the bare base) as the teacher. It runs on a row when that is first drawn; its states are then cached."""
        self._teacher = adapter
        if self.cache is None:
            config = self.session.model.base.config.get_text_config()
            tokens = [len(example.ids) - max(example.prompt, 1) for example in self.examples]
            dtype = self.session.model.base.dtype
            self.cache = TeacherStates(tokens, d_model=int(config.hidden_size), dtype=dtype, location=location or CacheLocation(None))

    def cache_foreign(self, states: TeacherStates, head: Head) -> None:
        """Use another model's precomputed states of every row, and its head."""
        self.cache, self.head = states, head

    def ask(self, batch: Batch, *, packer: Packer | None, pieces: MicroBatches) -> None:
        """Run the teacher, on the base shared with the student, on those rows of `batch` that have no states yet.

        Raises SpecError if this run has no teacher.
        """
        if self.cache is None:
            raise SpecError("This run has no teacher, so there is nothing to distil. Choose a teacher.")
        cache, model = self.cache, self.session.model
        self._drawn.clear()
        missing = cache.missing(batch.index)
        if not missing:
            return
        if self.head is not None:
            raise TrainingError(
                f"The answers of the teacher to {len(missing)} alignment rows are gone from the cache, and its model is not in memory any "
                "more. Start the run again: it goes on from its checkpoint, and the teacher answers them once more."
            )
        with self.session.adapted.active(self._teacher) as backbone:

            def compute(rows: Sequence[int]) -> None:
                batch_of_rows = collate([self.examples[row] for row in rows], pad_id=model.pad_id, device=model.device)
                for row, states in zip(rows, hidden_states(model, backbone, batch_of_rows, packer=packer), strict=True):
                    self._drawn[row] = cache.keep(row, states)

            pieces.work(missing, compute)

    def states(self, batch: Batch) -> Tensor:
        """The teacher's states of the supervised tokens of rows passed to `ask`, in order, (tokens, d_model)."""
        states = [self._state(index) for index in batch.index]
        return torch.cat(states) if states else torch.zeros(0, 1)

    def _state(self, index: int) -> Tensor:
        if index in self._drawn:
            return self._drawn[index]
        cached = self.cache.read(index) if self.cache is not None else None
        if cached is None:
            raise SpecError("The teacher was not asked about these rows. Draw them with alignment_batch(guided=True).")
        return cached.to(self.session.model.device, non_blocking=True)


class Streams:
    """Endless batches of each kind of rows of one training, each kind in its own random order."""

    def __init__(self, rows: Callable[[Kind], Sequence[Example]], seed: int, *labels: str) -> None:
        self._rows, self._seed, self._labels = rows, seed, labels
        self._made: dict[str, Stream] = {}
        self._drawn: dict[str, int] = {}

    def next(self, name: str, kind: Kind, size: int) -> list[Example]:
        """The next rows of the stream `name`, which is created on first use."""
        if name not in self._made:
            self._made[name] = Stream(self._rows(kind), size=size, rng=seeding.generator(self._seed, *self._labels, name))
            self._made[name].skip_to(self._drawn.get(name, 0))
        return next(self._made[name])

    def state(self) -> dict[str, Any]:
        """Draws so far, for a snapshot."""
        return {"drawn": {**self._drawn, **{name: stream.drawn for name, stream in self._made.items()}}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue after so many draws."""
        self._drawn = dict(state["drawn"])
        self._made = {}


class Run:
    """The context of one run; implements `RunContext` of the defenses. It serves one training at a time: see `begin` and `training`."""

    def __init__(
        self,
        spec: RunSpec,
        session: Session,
        kept: list[int],
        alignment: AlignmentData | None,
        *,
        user: Callable[[], Sequence[Example]] = list,
        warn: Callable[[str], None] = lambda message: None,
        costs: Costs | None = None,
    ) -> None:
        """`user` gives the tokenised `kept` rows that have a response, for stages that read them before rows are selected."""
        self.spec, self.session, self.alignment, self._user_rows = spec, session, alignment, cache(user)
        self.own_costs = costs or Costs()
        self._kept, self._warn = kept, warn
        self._user: Batch | None = None
        self._user_read = False
        self._trained, self._layers = (STUDENT, cast(tuple[str, ...], ())), cast(Layers | None, None)
        self.start: str | None = None
        """The adapter that the current training started from; None: the base."""
        self.begin()

    @property
    def model(self) -> LoadedModel:
        return self.session.model

    @property
    def weights(self) -> Weights:
        assert self._weights is not None, "a run trains inside `training`"
        return self._weights

    @property
    def layers(self) -> Layers:
        if self._layers is None:
            adapter, on = self._trained
            self._layers = Layers(self.session.adapted, adapter, start=self.start, continued=self.start not in on)
        return self._layers

    def begin(self, stage: str = "", *, steps: int = 0, costs: Costs | None = None) -> None:
        """Start over for the next training: a named stage before the user's data, or (no name) the finetuning; `costs`: None, the run's."""
        self.step, self.steps, self.costs = 0, steps, costs or self.own_costs
        self._pieces = MicroBatches(self.spec.optim.micro_batch_size, warn=self._warn)
        self._streams = Streams(self.examples, self.spec.seed, *(["stage", stage] if stage else []), "alignment")
        self._start_known = StartLogProbabilities()
        self._packer: Packer | None = None
        self._accumulator: Accumulator | None = None
        self._weights: Weights | None = None
        self._layers = None

    @contextmanager
    def training(self, adapter: str = STUDENT, *, on: Sequence[str] = ()) -> Iterator[list[Tensor]]:
        """Context: an adapter in training mode, on top of others; yields its parameters. Raises SpecError if it cannot be trained."""
        model, adapted = self.session.model, self.session.adapted
        self._trained, self._layers = (adapter, tuple(on)), None
        if model.base.dtype == torch.float16:
            raise SpecError("The base is held in float16, whose range gradients leave. Load it in bfloat16 or float32 for training.")
        with adapted.active(adapter, on=on) as backbone:
            check_head(model, backbone)
            self._packer = Packer(model, backbone, wanted=self.spec.optim.packing)
        with adapted.active(adapter, on=on, train=True, checkpointing=self.spec.optim.gradient_checkpointing) as backbone:
            parameters = adapted.parameters(adapter)
            self._weights = Weights(parameters)
            self._accumulator = Accumulator(model, backbone, parameters, packer=self._packer, pieces=self._pieces)
            with self.costs.watching(backbone, model.blocks):
                yield parameters
            self._accumulator = self._weights = self._layers = None

    def seed(self, label: str) -> int:
        return seeding.derive(self.spec.seed, label)

    def kept_rows(self) -> list[int]:
        return self._kept

    def parts(self) -> dict[str, Resumable]:
        """The state that changes from step to step, for snapshots."""
        parts: dict[str, Resumable] = {"pieces": self._pieces, "streams": self._streams, "start": self._start_known}
        if self.alignment is not None and self.alignment.cache is not None:
            parts["teacher_states"] = self.alignment.cache
        return parts

    def user_rows_not_finite(self) -> list[int]:
        """Positions of the user rows of the last step whose own loss is not finite."""
        user = self._user
        if user is None or self._accumulator is None:
            return []
        with torch.no_grad():
            rows = [user.part([row]) for row in range(len(user))]
            losses = [supervise(self.session.model, self._accumulator.backbone, [row])[0].cross_entropy() for row in rows]
        return [index for index, loss in zip(user.index, losses, strict=True) if not bool(torch.isfinite(loss))]

    def learn(self, losses: Losses, *batches: Batch, around: Around | None = None) -> StepLog:
        with self._user_share(batches):
            return self._accumulating().learn(losses, batches, conflict=self.step % CONFLICT_EVERY == 1, around=around)

    def gradient(self, losses: Losses, *batches: Batch, around: Around | None = None) -> tuple[Gradient, StepLog]:
        with self._user_share(batches):
            return self._accumulating().gradient(losses, batches, around=around)

    def _user_share(self, batches: Sequence[Batch]) -> AbstractContextManager[None]:
        """Attribute tokens read inside to user rows by their share of the batch, once per step: plain finetuning reads them once."""
        read, user = sum(batch.tokens for batch in batches), 0
        if self._user is not None and not self._user_read:
            user = sum(batch.tokens for batch in batches if batch is self._user)
        self._user_read = self._user_read or user > 0
        return self.costs.sharing(user / max(1, read))

    def add(self, gradient: Gradient, scale: float = 1.0) -> None:
        add_gradient(self.weights.parameters, gradient, scale)

    @contextmanager
    def repeat_dropout(self) -> Iterator[None]:
        with torch.random.fork_rng(devices={value.device for value in self.weights.parameters if value.is_cuda}):
            yield

    def alignment_batch(self, *, guided: bool = False) -> Batch:
        half = max(1, self.spec.optim.alignment_batch_size // 2)
        batch = self.collate([example for name, kind in HALVES.items() for example in self._streams.next(name, kind, half)])
        if guided:
            with self.costs.stage("teacher states"):
                self._data().ask(batch, packer=self._packer, pieces=self._pieces)
        return batch

    def batch(self, kind: Kind, *, size: int | None = None) -> Batch:
        count = size or self.spec.optim.alignment_batch_size
        return self.collate(self._streams.next(f"{kind}-{count}", kind, count))

    def examples(self, kind: Kind) -> Sequence[Example]:
        guiding = self.alignment.kinds if self.alignment is not None else {}
        rows = self._user_rows() if kind == "user" else guiding.get(kind, [])
        if not rows:
            raise SpecError(f"This run has no {NAMES[kind]}. Choose a set of them.")
        return rows

    def user_batch(self, examples: Sequence[Example]) -> Batch:
        """The user rows of the current step."""
        self._user, self._user_read = self.collate(examples), False
        return self._user

    def collate(self, examples: Sequence[Example]) -> Batch:
        return collate(examples, pad_id=self.session.model.pad_id, device=self.session.model.device)

    def teacher_states(self, batch: Batch) -> Tensor:
        return self._data().states(batch)

    @property
    def teacher_head(self) -> Head | None:
        return self._data().head

    def start_states(self, batch: Batch) -> Tensor:
        states: list[Tensor] = []
        self._ask_start(batch, lambda part: states.append(part.hidden))
        return torch.cat(states)

    def start_log_probabilities(self, batch: Batch) -> Tensor:
        if missing := self._start_known.missing(batch):
            with self.costs.stage("start weights"):
                self._ask_start(batch.part(missing), lambda part: self._start_known.keep(part.batch, part.log_probabilities()))
        return self._start_known.of(batch).to(self.model.device)

    @torch.no_grad()
    def _ask_start(self, batch: Batch, take: Callable[[Supervised], None]) -> None:
        """Read rows with the starting weights of this training."""
        with self.session.adapted.active(self.start) as backbone:
            self._pieces.work(
                range(len(batch)), lambda rows: take(supervise(self.model, backbone, [batch.part(rows)], packer=self._packer)[0])
            )

    @torch.no_grad()
    def read(self, *batches: Batch, around: Around, start: bool = False, dropout: bool = True) -> None:
        adapted, (adapter, on) = self.session.adapted, self._trained
        with ExitStack() as stack:
            if start:
                backbone = stack.enter_context(adapted.active(self.start))
            else:
                backbone = self._accumulating().backbone if dropout else stack.enter_context(adapted.active(adapter, on=on))
            for number, batch in enumerate(batches):

                def read_rows(rows: Sequence[int], batch: Batch = batch, number: int = number) -> None:
                    with ExitStack() as wrapped:
                        pass_of = partial(Pass, rows=[(number, row) for row in rows])
                        before = lambda layout: wrapped.enter_context(around(pass_of(layout)))  # noqa: E731
                        supervise(self.model, backbone, [batch.part(rows)], packer=self._packer, before=before)

                self._pieces.work(range(len(batch)), read_rows)

    def learn_jointly(self, batch: Batch, capture: Capture, losses: StatesLosses, *, extra: Losses = lambda part: {}) -> StepLog:
        def read(around: Around) -> None:
            with self.repeat_dropout():
                self.read(batch, around=around)

        joint = Joint(len(batch), capture, losses, read)
        return self.learn(lambda part: {**extra(part), **joint.share()}, batch, around=joint.around)

    def _accumulating(self) -> Accumulator:
        assert self._accumulator is not None, "a run trains inside `training`"
        return self._accumulator

    def _data(self) -> AlignmentData:
        if self.alignment is None:
            raise SpecError("This run has no alignment data. Choose a set of refusals and of helpful answers.")
        return self.alignment
