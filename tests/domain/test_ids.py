"""Ids: the shape of those we mint, and which texts may name something."""

from __future__ import annotations

import re
import uuid

import pytest

from awaken.domain.errors import ValidationError
from awaken.domain.ids import Ids, checked_id, derived_id, seeded_chance, system_chance
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock


def test_minted_ids_are_version_seven_uuids_of_the_clocks_millisecond() -> None:
    clock = ManualClock()
    ids = Ids(clock, seeded_chance(1))

    for _ in range(50):
        text = ids.mint()
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", text)
        assert int(text.replace("-", "")[:12], 16) == clock.now()
        clock.tick(3.7)


def test_ids_sort_by_the_millisecond_they_were_minted_in() -> None:
    clock = ManualClock()
    ids = Ids(clock, seeded_chance(2))
    minted: list[str] = []

    for _ in range(50):
        minted.append(ids.mint())
        clock.tick(0.001)

    assert minted == sorted(minted)


def test_the_same_seed_gives_the_same_ids_and_no_id_comes_twice() -> None:
    first, second = (Ids(ManualClock(), seeded_chance(3)) for _ in range(2))

    minted = [first.mint() for _ in range(1_000)]

    assert minted == [second.mint() for _ in range(1_000)]
    assert len(set(minted)) == 1_000
    assert Ids(ManualClock(), system_chance()).mint() != Ids(ManualClock(), system_chance()).mint()


def test_ids_of_one_millisecond_sort_as_they_were_minted_and_chance_is_asked_again_when_they_run_out() -> None:
    ids = Ids(ManualClock(), seeded_chance(5))

    minted = [ids.mint() for _ in range(4_096)]
    more = ids.mint_some(5_000)

    assert minted == sorted(minted)
    assert len({*minted, *more}) == 4_096 + 5_000
    assert len({text[19:] for text in minted}) == 1
    assert len({text[19:] for text in more}) == 2


def test_some_ids_are_minted_at_once() -> None:
    one, other = Ids(ManualClock(), seeded_chance(6)), Ids(ManualClock(), seeded_chance(6))

    assert one.mint_some(3) == [other.mint() for _ in range(3)]


@behaviour("MBX-024")
def test_every_kind_of_id_is_minted_with_36_characters_and_may_name_something() -> None:
    ids = Ids(ManualClock(), seeded_chance(4))

    minted = [
        ids.thread_id(), ids.run_id(), ids.dispatch_id(), ids.message_id(), ids.claim_token(), ids.instance_id(),
        ids.consumer_id(),
    ]  # fmt: skip

    assert [len(each) for each in minted] == [36] * 7
    assert [checked_id(each, what="id") for each in minted] == minted


@pytest.mark.parametrize("text", ["a", "A-1_b:c@d.e", "...", ".a", "9" * 128])
def test_a_sound_id_is_taken_as_it_is(text: str) -> None:
    assert checked_id(text, what="run_id") == text


@pytest.mark.parametrize(
    "text", ["", " ", "a b", ".", "..", "a/b", "a\\b", "ü", "a\n", "\n", "a\x00", "9" * 129, "a%", "a*", "{a}", "‮a"]
)
def test_any_other_text_is_refused_with_a_code(text: str) -> None:
    with pytest.raises(ValidationError, match="run_id") as caught:
        checked_id(text, what="run_id")
    assert caught.value.code == "invalid_id"


def test_derived_ids_are_the_same_for_the_same_parts_only() -> None:
    made = [derived_id(*parts) for parts in (("a", "b"), ("ab",), ("a", "b", ""), ("b", "a"), ("1:a", "b"))]

    assert derived_id("a", "b") == made[0]
    assert len({*made}) == len(made)
    assert all(uuid.UUID(each).version == 5 for each in made)
