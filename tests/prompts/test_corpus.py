"""Which clips are heard when: from the seed alone, each once in every pass."""

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from crossfade.prompts.corpus import grouped, plans

LENGTHS = st.lists(st.integers(1, 500), min_size=1, max_size=40)


@given(LENGTHS, st.integers(1, 1500), st.integers(0, 3))
def test_a_pass_hears_every_clip_once(lengths: list[int], most: int, seed: int) -> None:
    first = []
    for plan in plans(lengths, most, seed):
        if plan.visit == 2:
            break
        first.append(plan)
    for visit in (0, 1):
        heard = [place for plan in first if plan.visit == visit for place in plan.places]
        assert sorted(heard) == list(range(len(lengths)))
    assert [plan.number for plan in first] == list(range(len(first)))
    for plan in first:
        assert len(plan.places) == 1 or len(plan.places) * max(lengths[place] for place in plan.places) <= most
    assert list(islice(plans(lengths, most, seed), len(first))) == first


@given(LENGTHS, st.integers(1, 1500))
def test_neighbours_stay_together(lengths: list[int], most: int) -> None:
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    assert [place for batch in grouped(order, lengths, most) for place in batch] == order


def test_passes_differ() -> None:
    lengths = list(range(100, 140))
    orders = {visit: [plan.places for plan in islice(plans(lengths, 1000, visit), 8)] for visit in (0, 1)}
    assert orders[0] != orders[1]
