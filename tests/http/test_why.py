"""Why a run is where it is, over HTTP and in a program."""

from __future__ import annotations

import re

import pytest

from awaken import Awaken, Context
from awaken.domain.clock import from_rfc3339
from awaken.http.table import OPERATIONS
from awaken.http.why_wire import REPAIRS
from awaken.mailbox.why import WhyCode
from awaken.store.contract import Store
from awaken.testing.clock import ManualClock
from tests.http.site import served


async def test_a_run_is_explained_over_http(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        first = await site.submit("gated", "t")
        second = await site.submit("gated", "t")
        answer = await site.http.get(f"/v1/runs/{second['run_id']}/explain")
        assert answer.status == 200
        found = answer.json()
        assert set(found) == {"code", "summary", "facts", "next_action", "next_at", "blocked_by", "repair"}
        assert (found["code"], found["next_at"]) == ("behind_run", None)
        assert found["blocked_by"] == [{"kind": "run", "id": first["run_id"]}]
        assert found["facts"]["thread_id"] == "t" and found["facts"]["since"] == second["created_at"]

        later = await site.submit("gated", "later", after_seconds=60)
        found = (await site.http.get(f"/v1/runs/{later['run_id']}/explain")).json()
        assert (found["code"], from_rfc3339(found["next_at"])) == ("delayed", clock.now() + 60_000)

        for path, wanted in (
            ("/v1/runs/nothing/explain", (404, "run_not_found")),
            (f"/v1/runs/{later['run_id']}/explain?deep=1", (422, "unknown_parameter")),
        ):
            refused = await site.http.get(path)
            assert (refused.status, refused.code) == wanted, path


@pytest.mark.parametrize("code", sorted(REPAIRS))
def test_a_repair_is_a_request_of_this_api(code: WhyCode) -> None:
    facts = {"run_id": "r", "dispatch_id": "d/1", "agent_id": "a", "awaits_somebody": True}
    repair = REPAIRS[code](facts)
    assert repair is not None and repair.label
    templates = [each.path for each in OPERATIONS if each.method == repair.method]
    found = [each for each in templates if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", each), repair.path)]
    assert len(found) == 1, repair


async def test_a_program_asks_the_same(store: Store, clock: ManualClock) -> None:
    async def asker(ctx: Context) -> str:
        return await ctx.ask("which name?", name="name")

    app = Awaken(store=store, clock=clock)
    app.agent("asker", asker)
    async with app:
        run = await app.submit("t", "hello", agent="asker")
        async for event in run.events():
            if event.kind == "RunSuspended":
                break
        found = await app.explain(run.run_id)
        [ticket] = [each async for each in app.list_tickets()]
        assert (found.code, [each.id for each in found.blocked_by]) == ("waits_for_tickets", [ticket.ticket_id])
        assert "input 'name'" in found.summary and f"`awaken decide {ticket.ticket_id}`" in found.next_action
