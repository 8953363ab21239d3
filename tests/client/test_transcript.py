"""The text a person sees is provisional until its message is committed."""

from __future__ import annotations

from typing import Any

from awaken.client import Change, Event, Resync, Transcript


def event(kind: str, **payload: Any) -> Event:
    return Event(cursor="1", kind=kind, payload=payload)


def delta(text: str, message_id: str = "m1") -> Event:
    return event("TextDeltaObserved", message_id=message_id, part=0, delta=text)


def committed(text: str, message_id: str = "m1", role: str = "assistant") -> Event:
    blocks = [{"type": "text", "text": text}]
    return event("MessageCommitted", message_id=message_id, role=role, content_blocks=blocks)


def test_text_grows_and_then_stands() -> None:
    transcript = Transcript()
    assert transcript.feed(committed("question", "m0", "user")) == Change("none")
    assert [transcript.feed(delta(part)) for part in ("Hel", "lo")] == [
        Change("appended", "Hel"),
        Change("appended", "lo"),
    ]
    assert (transcript.text, transcript.open) == ("Hello", "Hello")
    assert transcript.feed(committed("Hello")) == Change("committed", "Hello", was_open=True)
    assert (transcript.text, transcript.open, transcript.committed) == ("Hello", "", ["Hello"])


def test_a_message_that_was_not_streamed_comes_whole() -> None:
    transcript = Transcript()
    assert transcript.feed(committed("all at once")) == Change("committed", "all at once", was_open=False)
    assert transcript.text == "all at once"


def test_a_message_is_committed_under_the_id_of_its_deltas_whatever_else_is_open() -> None:
    transcript = Transcript()
    for item in (delta("one ", "m1"), delta("two", "m2")):
        transcript.feed(item)
    assert transcript.feed(committed("one ", "m1")) == Change("committed", "one ", was_open=True)
    assert (transcript.open, transcript.text) == ("two", "one two")
    assert transcript.feed(committed("between", "m3")) == Change("committed", "between", was_open=False)
    assert (transcript.open, transcript.text) == ("two", "one betweentwo")


def test_a_reset_without_a_message_drops_whatever_is_not_committed() -> None:
    transcript = Transcript()
    for item in (delta("First."), committed("First."), delta(" Half a", "m2"), delta(" sec", "m3")):
        transcript.feed(item)
    assert transcript.feed(event("StreamReset", reason="takeover")) == Change("dropped", " Half a sec")
    assert transcript.text == "First."
    transcript.feed(delta(" Second.", "m4"))
    assert transcript.text == "First. Second."


def test_a_reset_of_a_message_drops_its_text_only() -> None:
    transcript = Transcript()
    for item in (delta("kept", "m1"), delta("void", "m2")):
        transcript.feed(item)
    assert transcript.feed(event("StreamReset", reason="differs", message_id="m2")) == Change("dropped", "void")
    assert transcript.text == "kept"
    assert transcript.feed(event("StreamReset", reason="differs", message_id="m2")) == Change("dropped", "")


def test_a_resync_voids_everything() -> None:
    transcript = Transcript()
    transcript.feed(committed("gone"))
    transcript.feed(delta("too"))
    assert transcript.feed(Resync(cursor="9")) == Change("dropped", "too")
    assert transcript.text == ""


def test_a_message_is_the_truth_whatever_its_deltas_were() -> None:
    transcript = Transcript()
    transcript.feed(delta("teh"))
    transcript.feed(committed("the"))
    assert transcript.text == "the"


def test_a_message_that_only_calls_tools_has_no_text() -> None:
    transcript = Transcript()
    only_calls = event("MessageCommitted", message_id="m1", role="assistant", content_blocks=[])
    assert transcript.feed(only_calls) == Change("committed")
    assert transcript.committed == []


def test_what_cannot_be_read_is_passed_over() -> None:
    transcript = Transcript()
    transcript.feed(event("TextDeltaObserved", message_id="m1", delta=3))
    transcript.feed(delta("kept"))
    transcript.feed(event("MessageCommitted", message_id="m1", role="assistant", content_blocks="?"))
    transcript.feed(event("SomethingNew"))
    assert transcript.text == "kept"
