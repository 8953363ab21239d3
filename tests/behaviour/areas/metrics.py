"""What operators count and read."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, Wing, built, cannot, later, same

AREA: Final = Area(
    "metrics and logs",
    built("MBX-065", sentence="One background run shows in every family."),
    built("MBX-363", sentence="Two servers in one process count apart."),
    same("MBX-364", "MBX-365", "MBX-366", "MBX-367", "MBX-371", "MBX-372", "MBX-373", "MBX-374", as_="MBX-065"),
    built("MBX-368", sentence="Failures are counted by their class."),
    built("MBX-369", "MBX-376", sentence="Requests and open streams are counted by the template of their route."),
    built(
        "MBX-370",
        sentence="Calls of models are counted, with their time and their tokens.",
        note="As agents report them: a call that is never answered is no event, and counts as what it did to its run.",
    ),
    later("SRV-043", sentence="No secret appears in logs, errors, settings or metrics.", by=Wing.OPERATIONS),
    built(
        "SRV-044",
        sentence="Labels are bounded, and a scrape under load is quick.",
        note="A scrape makes two reads of bounded length, at most once a second, and folds at most 512 notes of a kind.",
    ),
    built("OBS-001", sentence="Several observers listen; one that fails hurts no run and no other observer."),
    built("OBS-002", sentence="Errors are counted by class: of executions, tools, agents that go on, and the store."),
    built("OBS-003", sentence="Decisions are counted by what was decided and how it reached its run."),
    built("OBS-004", sentence="Open tickets are counted by kind, with the age of the oldest."),
    built("OBS-005", sentence="A gauge that is read from the database says that it is for max and never for sum."),
    built(
        "OBS-006",
        sentence="Streams are counted by their protocol: frames, bytes, the lag of delivery, and clients that come back.",
    ),
    built("OBS-007", sentence="Whoever is not let in is counted by the reason."),
    cannot(
        "OBS-008",
        because="The operations claim_dispatch, load_dispatch, current_dispatch_epoch, supersede_claimed,"
        " record_dispatch_start and record_run_result are parts of one claim and one settlement, which are one"
        " transaction each; a settlement that is asked again is answered as before, so there is no ack_recovery; and no"
        " queue of repairs behind a checkpoint, nor a background task's commit, can fail apart from its run's.",
    ),
    built("OBS-013", sentence="The last hour of a process is counted minute by minute, in bounded memory."),
    built("OBS-015", sentence="Of each agent what was done for it in the last hour, or less, is counted."),
    built(
        "OBS-014",
        sentence="Every query of the dashboard and the alert rules finds its metrics, labels and values in a scrape.",
    ),
    later("OBS-009", sentence="Pulls, acks and redeliveries of signals are counted.", by=Wing.POSTGRES),
    built(
        "OBS-010",
        sentence="What the audit mends is counted by invariant, and there is a gauge, and an alert, of what it cannot mend.",
    ),
    later("OBS-011", sentence="Deliveries of webhooks are counted by result.", by=Wing.PROTOCOLS),
    later("OBS-012", sentence="Requests turned away by a rate limit are counted.", by=Wing.TENANTS),
)
