"""Extract and combine, from folder to folder: what is exact, what is refused."""

import json
import re
import shutil
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from folders import assert_equal_weights, loaded, weights
from grown import halved, say_base, student_of
from safetensors.torch import load_file, save_file
from torch import Tensor

import crossfade
from crossfade.errors import InputError
from crossfade.vectors import combine, extract, open_vector

Family = dict[str, Path]
WEIGHTS = "model.safetensors"
MASK = "masked_spec_embed"


def bits(folder: Path) -> dict[str, bytes]:
    """Every stored tensor but the mask's, dtype and sign of zero included."""
    tensors = load_file(folder / WEIGHTS)
    return {
        name: str(value.dtype).encode() + value.view(torch.uint8).numpy().tobytes() for name, value in _kept(tensors)
    }


def _kept(tensors: dict[str, Tensor]) -> list[tuple[str, Tensor]]:
    return [(name, value.reshape(-1)) for name, value in sorted(tensors.items()) if name != MASK]


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_one_vector_at_one_is_the_student_to_the_bit_and_at_zero_the_base(name: str, tmp_path: Path) -> None:
    base = tiny.folder(tmp_path / "base", name, 1)
    student = student_of(base, tmp_path / "student", 2)
    extract(student, base, tmp_path / "vector")
    back = combine({str(tmp_path / "vector"): 1.0}, tmp_path / "back")
    assert bits(back.path) == bits(student)
    none = combine([(tmp_path / "vector", 0)], tmp_path / "none")
    assert bits(none.path) == bits(base)
    loaded(back.path)
    assert (none.exact, back.exact) == (str(base), str(tmp_path / "vector" / "student"))


@pytest.mark.parametrize(
    ("own", "under"),
    [(torch.float16, torch.float16), (torch.float16, torch.float32), (torch.float32, torch.bfloat16)],
)
def test_any_dtype_comes_back(own: torch.dtype, under: torch.dtype, family: Family, tmp_path: Path) -> None:
    base = halved(family["base"], tmp_path / "base", under)
    student = halved(family["speech"], tmp_path / "student", own)
    say_base(student, base)
    extract(student, base, tmp_path / "vector")
    assert {value.dtype for value in load_file(tmp_path / "vector" / WEIGHTS).values()} == {torch.float32}
    assert bits(combine([(tmp_path / "vector", 1)], tmp_path / "back").path) == bits(student)
    assert bits(combine([(tmp_path / "vector", 0)], tmp_path / "none").path) == bits(base)
    mixture = combine([(tmp_path / "vector", 0.5)], tmp_path / "half")
    assert mixture.recipe["dtype"] == str(torch.promote_types(own, under)).removeprefix("torch.")


def test_the_file_itself_comes_back(family: Family, tmp_path: Path) -> None:
    first = combine([(family["speech-vector"], 1)], tmp_path / "first").path
    say_base(first, family["base"])
    extract(first, family["base"], tmp_path / "vector")
    again = combine([(tmp_path / "vector", 1)], tmp_path / "again").path
    assert (again / WEIGHTS).read_bytes() == (first / WEIGHTS).read_bytes()


@pytest.mark.parametrize("method", ["task-arithmetic", "ties", "ties-secondary", "dare"])
def test_the_order_of_vectors_changes_nothing(method: str, family: Family, tmp_path: Path) -> None:
    third = student_of(family["base"], tmp_path / "third", 9)
    extract(third, family["base"], tmp_path / "third-vector")
    given = [(family["speech-vector"], 0.7), (family["music-vector"], -0.2), (tmp_path / "third-vector", 0.5)]
    files = set()
    for number, order in enumerate(permutations(given)):
        made = combine(list(order), tmp_path / str(number), method=method)
        assert made.exact is None
        files.add((made.path / WEIGHTS).read_bytes())
    assert len(files) == 1


def without_mask(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in tensors.items() if name != MASK}


def by_hand(family: Family, speech: float, music: float) -> dict[str, Tensor]:
    base, one, other = (weights(loaded(family[name])) for name in ("base", "speech", "music"))
    return {key: base[key] + speech * (one[key] - base[key]) + music * (other[key] - base[key]) for key in base}


