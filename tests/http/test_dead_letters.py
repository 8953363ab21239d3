"""Dead letters over HTTP."""

from __future__ import annotations

from typing import Any

from awaken.executors.function import Context
from awaken.store.contract import Store
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from tests.http.site import served


class Flaky:
    """Fails as often as it is told to."""

    def __init__(self, failures: int) -> None:
        self.failures = failures

    async def __call__(self, ctx: Context) -> str:
        if self.failures:
            self.failures -= 1
            raise KeyError("k")
        return f"well: {await ctx.input()}"


@behaviour("SRV-019", "DL-010")
async def test_a_dead_letter_is_listed_read_retried_once_and_succeeds(store: Store, clock: ManualClock) -> None:
    async with served(store, clock, agents={"flaky": Flaky(1)}) as site:
        run = await site.submit("flaky", "t")
        await site.finished(run)
        dispatch = run["dispatch_id"]

        listed = (await site.http.get("/v1/dead-letters?agent_id=flaky&error_class=KeyError&thread_id=t")).json()
        [letter] = listed["items"]
        assert (letter["dispatch_id"], letter["run_id"], letter["state"]) == (dispatch, run["run_id"], "open")
        assert (letter["error_class"], letter["last_error"], letter["attempts"]) == ("KeyError", "KeyError", 1)
        assert letter["first_failed_at"] == letter["last_failed_at"] == letter["run"]["finished_at"]
        assert letter["run"]["phase"] == "dead_letter"
        for none in ("agent_id=other", "error_class=Other", "thread_id=u", "since=2999-01-01T00:00:00Z"):
            assert (await site.http.get(f"/v1/dead-letters?{none}")).json()["items"] == []
        [group] = (await site.http.get("/v1/dead-letters/summary")).json()["items"]
        assert (group["agent_id"], group["error_class"], group["count"]) == ("flaky", "KeyError", 1)
        assert group["latest"] == letter == (await site.http.get(f"/v1/dead-letters/{dispatch}")).json()

        made = await site.http.post(f"/v1/dead-letters/{dispatch}/retry", {"max_attempts": 2})
        again = await site.http.request("POST", f"/v1/dead-letters/{dispatch}/retry", b"")

        assert (made.status, again.status) == (202, 200)
        assert made.json()["run_id"] == again.json()["run_id"]
        assert made.json()["retry_of_run_id"] == run["run_id"]
        assert (await site.finished(made.json()))["output"] == "well: Where is my order?"
        read = (await site.http.get(f"/v1/dead-letters/{dispatch}")).json()
        assert (read["state"], read["retried_as"]) == ("retried", made.json()["run_id"])
        assert (await site.http.get("/v1/dead-letters")).json()["items"] == []
        messages = (await site.http.get("/v1/threads/t/messages")).json()["items"]
        assert [each["role"] for each in messages] == ["user", "assistant"], "nothing is appended twice"
        assert (await site.http.post(f"/v1/dead-letters/{dispatch}/discard", {"reason": "x"})).code == "not_dead_letter"


@behaviour("SRV-019", "DL-010")
async def test_many_are_handled_by_a_filter_over_http(store: Store, clock: ManualClock) -> None:
    async with served(store, clock, agents={"flaky": Flaky(3)}) as site:
        for thread in ("a", "b", "c"):
            await site.finished(await site.submit("flaky", thread))
        flaky = {"filter": {"agent_id": "flaky"}}

        page = (await site.http.get("/v1/dead-letters?limit=2")).json()
        rest = (await site.http.get(f"/v1/dead-letters?limit=2&cursor={page['next_cursor']}")).json()
        assert [each["thread_id"] for each in (*page["items"], *rest["items"])] == ["c", "b", "a"]
        assert rest["has_more"] is False

        dry = (await site.http.post("/v1/dead-letters/retry", {**flaky, "dry_run": True})).json()
        assert dry == {"matched": 3, "retried": 0, "discarded": 0, "skipped": [], "more": False}
        one = (await site.http.post("/v1/dead-letters/discard", {**flaky, "reason": "known", "limit": 1})).json()
        assert (one["matched"], one["discarded"], one["more"]) == (1, 1, True)
        both = (await site.http.post("/v1/dead-letters/retry", flaky)).json()
        assert (both["matched"], both["retried"], both["skipped"]) == (2, 2, [])
        assert (await site.http.get("/v1/dead-letters")).json()["items"] == []


@behaviour("SRV-019", "DL-010")
async def test_what_is_no_dead_letter_and_no_filter_is_refused_over_http(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        run = await site.submit("talk", "t")
        await site.finished(run)
        asked: list[tuple[str, dict[str, Any], tuple[int, str]]] = [
            ("nothing/retry", {}, (404, "dispatch_not_found")),
            ("nothing/discard", {"reason": "x"}, (404, "dispatch_not_found")),
            (f"{run['dispatch_id']}/retry", {}, (409, "not_dead_letter")),
            (f"{run['dispatch_id']}/discard", {"reason": "x"}, (409, "not_dead_letter")),
            (f"{run['dispatch_id']}/discard", {"reason": ""}, (422, "invalid_request")),
            (f"{run['dispatch_id']}/discard", {"reason": " "}, (422, "invalid_request")),
            ("retry", {"filter": {}}, (422, "invalid_request")),
            ("retry", {}, (422, "invalid_request")),
            ("retry", {"filter": {"agent_id": "x"}, "limit": 1001}, (422, "invalid_request")),
            ("retry", {"filter": {"since": "yesterday"}}, (422, "invalid_request")),
            ("discard", {"filter": {}, "reason": "x"}, (422, "invalid_request")),
            ("discard", {"filter": {"agent_id": "x"}}, (422, "invalid_request")),
        ]
        for path, body, refused in asked:
            answer = await site.http.post(f"/v1/dead-letters/{path}", body)
            assert (answer.status, answer.code) == refused, path
        none = await site.http.get(f"/v1/dead-letters/{run['dispatch_id']}")
        assert (none.status, none.code) == (404, "dead_letter_not_found")
        assert none.json()["detail"] == (
            f"dispatch '{run['dispatch_id']}' is no dead letter: the phase of its run, {run['run_id']}, is completed"
        )
        assert (await site.http.get("/v1/dead-letters/nothing")).code == "dispatch_not_found"
        assert (await site.http.get("/v1/dead-letters?since=yesterday")).code == "invalid_request"
