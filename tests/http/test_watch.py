"""Several threads and runs on one stream, and hints of what else happens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from awaken.domain.clock import Alarm
from awaken.domain.errors import ValidationError
from awaken.domain.ids import DEFAULT_SCOPE, RunId, Scope, ThreadId
from awaken.domain.log import EventRow
from awaken.domain.watching import MAX_WATCHED, read_scopes, scopes_of, written_scopes
from awaken.http.settings import HttpSettings
from awaken.mailbox.attendance import DISCONNECT_S
from awaken.mailbox.watch import MAX_HINTS, Hint, Hints
from awaken.store.contract import Signal, Store
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import WatchedStore
from tests.http.asgi import Frame, all_frames
from tests.http.site import Site, served
from tests.http.test_resuming import Speaker


def events(frames: Sequence[Frame], on: str | None = None) -> list[dict[str, Any]]:
    """The events among the frames, of one scope or of all."""
    found = [frame.json() for frame in frames if not frame.event.startswith((":", "stream.", "retry"))]
    assert all(frame.id is None for frame in frames), "a place in one log is no place in another"
    return [each for each in found if on in (None, each["on"])]


async def log_of(site: Site, thread_id: str, run_id: str | None = None) -> list[dict[str, Any]]:
    path = f"/v1/threads/{thread_id}/events" if run_id is None else f"/v1/runs/{run_id}/events"
    return (await site.http.get(f"{path}?limit=200")).json()["items"]


def without_on(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in each.items() if name != "on"} for each in found]


@behaviour("WAT-001")
async def test_runs_and_threads_are_followed_together_and_each_is_complete(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        first = (await site.finished(await site.submit("talk", "a")))["run"]["run_id"]
        await site.finished(await site.submit("talk", "b"))
        before = (await site.http.get("/v1/threads/b")).json()["cursor"]
        async with site.http.open("GET", f"/v1/watch?on={first},b@{before},c") as missing:
            await missing.start()
            assert missing.status == 404
        async with site.http.open("GET", f"/v1/watch?on={first},b@{before}") as stream:
            frames = await stream.until("RunFinished")
            later = await site.submit("talk", "b")
            frames += await stream.until("RunFinished")
            await site.finished(later)

        opened = frames[1].json()["scopes"]
        assert [(each["on"], each["scope"]) for each in opened] == [(first, "run"), ("b", "thread")]
        assert opened[1]["cursor"] == before
        assert without_on(events(frames, first)) == await log_of(site, "a", first)
        assert without_on(events(frames, "b")) == await log_of(site, "b", later["run_id"])


@behaviour("WAT-001")
async def test_a_stream_of_runs_is_over_when_all_of_them_have_ended(store: Store, clock: ManualClock) -> None:
    speaker = Speaker()
    async with served(store, clock, agents={"speaker": speaker}) as site:
        ended = (await site.finished(await site.submit("talk", "a")))["run"]
        running = await site.submit("speaker", "b")
        async with site.http.open("GET", f"/v1/watch?on={ended['run_id']},{running['run_id']}") as stream:
            await stream.until("RunFinished")
            speaker.say("on")
            await stream.until("TextDeltaObserved")
            speaker.end()
            frames = all_frames(await stream.rest())
        assert (frames[-1].event, frames[-1].json()) == ("stream.end", {"reason": "done"})
        assert without_on(events(frames, running["run_id"])) == await log_of(site, "b", running["run_id"])
        assert site.counts.open_streams == site.world.mailbox.reader_count == 0


@behaviour("WAT-002")
async def test_a_connection_goes_on_after_the_cursors_it_names(store: Store, clock: ManualClock) -> None:
    speaker = Speaker()
    async with served(store, clock, agents={"speaker": speaker}) as site:
        run = await site.submit("speaker", "t")
        async with site.http.open("GET", f"/v1/watch?on={run['run_id']}") as stream:
            await stream.until("RunStarted")
            speaker.say("one ")
            seen = events(await stream.until("TextDeltaObserved"))
        all_seen = events(all_frames(stream.received))
        speaker.say("two ")
        speaker.end()
        rest = await site.http.get(f"/v1/watch?on={run['run_id']}@{seen[-1]['cursor']}")
        whole = [*all_seen, *events(all_frames(rest.body))]
        assert without_on(whole) == await log_of(site, "t", run["run_id"])


@behaviour("WAT-002")
async def test_a_cursor_outside_the_log_is_answered_with_the_state_and_one_of_another_thread_refused(
    store: Store, clock: ManualClock
) -> None:
    async with served(store, clock) as site:
        run = (await site.finished(await site.submit("talk", "a")))["run"]
        await site.finished(await site.submit("talk", "b"))
        ahead = f"{run['cursor'].rpartition('.')[0]}.999"
        foreign = await site.http.get(f"/v1/watch?on=b@{ahead}")
        assert (foreign.status, foreign.code) == (422, "cursor_mismatch")
        async with site.http.open("GET", f"/v1/watch?on={run['run_id']}@{ahead},a@{ahead}") as stream:
            frames = await stream.until("stream.resync")
            frames += await stream.until("stream.resync")
        of_run, of_thread = [frame.json() for frame in frames if frame.event == "stream.resync"]
        assert (of_run["on"], of_run["run"]["phase"]) == (run["run_id"], "completed")
        assert (of_thread["on"], of_thread["thread"]["thread_id"]) == ("a", "a")
        assert of_thread["cursor"] == of_thread["thread"]["cursor"]


@behaviour("WAT-003")
async def test_hints_say_where_else_something_happens_and_nothing_of_what_is_said(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with served(store, clock) as site, site.http.open("GET", "/v1/watch") as stream:
        await stream.until("stream.open")
        run = await site.submit("talk", "elsewhere")
        await site.finished(run)
        hints: list[dict[str, Any]] = []
        while not hints or hints[-1]["kind"] != "RunFinished":
            hints.append((await stream.until("stream.hint"))[-1].json())
        assert {(hint["thread_id"], hint["run_id"]) for hint in hints} >= {("elsewhere", run["run_id"])}
        assert next(hint["kind"] for hint in hints if hint["run_id"]) == "RunQueued"
        assert not [hint for hint in hints if hint["kind"] in ("TextDeltaObserved", "MessageCommitted")]

    async with served(store, clock) as site:
        with_hints = await site.http.request("HEAD", "/v1/watch?hints=true")
        assert with_hints.status == 200
        refused = await site.http.get("/v1/watch?hints=false")
        assert (refused.status, refused.code) == (422, "invalid_request")


@behaviour("WAT-003")
def test_hints_that_nobody_fetches_are_forgotten_and_one_says_so(clock: ManualClock) -> None:
    hints = Hints(DEFAULT_SCOPE, Alarm(clock))
    for number in range(MAX_HINTS + 3):
        hints.stir(Signal(frozenset([(DEFAULT_SCOPE, ThreadId(f"t{number}")), (Scope("other"), ThreadId("o"))])))
    assert hints.take() == (Hint(), Hint(ThreadId("t257")), Hint(ThreadId("t258")))
    assert hints.take() == ()
    hints.stir(Signal(None))
    hints.stir(Signal(None))
    assert hints.take() == (Hint(),)
    for scope in (Scope("other"), DEFAULT_SCOPE):
        hints.offer(EventRow(scope, ThreadId("t"), RunId("r"), None, 1, 0, ()), ["RunQueued", "RunStarted"])
    assert hints.take() == tuple([Hint(ThreadId("t"), RunId("r"), kind) for kind in ("RunQueued", "RunStarted")])


@behaviour("WAT-001")
async def test_such_a_stream_is_kept_open_closed_and_counted_as_any_other(store: Store, clock: ManualClock) -> None:
    settings = HttpSettings(max_stream_life_s=40, max_streams=1)
    async with served(store, clock, settings=settings) as site:
        await site.http.post("/v1/threads", {"thread_id": "t"})
        async with site.http.open("GET", "/v1/watch?on=t&hints=true") as stream:
            await stream.until("stream.open")
            assert (await site.http.get("/v1/watch?on=t")).code == "too_many_streams"
            assert site.counts.open_streams == 1
            await site.world.advance(15)
            assert (await stream.until(":"))[-1].data == "ka"
            await site.world.advance(30)
            assert b"stream.end" not in await stream.rest()
            assert stream.is_complete
        async with site.http.open("GET", "/v1/watch?on=t") as stream:
            await stream.until("stream.open")
            site.app.prepare_to_stop()
            assert (await stream.rest()).endswith(b": restarting\n\n")
        assert site.counts.open_streams == site.world.mailbox.reader_count == 0


@behaviour("WAT-001", "SRV-025")
async def test_a_slow_reader_of_several_misses_nothing_of_any(store: Store, clock: ManualClock) -> None:
    speakers = {name: Speaker() for name in ("a", "b", "c")}
    async with served(store, clock, agents=dict(speakers)) as site:
        runs = {name: (await site.submit(name, name))["run_id"] for name in speakers}
        async with site.http.open("GET", f"/v1/watch?on={','.join(runs.values())}", window=2) as slow:
            await slow.until("RunStarted")
            for index in range(4):
                for name, speaker in speakers.items():
                    speaker.say(*(f"{name}{index}.{part} " for part in range(150)))
                await site.world.quiet()
            for speaker in speakers.values():
                speaker.end()
            await site.world.quiet()
            assert not slow.is_complete
            frames = all_frames(await slow.rest())
        assert site.counts.caught_up >= 1
        assert frames[-1].event == "stream.end"
        for name, run_id in runs.items():
            log: list[dict[str, Any]] = []
            path, cursor = f"/v1/runs/{run_id}/events?limit=200", ""
            while cursor is not None:
                page = (await site.http.get(path + cursor)).json()
                log += page["items"]
                cursor = f"&cursor={page['next_cursor']}" if page["has_more"] else None
            assert without_on(events(frames, run_id)) == log, name


@behaviour("WAT-001", "WAT-003")
async def test_nobody_watches_what_is_anothers(store: Store, clock: ManualClock) -> None:
    settings = HttpSettings(authorize=lambda request: Scope(request.headers["x-user"]))
    ann, bob = {"x-user": "ann"}, {"x-user": "bob"}
    async with served(store, clock, settings=settings) as site:
        await site.http.post("/v1/threads", {"thread_id": "t"}, headers=ann)
        refused = await site.http.get("/v1/watch?on=t", headers=bob)
        assert (refused.status, refused.code, refused.json()["id"]) == (404, "watched_not_found", "t")
        async with site.http.open("GET", "/v1/watch", headers=bob) as stream:
            await stream.until("stream.open")
            for user in (ann, bob):
                body = {"agent_id": "talk", "input": "x", "thread_id": user["x-user"], "if_not_exists": "create"}
                assert (await site.http.post("/v1/runs", body, headers=user)).status == 202
                await site.world.quiet()
            hints: list[Any] = []
            while not hints or hints[-1]["kind"] != "RunFinished":
                hints.append((await stream.until("stream.hint"))[-1].json())
        assert {hint["thread_id"] for hint in hints} == {"bob"}


@behaviour("WAT-002")
async def test_an_id_that_a_thread_and_a_run_have_needs_to_say_which(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        await site.finished(await site.submit("talk", "same", run_id="same"))
        refused = await site.http.get("/v1/watch?on=same")
        assert (refused.status, refused.code) == (422, "invalid_request")
        assert "write 'thread:same' or 'run:same'" in refused.json()["detail"]
        place = (await site.http.get("/v1/threads/same")).json()["cursor"]
        async with site.http.open("GET", f"/v1/watch?on=run:same,thread:same@{place}") as stream:
            frames = await stream.until("RunFinished")
            await site.finished(await site.submit("talk", "same", run_id="next"))
            frames += await stream.until("RunFinished")
        assert without_on(events(frames, "run:same")) == await log_of(site, "same", "same")
        assert without_on(events(frames, "thread:same")) == await log_of(site, "same", "next")
        for missing in ("run:none", "thread:next"):
            assert (await site.http.get(f"/v1/watch?on={missing}")).json()["id"] == missing


@behaviour("WAT-001")
async def test_who_watches_several_runs_watches_each(store: WatchedStore, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        body = {"agent_id": "gated", "input": "x", "on_disconnect": "cancel", "run_id": "r"}
        async with site.http.open("POST", "/v1/runs/stream", body) as own:
            call = await site.world.agent.next_call()
            await own.until("RunStarted")
        async with site.http.open("GET", "/v1/watch?on=run:r") as stream:
            await stream.until("RunStarted")
            await site.world.advance(DISCONNECT_S + 1)
            assert not call.is_over
        await site.world.advance(DISCONNECT_S + 1)
        assert call.is_over


@behaviour("WAT-002")
async def test_a_cursor_that_is_none_is_said_to_be_wrong_and_not_the_thread(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        run = (await site.finished(await site.submit("talk", "a")))["run"]["run_id"]
        for name in ("a", "thread:a", run):
            for on in (f"{name}@zzz", f"{run}@,{name}@1.t.0123abcd"):
                refused = await site.http.get(f"/v1/watch?on={on}")
                assert (refused.status, refused.code) == (422, "invalid_request"), on
                says = f"'{on.rpartition('@')[2]}' is not a cursor of this server; a cursor looks like 1.t."
                assert refused.json()["detail"].startswith(says)
                assert refused.json()["errors"][0]["loc"] == ["query", "on"]
        assert (await site.http.get("/v1/watch?on=a@zzz@")).code == "watched_not_found", "it was said to be an id"
        assert (await site.http.get("/v1/watch?on=b@zzz")).code == "watched_not_found", "there is no such thread either"


@behaviour("WAT-002")
@pytest.mark.parametrize(
    ("text", "scopes"),
    [
        ("a", {"a": None}),
        ("a,b@1.t.0123abcd.7", {"a": None, "b": "1.t.0123abcd.7"}),
        ("a@b@1.t.0123abcd.7", {"a@b": "1.t.0123abcd.7"}),
        ("a@1.t.0123abcd.7@", {"a@1.t.0123abcd.7": None}),
        ("a@home", {"a@home": None}),
        ("run:a,thread:a@1.t.0123abcd.7", {"run:a": None, "thread:a": "1.t.0123abcd.7"}),
    ],
)
def test_a_scope_is_an_id_with_or_without_a_cursor(text: str, scopes: dict[str, str | None]) -> None:
    assert read_scopes(text) == scopes
    assert read_scopes(written_scopes(scopes)) == scopes == scopes_of(scopes)


@behaviour("WAT-002")
@pytest.mark.parametrize("text", ["", "a,,b", "a,a", "a,a@1.t.0123abcd.7", "a b", ",".join(map(str, range(21)))])
def test_what_names_no_scopes_or_too_many_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        read_scopes(text)
    assert len(scopes_of([str(number) for number in range(MAX_WATCHED)])) == MAX_WATCHED