@pytest.mark.parametrize(("speech", "music"), [(0.6, 0.4), (1.5, -0.5), (-1.0, 0.0), (1.0, 1.0)])
def test_adding_scaling_and_negating(speech: float, music: float, family: Family, tmp_path: Path) -> None:
    made = crossfade.vectors.combine(
        {str(family["speech-vector"]): speech, str(family["music-vector"]): music}, tmp_path / "o"
    )
    expected = by_hand(family, speech, music)
    found = weights(loaded(made.path))
    assert_equal_weights(without_mask(found), without_mask(expected), atol=3e-6)


def test_a_vector_and_its_negative_are_nothing(family: Family, tmp_path: Path) -> None:
    vector = family["speech-vector"]
    made = combine([(vector, 0.75), (vector, -0.75)], tmp_path / "none")
    assert bits(made.path) == bits(family["base"])
    twice = combine([(vector, 0.25), (vector, 0.75)], tmp_path / "whole")
    assert bits(twice.path) == bits(family["speech"])


def test_weights_by_part_are_exact_where_they_are_one_or_zero(family: Family, tmp_path: Path) -> None:
    table = {"default": 0, "attention": 1, "layers": {"2": {"feed_forward": 1}}}
    made = bits(combine([(family["speech-vector"], table)], tmp_path / "parts").path)
    base, student = bits(family["base"]), bits(family["speech"])
    for name, value in made.items():
        moved = ".attention." in name or "layers.2.feed_forward" in name
        assert value == (student if moved else base)[name], name


def test_trimmed_methods_keep_what_they_say(family: Family, tmp_path: Path) -> None:
    vector = family["speech-vector"]
    made = combine([(vector, 1.0)], tmp_path / "ties", method="ties", parameters={"density": 0.25})
    assert made.exact is None
    name = "encoder.layers.0.attention.q_proj.weight"
    base, found = load_file(family["base"] / WEIGHTS)[name], load_file(made.path / WEIGHTS)[name]
    assert (base != found).float().mean() == pytest.approx(0.25, abs=0.01)


def test_a_vector_is_a_folder_that_says_what_it_is(family: Family) -> None:
    vector = open_vector(family["speech-vector"])
    base, student = (load_file(family[name] / WEIGHTS) for name in ("base", "speech"))
    name = "encoder.layers.1.feed_forward.output_dense.weight"
    assert torch.equal(vector.difference.read(name), student[name] - base[name])
    loaded(family["speech-vector"])
    card = (family["speech-vector"] / "README.md").read_text()
    assert "task vector" in card
    assert vector.base["sha256"] in card
    assert {*vector.sizes} >= {"conv", "projection", "positions", "attention", "feed_forward", "norm"}
    assert all(size > 0 for size in vector.sizes.values())


def no_record(student: Path) -> None:
    (student / "crossfade.json").unlink()


def other_base(student: Path) -> None:
    told = {"start": "base", "sources": [{"name": "theirs", "sha256": "f" * 64}]}
    (student / "crossfade.json").write_text(json.dumps({"student": told}))


def random_start(student: Path) -> None:
    (student / "crossfade.json").write_text(json.dumps({"student": {"start": "random", "sources": []}}))


@pytest.mark.parametrize(
    ("change", "trust", "message"),
    [
        (no_record, False, "does not say which base it was trained from"),
        (random_start, False, "pass --trust-base"),
        (other_base, False, "was trained from another base (theirs, SHA-256 ffffffffffff…)"),
        (other_base, True, "was trained from another base"),
    ],
)
def test_a_base_that_is_not_the_students(
    change: Any, trust: bool, message: str, family: Family, tmp_path: Path
) -> None:
    student = shutil.copytree(family["speech"], tmp_path / "student")
    change(student)
    with pytest.raises(InputError) as caught:
        extract(student, family["base"], tmp_path / "vector", trust_base=trust)
    assert message in str(caught.value)
    assert not (tmp_path / "vector").exists()


