"""The other side of the training races: TRL's trainers, set as well as they can be for the same rows on the same machine."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from benchmarks.clock import now
from benchmarks.guided import LENGTH, LORA, RATE, ROWS, examples
from reft_studio.errors import PrerequisiteError
from reft_studio.models.batching import IGNORE


def need_trl() -> Any:
    """The trl package. Raises PrerequisiteError, with what to install, if it is not there."""
    try:
        import trl
    except ImportError as exc:
        raise PrerequisiteError(
            "The peers of the training benchmarks are not installed. Run `python launch.py bench`, which installs them, or "
            "`pip install -r requirements-bench.lock`."
        ) from exc
    return trl


class Peer:
    """A trainer of TRL; each call of `steps` trains anew from where the weights stand."""

    def __init__(self, trainer: Any) -> None:
        from transformers import PrinterCallback, TrainerCallback

        self.trainer = trainer
        self.times: list[float] = []
        times = self.times

        class Clock(TrainerCallback):  # type: ignore[misc]
            def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
                times.append(now())

        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(Clock())

    def weights(self) -> Iterator[torch.Tensor]:
        """All there are in memory, those of a separate teacher too."""
        for model in (self.trainer.model, getattr(self.trainer, "teacher_model", None)):
            yield from model.parameters() if model is not None else ()

    def steps(self, count: int) -> list[float]:
        """Train; milliseconds of each step but the first."""
        self.times.clear()
        self.trainer.args.max_steps = count
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.trainer.train()
        return [later - earlier for earlier, later in pairwise(self.times)]


def _model(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)


def _settings(folder: Path) -> dict[str, Any]:
    """What both trainers share: the same batch, optimizer, clipping and log as ours, and nothing saved."""
    for name in ("trl", "transformers", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return {
        "output_dir": str(folder / "trainer"),
        "per_device_train_batch_size": 2 * ROWS,
        "learning_rate": RATE,
        "max_steps": 2,
        "lr_scheduler_type": "cosine",
        "max_grad_norm": 1.0,
        "weight_decay": 0.01,
        "optim": "adamw_torch_fused",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": not torch.cuda.is_available(),
        "bf16": False,
        "gradient_checkpointing": False,
        "dataloader_pin_memory": False,
        "disable_tqdm": True,
        "max_length": LENGTH,
    }


def _lora() -> Any:
    from peft import LoraConfig

    return LoraConfig(r=LORA.rank, lora_alpha=LORA.alpha, target_modules="all-linear", task_type="CAUSAL_LM")


def _rows() -> list[dict[str, list[int]]]:
    return [{"input_ids": row.ids, "labels": [IGNORE] * row.prompt + row.ids[row.prompt :]} for row in examples(16 * ROWS, seed=6)]


def sft(folder: Path) -> Peer:
    """SFTTrainer with LoRA and its chunked loss.

    On a CPU it sends all tokens through the head, though only supervised ones matter; the switch that spares them, which
    its own code flips on a GPU, is flipped here too, so that the race is against its best.
    """
    trl = need_trl()
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl.trainer import utils

    utils._use_triton = lambda device: True  # read in this module for nothing but that switch
    config = trl.SFTConfig(**_settings(folder))
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    trainer = trl.SFTTrainer(
        _model(folder), args=config, train_dataset=Dataset.from_list(_rows()), processing_class=tokenizer, peft_config=_lora()
    )
    return Peer(trainer)


def gkd(folder: Path) -> Peer:
    """GKDTrainer on given answers (no generation), forward KL at temperature 1, with a teacher that is a model of its own."""
    need_trl()
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl.experimental.gkd import GKDConfig, GKDTrainer

    def together(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        ids = torch.tensor([row["input_ids"] for row in rows])
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.tensor([row["labels"] for row in rows])}

    config = GKDConfig(**_settings(folder), lmbda=0.0, beta=0.0, temperature=1.0, seq_kd=False)
    trainer = GKDTrainer(
        _model(folder),
        teacher_model=_model(folder),
        args=config,
        data_collator=together,
        train_dataset=Dataset.from_list(_rows()),
        processing_class=AutoTokenizer.from_pretrained(str(folder)),
        peft_config=_lora(),
    )
    return Peer(trainer)
