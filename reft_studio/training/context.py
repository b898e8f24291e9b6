"""Services a run provides to its defense: batches, the gradient of its losses, the teacher's states."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from reft_studio import seeding
from reft_studio.errors import SpecError
from reft_studio.models.accumulate import Accumulator, Losses, Pieces
from reft_studio.models.batching import Batch, Example, Stream, collate
from reft_studio.models.fit import StepLog
from reft_studio.models.fused import check_head
from reft_studio.models.packing import Packer
from reft_studio.models.session import Session
from reft_studio.models.snapshot import Resumable
from reft_studio.models.supervised import hidden_states, supervise
from reft_studio.training.cost import Costs
from reft_studio.training.spec import RunSpec
from reft_studio.training.teacher_states import Place, TeacherStates

STUDENT = "student"
KINDS = ("harmful", "helpful")
CONFLICT_EVERY = 20
"""Steps between two measurements of the gradient conflict; each costs one more backward pass."""


class AlignmentData:
    """Tokenised alignment rows of both kinds, and the teacher's hidden states on those that were drawn.

    Harmful rows come first; an example's index is its position in `examples`. `truncated` of them were cut.
    """

    def __init__(self, session: Session, harmful: Sequence[Example], helpful: Sequence[Example], *, truncated: int = 0) -> None:
        self.session, self.truncated = session, truncated
        rows = [*harmful, *helpful]
        self.examples = [Example(row.ids, row.prompt, index) for index, row in enumerate(rows)]
        self.harmful = self.examples[: len(harmful)]
        self.helpful = self.examples[len(harmful) :]
        self.cache: TeacherStates | None = None
        self._teacher: str | None = None
        self._drawn: dict[int, Tensor] = {}

    def cache_teacher(self, adapter: str | None, *, place: Place | None = None) -> None:
        """Let `adapter` (None: the bare base) be the teacher. It runs on a row when that is first drawn, and never again if kept."""
        self._teacher = adapter
        if self.cache is None:
            config = self.session.model.base.config.get_text_config()
            tokens = [len(example.ids) - max(example.prompt, 1) for example in self.examples]
            dtype = self.session.model.base.dtype
            self.cache = TeacherStates(tokens, d_model=int(config.hidden_size), dtype=dtype, place=place or Place(None))

    def ask(self, batch: Batch, *, packer: Packer | None, pieces: Pieces) -> None:
        """Run the teacher, on the base that the student shares, over the rows of `batch` that it has not answered.

        Raises SpecError if this run has no teacher.
        """
        if self.cache is None:
            raise SpecError("This run has no teacher, so there is nothing to distil. Choose a teacher.")
        cache, model = self.cache, self.session.model
        self._drawn.clear()
        missing = cache.missing(batch.index)
        if not missing:
            return
        with self.session.adapted.active(self._teacher) as backbone:

            def answer(rows: Sequence[int]) -> None:
                asked = collate([self.examples[row] for row in rows], pad_id=model.pad_id, device=model.device)
                for row, states in zip(rows, hidden_states(model, backbone, asked, packer=packer), strict=True):
                    self._drawn[row] = cache.keep(row, states)

            pieces.work(missing, answer)

    def states(self, batch: Batch) -> Tensor:
        """The teacher's states of the supervised tokens of rows it was asked about, in order, (tokens, d_model)."""
        found = [self._state(index) for index in batch.index]
        return torch.cat(found) if found else torch.zeros(0, 1)

    def _state(self, index: int) -> Tensor:
        if index in self._drawn:
            return self._drawn[index]
        kept = self.cache.read(index) if self.cache is not None else None
        if kept is None:
            raise SpecError("The teacher was not asked about these rows. Draw them with alignment_batch(guided=True).")
        return kept.to(self.session.model.device, non_blocking=True)


