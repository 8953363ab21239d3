"""Streams cut and taken up again: nothing missing, nothing twice, and the same bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awaken.domain.event import ActivitySnapshot, Event
from awaken.executors.function import Context
from awaken.mailbox.settings import MailboxSettings
from awaken.store.contract import Store
from awaken.store.memory import MemoryStore
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from tests.http.asgi import Frame, all_frames
from tests.http.site import Site, served


async def varied(context: Context) -> AsyncIterator[str | Event]:
    """Several commits, deltas between them, text that is hard to frame."""
    for index in range(3):
        yield f"Zeile {index}\n\nid: 1\ndata: ü \U0001f600\r\n"
        await context.step("look", lambda: {"found": [1, 2]})
        yield ActivitySnapshot("a", "progress", {"percent": 30 * index})


class Speaker:
    """An agent that says what the test tells it to, when the test tells it to."""

    def __init__(self) -> None:
        self._texts: asyncio.Queue[str | None] = asyncio.Queue()

    async def __call__(self, context: Context) -> None:
        while (text := await self._texts.get()) is not None:
            await context.emit(text)

    def say(self, *texts: str) -> None:
        for text in texts:
            self._texts.put_nowait(text)

    def end(self) -> None:
        self._texts.put_nowait(None)


def with_ids(body: bytes) -> list[Frame]:
    return [frame for frame in all_frames(body) if frame.id is not None]


async def recorded(site: Site, run: Any, *, thread_id: str | None = None) -> bytes:
    """The whole stream of a run that has ended."""
    return (await site.http.get(f"/v1/runs/{run['run_id']}/stream?channels={ALL}")).body


ALL = "activity,debug,lifecycle,mailbox,messages,other,state,tools,usage"


@behaviour("SRV-020", "OS-004")
async def test_cut_anywhere_and_resumed_a_stream_is_the_uncut_one(store: Store, clock: ManualClock) -> None:
    async with served(store, clock, agents={"varied": varied}) as site:
        await site.submit("talk", "t")
        async with site.http.open("POST", f"/v1/threads/t/runs/stream?channels={ALL}", _ask("varied")) as live:
            uncut = await live.rest()
        assert with_ids(uncut), "something to cut"
        run = {"run_id": all_frames(uncut)[0].json()["run_id"]}
        rests: dict[str, list[Frame]] = {"": with_ids(uncut)}
        for frame in with_ids(uncut):
            assert frame.id is not None
            answer = await site.http.get(
                f"/v1/runs/{run['run_id']}/stream?channels={ALL}", headers={"last-event-id": frame.id}
            )
            assert answer.status == 204 or all_frames(answer.body)[-1].event == "stream.end"
            rests[frame.id] = with_ids(answer.body)

        for offset in range(len(uncut) + 1):
            before = with_ids(uncut[:offset])
            last = before[-1].id if before else ""
            assert [*before, *rests[last or ""]] == with_ids(uncut), offset


@behaviour("SRV-020", "PR-001", "PR-002", "PR-003", "PR-004", "PR-005", "PR-006", "PR-007")
@behaviour("PR-008", "PR-009", "PR-010", "PR-011", "PR-012", "PR-013", "PR-014")
async def test_live_resumed_and_paged_an_event_has_the_same_bytes(store: Store, clock: ManualClock) -> None:
    speaker = Speaker()
    async with served(store, clock, agents={"speaker": speaker}) as site:
        async with site.http.open("POST", "/v1/runs/stream", _ask("speaker")) as live:
            speaker.say("one ", "two ")
            await live.until("TextDeltaObserved")
            await site.world.quiet()
            speaker.say("three")
            speaker.end()
            body = await live.rest()
        run_id = all_frames(body)[0].json()["run_id"]
        again = (await site.http.get(f"/v1/runs/{run_id}/events/stream")).body
        page = (await site.http.get(f"/v1/runs/{run_id}/events?limit=200")).body

        assert with_ids(again) == with_ids(body)
        items = ",".join(frame.data for frame in with_ids(body))
        assert page.startswith(b'{"items":[' + items.encode() + b'],"has_more":false')


@behaviour("SRV-020")
async def test_a_threads_stream_resumes_across_runs_and_from_a_runs_cursor(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        runs = [await site.submit("talk", "t") for _ in range(3)]
        await site.finished(runs[-1])
        everything: list[Any] = []
        cursor = ""
        while True:
            page = (await site.http.get(f"/v1/threads/t/events?limit=7{cursor}")).json()
            everything += page["items"]
            cursor = f"&cursor={page['next_cursor']}"
            if not page["has_more"]:
                break
        frames = with_ids(await recorded(site, runs[1]))
        middle = frames[len(frames) // 2].id or ""

        async with site.http.open("GET", f"/v1/threads/t/stream?cursor={middle}") as stream:
            rest = [frame.id for frame in await stream.until("RunFinished") if frame.id is not None]
        cursors = [event["cursor"] for event in everything]
        start = cursors.index(middle) + 1
        assert rest == cursors[start : start + len(rest)]


@behaviour("SRV-022")
@given(
    said=st.integers(0, 30),
    later=st.integers(0, 30),
    start=st.one_of(st.none(), st.integers(0, 40)),
    deltas=st.booleans(),
)
async def test_whenever_a_reader_attaches_it_misses_nothing_and_sees_nothing_twice(
    said: int, later: int, start: int | None, deltas: bool
) -> None:
    clock, speaker = ManualClock(), Speaker()
    async with served(MemoryStore(clock), clock, agents={"speaker": speaker}) as site:
        run = await site.submit("speaker", "t")
        speaker.say(*(f"{index}." for index in range(said)))
        await site.world.quiet()
        newest = int((await site.http.get("/v1/threads/t")).json()["cursor"].rpartition(".")[2])
        prefix = run["cursor"].rpartition(".")[0]
        after = 0 if start is None else min(start, newest)
        where = "" if start is None else f"&cursor={prefix}.{after}"
        path = f"/v1/runs/{run['run_id']}/stream?include_deltas={str(deltas).lower()}{where}"
        speaker.say(*(f"{index}." for index in range(said, said + later)))
        async with site.http.open("GET", path) as stream:
            speaker.end()
            found = with_ids(await stream.rest())

        whole = (await site.http.get("/v1/threads/t/events?limit=200")).json()["items"]
        assert [event["payload"]["delta"] for event in whole if event["kind"] == "TextDeltaObserved"] == [
            f"{index}." for index in range(said + later)
        ]
        wanted = [
            event
            for event in whole
            if int(event["cursor"].rpartition(".")[2]) > after and (deltas or event["kind"] != "TextDeltaObserved")
        ]
        assert [frame.json() for frame in found] == wanted


@behaviour("SRV-022")
async def test_many_readers_that_attach_during_a_burst_see_all_of_it(store: Store, clock: ManualClock) -> None:
    speaker = Speaker()
    async with served(store, clock, agents={"speaker": speaker}) as site:
        run = await site.submit("speaker", "t")
        path = f"/v1/runs/{run['run_id']}/stream?channels={ALL}"
        async with asyncio.TaskGroup() as group:
            readers: list[asyncio.Task[Any]] = []
            for index in range(40):
                speaker.say(*(f"{index}.{part}" for part in range(25)))
                readers.append(group.create_task(site.http.get(path)))
                await asyncio.sleep(0)
            speaker.end()
        bodies = {reader.result().body for reader in readers}

        assert {tuple(frame.raw for frame in with_ids(body)) for body in bodies} == {
            tuple(frame.raw for frame in with_ids(await recorded(site, run)))
        }
        text = [frame.json()["payload"]["delta"] for frame in with_ids(bodies.pop()) if "Delta" in frame.event]
        assert text == [f"{index}.{part}" for index in range(40) for part in range(25)]


@behaviour("SRV-023")
async def test_a_cursor_of_another_thread_and_one_that_is_none_are_refused(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        run, other = await site.submit("talk", "t"), await site.submit("talk", "u")
        await site.finished(run)
        await site.finished(other)
        paths = ("/v1/threads/t/stream", f"/v1/runs/{run['run_id']}/stream", "/v1/threads/t/events")
        for path in paths:
            foreign = await site.http.get(f"{path}?cursor={other['cursor']}")
            assert (foreign.status, foreign.code) == (422, "cursor_mismatch")
            for broken in ("", "7", run["cursor"] + "x", run["cursor"].replace("1.t", "2.t"), "1.t.00000000.-1"):
                malformed = await site.http.get(f"{path}?cursor={broken}")
                assert (malformed.status, malformed.code) == (422, "invalid_request"), broken
        for path in paths[:2]:
            for header, code in ((other["cursor"], "cursor_mismatch"), ("nonsense", "invalid_request")):
                answer = await site.http.get(path, headers={"last-event-id": header})
                assert (answer.status, answer.code) == (422, code)


@behaviour("SRV-023")
async def test_a_place_beyond_the_end_is_gone_when_asked_for_and_mended_on_reconnecting(
    store: Store, clock: ManualClock
) -> None:
    async with served(store, clock) as site:
        run = await site.submit("talk", "t")
        await site.finished(run)
        prefix = run["cursor"].rpartition(".")[0]
        future = f"{prefix}.999"
        for path in (f"/v1/runs/{run['run_id']}/stream", "/v1/threads/t/stream", "/v1/threads/t/events"):
            gone = await site.http.get(f"{path}?cursor={future}")
            assert (gone.status, gone.code, gone.json()["oldest_cursor"]) == (410, "cursor_expired", f"{prefix}.0")

        mended = all_frames(
            (await site.http.get(f"/v1/runs/{run['run_id']}/stream", headers={"last-event-id": future})).body
        )
        assert [frame.event for frame in mended] == ["stream.open", "stream.resync", "stream.end"]
        state = mended[1].json()
        assert (state["run"]["phase"], state["cursor"]) == ("completed", mended[0].json()["cursor"])

        async with site.http.open("GET", "/v1/threads/t/stream", headers={"last-event-id": future}) as stream:
            resync = (await stream.until("stream.resync"))[-1]
            assert (resync.id, resync.json()["thread"]["thread_id"]) == (resync.json()["cursor"], "t")
            later = await site.submit("talk", "t")
            first = (await stream.until("RunQueued"))[-1]
            assert (first.json()["run_id"], resync.json()["cursor"]) == (later["run_id"], f"{prefix}.{_seq(first) - 1}")


@behaviour("SRV-023", "RE-004", "OS-004")
async def test_a_place_that_retention_has_removed_is_gone_when_asked_for_and_mended_on_reconnecting(
    store: Store, clock: ManualClock
) -> None:
    async with served(store, clock, mailbox=MailboxSettings(event_retention_s=60)) as site:
        old = await site.submit("talk", "t")
        await site.finished(old)
        await site.world.advance(180)
        new = await site.submit("talk", "t")
        await site.finished(new)
        prefix = old["cursor"].rpartition(".")[0]
        events = (await site.http.get("/v1/threads/t/events?limit=200")).json()["items"]
        assert {event["run_id"] for event in events} == {new["run_id"]}
        removed = f"{prefix}.1"
        oldest = f"{prefix}.{int(events[0]['cursor'].rpartition('.')[2]) - 1}"
        for path in ("/v1/threads/t/stream", "/v1/threads/t/events", f"/v1/runs/{new['run_id']}/stream"):
            gone = await site.http.get(f"{path}?cursor={removed}")
            assert (gone.status, gone.code, gone.json()["oldest_cursor"]) == (410, "cursor_expired", oldest)
        kept = (await site.http.get(f"/v1/threads/t/events?limit=200&cursor={oldest}")).json()["items"]
        assert kept == events

        async with site.http.open("GET", "/v1/threads/t/stream", headers={"last-event-id": removed}) as stream:
            resync = (await stream.until("stream.resync"))[-1]
            assert (resync.id, resync.json()["thread"]["thread_id"]) == (resync.json()["cursor"], "t")
            assert resync.json()["cursor"] == events[-1]["cursor"]


@behaviour("SRV-024")
async def test_an_id_that_a_reader_has_seen_can_be_read_back_from_elsewhere(store: Store, clock: ManualClock) -> None:
    speaker = Speaker()
    async with served(store, clock, agents={"speaker": speaker}) as site:
        run = await site.submit("speaker", "t")
        seen = 0
        async with site.http.open("GET", f"/v1/runs/{run['run_id']}/stream") as stream:
            speaker.say("a", "b", "c")
            speaker.end()
            async for frame in stream.frames():
                if frame.id is None:
                    continue
                assert (await store.event_bounds(site.app.service.scope, _thread("t")))[1] >= _seq(frame)
                before = f"{frame.id.rpartition('.')[0]}.{_seq(frame) - 1}"
                [event] = (await site.http.get(f"/v1/threads/t/events?limit=1&cursor={before}")).json()["items"]
                assert event == frame.json()
                seen += 1
        assert seen >= 8


@behaviour("SRV-024")
async def test_frames_that_are_not_in_the_log_have_no_id(memory: Store, clock: ManualClock) -> None:
    async with served(memory, clock) as site:
        frames = all_frames((await site.http.post("/v1/runs/stream", _ask("talk"))).body)

        assert {frame.event for frame in frames if frame.id is None} == {"stream.open", "stream.end"}
        assert all(frame.id == frame.json()["cursor"] for frame in frames if frame.id is not None)


# --- browsers ---------------------------------------------------------------------------------------------------------


class EventSource:
    """A browser's: one address, the last id it saw, and back again whenever the connection closes, until something else
    than an event stream is answered.
    """

    def __init__(self, site: Site, path: str) -> None:
        self._site = site
        self._path = path
        self.last_id: str | None = None
        self.seen: list[Frame] = []

    async def connect(self, *, until: str | None = None) -> int:
        """Follow one connection to its end, or to an event; the status of the answer."""
        headers = {"accept": "text/event-stream", **({"last-event-id": self.last_id} if self.last_id else {})}
        async with self._site.http.open("GET", self._path, headers=headers) as stream:
            async for frame in stream.frames():
                self.last_id = frame.id or self.last_id
                self.seen.append(frame)
                if frame.event == until:
                    break
            return stream.status

    @property
    def text(self) -> list[str]:
        return [frame.json()["payload"]["delta"] for frame in self.seen if frame.event == "TextDeltaObserved"]


@behaviour("WEB-001")
@pytest.mark.parametrize("with_cursor", [False, True])
async def test_a_browser_that_is_cut_off_again_and_again_sees_everything_once_and_stops_at_the_end(
    store: Store, clock: ManualClock, with_cursor: bool
) -> None:
    """Its address never changes, so the cursor in it is older than what it saw."""
    speaker = Speaker()
    async with served(store, clock, agents={"speaker": speaker}) as site:
        run = await site.submit("speaker", "t")
        browser = EventSource(
            site, f"/v1/runs/{run['run_id']}/stream" + (f"?cursor={run['cursor']}" if with_cursor else "")
        )
        for word in ("one", "two", "three"):
            speaker.say(word)
            await site.world.advance(1)  # what an agent says may wait a little for more
            assert await browser.connect(until="TextDeltaObserved") == 200
        speaker.end()
        assert [await browser.connect(), await browser.connect()] == [200, 204]

        assert browser.text == ["one", "two", "three"]
        ids = [frame.id for frame in browser.seen if frame.id is not None]
        assert len(ids) == len(set(ids))
        assert [frame.event for frame in browser.seen][-1] == "stream.end"


@behaviour("WEB-001")
@pytest.mark.parametrize("query", ["?channels=messages", "?include_deltas=false&channels=messages", "?until=done"])
async def test_the_end_is_known_to_whoever_was_shown_a_part_only(memory: Store, clock: ManualClock, query: str) -> None:
    """The last event it saw is not the run's last, and there is nothing more for it all the same."""
    async with served(memory, clock) as site:
        run = await site.submit("talk", "t")
        await site.finished(run)
        browser = EventSource(site, f"/v1/runs/{run['run_id']}/stream{query}")
        assert [await browser.connect(), await browser.connect()] == [200, 204]
        browser.last_id = run["cursor"]
        assert [await browser.connect(), await browser.connect()] == [200, 204], "something was left for it"


