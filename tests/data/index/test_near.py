from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from reft_studio.data.index.near import Signatures, first_equal, text_hashes

LONG = " ".join(f"word{number}" for number in range(60))


def earlier(tmp_path: Path, *texts: str) -> list[int]:
    signatures = Signatures(tmp_path / "signatures", len(texts))
    half = len(texts) // 2
    for part in (texts[:half], texts[half:]):
        signatures.add(pa.array(part, pa.string()))
    return [int(place) for place in signatures.earlier(np.arange(len(texts)), lambda _done, _of: None)]


def test_a_text_with_one_word_changed_nearly_repeats_the_first(tmp_path: Path) -> None:
    assert earlier(tmp_path, "something else entirely", LONG, LONG.replace("word30", "other")) == [0, 1, 1]


def test_case_and_spacing_do_not_matter(tmp_path: Path) -> None:
    assert earlier(tmp_path, "Name a river in Europe", "name  a river\nin EUROPE ") == [0, 0]


def test_texts_that_share_a_beginning_only_are_different(tmp_path: Path) -> None:
    stem = "Classify the sentiment of this review as positive or negative:"
    assert earlier(
        tmp_path, f"{stem} a joy from the first minute to the very last one", f"{stem} so dull that I left long before its end came"
    ) == [0, 1]


def test_short_and_empty_texts_repeat_only_their_equals(tmp_path: Path) -> None:
    assert earlier(tmp_path, "yes", "no", "", "yes", "yes no", "") == [0, 1, 2, 0, 4, 2]


def test_chinese_text_without_spaces_is_compared_sign_by_sign(tmp_path: Path) -> None:
    text = "请写一个关于一只小狗在公园里玩耍的短篇故事并且让它有一个快乐的结局谢谢你的帮助我非常感激祝你今天过得愉快"
    assert earlier(tmp_path, text, text.replace("快乐", "悲伤"), "日本の首都はどこですか。教えてください") == [0, 0, 2]


def test_a_chain_of_small_changes_belongs_to_its_first_text(tmp_path: Path) -> None:
    second = LONG.replace("word5 ", "a5 ")
    assert earlier(tmp_path, LONG, second, second.replace("word50 ", "a50 ")) == [0, 0, 0]


def test_the_similarity_found_is_close_to_the_true_one(tmp_path: Path) -> None:
    """Pairs of texts of 100 words that share 95 % and 50 % of their sequences: all of the first are found, none of the second."""
    random = np.random.default_rng(0)
    texts: list[str] = []
    for number in range(200):
        words = [f"w{value}" for value in random.integers(0, 10**9, 100)]
        cut = 97 if number % 2 else 66  # sequences in common of those in either: 95/105 and 64/136
        texts += [" ".join(words), " ".join(words[:cut] + [f"x{value}" for value in random.integers(0, 10**9, 100 - cut)])]
    found = earlier(tmp_path, *texts)
    linked = [found[place] != place for place in range(1, len(texts), 2)]
    assert sum(linked[1::2]) == 100 and sum(linked[0::2]) == 0


def test_first_equal_names_the_first_place_of_each_number() -> None:
    assert first_equal(np.array([7, 3, 7, 7, 3], np.uint64)).tolist() == [0, 1, 0, 0, 1]


def test_hashes_of_texts_tell_spaces_apart() -> None:
    a, b, c = text_hashes(pa.array(["a b", "a  b", "a b"]))
    assert a == c != b


@pytest.mark.parametrize("rows", [0, 1])
def test_none_and_one_are_no_repeat(tmp_path: Path, rows: int) -> None:
    assert earlier(tmp_path, *["a"] * rows) == [0] * rows