class Run:
    """The context of one run; implements `RunContext` of the defenses."""

    def __init__(
        self,
        spec: RunSpec,
        session: Session,
        kept: list[int],
        alignment: AlignmentData | None,
        *,
        warn: Callable[[str], None] = lambda message: None,
        costs: Costs | None = None,
    ) -> None:
        self.spec, self.session, self.alignment = spec, session, alignment
        self.costs = costs or Costs()
        self.step = 0
        self._kept = kept
        self._streams = self._alignment_streams()
        self._pieces = Pieces(spec.optim.micro_batch_size, warn=warn)
        self._packer: Packer | None = None
        self._accumulator: Accumulator | None = None
        self._user: Batch | None = None

    @contextmanager
    def training(self) -> Iterator[list[Tensor]]:
        """The student in training mode; gives its parameters. Raises SpecError if this app cannot train such a model."""
        model, adapted = self.session.model, self.session.adapted
        if model.base.dtype == torch.float16:
            raise SpecError("The base is held in float16, whose range gradients leave. Load it in bfloat16 or float32 for training.")
        with adapted.active(STUDENT) as backbone:
            check_head(model, backbone)
            self._packer = Packer(model, backbone, wanted=self.spec.optim.packing)
        with adapted.active(STUDENT, train=True, checkpointing=self.spec.optim.gradient_checkpointing) as backbone:
            parameters = adapted.parameters(STUDENT)
            self._accumulator = Accumulator(model, backbone, parameters, packer=self._packer, pieces=self._pieces)
            with self.costs.watching(backbone):
                yield parameters
            self._accumulator = None

    def kept(self) -> list[int]:
        return self._kept

    def parts(self) -> dict[str, Resumable]:
        """What of this changes from step to step, for snapshots."""
        found: dict[str, Resumable] = {"pieces": self._pieces}
        found |= {f"alignment_{kind}": stream for kind, stream in zip(KINDS, self._streams, strict=False)}
        if self.alignment is not None and self.alignment.cache is not None:
            found["teacher_states"] = self.alignment.cache
        return found

    def user_rows_not_finite(self) -> list[int]:
        """Positions of the user rows of the last step whose own loss is not a finite number."""
        user = self._user
        if user is None or self._accumulator is None:
            return []
        with torch.no_grad():
            rows = [user.part([row]) for row in range(len(user))]
            losses = [supervise(self.session.model, self._accumulator.backbone, [row])[0].cross_entropy() for row in rows]
        return [index for index, loss in zip(user.index, losses, strict=True) if not bool(torch.isfinite(loss))]

    def learn(self, losses: Losses, *batches: Batch) -> StepLog:
        assert self._accumulator is not None, "a run trains inside `training`"
        return self._accumulator.learn(losses, batches, conflict=self.step % CONFLICT_EVERY == 1)

    def alignment_batch(self, *, guided: bool = False) -> Batch:
        data = self._data()
        batch = self.collate([example for stream in self._streams for example in next(stream)])
        if guided:
            with self.costs.stage("teacher states"):
                data.ask(batch, packer=self._packer, pieces=self._pieces)
        return batch

    def user_batch(self, examples: Sequence[Example]) -> Batch:
        """The user rows of the step that begins."""
        self._user = self.collate(examples)
        return self._user

    def collate(self, examples: Sequence[Example]) -> Batch:
        return collate(examples, pad_id=self.session.model.pad_id, device=self.session.model.device)

    def teacher_states(self, batch: Batch) -> Tensor:
        return self._data().states(batch)

    def _data(self) -> AlignmentData:
        if self.alignment is None:
            raise SpecError("This run has no alignment data. Choose a set of refusals and of helpful answers.")
        return self.alignment

    def _alignment_streams(self) -> list[Stream]:
        if self.alignment is None:
            return []
        half = max(1, self.spec.optim.alignment_batch_size // 2)
        kinds = zip(KINDS, (self.alignment.harmful, self.alignment.helpful), strict=True)
        return [Stream(rows, size=half, rng=seeding.generator(self.spec.seed, "alignment", name)) for name, rows in kinds]
