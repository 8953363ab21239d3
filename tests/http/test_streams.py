"""What a stream costs the run it shows, the server, and the other readers: as little as possible."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from awaken.domain.errors import StoreUnavailable
from awaken.domain.ids import RunId, Scope, ThreadId
from awaken.domain.log import EventRow
from awaken.http.settings import HttpSettings
from awaken.mailbox.settings import READER_BUFFER_EVENTS, WRITE_BUFFER_WAIT_S, MailboxSettings
from awaken.store.contract import Page, Store
from awaken.store.memory import MemoryStore
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from tests.http.asgi import Connection, all_frames
from tests.http.site import served
from tests.http.test_resuming import Speaker, with_ids


async def comments(stream: Connection) -> list[str]:
    """What has been written and not been read yet, as frames and comments."""
    before = len(stream.received)
    while stream.waiting():
        await stream.read()
    return stream.received[before:].decode().split("\n\n")[:-1]


@behaviour("SRV-025", "D-015")
async def test_a_slow_reader_delays_nobody_and_catches_up_with_everything(store: Store, clock: ManualClock) -> None:
    speaker = Speaker()
    async with served(store, clock, agents={"speaker": speaker}) as site:
        run = await site.submit("speaker", "t")
        async with site.http.open("GET", f"/v1/runs/{run['run_id']}/stream", window=2) as slow:
            await slow.until("RunStarted")
            for index in range(20):
                speaker.say(*(f"{index}.{part} " for part in range(100)))
                await site.world.quiet()
            speaker.end()
            result = await site.finished(run)
            assert not slow.is_complete
            caught_up = with_ids(await slow.rest())

        assert result["run"]["phase"] == "completed"
        text = [frame.json()["payload"]["delta"] for frame in caught_up if frame.event == "TextDeltaObserved"]
        assert text == [f"{index}.{part} " for index in range(20) for part in range(100)]
        assert len({frame.id for frame in caught_up}) == len(caught_up)
        assert site.counts.caught_up >= 1, f"more than {READER_BUFFER_EVENTS} events behind, it read the log"


@behaviour("SRV-025")
async def test_a_reader_that_takes_nothing_is_closed_at_the_limit_and_counted(store: Store, clock: ManualClock) -> None:
    speaker = Speaker()
    async with served(store, clock, agents={"speaker": speaker}) as site:
        run = await site.submit("speaker", "t")
        async with site.http.open("GET", f"/v1/runs/{run['run_id']}/stream", window=2) as stuck:
            await stuck.until("RunStarted")
            speaker.say(*"abc")
            await site.world.quiet()
            speaker.say(*"def")
            await site.world.quiet()
            await site.world.advance(29)
            assert site.counts.open_streams == 1
            await site.world.advance(31)
            assert (site.counts.open_streams, site.counts.stalled) == (0, 1)
            assert site.world.mailbox.reader_count == 0
            assert b"stream.end" not in await stuck.rest()
            assert not stuck.is_complete, "an answer that is left unfinished makes the server close the connection"

            last = with_ids(stuck.received)[-1].id or ""
        speaker.end()
        rest = await site.http.get(f"/v1/runs/{run['run_id']}/stream", headers={"last-event-id": last})
        text = [
            frame.json()["payload"]["delta"]
            for frame in (*with_ids(stuck.received), *with_ids(rest.body))
            if frame.event == "TextDeltaObserved"
        ]
        assert "".join(text) == "abcdef"


@behaviour("SRV-026")
async def test_a_stream_speaks_at_once_and_into_silence_only(store: Store, clock: ManualClock) -> None:
    speaker = Speaker()
    async with served(store, clock, agents={"speaker": speaker}) as site:
        await site.submit("speaker", "t")
        queued = await site.submit("talk", "t")
        async with site.http.open("GET", f"/v1/runs/{queued['run_id']}/stream") as stream:
            await site.world.quiet()
            first = await comments(stream)
            assert first[0] == "retry: 2000\n: connected"
            assert [block.split("\n")[0] for block in first[1:]] == ["event: stream.open", first[2].split("\n")[0]]

            for _ in range(3):
                await site.world.advance(5)
                speaker.say("the other run goes on, which this stream does not show")
                await site.world.quiet()
            assert await comments(stream) == [": ka"]
            await site.world.advance(14)
            assert await comments(stream) == []
            await site.world.advance(1)
            assert await comments(stream) == [": ka"]

            speaker.end()
            frames = with_ids(await stream.rest())
        assert frames[-1].event == "RunFinished"


@behaviour("SRV-026")
async def test_while_there_is_traffic_no_comment_is_sent(store: Store, clock: ManualClock) -> None:
    speaker = Speaker()
    async with served(store, clock, agents={"speaker": speaker}) as site:
        run = await site.submit("speaker", "t")
        async with site.http.open("GET", f"/v1/runs/{run['run_id']}/stream") as stream:
            for _ in range(10):
                await site.world.advance(10)
                speaker.say("on ")
                await site.world.quiet()
            speaker.end()
            assert b": ka" not in await stream.rest()


@behaviour("SRV-027")
async def test_a_thousand_readers_get_the_same_bytes_encoded_once(store: Store, clock: ManualClock) -> None:
    speaker = Speaker()
    async with served(store, clock, agents={"speaker": speaker}, settings=HttpSettings(max_requests=2000)) as site:
        run = await site.submit("speaker", "t")
        path = f"/v1/runs/{run['run_id']}/stream"
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(site.http.get(path)) for _ in range(1000)]
            short = group.create_task(site.http.get(f"{path}?include_deltas=false"))
            while site.world.mailbox.reader_count < 1001:
                await site.world.quiet()
            for _ in range(5):
                speaker.say("a ", "b ", "c ")
                await site.world.quiet()
            speaker.end()
        rows = await store.list_events(site.app.service.scope, ThreadId("t"), after=0, limit=1000)

        [body] = {reader.result().body for reader in readers}
        assert sum(frame.event == "TextDeltaObserved" for frame in with_ids(body)) == 15
        assert all("Delta" not in frame.event for frame in with_ids(short.result().body))
        assert site.app.service.streams.cache.encoded == 2 * len(rows)


@behaviour("SRV-029")
async def test_a_restart_closes_streams_without_an_end_and_they_resume_with_the_rest(
    store: Store, clock: ManualClock
) -> None:
    speaker = Speaker()
    async with served(store, clock, agents={"speaker": speaker}) as site:
        run = await site.submit("speaker", "t")
        async with site.http.open("GET", f"/v1/runs/{run['run_id']}/stream") as stream:
            speaker.say("before ")
            await stream.until("TextDeltaObserved")
            site.app.prepare_to_stop()
            before = await stream.rest()
            assert stream.is_complete
    assert before.endswith(b": restarting\n\n")
    assert b"stream.end" not in before

    again = Speaker()
    again.say("after")
    again.end()
    async with served(store, clock, agents={"speaker": again}) as site:
        last = with_ids(before)[-1].id or ""
        after = await site.http.get(f"/v1/runs/{run['run_id']}/stream", headers={"last-event-id": last})
        whole = await site.http.get(f"/v1/runs/{run['run_id']}/stream")

        assert all_frames(after.body)[-1].event == "stream.end"
        assert [*with_ids(before), *with_ids(after.body)] == with_ids(whole.body)
        kinds = [frame.event for frame in with_ids(after.body)]
        assert kinds.index("StreamReset") < kinds.index("RunResumed") < kinds.index("TextDeltaObserved")


@behaviour("SRV-030")
async def test_a_stop_closes_streams_at_once_and_hands_running_work_back(store: Store, clock: ManualClock) -> None:
    async with served(store, clock, mailbox=MailboxSettings(drain_s=5, handover_s=0)) as site:
        run = await site.submit("gated", "t")
        call = await site.world.agent.next_call()
        async with asyncio.TaskGroup() as group:
            async with (
                site.http.open("GET", "/v1/threads/t/stream") as watching,
                site.http.open("GET", f"/v1/runs/{run['run_id']}/wait") as waiting,
            ):
                await watching.until("stream.open")
                await site.world.quiet()
                stopping = group.create_task(_leave(site.world.mailbox))
                assert (await watching.rest()).endswith(b": restarting\n\n")
                await waiting.rest()
                assert (waiting.status, stopping.done(), call.is_over) == (202, False, False)
                assert int(waiting.headers["retry-after"]) > 0, "nobody asks over and over while it stops"
                refused = await site.http.post("/v1/runs", {"agent_id": "talk", "input": "too late"})
                assert (refused.status, refused.code) == (503, "stopping")
                assert (await site.http.get("/health/live")).status == 200
            await site.world.advance(5)
            await stopping
        assert call.is_over
        assert site.counts.open_streams == 0
    async with served(store, clock) as site:
        await site.world.agent.next_call()
        assert (await site.http.get(f"/v1/runs/{run['run_id']}")).json()["phase"] == "running"


async def _leave(mailbox: Any) -> None:
    await mailbox.__aexit__(None, None, None)


@behaviour("OS-004", "SRV-028")
async def test_a_reader_that_leaves_ends_its_stream_and_nothing_else(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        async with site.http.open("POST", "/v1/runs/stream", {"agent_id": "gated", "input": "hello"}) as stream:
            opened = (await stream.until("stream.open"))[-1].json()
            call = await site.world.agent.next_call()
        assert (site.counts.open_streams, site.world.mailbox.reader_count) == (0, 0)

        call.release("done")
        assert (await site.finished(opened))["output"] == "done"


async def test_a_stream_ends_its_life_without_an_end(memory: Store, clock: ManualClock) -> None:
    async with served(memory, clock, settings=HttpSettings(max_stream_life_s=20, keepalive_s=15)) as site:
        await site.http.post("/v1/threads", {"thread_id": "t"})
        async with site.http.open("GET", "/v1/threads/t/stream") as stream:
            await site.world.advance(19)
            assert stream.waiting()
            await site.world.advance(1)
            assert (await stream.rest()).endswith(b": ka\n\n")
            assert stream.is_complete


async def test_beyond_the_bound_of_streams_readers_are_sent_away(memory: Store, clock: ManualClock) -> None:
    async with served(memory, clock, settings=HttpSettings(max_streams=1)) as site:
        await site.http.post("/v1/threads", {"thread_id": "t"})
        async with site.http.open("GET", "/v1/threads/t/stream") as stream:
            await stream.until("stream.open")
            refused = await site.http.get("/v1/threads/t/stream")
            assert (refused.status, refused.code, refused.headers["retry-after"]) == (429, "too_many_streams", "1")
            assert (await site.http.get("/v1/threads")).status == 200
        async with site.http.open("GET", "/v1/threads/t/stream") as stream:
            await stream.until("stream.open")


class Failing(MemoryStore):
    """Fails to read events when told to."""

    error: Exception | None = None

    async def page_events(
        self, scope: Scope, thread_id: ThreadId, *, after: int, limit: int, run_id: RunId | None = None
    ) -> Page[EventRow]:
        if self.error is not None:
            raise self.error
        return await super().page_events(scope, thread_id, after=after, limit=limit, run_id=run_id)


@pytest.mark.parametrize(
    ("error", "code"), [(StoreUnavailable("gone"), "store_unavailable"), (ZeroDivisionError(), "internal")]
)
async def test_a_failure_after_the_first_byte_is_a_frame(clock: ManualClock, error: Exception, code: str) -> None:
    store = Failing(clock)
    async with served(store, clock) as site:
        run = await site.submit("talk", "t")
        await site.finished(run)
        store.error = error
        answer = await site.http.get(f"/v1/runs/{run['run_id']}/stream")

        assert answer.status == 200
        last = all_frames(answer.body)[-1]
        assert (last.event, last.json()["code"]) == ("stream.error", code)
        assert last.json()["request_id"] == answer.headers["x-request-id"]


async def test_what_is_ready_together_is_sent_together_up_to_a_size(memory: Store, clock: ManualClock) -> None:
    speaker = Speaker()
    settings = HttpSettings(chunk_bytes=16_384)
    async with served(memory, clock, agents={"speaker": speaker}, settings=settings) as site:
        run = await site.submit("speaker", "t")
        for _ in range(60):
            speaker.say("x" * 1000)
            await site.world.advance(WRITE_BUFFER_WAIT_S)
        speaker.end()
        await site.finished(run)
        async with site.http.open("GET", f"/v1/runs/{run['run_id']}/stream") as stream:
            sizes: list[int] = []
            while (part := await stream.read()) is not None:
                if b"event: TextDeltaObserved" in part:
                    sizes.append(len(part))

        assert sum(sizes) > 60_000
        assert max(sizes) <= 16_384
        assert len(sizes) < 8
