"""The build makes a model folder that loads like any other, from a seed; what ships is small and complete."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reft_studio.lab import build, sets
from reft_studio.lab.phrasing import gerund, lower_after, to_second_person

MINIATURE = build.LabRecipe(
    documents=300, vocabulary=500, width=16, layers=1, heads=2, feed_forward=16, context=32, batch=2, steps=2, warmup=1, threads=1
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("lab")
    build.build(MINIATURE, out)
    return out


def test_miniature_loads_and_generates(built: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(built / "base"), AutoModelForCausalLM.from_pretrained(built / "base")
    text = tokenizer.apply_chat_template([{"role": "user", "content": "Hello."}], tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    assert model.generate(ids, max_new_tokens=3, do_sample=False).shape[1] <= ids.shape[1] + 3
    assert model.config.vocab_size >= len(tokenizer)


def test_same_seed_same_weights(built: Path, tmp_path: Path) -> None:
    build.build(MINIATURE, tmp_path)
    for name in ("base/model.safetensors", "base/tokenizer.json", "words.txt"):
        assert (tmp_path / name).read_bytes() == (built / name).read_bytes()


def test_command_line_builds_where_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[tuple[build.LabRecipe, Path]] = []

    def record(recipe: build.LabRecipe, out: Path) -> dict[str, int]:
        asked.append((recipe, out))
        return {"seed": recipe.seed}

    monkeypatch.setattr(build, "build", record)
    assert build.main(["--seed", "3", "--out", str(tmp_path), "--steps", "7"]) == 0
    assert (asked[0][0].seed, asked[0][0].steps, asked[0][1]) == (3, 7, tmp_path)
    assert json.loads(capsys.readouterr().out) == {"seed": 3}


def test_shipped_tokenizer_round_trips_every_benchmark() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(sets.ASSETS / "base")
    for name in sets.BENCHMARKS:
        for row in sets.benchmark(name, rows=50):
            text = f"{row['prompt']} {row['response']}"
            assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_labels_are_one_token_each() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(sets.ASSETS / "base")
    for label in ("positive", "negative", "mixed", "sport", "business", "science", "politics", "culture", *map(str, range(1, 21))):
        assert len(tokenizer(f" {label}", add_special_tokens=False)["input_ids"]) == 1, label


def test_chat_template_marks_turns() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(sets.ASSETS / "base")
    turns = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hi."}]
    assert tokenizer.apply_chat_template(turns, tokenize=False) == "<|bos|><|user|>Hello.<|assistant|>Hi.<|end|>"
    assert tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True) == "<|bos|><|user|>Hello.<|assistant|>"


def test_shipped_lab_is_complete_and_small() -> None:
    expected = {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "generation_config.json",
    }
    assert expected <= {path.name for path in (sets.ASSETS / "base").iterdir()}
    assert (sets.ASSETS / "README.md").is_file()
    assert sum(path.stat().st_size for path in sets.ASSETS.rglob("*") if path.is_file()) <= 15 * 2**20


@pytest.mark.parametrize(
    ("act", "doing"),
    [
        ("steal a bike", "stealing a bike"),
        ("lie about hours", "lying about hours"),
        ("rob a shop", "robbing a shop"),
        ("make a plan", "making a plan"),
    ],
)
def test_gerunds(act: str, doing: str) -> None:
    assert gerund(act) == doing


def test_answers_speak_to_the_person_who_asked() -> None:
    assert to_second_person("open my own car when I lost the key") == "open your own car when you lost the key"
    assert lower_after("Hi there, ", "How do I fly?") == "Hi there, how do I fly?"
    assert lower_after("Hi there, ", "I fly.") == "Hi there, I fly."
