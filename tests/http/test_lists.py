"""Lists: filters, order and paging."""

from __future__ import annotations

from typing import Any

import pytest

from awaken.http.cursors import list_cursor
from awaken.http.routes.runs import RunFilters
from awaken.store.contract import Store
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import WatchedStore
from tests.http.site import Site, served


async def walked(site: Site, path: str, limit: int = 2) -> list[Any]:
    """Every item of a list, page by page."""
    items: list[Any] = []
    joiner = "&" if "?" in path else "?"
    cursor = ""
    while True:
        answer = await site.http.get(f"{path}{joiner}limit={limit}{cursor}")
        assert answer.status == 200, answer
        page = answer.json()
        assert len(page["items"]) <= limit
        items += page["items"]
        if not page["has_more"]:
            return items
        cursor = f"&cursor={page['next_cursor']}"


@behaviour("SRV-004")
async def test_runs_are_listed_newest_first_and_filtered(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        runs: list[Any] = []
        for index in range(5):
            runs.append(await site.submit("talk" if index % 2 else "gated", f"t{index % 2}"))
            await site.world.advance(1)

        async def ids(query: str) -> list[str]:
            return [run["run_id"] for run in await walked(site, f"/v1/runs{query}")]

        named = [run["run_id"] for run in runs]
        assert await ids("") == named[::-1]
        assert await ids("?order=asc") == named
        assert await ids("?agent_id=talk") == [named[3], named[1]]
        assert await ids("?thread_id=t0&order=asc") == [named[0], named[2], named[4]]
        assert await ids("?status=done") == [named[3], named[1]]
        assert await ids("?status=running") == [named[0]]
        assert [run["run_id"] for run in await walked(site, "/v1/threads/t1/runs")] == [named[3], named[1]]


@behaviour("SRV-004")
@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/runs?status=sleeping", "invalid_request"),
        ("/v1/runs?limit=0", "invalid_request"),
        ("/v1/runs?limit=201", "invalid_request"),
        ("/v1/runs?limit=many", "invalid_request"),
        ("/v1/runs?limit=1&limit=2", "invalid_request"),
        ("/v1/runs?order=random", "invalid_request"),
        ("/v1/runs?status=null", "invalid_request"),
        ("/v1/runs?agent_id=a%20b", "invalid_id"),
        ("/v1/threads/t/messages?after=99999999999999999999", "invalid_request"),
        ("/v1/threads/t/messages?before=-1", "invalid_request"),
        ("/v1/runs?cursor=%21", "invalid_request"),
        ("/v1/runs?cursor=abcdefgh", "invalid_request"),
        ("/v1/runs?statuz=done", "unknown_parameter"),
        ("/v1/threads?owner=me", "unknown_parameter"),
        ("/v1/threads?limit=1%ff", "invalid_request"),
    ],
)
async def test_a_filter_that_makes_no_sense_is_refused(memory: Store, clock: ManualClock, path: str, code: str) -> None:
    async with served(memory, clock) as site:
        answer = await site.http.get(path)

        assert (answer.status, answer.code) == (422, code)


