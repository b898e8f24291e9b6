"""Adapters that strangers changed: each is refused in words, at once and in little memory, or loaded with the base bit for bit as it was.

`python tests/models/test_hostile_adapters.py` tries 500 and prints the table of docs/results/trust-boundary.md.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import struct
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from reft_studio.errors import StoreError
from reft_studio.models.adapter_file import CONFIG, WEIGHTS, read_adapter
from reft_studio.models.adapters import base_untouched
from reft_studio.models.session import Session
from reft_studio.models.spec import LoraSpec
from tests.tiny_models import make_model

LONG = 500
MOST_SECONDS, MOST_MEGABYTES = 1.0, 50.0
HUGE = 20_000_000
EVIL = "(([a-z])+.)+[A-Z]([a-z])+$"
"""A pattern that takes time exponential in the length of what it does not match."""
NUMBERS: list[Any] = [0, -1, HUGE, 2**63, 1.5, "16", float("nan"), float("inf"), 1e308, True, None, [16], {"r": 1}]
SETTINGS: dict[str, dict[str, list[Any]]] = {
    "init_lora_weights": {
        "init_lora_weights": ["pissa", "pissa_niter_4", "olora", "loftq", "eva", "corda", "lora_ga", "orthogonal", "PiSSA", 7, ["pissa"]]
    },
    "rank": {"r": NUMBERS, "rank_pattern": [{"q_proj": value} for value in NUMBERS] + [{EVIL: 8}, {".*": HUGE}, [8], "q_proj", {"": 8}]},
    "alpha": {"lora_alpha": NUMBERS, "alpha_pattern": [{"q_proj": value} for value in NUMBERS] + [{EVIL: 8}, {"^q": 1}, 3]},
    "targets": {
        "target_modules": [
            *(EVIL, ".*", "(a+)+$", [EVIL], [".*"], [], None, 7, [["q_proj"]], ["q_proj", 7], ["lm_head"], ["embed_tokens"]),
            *([f"layer{number}" for number in range(60_000)], ["q_proj" * 1000], ["nobody"], {"q_proj": 1}),
        ],
        "exclude_modules": [EVIL, ["q_proj"], [EVIL]],
        "layers_to_transform": [[0], HUGE, [-1], ["0"], list(range(2)), True, [0.5]],
        "layers_pattern": [EVIL, [EVIL], 7],
        "target_parameters": [["weight"], [EVIL]],
    },
    "other kinds": {
        "peft_type": ["LOKR", "VERA", "PROMPT_TUNING", "ADALORA", None, 7, ["LORA"], "lora"],
        "task_type": ["SEQ_CLS", "NOBODY", 7, ["CAUSAL_LM"]],
        "use_dora": [True, "yes", 1],
        "bias": ["all", "lora_only", 7, None],
        "lora_bias": [True],
        "use_qalora": [True],
    },
    "changes of the base": {
        "layer_replication": [[[0, 4], [2, 5]], [[0, 10**6]], [[0]], "all", [0, 1]],
        "modules_to_save": [["lm_head"], ["embed_tokens", "norm"], "lm_head", [EVIL]],
        "trainable_token_indices": [[0, 1], {"embed_tokens": [0]}, [HUGE]],
        "ensure_weight_tying": [True],
        "megatron_config": [{"tensor_model_parallel_size": 2}],
        "loftq_config": [{"loftq_bits": 4}],
        "eva_config": [{"rho": 2.0}],
        "corda_config": [{"covariance_file": "/etc/passwd"}],
        "arrow_config": [{"top_k": 3}],
        "alora_invocation_tokens": [[1, 2]],
        "a_setting_of_tomorrow": [1, "x", {"deep": [1]}],
    },
    "harmless": {
        "lora_dropout": [0.0, 0.1, 0.5],
        "use_rslora": [True, False],
        "init_lora_weights": [True, False, "gaussian"],
        "alpha_pattern": [{"q_proj": 8}, {"layers.0.mlp.up_proj": 2.5}],
        "target_modules": ["all-linear"],
        "task_type": [None],
        "base_model_name_or_path": ["someone/else", "/etc/passwd", "../../.."],
        "auto_mapping": [{"base_model_class": "os.system", "parent_library": "os"}],
        "revision": ["main"],
        "inference_mode": [False],
        "a_setting_of_tomorrow": [None, False, {}, []],
    },
}

PEFT_ITSELF = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


def changed_weights(folder: Path, rng: random.Random) -> str:
    """Put wrong numbers, shapes or names into the tensors."""
    tensors = load_file(folder / WEIGHTS)
    key = rng.choice(sorted(tensors))
    changes: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "NaN": lambda value: value * float("nan"),
        "infinite": lambda value: value + float("inf"),
        "1e30": lambda value: value + 1e30,
        "transposed": lambda value: value.T.contiguous(),
        "one row more": lambda value: torch.cat([value, value[:1]]),
        "flat": lambda value: value.flatten(),
        "empty": lambda value: value[:0],
        "whole numbers": lambda value: value.to(torch.int32),
        "float64": lambda value: value.double(),
        "half": lambda value: value.half(),
    }
    how = rng.choice([*changes, "gone", "renamed", "other prefix", "embedding", "one more", "head"])
    if how in changes:
        tensors[key] = changes[how](tensors[key])
    elif how == "one more":
        tensors[f"base_model.model.{rng.choice(['x', 'model.norm', 'model.layers.9.mlp.up_proj'])}.lora_A.weight"] = torch.zeros(4, 32)
    elif how == "embedding":
        tensors["base_model.model.model.embed_tokens.lora_embedding_A"] = torch.zeros(4, 360)
    elif how == "head":
        tensors |= {f"base_model.model.lm_head.lora_{half}.weight": torch.zeros(shape) for half, shape in (("A", (4, 32)), ("B", (360, 4)))}
    else:
        value = tensors.pop(key)
        if how != "gone":
            tensors[key.replace("self_attn", "attn").replace("mlp", "ffn") if how == "renamed" else f"other.{key}"] = value
    save_file(tensors, folder / WEIGHTS)
    return how


def damaged_files(folder: Path, rng: random.Random) -> str:
    """Files that are not what their names say."""
    weights = (folder / WEIGHTS).read_bytes()
    header = json.loads(weights[8 : 8 + struct.unpack("<Q", weights[:8])[0]])
    first = next(key for key in header if key != "__metadata__")

    def headed(changed: dict[str, Any] | bytes) -> bytes:
        told = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
        return struct.pack("<Q", len(told)) + told + weights[8 + struct.unpack("<Q", weights[:8])[0] :]

    absurd = {**header[first], "shape": [HUGE, HUGE]}
    made: dict[str, tuple[str, bytes]] = {
        "config cut": (CONFIG, (folder / CONFIG).read_bytes()[: rng.randrange(200)]),
        "config of brackets": (CONFIG, b"[" * 400_000),
        "config of 30 MB": (CONFIG, b'{"peft_type": "' + b"x" * 30_000_000 + b'"}'),
        "config that is a list": (CONFIG, b"[1, 2]"),
        "config of bytes": (CONFIG, rng.randbytes(500)),
        "weights cut": (WEIGHTS, weights[: rng.randrange(len(weights))]),
        "weights of bytes": (WEIGHTS, rng.randbytes(2000)),
        "no weights": (WEIGHTS, b""),
        "header of 2**63 bytes": (WEIGHTS, struct.pack("<Q", 2**63) + weights[8:]),
        "header of brackets": (WEIGHTS, headed(b"[" * 400_000)),
        "header of 6 MB": (WEIGHTS, headed(json.dumps({**header, "__metadata__": {"x": "y" * 6_000_000}}).encode())),
        "shapes of 4e14 numbers": (WEIGHTS, headed({**header, first: absurd})),
        "offsets of another tensor": (WEIGHTS, headed({**header, first: {**header[first], "data_offsets": [0, 8]}})),
        "shape of text": (WEIGHTS, headed({**header, first: {**header[first], "shape": ["4", "32"]}})),
    }
    how = rng.choice(sorted(made))
    name, content = made[how]
    (folder / name).write_bytes(content)
    return how


def mutated(whole: Path, folder: Path, seed: int) -> str:
    """A copy of the adapter in `whole`, changed in one way or two; returns the kind of the first change."""
    rng = random.Random(seed)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    kinds = [*SETTINGS, *SETTINGS, "weights", "files"]
    chosen = [kinds[seed % len(kinds)]] + ([rng.choice([*SETTINGS])] if rng.random() < 0.3 else [])
    for kind in reversed(chosen):
        if kind == "weights":
            changed_weights(folder, rng)
        elif kind == "files":
            damaged_files(folder, rng)
        else:
            key = rng.choice(sorted(SETTINGS[kind]))
            config = json.loads((folder / CONFIG).read_text())
            (folder / CONFIG).write_text(json.dumps({**config, key: rng.choice(SETTINGS[kind][key])}))
    return chosen[0]


@dataclass(frozen=True)
class Tried:
    """What became of one adapter."""

    kind: str
    seed: int
    loaded: bool
    refusal: str
    seconds: float
    megabytes: float
    base_unchanged: bool


class Probe:
    """A tiny model, a whole adapter of it, and what happens to the copies that were changed."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.session = Session.open(str(make_model(place / "model")))
        self.session.add("made", LoraSpec(rank=4, alpha=8), seed=1)
        with torch.no_grad():
            for value in self.session.adapted.parameters("made"):
                value.add_(0.01)
        self.session.adapted.save("made", place / "whole", base_name="tiny")
        self.session.adapted.load("warm", place / "whole")  # what PEFT imports at its first adapter is no cost of a hostile one
        self.before = self.base()

    def base(self) -> str:
        """SHA-256 of every byte of the base."""
        digest = hashlib.sha256()
        for name, value in [*self.session.model.base.named_parameters(), *self.session.model.base.named_buffers()]:
            if ".lora_" not in name:
                digest.update(value.detach().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def attempt(self, seed: int) -> Tried:
        """Try the adapter of a seed. Anything but a StoreError is a failure of ours and comes through."""
        kind = mutated(self.place / "whole", self.place / "changed", seed)
        lowest, started, refusal = _peak(reset=True), time.process_time(), ""
        try:
            self.session.adapted.load("tried", self.place / "changed")
        except StoreError as exc:
            refusal = str(exc)
        seconds, grown = time.process_time() - started, _peak() - lowest
        return Tried(kind, seed, not refusal, refusal, seconds, grown, self.base() == self.before)


def _peak(*, reset: bool = False) -> float:
    """The most memory that this process has held, in MB; with `reset`, from now on."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1000


def held(tried: Tried) -> bool:
    """Whether it went as it must."""
    quick = tried.seconds <= MOST_SECONDS and tried.megabytes <= MOST_MEGABYTES
    return tried.base_unchanged and (tried.loaded or (quick and tried.refusal.startswith("The adapter in changed ")))


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Probe:
    return Probe(tmp_path_factory.mktemp("hostile"))


PEAKS = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from /proc")


@PEAKS
def test_the_probe_sees_memory_that_was_taken_and_given_back() -> None:
    lowest = _peak(reset=True)
    taken = torch.ones(20_000_000)
    del taken
    assert _peak() - lowest > MOST_MEGABYTES


@PEAKS
def test_a_changed_adapter_is_refused_at_once_or_leaves_the_base_as_it_was(probe: Probe) -> None:
    tried = [probe.attempt(seed) for seed in range(70)]
    assert [one for one in tried if not held(one)] == []
    assert 5 <= sum(one.loaded for one in tried) <= 35, "most are refused, the harmless ones are loaded"
    assert probe.session.adapted.names <= {"made", "warm", "tried"}


@pytest.mark.parametrize("kind", [kind for kind in SETTINGS if kind != "harmless"])
def test_every_setting_that_is_no_plain_lora_is_refused_by_its_name(probe: Probe, tmp_path: Path, kind: str) -> None:
    layered = {"rank_pattern", "alpha_pattern", "layers_to_transform"}
    for key, values in SETTINGS[kind].items():
        for value in values:
            shutil.copytree(probe.place / "whole", tmp_path / "one", dirs_exist_ok=True)
            config = json.loads((tmp_path / "one" / CONFIG).read_text())
            (tmp_path / "one" / CONFIG).write_text(json.dumps({**config, key: value}))
            neutral = (key, value) in [("bias", None)] or (key in layered and value in ([0], [0, 1], {"q_proj": 1.5}))
            named = key if key not in layered | {"target_modules"} else "adapter in one"
            if (key == "lora_alpha" or "alpha_pattern" in key) and value in (1.5, {"q_proj": 1.5}):
                continue  # a scale may be a fraction
            if not neutral:
                with pytest.raises(StoreError, match=named):
                    read_adapter(tmp_path / "one")


def test_every_setting_that_is_harmless_is_taken(probe: Probe, tmp_path: Path) -> None:
    for key, values in SETTINGS["harmless"].items():
        for value in values:
            shutil.copytree(probe.place / "whole", tmp_path / "one", dirs_exist_ok=True)
            config = json.loads((tmp_path / "one" / CONFIG).read_text())
            (tmp_path / "one" / CONFIG).write_text(json.dumps({**config, key: value}))
            probe.session.adapted.load("tried", tmp_path / "one")


@PEFT_ITSELF
@pytest.mark.parametrize("changed", [{}, {"use_rslora": True}, {"alpha_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 40, "up_proj": 3}}])
def test_an_adapter_that_is_taken_answers_as_peft_itself_has_it(probe: Probe, tmp_path: Path, changed: dict[str, Any]) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    shutil.copytree(probe.place / "whole", tmp_path / "one")
    config = json.loads((tmp_path / "one" / CONFIG).read_text())
    (tmp_path / "one" / CONFIG).write_text(json.dumps({**config, **changed}))
    ids = torch.tensor([[5, 9, 4, 3]])
    base = AutoModelForCausalLM.from_pretrained(probe.session.model.source)
    theirs = PeftModel.from_pretrained(base, str(tmp_path / "one")).eval()(input_ids=ids).logits
    probe.session.adapted.load("tried", tmp_path / "one")
    with probe.session.adapted.generating("tried") as network, torch.no_grad():
        assert torch.allclose(network(input_ids=ids).logits, theirs, atol=1e-5)


@PEFT_ITSELF
def test_an_adapter_with_another_rank_in_some_layers_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder, ids = make_model(tmp_path / "model", "gpt2"), torch.tensor([[5, 9, 4, 3]])
    config = LoraConfig(
        r=4, lora_alpha=8, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True, rank_pattern={"c_fc": 2}, init_lora_weights=False
    )
    theirs = get_peft_model(AutoModelForCausalLM.from_pretrained(folder), config).eval()
    theirs.save_pretrained(str(tmp_path / "adapter"))
    session = Session.open(str(folder))
    session.ensure("theirs", tmp_path / "adapter")
    with session.adapted.generating("theirs") as network, torch.no_grad():
        assert torch.allclose(network(input_ids=ids).logits, theirs(input_ids=ids).logits, atol=1e-5)


@PEFT_ITSELF
def test_an_adapter_on_some_blocks_is_loaded_and_one_that_lacks_blocks_is_not(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = make_model(tmp_path / "model")
    config = LoraConfig(r=4, target_modules=["q_proj"], layers_to_transform=[1])
    get_peft_model(AutoModelForCausalLM.from_pretrained(folder), config).save_pretrained(str(tmp_path / "adapter"))
    session = Session.open(str(folder))
    session.ensure("theirs", tmp_path / "adapter")
    path = tmp_path / "adapter" / CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), "layers_to_transform": [0, 1]}))
    with pytest.raises(StoreError, match=r"no tensors for 1 layers that it asks for, first 'model\.layers\.0"):
        session.adapted.load("theirs", tmp_path / "adapter")


@pytest.mark.parametrize("how", ["in place", "replaced", "behind the counter"])
def test_a_change_of_the_base_does_not_go_unnoticed(tiny_model: Path, how: str) -> None:
    base = Session.open(str(tiny_model)).model.base
    weight = base.get_input_embeddings().weight
    with pytest.raises(RuntimeError, match="changed while an adapter was loaded"), torch.no_grad(), base_untouched(base):
        if how == "in place":
            weight[3, 7] += 1e-3
        elif how == "replaced":
            weight.data = weight.data + 1e-3
        else:
            weight.data.mul_(1.001)


def main() -> int:
    """Try LONG of them, print the table; 0 if all went as they must."""
    with tempfile.TemporaryDirectory() as place:
        probe = Probe(Path(place))
        tried = [probe.attempt(seed) for seed in range(int(sys.argv[1]) if len(sys.argv) > 1 else LONG)]
    by_kind = defaultdict[str, list[Tried]](list)
    for one in tried:
        by_kind[one.kind].append(one)
    print("| what was changed | tried | refused | loaded | base changed | slowest refusal | most memory of a refusal |")
    print("|---|---|---|---|---|---|---|")
    for kind, some in [*sorted(by_kind.items()), ("all", tried)]:
        refused = [one for one in some if not one.loaded] or some
        print(
            f"| {kind} | {len(some)} | {sum(not one.loaded for one in some)} | {sum(one.loaded for one in some)} | "
            f"{sum(not one.base_unchanged for one in some)} | {max(one.seconds for one in refused) * 1000:.0f} ms | "
            f"{max(one.megabytes for one in refused):.1f} MB |"
        )
    wrong = [one for one in tried if not held(one)]
    print(Counter(one.kind for one in wrong) or "all as they must")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
