"""Labels to tensors and back, for every kind; losses against torch's own."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from crossfade.errors import InputError
from crossfade.probing.kinds import (
    CLIP_KINDS,
    FRAME_KINDS,
    UNSEEN,
    Choices,
    Segments,
    Text,
    encode_clips,
    encode_frames,
    trial_scores,
)
from crossfade.probing.metrics import METRICS
from crossfade.probing.schema import DEFAULTS, Kind

LABELS: dict[Kind, list[Any]] = {
    "classification": ["cat", "dog", "cat", "owl"],
    "verification": ["ann", "bob", "ann", "cem"],
    "key": ["C major", "Db minor", "C# minor", "A minor"],
    "slots": [("on", "light"), ("off", "light"), ("on", "music"), ("on", "light")],
    "tagging": [("a", "b"), (), ("b",), ("c",)],
    "regression": [(1.0, 10.0), (2.0, 10.5), (4.0, 9.0), (8.0, 12.0)],
    "ctc": ["ab", "ba a", "b", "a"],
    "frames": [((0.0, 0.3, "x"), (0.3, 0.5, "y")), ((0.1, 0.4, "y"),), ((0.0, 0.5, "x"),), ((0.0, 0.2, "z"),)],
    "beat": [(0.05, 0.45), (0.25,), (), (0.1, 0.3)],
}
RATE = 10.0


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_every_kind_is_known() -> None:
    assert {*CLIP_KINDS} | {*FRAME_KINDS} == {*DEFAULTS}
    assert not {*CLIP_KINDS} & {*FRAME_KINDS}
    assert all(metric in METRICS for metric, _ in DEFAULTS.values())


@pytest.mark.parametrize("kind", ["classification", "slots", "regression"])
def test_a_perfect_head_is_decoded_to_the_labels(kind: Kind) -> None:
    targets = encode_clips(kind, LABELS[kind])
    assert targets.dense.shape == (4, targets.outputs)
    found = targets.decode(targets.dense)
    assert found == [pytest.approx(label) if kind == "regression" else label for label in LABELS[kind]]
    metric = METRICS[DEFAULTS[kind][0]]
    assert metric.value(targets.labels, found) == pytest.approx(100 if metric.percent else 1)


def test_keys_have_one_spelling() -> None:
    targets = encode_clips("key", LABELS["key"])
    assert targets.decode(targets.dense) == ["C major", "C# minor", "C# minor", "A minor"]
    assert targets.outputs == 3


def test_tags_are_probabilities_by_name() -> None:
    targets = encode_clips("tagging", LABELS["tagging"])
    assert targets.dense.tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert targets.decode(torch.zeros(1, 3)) == [{"a": 0.5, "b": 0.5, "c": 0.5}]


@given(st.permutations(["cat", "dog", "owl"]), st.integers(0, 99))
def test_naming_classes_otherwise_moves_scores_only(names: list[str], seed: int) -> None:
    """Scores move with the classes; loss and decoded items do not."""
    renamed = dict(zip(["cat", "dog", "owl"], names, strict=True))
    plain = encode_clips("classification", LABELS["classification"])
    other = encode_clips("classification", [renamed[name] for name in LABELS["classification"]])
    scores = random(2, 4, 3, seed=seed)
    moved = scores[..., [sorted(renamed).index({v: k for k, v in renamed.items()}[name]) for name in sorted(names)]]
    torch.testing.assert_close(plain.loss(scores, plain.wanted), other.loss(moved, other.wanted))
    assert [renamed[name] for name in plain.decode(scores[0])] == other.decode(moved[0])


def test_losses_of_clips_are_torchs() -> None:
    heads = 3
    one = encode_clips("classification", LABELS["classification"])
    scores = random(heads, 4, one.outputs)
    for head, loss in zip(scores, one.loss(scores, one.wanted), strict=True):
        torch.testing.assert_close(loss.mean(), functional.cross_entropy(head, one.wanted[:, 0]))
    slots = encode_clips("slots", LABELS["slots"])
    assert isinstance(slots, Choices)
    scores = random(heads, 4, slots.outputs)
    for head, loss in zip(scores, slots.loss(scores, slots.wanted), strict=True):
        parts = zip(head.split([2, 2], dim=1), slots.wanted.T, strict=True)
        expected = sum(functional.cross_entropy(part, wanted) for part, wanted in parts)
        torch.testing.assert_close(loss.mean(), expected)
    tags = encode_clips("tagging", LABELS["tagging"])
    scores = random(heads, 4, tags.outputs)
    for head, loss in zip(scores, tags.loss(scores, tags.wanted), strict=True):
        torch.testing.assert_close(loss.mean(), functional.binary_cross_entropy_with_logits(head, tags.wanted))
    numbers = encode_clips("regression", LABELS["regression"])
    scores = random(heads, 4, 2)
    for head, loss in zip(scores, numbers.loss(scores, numbers.wanted), strict=True):
        torch.testing.assert_close(loss.mean(), functional.mse_loss(head, numbers.wanted))


def test_only_training_items_say_what_there_is() -> None:
    train = torch.tensor([0, 1])
    targets = encode_clips("classification", LABELS["classification"], train)
    assert targets.outputs == 2
    assert targets.wanted[:, 0].tolist() == [0, 1, 0, UNSEEN]
    assert targets.dense[3].tolist() == [0, 0]
    numbers = encode_clips("regression", LABELS["regression"], train)
    torch.testing.assert_close(numbers.wanted[:2], torch.tensor([[-1.0, -1], [1, 1]]))
    text = encode_frames("ctc", LABELS["ctc"], RATE, torch.tensor([2, 3]))
    assert isinstance(text, Text)
    assert text.table.tokens == ("a", "b")
    with pytest.raises(InputError, match="the names \\['y'\\]"):
        encode_frames("frames", LABELS["frames"], RATE, torch.tensor([1]))


@pytest.mark.parametrize(
    ("kind", "labels", "said"),
    [
        ("classification", ["a", "a"], "all training items are 'a'; expected two classes"),
        ("key", ["C major", "c major"], "all training items are 'C major'"),
        ("key", ["C major", "silence"], "key 'silence'"),
        ("tagging", [(), ()], "no training item has a tag"),
        ("regression", [(1.0,), (1.0,)], "the same number"),
    ],
)
def test_labels_that_teach_nothing(kind: Kind, labels: list[Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        encode_clips(kind, labels)


def test_trials_are_cosines() -> None:
    embeddings = random(4, 5)
    scores = trial_scores(embeddings, [(0, 1, True), (2, 2, False)])
    assert scores[0] == pytest.approx(float(functional.cosine_similarity(embeddings[0], embeddings[1], dim=0)))
    assert scores[1] == pytest.approx(1)


def test_text_is_ctc() -> None:
    text = encode_frames("ctc", LABELS["ctc"], RATE)
    scores = [random(2, 5 + clip, text.outputs, seed=clip) for clip in range(3)]
    losses = text.loss(scores, [1, 0, 3])
    assert losses.shape == (2, 3)
    assert isinstance(text, Text)
    for clip, (own, item) in enumerate(zip(scores, [1, 0, 3], strict=True)):
        ids = text.ids[item]
        for head in range(2):
            own_loss = functional.ctc_loss(
                own[head].log_softmax(-1), ids, torch.tensor(len(own[head])), torch.tensor(len(ids)), reduction="sum"
            )
            torch.testing.assert_close(losses[head, clip], own_loss / len(ids))
    hot = functional.one_hot(torch.tensor([2, 0, 3, 2]), text.outputs).float()
    assert text.decode(hot) == "aba"
    assert text.decode(20 * hot, 4) == "aba"


def test_a_transcript_has_to_fit() -> None:
    text = encode_frames("ctc", [*LABELS["ctc"], ""], RATE)
    text.check(0, 2, "clip")
    with pytest.raises(InputError, match=r"seven\.wav: its transcript of 4 characters needs 4 frames, the clip has 3"):
        text.check(1, 3, "seven.wav")
    with pytest.raises(InputError, match="clip: the transcript is empty"):
        text.check(4, 9, "clip")


def test_frames_are_named_by_their_middles() -> None:
    names = encode_frames("frames", LABELS["frames"], RATE)
    assert isinstance(names, Segments)
    assert names.frames(0, 6).tolist() == [0, 0, 0, 1, 1, UNSEEN]
    assert names.frames(1, 5).tolist() == [UNSEEN, 1, 1, 1, UNSEEN]
    scores = [random(2, 6, 3), random(2, 5, 3, seed=1)]
    losses = names.loss(scores, [0, 1])
    for head in range(2):
        expected = functional.cross_entropy(scores[1][head], names.frames(1, 5), ignore_index=UNSEEN)
        torch.testing.assert_close(losses[head, 1], expected)
    hot = functional.one_hot(names.frames(0, 5), 3).float()
    assert names.decode(hot) == ((0.0, 0.3, "x"), (0.3, 0.5, "y"))
    assert METRICS["frame_accuracy"].value(names.labels[:1], [names.decode(hot)]) == pytest.approx(100)


def test_beats_are_peaks() -> None:
    beats = encode_frames("beat", LABELS["beat"], RATE)
    wanted = torch.tensor([1, 0.5, 0, 0.5, 1, 0.5])
    scores = random(2, 6, 1)
    loss = beats.loss([scores], [0])
    for head in range(2):
        expected = functional.binary_cross_entropy_with_logits(scores[head, :, 0], wanted)
        torch.testing.assert_close(loss[head, 0], expected)
    assert beats.decode(torch.logit(0.01 + 0.9 * wanted)[:, None]) == pytest.approx((0.05, 0.45))
    low = torch.logit(torch.tensor([0.8, 0.1, 0.1, 0.1, 0.1, 0.3]))
    assert beats.decode(low[:, None]) == pytest.approx((0.05,))
    with pytest.raises(InputError, match="no training item has a beat"):
        encode_frames("beat", [(), ()], RATE)