@behaviour("SRV-004")
async def test_paging_walks_every_row_once_while_rows_are_inserted(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        for index in range(7):
            await site.submit("talk", f"t{index}")
            await site.world.advance(index % 2)
        await site.world.quiet()
        for path, key in (("/v1/runs", "run_id"), ("/v1/threads", "thread_id")):
            before = {item[key] for item in await walked(site, path)}
            page = (await site.http.get(f"{path}?limit=3")).json()
            seen = [item[key] for item in page["items"]]
            while page["has_more"]:
                await site.world.advance(1)
                await site.submit("talk", f"{path[4:]}{len(seen)}")
                page = (await site.http.get(f"{path}?limit=3&cursor={page['next_cursor']}")).json()
                seen += [item[key] for item in page["items"]]
            assert len(seen) == len(set(seen))
            assert before <= set(seen)


@behaviour("SRV-004")
async def test_a_cursor_of_another_list_or_filter_is_refused(memory: Store, clock: ManualClock) -> None:
    async with served(memory, clock) as site:
        for index in range(3):
            await site.submit("talk", f"t{index}")
        cursor = (await site.http.get("/v1/runs?limit=1")).json()["next_cursor"]

        same = await site.http.get(f"/v1/runs?limit=2&cursor={cursor}")
        assert (same.status, len(same.json()["items"])) == (200, 2)
        for path in (
            "/v1/runs?order=asc",
            "/v1/runs?status=done",
            "/v1/threads?order=desc",
            "/v1/threads/t0/runs?limit=1",
        ):
            other = await site.http.get(f"{path}&cursor={cursor}")
            assert (other.status, other.code) == (422, "cursor_mismatch"), path


@behaviour("SRV-004")
async def test_a_forged_cursor_reaches_no_store(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        first = RunFilters()
        filters = [
            getattr(first, name) for name in first.__struct_fields__ if name not in ("limit", "cursor", "include")
        ]
        for key in ((10**30,), (-1,), ("x",), (1, 2), (), 5, None):
            forged = list_cursor("runs", [*filters, first.thread_id], key)
            answer = await site.http.get(f"/v1/runs?cursor={forged}")
            assert (answer.status, answer.code) == (422, "invalid_request"), key


async def test_messages_are_paged_in_both_directions(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        messages = [{"content": f"message {index}"} for index in range(1, 8)]
        await site.http.post("/v1/threads", {"thread_id": "t", "messages": messages})

        async def seqs(query: str) -> list[int]:
            return [message["seq"] for message in await walked(site, f"/v1/threads/t/messages{query}", limit=3)]

        assert await seqs("") == [1, 2, 3, 4, 5, 6, 7]
        assert await seqs("?order=desc") == [7, 6, 5, 4, 3, 2, 1]
        assert await seqs("?after=2&before=6") == [3, 4, 5]
        assert await seqs("?order=desc&after=2&before=6") == [5, 4, 3]
        assert await seqs("?visibility=internal") == []
        assert (await site.http.get("/v1/threads/nobody/messages")).code == "thread_not_found"


async def test_threads_are_listed_by_activity_and_filtered(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        for index, owner in enumerate(("ann", "bob", "ann")):
            body = {
                "thread_id": f"case-{index}",
                "resource_id": owner,
                "title": f"Case {index}",
                "metadata": {"n": index},
            }
            assert (await site.http.post("/v1/threads", body)).status == 201
            await site.world.advance(1)
        await site.submit("talk", "case-0")

        async def ids(query: str) -> list[str]:
            return [thread["thread_id"] for thread in await walked(site, f"/v1/threads{query}")]

        assert await ids("") == ["case-0", "case-2", "case-1"]
        assert await ids("?order=asc") == ["case-1", "case-2", "case-0"]
        assert await ids("?resource_id=ann") == ["case-0", "case-2"]
        assert await ids("?id_prefix=case-1") == ["case-1"]
        thread = (await site.http.get("/v1/threads/case-1")).json()
        assert (thread["title"], thread["metadata"], thread["status"]) == ("Case 1", {"n": 1}, "idle")


async def test_a_thread_is_made_once(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        first = await site.http.post("/v1/threads", {"thread_id": "t", "title": "First"})
        taken = await site.http.post("/v1/threads", {"thread_id": "t"})
        kept = await site.http.post("/v1/threads", {"thread_id": "t", "title": "Second", "if_exists": "do_nothing"})
        orphan = await site.http.post("/v1/threads", {"parent_thread_id": "nobody"})
        child = await site.http.post("/v1/threads", {"parentThreadId": "t"})

        assert (first.status, first.headers["location"]) == (201, "/v1/threads/t")
        assert (taken.status, taken.code, taken.json()["id"]) == (409, "already_exists", "t")
        assert (kept.status, kept.json()["title"]) == (200, "First")
        assert (orphan.status, orphan.code) == (404, "thread_not_found")
        assert (child.status, child.json()["parent_thread_id"]) == (201, "t")


async def test_the_dispatches_of_a_run_show_who_holds_it_and_no_token(store: Store, clock: ManualClock) -> None:
    async with served(WatchedStore(store, exclusive=False), clock) as site:
        run = await site.submit("gated")
        await site.world.agent.next_call()
        await site.world.advance(2)
        page = (await site.http.get(f"/v1/runs/{run['run_id']}/dispatches")).json()

        [dispatch] = page["items"]
        assert (dispatch["status"], dispatch["dispatch_id"], page["has_more"]) == ("claimed", run["dispatch_id"], False)
        assert (dispatch["lease_remaining_s"] > 0, dispatch["stale"], dispatch["lag_s"]) == (True, False, None)
        assert dispatch["claimed_by"] is not None
        assert "claim_token" not in dispatch
        assert [dispatch[name] for name in ("route", "why", "crash_count", "suspect")] == ["gated", "start", 0, False]


async def test_a_claim_on_a_store_of_one_process_has_no_lease_to_show(store: Store, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        run = await site.submit("gated")
        await site.world.agent.next_call()
        await site.world.advance(600)
        [dispatch] = (await site.http.get(f"/v1/runs/{run['run_id']}/dispatches")).json()["items"]

        assert (dispatch["status"], dispatch["lease_until"]) == ("claimed", None)
        assert (dispatch["lease_remaining_s"], dispatch["stale"]) == (None, False)


async def test_agents_are_listed_without_running_anything(memory: Store, clock: ManualClock) -> None:
    async with served(memory, clock, agents={"late": "no_such_module:agent"}) as site:
        page = (await site.http.get("/v1/agents")).json()
        one = await site.http.get("/v1/agents/talk")

        assert [agent["agent_id"] for agent in page["items"]] == ["gated", "talk", "late"]
        assert one.json()["description"] == "Says a sentence, word by word."
        able = {name: value for name, value in one.json()["capabilities"].items() if value}
        assert able == {"streaming": True, "steering": True, "decisions": True}
        assert [name for name, value in page["items"][2]["capabilities"].items() if value] == ["streaming"]
        assert (await site.http.get("/v1/agents/nobody")).code == "agent_not_found"
