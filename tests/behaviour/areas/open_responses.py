"""Open Responses, chat completions and models over the same log."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built

AREA: Final = Area(
    "Open Responses",
    built("OR-001", sentence="A client of OpenAI's waits for a response, or streams it, and reads the same again."),
    built("OR-002", sentence="A response's stream goes on behind any number of it, and nothing is said twice."),
    built("OR-003", sentence="What a run asks for is asked in the protocol's own items, and answered once."),
    built("OR-004", sentence="A conversation is named by any of its responses, or by itself."),
    built("OR-005", sentence="A response in the background is read, stopped, and left out."),
    built("OR-006", sentence="What speaks chat completions talks to an agent as it is."),
    built("OR-007", sentence="Agents are listed as models."),
    built("OR-008", sentence="What a client cannot mean is refused in the protocol's form, and changes nothing."),
    built("OR-010", sentence="A request that is sent again under its key finds the response that the first one made."),
    built("OR-011", sentence="Going on from an older response leaves what came after it as it is."),
    built("OR-012", sentence="What fails is not done again because a client repeats it by itself."),
    built("OR-009", sentence="No route of Open Responses shows or changes what belongs to others."),
)
