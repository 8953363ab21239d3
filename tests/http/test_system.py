"""A server about itself, and its maintenance at once."""

from __future__ import annotations

import os
from typing import Any

from awaken.domain.ids import DEFAULT_SCOPE, Scope
from awaken.domain.retry import RetryPolicy
from awaken.executors.function import Context
from awaken.http.settings import HttpSettings
from awaken.http.system_wire import HIDDEN
from awaken.mailbox.settings import MailboxSettings
from awaken.store.contract import Store
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import WatchedStore
from tests.http.site import Site, served


def only_default(request: object) -> Scope:
    return DEFAULT_SCOPE


async def read(site: Site, path: str) -> Any:
    answer = await site.http.get(path)
    assert answer.status == 200, answer
    return answer.json()


@behaviour("SYS-003")
async def test_a_server_says_what_it_is_and_within_which_limits(store: Store, clock: ManualClock) -> None:
    http = HttpSettings(max_body_bytes=1_000)
    async with served(store, clock, settings=http, mailbox=MailboxSettings(max_concurrent_runs=7)) as site:
        await clock.advance(90)
        system = await read(site, "/v1/system")
        assert (system["role"], system["uptime_s"], system["adapters"]) == ("all", 90, [])
        assert (system["store"], system["durability"]) == (store.capabilities.kind, store.capabilities.durability)
        assert system["version"]
        site.app.service.adapters = ("ai_sdk",)
        assert (await read(site, "/v1/system"))["adapters"] == ["ai_sdk"]
        for on_loopback, guard in ((None, None), (True, "loopback"), (False, "nobody")):
            site.app.service.on_loopback = on_loopback
            assert (await read(site, "/v1/system"))["guard"] == guard
        limits = system["limits"]
        assert (limits["max_body_bytes"], limits["max_concurrent_runs"], limits["max_messages"]) == (1_000, 7, 256)

    async with served(store, clock, executes=False, settings=HttpSettings(authorize=only_default)) as site:
        site.app.service.on_loopback = False
        system = await read(site, "/v1/system")
        assert (system["role"], system["guard"]) == ("api", "authorize")


@behaviour("SYS-004")
async def test_settings_are_listed_with_who_chose_them_and_without_secrets(memory: Store, clock: ManualClock) -> None:
    http = HttpSettings(authorize=only_default, allowed_hosts=("a.example",), public_url="https://a.example")
    mailbox = MailboxSettings(drain_s=0, retry=RetryPolicy(base_delay_ms=5))
    async with served(memory, clock, settings=http, mailbox=mailbox) as site:
        site.app.service.sources = {"http.public_url": "flag", "mailbox.tidy_s": "environment"}
        answer = await site.http.get("/v1/system/settings", headers={"host": "a.example"})
        settings = {each["name"]: (each["value"], each["source"]) for each in answer.json()["items"]}

    assert settings["mailbox.drain_s"] == (0, "program")
    assert settings["mailbox.tidy_s"] == (3, "environment")
    assert settings["mailbox.poll_interval_s"][1] == "default"
    assert settings["mailbox.retry.base_delay_ms"] == (5, "program")
    assert settings["http.allowed_hosts"] == (["a.example"], "program")
    assert settings["http.public_url"] == ("https://a.example", "flag")
    assert settings["http.authorize"] == (HIDDEN, "program")
    expected = {f"mailbox.{name}" for name in MailboxSettings.__struct_fields__} - {"mailbox.retry"}
    expected |= {f"mailbox.retry.{name}" for name in RetryPolicy.__struct_fields__}
    assert set(settings) == expected | {f"http.{name}" for name in HttpSettings.__struct_fields__}


@behaviour("SYS-003")
async def test_the_processes_that_work_on_a_store_are_listed(store: WatchedStore, clock: ManualClock) -> None:
    async with served(store, clock) as site:
        await site.submit("gated")
        call = await site.world.agent.next_call()
        await site.http.post("/v1/system/drain")
        [worker] = (await read(site, "/v1/workers"))["items"]
        assert (worker["pid"], worker["role"], worker["drained"], worker["executing"]) == (os.getpid(), "all", True, 1)
        assert worker["host"] and worker["consumer_id"] and worker["started_at"] <= worker["seen_at"]
        assert (worker["seen_ago_s"], worker["stats"]) == (0, {"slots": 100, "begun": 1, "lost": 0})
        assert (await site.http.get("/v1/system/workers")).status == 404
        call.release()


@behaviour("SYS-005")
async def test_what_falls_due_is_looked_for_when_an_operator_asks(store: WatchedStore, clock: ManualClock) -> None:
    async def asking(context: Context) -> str:
        return await context.ask("Which colour?", default="red", expires_in_s=5)

    async with served(store, clock, agents={"asking": asking}) as site:
        assert (await site.http.post("/v1/system/sweep")).json() == {"taken_back": 0, "expired": 0, "begun": 0}
        run = await site.submit("asking")
        await site.world.quiet()
        await clock.advance(60)
        swept = await site.http.post("/v1/system/sweep")
        assert (swept.status, swept.json()["taken_back"]) == (200, 0)
        assert (await site.finished(run))["run"]["final_output"] == "red"


@behaviour("SYS-005")
async def test_what_retention_does_not_keep_is_removed_when_an_operator_asks(
    store: WatchedStore, clock: ManualClock
) -> None:
    mailbox = MailboxSettings(run_retention_s=0, event_retention_s=0, purge_interval_s=1e6, drain_s=0, handover_s=0)
    async with served(store, clock, mailbox=mailbox) as site:
        run = await site.finished(await site.submit("talk"))
        await clock.advance(1)
        purged = (await site.http.post("/v1/system/purge")).json()
        assert (purged["runs"], purged["events"] > 0, purged["more"]) == (1, True, False)
        assert (await site.http.get(f"/v1/runs/{run['run']['run_id']}")).code == "run_not_found"
        nothing = {"runs": 0, "events": 0, "rows": 0, "more": False}
        assert (await site.http.post("/v1/system/purge")).json() == nothing