@behaviour("WEB-001")
async def test_a_first_request_is_never_answered_with_nothing(memory: Store, clock: ManualClock) -> None:
    """Whoever asks for the first time learns how the run ended, wherever it begins."""
    async with served(memory, clock) as site:
        run = await site.submit("talk", "t")
        end = (await site.finished(run))["run"]["cursor"]
        for headers in ({}, {"last-event-id": ""}):
            answer = await site.http.get(f"/v1/runs/{run['run_id']}/stream?cursor={end}", headers=headers)
            assert [frame.event for frame in all_frames(answer.body)] == ["stream.open", "stream.end"]


@behaviour("WEB-001", "SRV-023")
async def test_a_browser_whose_place_is_lost_is_mended_once(memory: Store, clock: ManualClock) -> None:
    async with served(memory, clock) as site:
        run = await site.submit("talk", "t")
        await site.finished(run)
        browser = EventSource(site, f"/v1/runs/{run['run_id']}/stream")
        browser.last_id = f"{run['cursor'].rpartition('.')[0]}.999"
        assert [await browser.connect(), await browser.connect()] == [200, 204]
        assert [frame.event for frame in browser.seen if frame.event != ":"].count("stream.resync") == 1


@behaviour("WEB-002")
async def test_what_readers_take_for_the_end_of_a_line_is_escaped(memory: Store, clock: ManualClock) -> None:
    said = "a\u2028b\u2029c\x85d\x0be\x1cf — “g”"

    async def odd(context: Context) -> str:
        return said

    async with served(memory, clock, agents={"odd": odd}) as site:
        thread = await site.http.post("/v1/threads", {"thread_id": "t", "title": said})
        assert thread.json()["title"] == said
        run = await site.submit("odd", "t")
        await site.finished(run)
        body = await recorded(site, run)
        page = (await site.http.get("/v1/threads/t/events")).body
        lost = {"last-event-id": f"{run['cursor'].rpartition('.')[0]}.999"}
        async with site.http.open("GET", "/v1/threads/t/stream", headers=lost) as stream:
            await stream.until("stream.resync")
            body += stream.received
        for raw in (body.decode(), page.decode()):
            assert raw.splitlines() == raw.removesuffix("\n").split("\n")
            assert "\\u2028" in raw
        [answer] = [frame.json() for frame in with_ids(body) if frame.event == "MessageCommitted"][1:]
        assert answer["payload"]["content_blocks"][0]["text"] == said
        assert said in [json.loads(frame.data).get("thread", {}).get("title") for frame in all_frames(body)]


