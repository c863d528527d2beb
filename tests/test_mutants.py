"""The seeded faults of tools/mutants.toml fit the files that they are made in, so that the lane can run at any time."""

from __future__ import annotations

import re

import mutate
import pytest


def test_each_text_stands_once_in_its_file() -> None:
    mutants = mutate.read_table()
    assert len(mutants) >= 60
    assert mutate.misfits(mutants, mutate.ROOT) == []
    # A statement stands in a branch, where what it declares is lost; what is none, in a conditional expression.
    declares = re.compile(r"^(const |auto |int64_t |case )")
    statements = [m for m in mutants if m.text.endswith(";")]
    assert [m.number for m in statements if declares.search(m.text)] == []
    before = {m.number: (mutate.ROOT / m.file).read_text(encoding="utf-8").partition(m.place)[0] for m in statements}
    assert [m.number for m in statements if not re.search(r"([{};):]|else|\n)\s*$", before[m.number])] == []
    parts = [m for m in mutants if not m.text.endswith(";")]
    assert [m.number for m in parts if not m.file.endswith(".py") and "return" in m.text + m.becomes] == []
    cut_off = re.compile(r"^\s*([|&=<>,]|$)|([|&=<>,]|^)\s*$")
    assert [m.number for m in parts if m.text.startswith("if (")] == []
    # It is put into parentheses: nothing beside it may have taken a part of it alone.
    sources = {m.number: (mutate.ROOT / m.file).read_text(encoding="utf-8").split(m.place) for m in parts}
    around = {m.number: m.place.split(m.text) for m in parts}
    left = {number: (sources[number][0] + place[0]).rstrip() for number, place in around.items()}
    right = {number: (place[1] + sources[number][1]).lstrip() for number, place in around.items()}
    assert [number for number, text in left.items() if text.endswith(("*", "/", "%", "-", "!", "."))] == []
    assert [number for number, text in right.items() if text.startswith(("*", "/ ", "%", ".", "["))] == []
    assert [m.number for m in parts if cut_off.search(m.text) or cut_off.search(m.becomes)] == []


@pytest.mark.parametrize("text", ["no such line", "template"])
def test_what_does_not_fit_is_named(text: str) -> None:
    fits = mutate.read_table()[0]
    other = mutate.Mutant(**{**fits.__dict__, "where": "", "text": text})
    (said,) = mutate.misfits([fits, other], mutate.ROOT)
    count = (mutate.ROOT / fits.file).read_text(encoding="utf-8").count(text)
    assert count != 1
    assert said == f"{fits.file} has {count} times, expected once: {text}"
