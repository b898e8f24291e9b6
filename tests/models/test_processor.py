from __future__ import annotations

from pathlib import Path

import pytest

from reft_studio.models import processor


@pytest.mark.parametrize(
    ("text", "fast"),
    [
        ("flags\t\t: fpu avx2 avx512f", False),
        ("processor\t: 0\nflags\t\t: fpu amx_bf16 amx_tile", True),
        ("Features\t: fp asimd bf16", True),
        ("model name\t: bf16 9000", False),
    ],
)
def test_bfloat16_is_fast_where_the_processor_multiplies_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, fast: bool) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(processor.platform, "system", lambda: "Linux")
    processor.half_precision_is_fast.cache_clear()
    assert processor.half_precision_is_fast() is fast
    processor.half_precision_is_fast.cache_clear()
