"""Streams of another protocol over one log: whole, resumed, joined, shared, and ended where a turn ends."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from starlette.responses import Response

from awaken.domain.cursor import event_seq
from awaken.domain.ids import RunId
from awaken.domain.run import Adapter
from awaken.http.frames import FrameCache
from awaken.http.operation import Call, Operation
from awaken.protocols.contract import Frames, LogEvent, frame
from awaken.protocols.gateway import Gateway
from awaken.protocols.projection import Place, Projection, fed_with
from awaken.protocols.turn_index import TurnIndex
from awaken.testing.agents import memory_app
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock, settle
from awaken.testing.protocols import seen_run
from awaken.testing.scripted import add_scripted
from tests.protocols.plain import PLAIN_OPERATIONS, PlainEncoder
from tests.protocols.site import ProtocolSite, cuts, frames_in, protocol_served, protocol_site, without_beginning


def said(text: str, id: str = "", role: str = "user") -> dict[str, str]:
    return {"role": role, "text": text, "id": id}


async def chat(site: ProtocolSite, agent: str, thread_id: str, *messages: Any, **more: Any) -> bytes:
    body = {"id": thread_id, "agentId": agent, "messages": [*messages] or [said("Go on.", "m1")], **more}
    answer = await site.http.post("/plain/chat", body)
    assert answer.status == 200, answer
    return answer.body


def kinds(body: bytes) -> list[str]:
    return [each.json()["type"] for each in frames_in(body) if each.data != '"[DONE]"']


async def test_a_turn_is_streamed_from_its_acceptance_to_its_end() -> None:
    async with asyncio.timeout(30), protocol_site(PLAIN_OPERATIONS) as site:
        found = kinds(await chat(site, "text", "t"))
    assert found == ["start", "text", *["delta"] * 5, "end"]


async def test_what_was_not_streamed_comes_whole() -> None:
    async with asyncio.timeout(30), protocol_site(PLAIN_OPERATIONS) as site:
        body = await chat(site, "text-whole", "t")
    assert kinds(body) == ["start", "text", "delta", "end"]
    assert frames_in(body)[2].json()["text"] == "Hello there. All is well."


@behaviour("SRV-020")
@pytest.mark.parametrize("agent", ["text", "tool", "retried", "failing"])
async def test_cut_behind_any_frame_and_resumed_it_is_the_uncut_stream(agent: str) -> None:
    async with asyncio.timeout(60), protocol_site(PLAIN_OPERATIONS) as site:
        whole = await chat(site, agent, "t")
        uncut = without_beginning(whole)
        for seen, id in cuts(whole):
            answer = await site.http.get("/plain/t/stream", headers={"last-event-id": id})
            rest = b"" if answer.status == 204 else without_beginning(answer.body)
            assert seen + rest == uncut, id


@behaviour("SRV-020")
async def test_resumed_after_a_restart_it_is_the_uncut_stream_still() -> None:
    """Nothing that an encoder knew is needed: another server has only the log."""
    async with asyncio.timeout(60), protocol_site(PLAIN_OPERATIONS) as site:
        whole = await chat(site, "parallel", "t")
        for seen, id in cuts(whole)[::3]:
            site.served.service.streams.cache.clear()
            answer = await site.http.get("/plain/t/stream", headers={"last-event-id": id})
            rest = b"" if answer.status == 204 else without_beginning(answer.body)
            assert seen + rest == without_beginning(whole), id


async def test_a_run_that_waits_ends_the_stream_and_a_decision_begins_the_next_turn() -> None:
    async with asyncio.timeout(30), protocol_site(PLAIN_OPERATIONS) as site:
        first = await chat(site, "approval", "t")
        end = frames_in(first)[-2].json()
        assert (end["outcome"], end["waits"]) == ("waiting", "approval")
        assert (await site.http.get("/plain/t/stream")).status == 204, "nothing is under way"

        second = await chat(site, "approval", "t", said("Go on.", "m1"), yes=end["tickets"])

        assert kinds(second)[:2] == ["start", "result"]
        assert frames_in(second)[0].json()["turn"] == 2
        assert frames_in(second)[-2].json()["outcome"] == "finished"
        again = await chat(site, "approval", "t", said("Go on.", "m1"), yes=end["tickets"])
        assert kinds(again) == ["start", "end"], "it was decided before: nothing is new, and nothing under way"


@behaviour("SRV-020")
async def test_each_turn_resumes_by_itself() -> None:
    async with asyncio.timeout(60), protocol_site(PLAIN_OPERATIONS) as site:
        first = await chat(site, "mixed", "t")
        tickets = frames_in(first)[-2].json()["tickets"]
        for body in (first,):
            for seen, id in cuts(body):
                answer = await site.http.get("/plain/t/stream", headers={"last-event-id": id})
                rest = b"" if answer.status == 204 else without_beginning(answer.body)
                assert seen + rest == without_beginning(body)
        assert len(tickets) == 2


async def test_a_run_that_waits_for_its_child_is_at_work() -> None:
    async with asyncio.timeout(30), protocol_site(PLAIN_OPERATIONS) as site:
        body = await chat(site, "child", "t")
    assert kinds(body).count("start") == 1
    assert frames_in(body)[-2].json()["outcome"] == "finished"


@behaviour("SRV-027")
async def test_one_encoder_serves_all_readers_of_a_run() -> None:
    async with asyncio.timeout(30), protocol_site(PLAIN_OPERATIONS) as site:
        whole = await chat(site, "long", "t")
        start = cuts(whole)[0][1]
        cache = site.served.service.streams.cache
        before = cache.encoded
        rest = [await site.http.get("/plain/t/stream", headers={"last-event-id": start}) for _ in range(5)]
        assert len({each.body for each in rest}) == 1
        assert cache.encoded - before <= 1, "a piece of the first row at most"


@behaviour("SRV-027")
async def test_readers_that_come_back_at_once_have_the_log_read_once() -> None:
    async with asyncio.timeout(30), protocol_site(PLAIN_OPERATIONS) as site:
        whole = await chat(site, "long", "t")
        id = cuts(whole)[200][1]
        cache = site.served.service.streams.cache
        cache.clear()
        before = cache.encoded
        answers = await asyncio.gather(
            *[site.http.get("/plain/t/stream", headers={"last-event-id": id}) for _ in range(20)]
        )
        rows = cache.encoded - before
        assert len({each.body for each in answers}) == 1
        cache.clear()
        before = cache.encoded
        await site.http.get("/plain/t/stream", headers={"last-event-id": id})
        assert cache.encoded - before == rows


async def test_who_joins_is_shown_what_there_is_and_then_the_rest() -> None:
    gate = asyncio.Event()

    async def speaker(context: Any) -> Any:
        yield "one "
        yield "two "
        await gate.wait()
        yield "three"

    async with asyncio.timeout(30), protocol_site(PLAIN_OPERATIONS, speaker=speaker) as site:
        body = {"id": "t", "agentId": "speaker", "messages": [said("Go on.", "m1")]}
        async with site.http.open("POST", "/plain/chat", body) as first:
            async for each in first.frames():
                if "two" in each.data:
                    break
            async with site.http.open("GET", "/plain/t/join") as second:
                joined = [await anext(aiter_frames) for aiter_frames in [second.frames()] for _ in range(1)]
                gate.set()
                rest = await second.rest()
        assert joined[0].event == ":" or joined[0].id is None
        found = [each.json() for each in frames_in(rest) if each.data != '"[DONE]"']
        assert [each["type"] for each in found] == ["so-far", "delta", "end"]
        assert found[0]["text"] + found[1]["text"] == "one two three"
        assert frames_in(rest)[0].id is None, "what depends on the moment has no place"


async def test_an_encoder_is_told_what_was_said_before_its_run() -> None:
    async with asyncio.timeout(30), protocol_site(PLAIN_OPERATIONS) as site:
        assert frames_in(await chat(site, "text", "t"))[-2].json()["read"] == 0
        assert frames_in(await chat(site, "text", "t", said("And?", "m2")))[-2].json()["read"] == 2
        assert PlainEncoder.is_opened > 0


async def test_turns_that_were_found_are_not_looked_for_again() -> None:
    async with asyncio.timeout(30), protocol_site(PLAIN_OPERATIONS) as site:
        first = await chat(site, "approval", "t")
        reads: Any = _Counted(site.app.store)
        index, scope = TurnIndex(max_runs=1), site.app.scope
        run = await site.app.mailbox.get_run(scope, RunId((await runs(site, "t"))[0]))

        assert [turn.number for turn in await index.turns_of(reads, scope, run)] == [1]
        await chat(site, "approval", "t", yes=frames_in(first)[-2].json()["tickets"])
        turns = await index.turns_of(reads, scope, run)

        assert [(turn.number, turn.ending.outcome if turn.ending else None) for turn in turns] == [
            (1, "waiting"),
            (2, "finished"),
        ]
        assert turns[1].after >= (turns[0].last_seq or 0)
        assert reads.afters == sorted(set(reads.afters)), "no page was read twice"
        await chat(site, "text", "u")
        other = await site.app.mailbox.get_run(scope, RunId((await runs(site, "u"))[0]))
        await index.turns_of(reads, scope, other)
        await index.turns_of(reads, scope, run)
        assert reads.afters[-1] == reads.afters[0], "only so many runs are kept"


async def runs(site: ProtocolSite, thread_id: str) -> list[str]:
    listed = await site.http.get(f"/v1/threads/{thread_id}/runs")
    return [each["run_id"] for each in listed.json()["items"]]


class _Counted:
    """Notes which pages of events are read."""

    def __init__(self, reads: Any) -> None:
        self._reads = reads
        self.afters: list[int] = []

    async def page_events(self, scope: Any, thread_id: Any, *, after: int, **more: Any) -> Any:
        self.afters.append(after)
        return await self._reads.page_events(scope, thread_id, after=after, **more)


# --- leaving ----------------------------------------------------------------------------------------------------------


@behaviour("SRV-028")
@pytest.mark.parametrize(("leaving", "becomes"), [("continue", "running"), ("cancel", "done")])
async def test_who_leaves_stops_nothing_unless_the_run_was_asked_for_so(leaving: str, becomes: str) -> None:
    clock = ManualClock()

    async def speaker(context: Any) -> Any:
        yield "one"
        await asyncio.Event().wait()

    async with asyncio.timeout(30), protocol_site(PLAIN_OPERATIONS, clock=clock, speaker=speaker) as site:
        body = {"id": "t", "agentId": "speaker", "messages": [said("Go on.", "m1")], "leaving": leaving}
        async with site.http.open("POST", "/plain/chat", body) as stream:
            async for each in stream.frames():
                if "one" in each.data:
                    break
        await settle()
        await clock.advance(11)
        [run_id] = await runs(site, "t")
        if leaving == "cancel":
            await site.app.mailbox.wait(site.app.scope, RunId(run_id))
        assert (await site.http.get(f"/v1/runs/{run_id}")).json()["status"] == becomes


@behaviour("SRV-029")
async def test_a_server_that_stops_ends_no_turn_and_the_rest_comes_later() -> None:
    gate = asyncio.Event()

    async def speaker(context: Any) -> Any:
        yield "one"
        await gate.wait()
        yield "two"

    async with asyncio.timeout(30), protocol_site(PLAIN_OPERATIONS, speaker=speaker) as site:
        body = {"id": "t", "agentId": "speaker", "messages": [said("Go on.", "m1")]}
        async with site.http.open("POST", "/plain/chat", body) as stream:
            async for each in stream.frames():
                if "one" in each.data:
                    break
            site.served.prepare_to_stop()
            cut = without_beginning(await stream.rest())
        assert cut.endswith(b": restarting\n\n")
        seen = cut.removesuffix(b": restarting\n\n")
        assert kinds(seen) == ["start", "text", "delta"]

        gate.set()
        again = protocol_served(site)
        last = frames_in(seen)[-1].id or ""
        rest = without_beginning((await again.get("/plain/t/stream", headers={"last-event-id": last})).body)
        assert kinds(rest) == ["delta", "end"]


async def test_a_run_whose_log_is_gone_ends_with_an_error() -> None:
    """What retention has removed cannot be shown any more, and is no stream without an end."""
    async with asyncio.timeout(30), memory_app() as app:
        add_scripted(app)
        seen = await seen_run(app, "text")
        projection = Projection(
            PlainEncoder, seen.run, seen.opened, Place(seen.run.first_event_seq - 1), app.store, FrameCache(10_000)
        )
        assert frames_in(projection.close("done"))[-1].json() == {"type": "error", "code": "run_not_found"}
        assert projection.close("expired") == b""


# --- threads ----------------------------------------------------------------------------------------------------------


async def followed(site: ProtocolSite, count: int, after: str = "") -> bytes:
    """So many frames of everything on the thread."""
    headers = {"last-event-id": after} if after else {}
    async with site.http.open("GET", "/plain/t/all", headers=headers) as stream:
        async for each in stream.frames():
            count -= each.event != ":" and bool(each.data)
            if not count:
                break
        return without_beginning(stream.received)


async def test_a_thread_is_followed_through_its_runs_and_resumed_anywhere() -> None:
    async with asyncio.timeout(60), protocol_site(PLAIN_OPERATIONS) as site:
        first = await chat(site, "approval", "t")
        second = await chat(site, "approval", "t", yes=frames_in(first)[-2].json()["tickets"])
        third = await chat(site, "text", "t", said("And?", "m2"))
        whole = b"".join(without_beginning(body) for body in (first, second, third))
        count = len(frames_in(whole))

        assert await followed(site, count) == whole
        for seen, id in cuts(whole)[:-1:2]:
            site.served.service.streams.cache.clear()
            assert seen + await followed(site, count - len(frames_in(seen)), id) == whole


async def test_of_a_thread_and_of_its_run_one_encoding_serves_both() -> None:
    async with asyncio.timeout(30), protocol_site(PLAIN_OPERATIONS) as site:
        whole = without_beginning(await chat(site, "text", "t"))
        before = site.served.service.streams.cache.encoded
        assert await followed(site, len(frames_in(whole))) == whole
        assert site.served.service.streams.cache.encoded == before


async def test_a_run_is_read_as_a_stream_would_have_said_it() -> None:
    """For whoever waits for the end, and takes no stream."""
    async with asyncio.timeout(30), memory_app() as app:
        add_scripted(app)
        await seen_run(app, "text", thread_id="t")
        seen = await seen_run(app, "tool", thread_id="t")
        cache = FrameCache(1_000_000)
        encoder = await fed_with(PlainEncoder, seen.run, seen.opened, app.store, cache)
        assert encoder.is_over
        assert (len(encoder.history), cache.encoded) == (2, 0)


# --- state ------------------------------------------------------------------------------------------------------------


class Stateful(PlainEncoder):
    """Begins with the state."""

    dialect = "stateful"
    wants_state = True

    def opens(self, event: LogEvent) -> Frames:
        state = self.opened.state
        return (frame({"type": "start", "state": None if state is None else state.values}),)


async def test_a_stream_begins_with_the_state_and_brings_what_changes_after_it() -> None:
    """A late reader is shown the state as it is, and none of the changes in it. One who resumes gets them all."""

    async def watch(call: Call) -> Response:
        gateway = Gateway(call, Adapter.HTTP)
        run = await call.mailbox.get_run(call.scope, call.run_id)
        [turn] = await gateway.turns_of(run)
        named = call.header(b"last-event-id")
        place = None if named is None else Place(event_seq(named, call.scope, run.thread_id))
        return await gateway.watch(turn, partial(Stateful), place=place)

    operation = Operation(
        method="GET",
        path="/stateful/{run_id}",
        id="stateful",
        summary="Watch",
        handler=watch,
        answers={200: "text/event-stream"},
    )
    gate = asyncio.Event()

    async def painter(context: Any) -> str:
        await gate.wait()
        await context.state.set("colour", "blue")
        return "painted"

    async with asyncio.timeout(30), protocol_site((operation,), painter=painter) as site:
        run = await site.app.submit("t", "go", agent="painter", state={"colour": "red"})
        async with site.http.open("GET", f"/stateful/{run.run_id}") as stream:
            await anext(stream.frames())
            gate.set()
            live = frames_in(await stream.rest())
        await run.result()
        late = frames_in((await site.http.get(f"/stateful/{run.run_id}")).body)

        assert live[0].json()["state"] == {"colour": "red"}
        assert [each.json()["patch"][0]["value"] for each in live if '"patch"' in each.data] == ["blue"]
        assert late[0].json()["state"] == {"colour": "blue"}
        assert "patch" not in [each.json()["type"] for each in late if each.data != '"[DONE]"']
        header = {"last-event-id": live[0].id or ""}
        resumed = frames_in((await site.http.get(f"/stateful/{run.run_id}", headers=header)).body)
        again = len(resumed) - len(live[1:])
        assert resumed[again:] == live[1:]
        assert [each.json()["type"] for each in resumed[:again]] == ["patch"], (
            "what the state had when the first stream began is said again: nobody knows any more what it was then"
        )
