"""Schedules over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from awaken.store.memory import MemoryStore
from awaken.testing.clock import ManualClock
from tests.http.site import served

MADE = {"name": "tidy", "agent_id": "talk", "input": "tidy up", "every_s": 60}


async def test_a_schedule_is_made_read_changed_paused_and_deleted() -> None:
    clock = ManualClock()
    async with served(MemoryStore(clock), clock) as site:
        made = await site.http.post("/v1/schedules", MADE)
        assert (made.status, made.headers["location"]) == (201, "/v1/schedules/tidy")
        again = await site.http.post("/v1/schedules", MADE)
        assert (again.status, again.json()) == (200, made.json())
        assert made.json()["thread_id"] == "schedule:tidy"
        assert made.json()["messages"][0]["content"] == [{"type": "text", "text": "tidy up"}]

        await site.world.advance(60)
        read = (await site.http.get("/v1/schedules/tidy")).json()
        assert (read["paused"], read["skipped"]) == (False, 0)
        run = (await site.http.get(f"/v1/runs/{read['last_run_id']}")).json()
        assert (run["origin"], run["phase"]) == ("schedule", "completed")

        changed = await site.http.request("PATCH", "/v1/schedules/tidy", {"cron": "0 8 * * *", "zone": "Europe/Paris"})
        assert (changed.status, changed.json()["every_s"], changed.json()["cron"]) == (200, None, "0 8 * * *")
        paused = await site.http.post("/v1/schedules/tidy/pause", None)
        assert (paused.json()["paused_by"], paused.json()["next_at"]) == ("caller", None)
        resumed = await site.http.post("/v1/schedules/tidy/resume", None)
        assert resumed.json()["next_at"].endswith(":00:00.000Z")

        assert (await site.http.request("DELETE", "/v1/schedules/tidy", None)).status == 204
        assert (await site.http.get("/v1/schedules/tidy")).code == "schedule_not_found"
        assert (await site.http.request("DELETE", "/v1/schedules/tidy", None)).code == "schedule_not_found"


async def test_schedules_are_listed_in_pages() -> None:
    clock = ManualClock()
    async with served(MemoryStore(clock), clock) as site:
        for name in ("c", "a", "b"):
            await site.http.post("/v1/schedules", {**MADE, "name": name})
        first = (await site.http.get("/v1/schedules?limit=2")).json()
        rest = (await site.http.get(f"/v1/schedules?limit=2&cursor={first['next_cursor']}")).json()
        assert [each["name"] for each in first["items"] + rest["items"]] == ["c", "a", "b"]
        assert (first["has_more"], rest["has_more"]) == (True, False)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"name": "a b"}, "invalid_id"),
        ({"name": "x" * 81}, "invalid_id"),
        ({"agent_id": "nobody"}, "unknown_agent"),
        ({"cron": "* * * * *"}, "invalid_request"),
        ({"every_s": 0}, "invalid_request"),
        ({"every_s": None, "cron": "* *"}, "invalid_request"),
        ({"every_s": "soon"}, "invalid_request"),
        ({"zone": "Mars/Olympus"}, "invalid_request"),
        ({"overlap": "often"}, "invalid_request"),
        ({"input": None}, "invalid_request"),
        ({"messages": [{"content": "x"}]}, "invalid_request"),
        ({"input": None, "messages": [{"content": "x", "id": "m1"}]}, "invalid_request"),
        ({"colour": "red"}, "invalid_request"),
        ({"thread_id": ".."}, "invalid_id"),
    ],
)
async def test_what_is_no_schedule_is_refused_with_its_reason(fields: dict[str, Any], code: str) -> None:
    clock = ManualClock()
    async with served(MemoryStore(clock), clock) as site:
        body = {name: value for name, value in {**MADE, **fields}.items() if value is not None}
        refused = await site.http.post("/v1/schedules", body)
        assert (refused.status, refused.code) == (422, code)
        assert (await site.http.get("/v1/schedules")).json()["items"] == []


async def test_a_name_that_means_something_else_is_a_conflict() -> None:
    clock = ManualClock()
    async with served(MemoryStore(clock), clock) as site:
        await site.http.post("/v1/schedules", MADE)
        taken = await site.http.post("/v1/schedules", {**MADE, "every_s": 61})
        assert (taken.status, taken.code, taken.json()["id"]) == (409, "already_exists", "tidy")
        wrong = await site.http.request("PATCH", "/v1/schedules/tidy", {"zone": "Mars/Olympus"})
        assert (wrong.status, wrong.code) == (422, "invalid_request")
        assert (await site.http.request("PATCH", "/v1/schedules/none", {"zone": "UTC"})).code == "schedule_not_found"
