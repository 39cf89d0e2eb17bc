"""The most frequent values of an attribute: never too low, too high by no more than is said, and of nobody in particular."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.definition.domain import sketches
from services.definition.domain.sketches import Told, ValueSketch, different, estimate, hash_of, mixed, registers_of

Telling = list[tuple[str, int]]

# Few values often and many rarely, by few people and by many.
tellings = st.lists(
    st.tuples(
        st.integers(0, 5).map(lambda n: f"often {n}") | st.integers(0, 400).map(lambda n: f"now and then {n}"),
        st.integers(1, 5) | st.integers(),
    ).map(lambda pair: (pair[0], pair[1] % 2**63)),
    min_size=1,
    max_size=200,
)


def told(telling: Telling) -> Told:
    texts, places = different([text for text, _ in telling])
    return Told.of(texts, places, np.array([mpid for _, mpid in telling], np.int64))


def sketch_of(*windows: Telling) -> ValueSketch:
    sketch = ValueSketch()
    for window in windows:
        sketch.tell(told(window))
    return sketch


def check(sketch: ValueSketch, everything: Telling, tracked: int) -> None:
    counts = Counter(text for text, _ in everything)
    people: dict[str, set[int]] = {}
    for text, mpid in everything:
        people.setdefault(text, set()).add(mpid)
    assert len(sketch.tracked) <= tracked
    if sketch.is_withheld:
        assert not sketch.tracked
        return
    named = {hash_of(text): text for text in counts}
    for number, one in sketch.tracked.items():
        assert one.count - one.error <= counts[named[number]] <= one.count
        assert one.text in ("", named[number])
        assert not one.text or len(people[one.text]) >= sketches.PEOPLE_MIN
    least = min((one.count for one in sketch.tracked.values()), default=0)
    assert all(count <= least for text, count in counts.items() if hash_of(text) not in sketch.tracked)


@given(st.lists(tellings, min_size=1, max_size=5), st.sampled_from([2, 5, 50]))
@settings(max_examples=150, deadline=None)
def test_a_count_is_never_too_low_and_too_high_by_its_error_at_most(windows: list[Telling], tracked: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sketches, "TRACKED", tracked)
        check(sketch_of(*windows), [one for window in windows for one in window], tracked)


@given(st.lists(tellings, min_size=1, max_size=3), st.lists(tellings, min_size=1, max_size=3), st.sampled_from([2, 5, 50]))
@settings(max_examples=150, deadline=None)
def test_two_sketches_together_are_as_true_as_one(some: list[Telling], others: list[Telling], tracked: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sketches, "TRACKED", tracked)
        one, other = sketch_of(*some), sketch_of(*others)
        if not one.is_withheld and not other.is_withheld:
            check(one.merged(other), [one for window in (*some, *others) for one in window], tracked)


@given(st.lists(tellings, min_size=1, max_size=3))
@settings(max_examples=50, deadline=None)
def test_what_is_kept_reads_back_the_same(windows: list[Telling]) -> None:
    sketch = sketch_of(*windows)
    again = ValueSketch.from_bytes(sketch.to_bytes())
    assert again.tracked == sketch.tracked
    assert (again.different, again.is_withheld) == (sketch.different, sketch.is_withheld)
    for one in (sketch, again):
        one.tell(told([("gold", 1), ("gold", 2), ("blue", 3)]))
    assert again.tracked == sketch.tracked


@pytest.mark.parametrize("count", [1, 10, 100, 1_000, 100_000])
def test_the_number_of_different_ones_is_about_right(count: int) -> None:
    found = estimate(registers_of(mixed(np.arange(count, dtype=np.uint64))))
    assert abs(found - count) <= max(1, 0.2 * count)


def test_values_that_nearly_everybody_has_of_their_own_are_withheld_however_often_they_come() -> None:
    sketch = ValueSketch()
    for _ in range(20):
        sketch.tell(told([(f"{mpid}@example.com", mpid) for mpid in range(1, 2_000)]))
    assert sketch.is_withheld
    assert not sketch.tracked
    assert b"@" not in sketch.to_bytes()


def test_values_of_numbers_that_many_people_share_are_kept_however_many_there_are() -> None:
    sketch = sketch_of([(f"product {number % 3_000}", number) for number in range(60_000)])
    assert not sketch.is_withheld
    assert len(sketch.shared) == sketches.KEPT


def test_a_value_is_written_down_once_three_people_have_it() -> None:
    sketch = sketch_of([("secret", 1), ("secret", 1), ("secret", 2), ("gold", 1), ("gold", 2), ("gold", 3)])
    assert [(one.text, one.count) for one in sketch.shared] == [("gold", 3)]
    assert b"secret" not in sketch.to_bytes()
    sketch.tell(told([("secret", 4)]))
    assert [(one.text, one.count) for one in sketch.shared] == [("secret", 4), ("gold", 3)]


def test_no_sketch_holds_a_person() -> None:
    mpid = 7_234_567_890_123_456_789
    kept = sketch_of([("gold", mpid), ("gold", 2), ("gold", 3)]).to_bytes()
    assert mpid.to_bytes(8, "big") not in kept
    assert mpid.to_bytes(8, "little") not in kept