async def test_a_thread_is_watched_from_now_unless_told_otherwise(memory: Store, clock: ManualClock) -> None:
    async with served(memory, clock) as site:
        await site.finished(await site.submit("talk", "t"))
        async with (
            site.http.open("GET", "/v1/threads/t/events/stream") as now,
            site.http.open("GET", "/v1/threads/t/events/stream?since=start&until=forever") as start,
        ):
            first = (await start.until("RunFinished"))[2]
            assert (first.event, _seq(first)) == ("RunQueued", 1)
            await now.until("stream.open")
            later = await site.submit("talk", "t")
            assert (await now.until("RunQueued"))[-1].json()["run_id"] == later["run_id"]


async def test_channels_kinds_and_deltas_choose_what_is_shown(memory: Store, clock: ManualClock) -> None:
    async with served(memory, clock, agents={"varied": varied}) as site:
        run = await site.submit("varied", "t")
        await site.finished(run)
        path = f"/v1/runs/{run['run_id']}"

        async def kinds(query: str) -> list[str]:
            frames = with_ids((await site.http.get(f"{path}/stream{query}")).body)
            return [frame.event for frame in frames]

        whole = await kinds(f"?channels={ALL}")
        assert await kinds("") == [kind for kind in whole if not kind.startswith("Step")]
        assert await kinds("?include_deltas=false&channels=messages") == ["MessageCommitted"] * 2
        assert await kinds("?channels=lifecycle") == ["RunStarted", "RunFinished"]
        assert await kinds("?channels=activity,debug") == [
            kind for kind in whole if kind.startswith(("Activity", "Step"))
        ]
        page = (await site.http.get(f"{path}/events?kinds=StepStarted,RunFinished")).json()
        assert [event["kind"] for event in page["items"]] == [*["StepStarted"] * 4, "RunFinished"]
        for query in (
            "/stream?channels=news",
            "/events?kinds=RunFinnished",
            "/events?channels=",
            "/stream?until=forever",
        ):
            assert (await site.http.get(path + query)).status == 422, query


def _ask(agent_id: str) -> dict[str, Any]:
    return {"agent_id": agent_id, "input": "hello"}


def _seq(frame: Frame) -> int:
    assert frame.id is not None
    return int(frame.id.rpartition(".")[2])


def _thread(thread_id: str) -> Any:
    return thread_id
