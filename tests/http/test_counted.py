"""What the HTTP layer reports of its streams and of whom it does not let in."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from awaken import Awaken
from awaken.domain.errors import Forbidden
from awaken.http.auth import Answer
from awaken.http.settings import HttpSettings
from awaken.store.contract import Store
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from tests.http.asgi import Client
from tests.http.site import served
from tests.http.test_resuming import Speaker, with_ids


@behaviour("OBS-006")
async def test_frames_are_counted_with_their_bytes_and_their_lag(store: Store, clock: ManualClock) -> None:
    """What was stored before a stream was opened has no lag: it was not late, its reader was."""
    speaker = Speaker()
    async with served(store, clock, agents={"speaker": speaker}) as site:
        run = await site.submit("speaker")
        await site.world.advance(1)
        async with site.http.open("GET", f"/v1/runs/{run['run_id']}/stream", window=2) as stream:
            await site.world.quiet()
            assert site.counts.lags_s == []
            speaker.say("late")
            await site.world.quiet()
            clock.tick(2)
            await stream.until("TextDeltaObserved")
            speaker.end()
            await stream.rest()

    sent = with_ids(stream.received)
    assert (site.counts.frames, site.counts.bytes) == (len(sent), sum([len(frame.raw) for frame in sent]))
    assert site.counts.lags_s[0] == 2.0


@behaviour("OBS-006")
async def test_clients_that_come_back_are_counted_by_what_they_find(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        run = await site.submit("talk")
        await site.finished(run)
        path = f"/v1/runs/{run['run_id']}/stream"
        frames = with_ids((await site.http.get(path)).body)
        assert site.counts.returns == []
        first, last = frames[0].id or "", frames[-1].id or ""
        beyond = f"{last.rpartition('.')[0]}.999"
        for last_event_id in (first, last, beyond):
            await site.http.get(path, headers={"last-event-id": last_event_id})

    assert site.counts.returns == ["resumed", "over", "resync"]


@behaviour("OBS-007")
async def test_whoever_is_not_let_in_is_counted_by_the_reason(clock: ManualClock) -> None:
    async def authorize(request: Request) -> Answer:
        await asyncio.sleep(0)
        match request.headers.get("x-user"):
            case None:
                return None
            case "banned":
                raise Forbidden("not you")
            case "odd":
                return "\0"
            case user:
                return user

    async with Awaken("memory://", http=HttpSettings(authorize=authorize)) as app:
        http = Client(app.asgi())
        for user in (None, "banned", "odd", "ann"):
            await http.get("/v1/runs", headers={} if user is None else {"x-user": user})
        text = (await app.observer.scrape()).decode()

    for reason in ("unauthorized", "forbidden", "error"):
        assert f'awaken_auth_failures_total{{reason="{reason}"}} 1.0' in text
