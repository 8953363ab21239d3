"""A stream in another protocol: what is sent when is the stream's affair, what the bytes are its encoder's alone."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
import pytest
from starlette.responses import Response

from awaken.domain.errors import StoreUnavailable
from awaken.domain.event import TABLE
from awaken.domain.ids import DEFAULT_SCOPE, DispatchId, RunId, ThreadId
from awaken.domain.log import EventRow, ReadEvent
from awaken.domain.selection import select
from awaken.http.encoder import NativeEncoder
from awaken.http.frames import Encoded, Encoder, EndReason, FrameCache, Opening
from awaken.http.operation import Call, Operation
from awaken.http.problems import Problem
from awaken.http.settings import HttpSettings
from awaken.http.sse import EventStream
from awaken.mailbox.settings import WRITE_BUFFER_WAIT_S
from awaken.store.contract import Store
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from tests.http.asgi import all_frames
from tests.http.site import SERVED, Site, served
from tests.http.test_resuming import Speaker
from tests.http.test_streams import Failing


class Captions(Encoder):
    """A protocol of a few lines: each piece of a run's text under its number, which counts from the run's start.

    So it is fed from there whatever its client has, and shows what comes after that. The curtain at the end is
    nothing that it counts.
    """

    dialect = "captions"
    shared_as = None

    def __init__(self) -> None:
        self._after = 0
        self._number = 0

    def open(self, opening: Opening) -> bytes:
        self._after = opening.after
        return f"data: captions of {opening.run_id}\n\n".encode()

    def feed(self, row: EventRow) -> Encoded:
        shown, count = "", 0
        for seq, event in enumerate(row.events, row.first_seq):
            if event.kind == "TextDeltaObserved":
                self._number += 1
                if seq > self._after:
                    text = msgspec.json.decode(event.payload)["delta"]
                    shown += f"id: {seq}\ndata: {self._number} {text}\n\n"
                    count += 1
            elif event.kind == "RunFinished":
                shown += "data: (curtain)\n\n"
        return Encoded(shown.encode(), count)

    def keepalive(self) -> bytes:
        return b"data: (silence)\n\n"

    def close(self, reason: EndReason) -> bytes:
        return b"data: THE END\n\n" if reason == "done" else b""

    def fail(self, problem: Problem, request_id: str) -> bytes:
        return f"data: broken: {problem.code} {request_id}\n\n".encode()


async def stream_captions(call: Call) -> Response:
    run = await call.mailbox.get_run(call.scope, call.run_id)
    after = int(call.header(b"last-event-id") or run.first_event_seq - 1)
    opening = Opening(scope=call.scope, thread_id=run.thread_id, run_id=run.run_id, after=after, retry_ms=1000)
    reader = call.mailbox.read_run(call.scope, run)
    return EventStream(call.service.streams, reader, Captions(), opening, request_id=call.request_id)


CAPTIONS: Final = Operation(
    method="GET",
    path="/captions/{run_id}",
    id="stream_captions",
    summary="Stream the captions of a run",
    handler=stream_captions,
    answers={200: "text/event-stream"},
)
BOTH: Final = (*SERVED, CAPTIONS)


def path_of(run: Any) -> str:
    return f"/captions/{run['run_id']}"


async def captions(site: Site, run: Any, after: str | None = None) -> bytes:
    headers = {} if after is None else {"last-event-id": after}
    return (await site.http.get(path_of(run), headers=headers)).body


async def test_another_protocol_shows_the_same_log_in_its_own_bytes(store: Store, clock: ManualClock) -> None:
    async with served(store, clock, operations=BOTH) as site:
        run = await site.submit("talk", "t")
        await site.finished(run)
        body = await captions(site, run)

        lines = [line for line in body.decode().split("\n") if line.startswith("data: ")]
        assert lines == [
            f"data: captions of {run['run_id']}",
            "data: 1 The ",
            "data: 2 order ",
            "data: 3 left ",
            "data: 4 today.",
            "data: (curtain)",
            "data: THE END",
        ]
        native = all_frames((await site.http.get(f"/v1/runs/{run['run_id']}/stream")).body)
        assert [frame.json()["payload"]["delta"] for frame in native if frame.event == "TextDeltaObserved"] == [
            line.split(" ", 2)[2] for line in lines[1:-2]
        ]
        assert site.counts.frames == 4 + len([frame for frame in native if frame.id is not None])


@behaviour("SRV-020")
async def test_cut_after_any_frame_and_resumed_it_is_the_uncut_stream(store: Store, clock: ManualClock) -> None:
    async with served(store, clock, operations=BOTH) as site:
        await site.finished(await site.submit("talk", "t"))
        run = await site.submit("talk", "t")
        await site.finished(run)
        first, *frames, curtain, last = (await captions(site, run)).split(b"\n\n")[:-1]

        assert len(frames) == 4
        for index, frame in enumerate(frames):
            found = re.match(rb"id: (\d+)\n", frame)
            assert found is not None
            rest = await captions(site, run, found[1].decode())
            assert rest.split(b"\n\n")[:-1] == [first, *frames[index + 1 :], curtain, last]


async def test_silence_a_restart_and_a_stall_are_the_streams_and_their_bytes_the_encoders(
    memory: Store, clock: ManualClock
) -> None:
    speaker = Speaker()
    async with served(memory, clock, agents={"speaker": speaker}, operations=BOTH) as site:
        run = await site.submit("speaker", "t")
        async with site.http.open("GET", path_of(run)) as stream:
            await site.world.advance(15)
            speaker.say("after a while")
            await site.world.quiet()
            site.app.prepare_to_stop()
            body = await stream.rest()
        assert b"\n: " not in body, "no comment of this API"
        assert body.count(b"data: (silence)\n\n") == 1
        assert body.endswith(b"data: 1 after a while\n\n"), "a restart is no end, and this protocol has no word for it"
        assert stream.is_complete
        speaker.end()


async def test_one_that_takes_nothing_is_let_go_in_every_protocol(memory: Store, clock: ManualClock) -> None:
    speaker = Speaker()
    async with served(memory, clock, agents={"speaker": speaker}, operations=BOTH) as site:
        run = await site.submit("speaker", "t")
        async with site.http.open("GET", path_of(run), window=1) as stuck:
            await stuck.read()
            for text in ("a", "b"):
                speaker.say(text)
                await site.world.advance(WRITE_BUFFER_WAIT_S)
            await site.world.advance(30)
            assert (site.counts.open_streams, site.counts.stalled) == (0, 1)
            assert b"THE END" not in await stuck.rest()
        speaker.end()


async def test_a_failure_after_the_first_byte_is_put_into_the_protocols_words(clock: ManualClock) -> None:
    store = Failing(clock)
    async with served(store, clock, operations=BOTH) as site:
        run = await site.submit("talk", "t")
        await site.finished(run)
        store.error = StoreUnavailable("gone")
        answer = await site.http.get(path_of(run))

        assert answer.status == 200
        assert answer.body.endswith(f"data: broken: store_unavailable {answer.headers['x-request-id']}\n\n".encode())


async def test_what_is_ready_together_is_sent_together_in_every_protocol(memory: Store, clock: ManualClock) -> None:
    speaker = Speaker()
    settings = HttpSettings(chunk_bytes=1000)
    async with served(memory, clock, agents={"speaker": speaker}, operations=BOTH, settings=settings) as site:
        run = await site.submit("speaker", "t")
        for _ in range(20):
            speaker.say("x" * 200)
            await site.world.advance(WRITE_BUFFER_WAIT_S)
        speaker.end()
        await site.finished(run)
        async with site.http.open("GET", path_of(run)) as stream:
            await stream.rest()

        assert 6 <= stream.sends <= 10, "twenty captions in five or so chunks, the opening and the end"


# --- sharing ----------------------------------------------------------------------------------------------------------


class Counting(Captions):
    """Counts what it is asked to encode, and shares it under a name."""

    def __init__(self, shared_as: Any) -> None:
        super().__init__()
        self.shared_as = shared_as
        self.fed = 0

    def feed(self, row: EventRow) -> Encoded:
        self.fed += 1
        return super().feed(row)


def row(first_seq: int, text: str = "word") -> EventRow:
    event = ReadEvent("TextDeltaObserved", msgspec.Raw(msgspec.json.encode({"delta": text})))
    return EventRow(DEFAULT_SCOPE, ThreadId("t"), RunId("r"), DispatchId("d"), first_seq, 0, (event,))


@behaviour("SRV-027")
@pytest.mark.parametrize(("first", "second", "times"), [("a", "a", 1), ("a", "b", 2), (None, None, 2), ("a", None, 2)])
def test_a_row_is_encoded_once_for_all_encoders_that_share_it(first: Any, second: Any, times: int) -> None:
    cache = FrameCache(max_bytes=10_000)
    encoders = (Counting(first), Counting(second))

    made = [cache.frames(row(7), encoder) for encoder in encoders]

    assert sum(encoder.fed for encoder in encoders) == times
    assert made[0] == made[1] == Encoded(b"id: 7\ndata: 1 word\n\n", 1)


def test_two_protocols_never_get_each_others_bytes() -> None:
    cache = FrameCache(max_bytes=10_000)
    captions, native = Counting("captions"), NativeEncoder(select())

    for _ in range(2):
        assert cache.frames(row(1), captions).frames.startswith(b"id: 1\ndata: 1 word")
        assert b"event: TextDeltaObserved" in cache.frames(row(1), native).frames
    assert (captions.fed, cache.encoded) == (1, 2)


def test_rows_that_nobody_used_for_longest_are_forgotten_first() -> None:
    cache, encoder = FrameCache(max_bytes=1_200), Counting("a")

    for seq in (1, 2, 1, 3, 1):
        cache.frames(row(seq, "x" * 100), encoder)
    assert encoder.fed == 3, "the first was used again and again, and is still there"
    cache.frames(row(2, "x" * 100), encoder)
    assert encoder.fed == 4


@behaviour("MBX-314", "MBX-350", "MBX-351", "MBX-352", "MBX-356", "MBX-357", "MBX-358", "MBX-359", "MBX-362")
def test_this_apis_encoder_makes_one_frame_of_every_event_and_what_stands_around_them_has_no_place() -> None:
    kinds = [kind for kind in TABLE if select().wants(kind)]
    events = tuple([ReadEvent(kind, msgspec.Raw(b'{"n":%d}' % n)) for n, kind in enumerate(kinds)])
    row = EventRow(DEFAULT_SCOPE, ThreadId("t"), RunId("r"), DispatchId("d"), 7, 0, events)
    encoder = NativeEncoder(select())

    encoded = encoder.feed(row)
    frames = all_frames(encoded.frames)
    opening = Opening(scope=DEFAULT_SCOPE, thread_id=ThreadId("t"), run_id=RunId("r"), after=0, retry_ms=1_000)
    around = encoder.open(opening) + encoder.close("done")

    assert encoded.events == len(frames) == len(kinds) > 20
    assert [(frame.event, frame.json()["kind"], frame.json()["payload"]["n"]) for frame in frames] == [
        (kind, kind, n) for n, kind in enumerate(kinds)
    ]
    for frame in frames:
        told = frame.json()
        assert (told["cursor"], told["run_id"], told["dispatch_id"]) == (frame.id, "r", "d")
    assert [frame.event for frame in all_frames(around) if frame.id is not None] == []
