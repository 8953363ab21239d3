"""The parser of event streams gives the same frames however the bytes arrive."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awaken.client.sse import Frame, FrameParser
from awaken.domain.errors import RemoteProtocolError

RECORDED = (
    b"\xef\xbb\xbfretry: 2000\r\n: hello\r\n\r\n"
    b"event: stream.open\ndata: {}\n\n"
    b'id: 1.t.0a.1\nevent: RunStarted\ndata: {"a":1}\n\n'
    b": ka\n\n"
    b"id:1.t.0a.2\revent:TextDeltaObserved\rdata:one\rdata: two\r\r"
    b"data\nid: bad\0id\n\n"
    b"unknown: x\nevent: only a name\n\n"
    b"id: 3\r\ndata: caf\xc3\xa9\r\n\r\n"
    b"id: 4\ndata: cut of"
)
FRAMES = [
    Frame("stream.open", b"{}"),
    Frame("RunStarted", b'{"a":1}', "1.t.0a.1"),
    Frame("TextDeltaObserved", b"one\ntwo", "1.t.0a.2"),
    Frame("message", b""),
    Frame("message", "café".encode(), "3"),
]


def parsed(*chunks: bytes) -> list[Frame]:
    parser = FrameParser()
    return [frame for chunk in chunks for frame in parser.feed(chunk)]


def test_frames_have_their_event_data_and_id_and_a_cut_one_is_not_handed_out() -> None:
    assert parsed(RECORDED) == FRAMES


@pytest.mark.parametrize("sign", "\v\f\x1c\x1d\x1e\x85\u2028\u2029")
def test_what_ends_a_line_elsewhere_does_not_end_one_here(sign: str) -> None:
    """Python splits texts at these; the format ends lines with CR and LF only."""
    data = f"one{sign}data: two".encode()
    assert parsed(b"data: " + data + b"\n\n") == [Frame("message", data)]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13])
def test_chunks_of_any_size_give_the_same_frames(size: int) -> None:
    assert parsed(*[RECORDED[at : at + size] for at in range(0, len(RECORDED), size)]) == FRAMES


@given(st.lists(st.integers(0, len(RECORDED)), max_size=12))
def test_cuts_at_any_places_give_the_same_frames(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(RECORDED)]
    assert parsed(*[RECORDED[a:b] for a, b in itertools.pairwise(places)]) == FRAMES


_LINE_END = st.sampled_from([b"\n", b"\r", b"\r\n"])
_FIELD = st.sampled_from([b"data", b"id", b"event", b"retry", b"", b"other"])
_LINES = st.lists(st.tuples(_FIELD, st.sampled_from([b":", b": ", b""]), st.binary(max_size=4), _LINE_END), max_size=12)


@given(_LINES, st.lists(st.integers(0, 120), max_size=6))
def test_any_text_gives_the_same_frames_whole_and_cut(
    lines: list[tuple[bytes, bytes, bytes, bytes]], cuts: list[int]
) -> None:
    text = b"".join(name + colon + value + end for name, colon, value, end in lines)
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    assert parsed(*[text[a:b] for a, b in itertools.pairwise(places)]) == parsed(text)


def test_the_servers_wish_for_a_delay_is_remembered() -> None:
    parser = FrameParser()
    parser.feed(b"retry: 150\nretry: soon\n\n")
    assert parser.retry_ms == 150


def test_an_endless_frame_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("awaken.client.sse.MAX_FRAME_BYTES", 1_000)
    parser = FrameParser()
    for _ in range(90):
        assert parser.feed(b"data: xxxx\n") == []
    with pytest.raises(RemoteProtocolError, match="larger than"):
        parser.feed(b"data: xxxx\n")
