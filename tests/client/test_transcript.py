"""The text a person sees is provisional until its message is committed."""

from __future__ import annotations

from typing import Any

from awaken.client import Event, Resync, Transcript


def event(kind: str, **payload: Any) -> Event:
    return Event(cursor="1", kind=kind, payload=payload)


def committed(text: str, role: str = "assistant") -> Event:
    return event("MessageCommitted", role=role, content_blocks=[{"type": "text", "text": text}])


def test_text_grows_and_then_stands() -> None:
    transcript = Transcript()
    assert transcript.feed(committed("question", "user")) == "none"
    assert [transcript.feed(event("TextDeltaObserved", delta=part)) for part in ("Hel", "lo")] == ["appended"] * 2
    assert (transcript.text, transcript.open) == ("Hello", "Hello")
    assert transcript.feed(committed("Hello")) == "committed"
    assert (transcript.text, transcript.open, transcript.committed) == ("Hello", "", ["Hello"])


def test_a_reset_drops_what_is_newer_than_the_last_message() -> None:
    transcript = Transcript()
    for item in (
        event("TextDeltaObserved", delta="First."),
        committed("First."),
        event("TextDeltaObserved", delta=" Half a sec"),
    ):
        transcript.feed(item)
    assert transcript.feed(event("StreamReset", reason="takeover")) == "dropped"
    assert transcript.text == "First."
    transcript.feed(event("TextDeltaObserved", delta=" Second."))
    assert transcript.text == "First. Second."


def test_a_resync_voids_everything() -> None:
    transcript = Transcript()
    transcript.feed(committed("gone"))
    transcript.feed(event("TextDeltaObserved", delta="too"))
    assert transcript.feed(Resync(cursor="9")) == "dropped"
    assert transcript.text == ""


def test_a_message_is_the_truth_whatever_its_deltas_were() -> None:
    transcript = Transcript()
    transcript.feed(event("TextDeltaObserved", delta="teh"))
    transcript.feed(committed("the"))
    assert transcript.text == "the"


def test_a_message_that_only_calls_tools_has_no_text() -> None:
    transcript = Transcript()
    assert transcript.feed(event("MessageCommitted", role="assistant", content_blocks=[])) == "committed"
    assert transcript.committed == []


def test_what_cannot_be_read_is_passed_over() -> None:
    transcript = Transcript()
    transcript.feed(event("TextDeltaObserved", delta=3))
    transcript.feed(event("TextDeltaObserved", delta="kept"))
    transcript.feed(event("MessageCommitted", role="assistant", content_blocks="?"))
    transcript.feed(event("SomethingNew"))
    assert transcript.text == "kept"
