"""Doing a run again, and answering anew, over HTTP, in a program and by the clients."""

from __future__ import annotations

from typing import Any

import pytest

from awaken import Awaken
from awaken.domain.errors import MessageNotFound, PermanentFailure, RunNotFound, ValidationError
from awaken.executors.function import Context
from awaken.store.contract import Store
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from tests.http.site import served

FAILURES = 1


def flaky() -> Any:
    """Fails the first time."""
    calls: list[str] = []

    async def agent(ctx: Context) -> str:
        calls.append(await ctx.input())
        if len(calls) <= FAILURES:
            raise PermanentFailure("no luck")
        return f"answer {len(calls)} to {calls[-1]}"

    return agent


@behaviour("VA-011")
async def test_a_run_is_done_again_over_http(store: Store, clock: ManualClock) -> None:
    async with served(store, clock, agents={"flaky": flaky()}) as site:
        run = await site.submit("flaky", "t")
        await site.finished(run)

        made = await site.http.post(f"/v1/runs/{run['run_id']}/retry", {})
        again = await site.http.post(f"/v1/runs/{run['run_id']}/retry", {"max_attempts": 3})

        assert (made.status, again.status) == (202, 200)
        assert made.json()["run_id"] == again.json()["run_id"]
        assert made.json()["retry_of_run_id"] == run["run_id"]
        assert (await site.finished(made.json()))["output"] == "answer 2 to Where is my order?"
        assert (await site.http.get(f"/v1/runs/{run['run_id']}")).json()["retry_of_run_id"] is None

        anew = await site.http.post("/v1/threads/t/regenerate", {"run_id": "anew"})
        assert (anew.status, anew.json()["retry_of_run_id"]) == (202, None)
        assert (await site.finished(anew.json()))["output"] == "answer 3 to Where is my order?"
        read = (await site.http.get("/v1/threads/t/messages")).json()["items"]
        assert ["".join(block["text"] for block in each["content"]) for each in read] == [
            "Where is my order?",
            "answer 3 to Where is my order?",
        ]
        assert (await site.http.post("/v1/threads/t/regenerate", {"run_id": "anew"})).status == 200


@behaviour("VA-011")
async def test_what_cannot_be_done_again_is_refused_over_http(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        run = await site.submit("gated", "t")
        for path, body, wanted in (
            (f"/v1/runs/{run['run_id']}/retry", {}, (409, "run_not_finished")),
            ("/v1/runs/nothing/retry", {}, (404, "run_not_found")),
            (f"/v1/runs/{run['run_id']}/retry", {"max_attempts": 0}, (422, "invalid_request")),
            (f"/v1/runs/{run['run_id']}/retry", {"wait": True}, (422, "invalid_request")),
            ("/v1/threads/nothing/regenerate", {}, (404, "thread_not_found")),
            ("/v1/threads/t/regenerate", {"message_id": "nothing"}, (404, "message_not_found")),
        ):
            refused = await site.http.post(path, body)
            assert (refused.status, refused.code) == wanted, (path, body)


@behaviour("VA-011")
async def test_a_program_does_runs_again(store: Store, clock: ManualClock) -> None:
    app = Awaken(store=store, clock=clock)
    app.agent("flaky", flaky())
    async with app:
        failed = await (await app.submit("t", "hello", agent="flaky")).result()
        again = await app.retry_run(failed.run_id)
        assert (await again.result()).output == "answer 2 to hello"
        assert (await app.retry_run(failed.run_id, agent="flaky", delay_s=5)).replayed
        anew = await app.regenerate("t")
        assert (await anew.result()).output == "answer 3 to hello"
        assert anew.record.retry_of_run_id is None
        with pytest.raises(RunNotFound):
            await app.retry_run("nothing")
        with pytest.raises(MessageNotFound):
            await app.regenerate("t", message_id="nothing")
        with pytest.raises(ValidationError):
            await app.retry_run(failed.run_id, max_attempts=0)
