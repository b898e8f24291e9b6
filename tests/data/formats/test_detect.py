from __future__ import annotations

import gzip
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from reft_studio.data.formats.detect import detect
from reft_studio.data.formats.layout import FileLayout
from reft_studio.errors import DataError

Upload = Callable[..., Path]
TABLE = "prompt,response\nHow are you today?,Fine thanks\nAnd you?,Also fine\n"
ROW = '{"prompt": "a", "response": "b"}'


@pytest.mark.parametrize(
    ("content", "container"),
    [
        (ROW, "jsonl"),
        (f"{ROW}\n{ROW}\n", "jsonl"),
        (f"\n\n{ROW}\n{ROW}\n", "jsonl"),
        (f"// broken first line\n{ROW}\n{ROW}\n{ROW}", "jsonl"),
        (f'{{"prompt": "cut\n{ROW}\n{ROW}\n', "jsonl"),
        ("[1]\n[2]\n", "jsonl"),
        (f"[{ROW}]", "json"),
        (f"[\n{ROW},\n{ROW}\n]", "json"),
        (f"[{ROW}]\n", "json"),
        (f'{{"data": [{ROW}]}}', "json"),
        (f'{{"data": [\n{ROW},\n{ROW},\n{ROW}\n]}}', "json"),
        ('{"prompt": {"0": "a"}, "response": {"0": "b"}}', "json"),
        ('{\n "prompt": "a",\n "response": "b"\n}\n{\n "prompt": "c",\n "response": "d"\n}', "json"),
        (TABLE, "csv"),
        ("prompt\nonly one column\n", "csv"),
        ('{"prompt": "' + "x" * 300_000 + f'"}}\n{ROW}\n', "jsonl"),
        ('{"prompt": "' + "x" * 300_000 + '"}', "json"),
    ],
)
def test_the_container_is_read_from_the_content(content: str, container: str, upload: Upload) -> None:
    assert detect(upload(content, "misleading.parquet")).layout.container == container


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_the_one_that_gives_known_names(delimiter: str, upload: Upload) -> None:
    text = f"instruction{delimiter}output\na; b, c{delimiter}d | e\n" if delimiter == "\t" else TABLE.replace(",", delimiter)
    assert detect(upload(text, "a.csv")).layout.delimiter == delimiter


@pytest.mark.parametrize(
    ("codec", "bom", "name"),
    [
        ("utf-8", b"", "utf-8"),
        ("utf-8", b"\xef\xbb\xbf", "utf-8-sig"),
        ("utf-16-le", b"\xff\xfe", "utf-16-le"),
        ("utf-16-be", b"\xfe\xff", "utf-16-be"),
        ("utf-32-le", b"\xff\xfe\0\0", "utf-32-le"),
        ("utf-16-le", b"", "utf-16-le"),
        ("utf-16-be", b"", "utf-16-be"),
    ],
)
def test_unicode_is_known_by_its_mark_or_its_zeros(codec: str, bom: bytes, name: str, upload: Upload) -> None:
    found = detect(upload(bom + TABLE.encode(codec), "a.csv")).layout
    assert (found.label, found.bom, found.container) == (name, len(bom), "csv")


@pytest.mark.parametrize(
    ("codec", "text"),
    [
        ("cp1252", "Übersetze „straße“ – café, œuvre, 50 €"),
        ("cp932", "次の数を足してください"),
        ("euc_jp", "次の数を足してください"),
        ("gb18030", "请把下面的句子翻译成英文，然后解释一下这个词的意思是什么。" * 3),
        ("cp1251", "Переведите следующее предложение на английский язык, пожалуйста. " * 3),
    ],
)
def test_old_encodings_are_guessed_from_the_text(codec: str, text: str, upload: Upload) -> None:
    found = detect(upload(f"prompt,response\n{text},{text}\n".encode(codec), "a.csv")).layout
    assert text.encode(codec).decode(found.encoding) == text


@pytest.mark.parametrize("answer", ["Heé", "a café", "é", "naïve é", "ÿ"])
def test_one_short_line_of_an_old_encoding_is_not_taken_for_utf16(answer: str, upload: Upload) -> None:
    found = detect(upload(f"prompt,response\nWhich?,This\nWho,{answer}\n".encode("cp1252"), "a.csv")).layout
    assert (found.encoding, found.container) == ("cp1252", "csv")


def test_text_outside_ascii_counts_wherever_it_first_comes(upload: Upload) -> None:
    late = b"prompt,response\n" + b"plain,text\n" * 100_000 + "Übermäßig,café\n".encode("cp1252") * 3
    assert detect(upload(late, "a.csv")).layout.encoding == "cp1252"


def test_a_few_damaged_lines_do_not_change_the_encoding_of_json(upload: Upload) -> None:
    good = '{"prompt": "größer", "response": "b"}\n'.encode()
    assert detect(upload(good * 5 + b'{"prompt": "\xff\xfe", "response": "b"}\n' * 3)).layout.encoding == "utf-8"


def test_old_mac_line_ends_are_lines(upload: Upload) -> None:
    assert detect(upload(TABLE.replace("\n", "\r"), "a.csv")).layout.newline == "\r"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf\n \r\n", "only blank lines"),
        (bytes(range(256)) * 20, "binary file"),
        (gzip.compress(b"x", mtime=0), "gzip archive.*Unpack it first"),
        (pickle.dumps({"a": [1, 2, 3]}, protocol=4), "pickle.*can run code"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"SQLite format 3\0", "SQLite database"),
        (b"\x89PNG\r\n", "picture"),
        (b"FEA1\0\0", "Feather file of the old kind"),
        ("<!DOCTYPE html>\n<html>log in</html>", "web page"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
    ],
)
def test_what_is_no_text_is_named_with_what_is_allowed(content: bytes, message: str, upload: Upload) -> None:
    with pytest.raises(DataError, match=f"upload.jsonl.*{message}") as caught:
        detect(upload(content))
    assert "Allowed are JSON Lines (.jsonl, .ndjson); JSON (.json); CSV (.csv, .tsv); Parquet (.parquet); Arrow (" in str(caught.value)


def test_a_workbook_is_to_be_saved_as_csv(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as file:
        file.writestr("xl/workbook.xml", "<x/>")
    with pytest.raises(DataError, match="save the sheet as CSV"):
        detect(tmp_path / "a.xlsx")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file gone\.jsonl"):
        detect(tmp_path / "gone.jsonl")
    with pytest.raises(DataError, match="a folder or a device"):
        detect(tmp_path)
    with pytest.raises(DataError, match="a folder or a device"):
        detect(Path("/dev/zero"))


def test_a_layout_survives_its_manifest() -> None:
    layout = FileLayout("csv", "utf-8", 3, ";", "\r")
    assert FileLayout(**layout.to_json()) == layout
