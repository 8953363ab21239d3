"""Answers, failures that pass, and failures that do not."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built, same

AREA: Final = Area(
    "what the end of an execution means",
    built("MBX-015", sentence="An ending carries what it says."),
    built("MBX-016", sentence="The labels of outcomes are stable."),
    built(
        "MBX-064",
        sentence="A run whose agent has vanished waits until it is there again.",
        note="The row gives such a run up; who runs what is a matter of routes here.",
    ),
    built("MBX-072", sentence="A permanent failure is dead-lettered after one execution."),
    built("MBX-073", sentence="A transient failure goes back to the queue for as long as the provider asks."),
    built("RJ-001", sentence="A jitter shortens the pauses after failures by chance, within its bounds."),
    built("MBX-074", sentence="A storm of permanent failures costs one execution each."),
    built(
        "MBX-075",
        sentence="A dead letter the store refuses at first still comes.",
        note="The settlement is asked again while the lease holds, so one execution is enough.",
    ),
    built("MBX-085", sentence="An execution that returned is completed."),
    built("MBX-086", sentence="A thread that is already running is permanent."),
    built(
        "MBX-087",
        sentence="An agent that is not there is permanent.",
        note="One that an agent asks for; the run of an agent that is not there itself waits for it.",
    ),
    built(
        "MBX-088",
        sentence="What cannot be imported is not loadable and says why.",
        note="The row fails the run for good; here it waits until the agent is registered again.",
    ),
    built("MBX-089", sentence="A failing store is transient."),
    built("MBX-090", sentence="A failure nobody knows is transient."),
    built("MBX-091", sentence="What was never valid is permanent."),
    built("MBX-092", sentence="What the provider will never accept is permanent."),
    built("MBX-093", sentence="A context that is too long fails for good."),
    built("MBX-094", sentence="A model that does not exist fails for good."),
    built("MBX-095", sentence="What the provider may accept later is transient."),
    built("MBX-096", sentence="Every kind of model failure has its verdict."),
    built(
        "MBX-097",
        sentence="An agent that ends its own run over a broken phase has answered, and is not repeated.",
    ),
    built(
        "MBX-098",
        sentence="An agent that ends its own run over an invalid resume has answered, and is not repeated.",
    ),
    built("MBX-099", sentence="Neither the text nor the asked wait changes the verdict."),
    built("UC-001", sentence="Whatever an agent raises ends its run, and touches no other."),
    built("UC-002", sentence="An agent that asks the process to end ends its own run."),
    built("UC-003", sentence="What an agent raises is logged whole, and published by its class."),
    built("UC-004", sentence="A mistake of a program is paid for once."),
    built("UC-005", sentence="A run that ends in an error reports the model calls in its log."),
    built("UC-006", sentence="What the log has of a tool's result is what the model is told."),
    built("UC-007", sentence="Whatever a tool raises, or its own cancellation, is one failed answer."),
    built("UC-008", sentence="Calls without a name or an id of their own are told apart, and answered."),
    built("UC-009", sentence="Half characters and numbers that are none are mended; no run is lost to them."),
    same("SV-006", as_="MBX-072"),
    same("SV-007", as_="MBX-073"),
    same("SV-008", as_="MBX-075"),
)