def test_a_student_that_says_nothing_can_be_trusted(family: Family, tmp_path: Path) -> None:
    student = shutil.copytree(family["speech"], tmp_path / "student")
    no_record(student)
    extract(student, family["base"], tmp_path / "vector", trust_base=True)
    assert bits(combine([(tmp_path / "vector", 1)], tmp_path / "back").path) == bits(student)


def test_what_does_not_add(family: Family, tmp_path: Path) -> None:
    other = tiny.folder(tmp_path / "other", "hubert", 7)
    stranger = student_of(other, tmp_path / "stranger", 8)
    vector = extract(stranger, other, tmp_path / "vector").path
    wide = tiny.folder(tmp_path / "wide", "hubert", 1, hidden_size=96)
    speech = family["speech-vector"]
    refused: list[tuple[Any, dict[str, Any], str]] = [
        ([(speech, 0.5), (vector, 0.5)], {}, "stand on different bases"),
        ([(speech, 0.5)], {"base": other}, "is not the base of"),
        ([(speech, 0.5)], {"base": wide}, "does not fit"),
        ([(speech, 0.5)], {"total": 1}, "weights: 0.5 = 0.5, expected a sum of 1"),
        ([(speech, float("nan"))], {}, "expected a finite number"),
        ([(speech, 1e6)], {"dtype": "float16"}, "which float16 cannot: give smaller weights, or a wider dtype"),
        ([(speech, {"atention": 1})], {}, "did you mean 'attention'?"),
        ([(speech, {"conv": 1})], {"total": 1}, "by part and layer have no one sum"),
        ([(family["speech"], 1)], {}, "is no task vector"),
        ([(tmp_path / "nowhere", 1)], {}, "no such folder"),
        ([(speech, 1)], {"method": "slerp"}, "adds no task vectors"),
        ([(speech, 1)], {"method": "ties", "parameters": {"densty": 1}}, "did you mean 'density'?"),
        ([(speech, 1)], {"dtype": "int8"}, "cannot be written"),
        ([], {}, "nothing to combine"),
    ]
    for given, options, message in refused:
        with pytest.raises(InputError) as caught:
            combine(given, tmp_path / "out", **options)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("part", ["", "student"])
def test_a_vector_that_was_changed_is_refused(part: str, family: Family, tmp_path: Path) -> None:
    vector = shutil.copytree(family["speech-vector"], tmp_path / "vector")
    tensors = load_file(vector / part / WEIGHTS)
    tensors["encoder.layer_norm.weight"] += 1
    save_file(tensors, vector / part / WEIGHTS, {"format": "pt"})
    with pytest.raises(InputError, match=re.escape(f"{vector / part}: changed since it was extracted")):
        combine([(vector, 0.5)], tmp_path / "out")
    shutil.rmtree(vector / "student")
    with pytest.raises(InputError, match=re.escape(f"{vector}: damaged: expected the student in student/")):
        combine([(vector, 0.5)], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_licences_come_along(family: Family, tmp_path: Path) -> None:
    for name, licence in (("base", "apache-2.0"), ("student", "cc-by-4.0")):
        shutil.copytree(family["base" if name == "base" else "speech"], tmp_path / name)
        (tmp_path / name / "README.md").write_text(f"---\nlicense: {licence}\n---\n")
    extract(tmp_path / "student", tmp_path / "base", tmp_path / "vector")
    made = combine([(tmp_path / "vector", 0.5)], tmp_path / "made")
    assert "license_name: apache-2.0 AND cc-by-4.0" in (made.path / "README.md").read_text()


def test_a_method_of_ones_own(family: Family, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def loudest(base, vectors, weights, *, scale=1.0):\n"
        "    return base + scale * max((w * v for v, w in zip(vectors, weights)), key=lambda part: part.norm())\n"
    )
    given = [(family["speech-vector"], 2.0), (family["music-vector"], 0.1)]
    made = combine(given, tmp_path / "own", method=f"{tmp_path / 'mine.py'}:loudest")
    found, expected = weights(loaded(made.path)), by_hand(family, 2.0, 0.0)
    assert_equal_weights(without_mask(found), without_mask(expected), atol=3e-6)
