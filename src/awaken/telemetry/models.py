"""Metrics of model calls, as agents report them.

Above: `prometheus.py` hands on what agents say of them. Below: `tally.py`.
Holds: the number of series is bounded, whatever names the models of agents have.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from awaken.domain.event import InferenceComplete
from awaken.telemetry import names
from awaken.telemetry.tally import Family, Number, Spread, numbers, spreads

MAX_MODELS: Final = 64
"""Of different names; a further one counts as `other`, with the provider `other`."""
_UNKNOWN: Final = "unknown"
_OTHER: Final = ("other", "other")


class ModelMetrics:
    """Counts for one server's model calls."""

    def __init__(self) -> None:
        self._requests = numbers(names.INFERENCES)
        self._duration = spreads(names.INFERENCE_DURATION)
        self._tokens = numbers(names.INFERENCE_TOKENS)
        self._known: set[tuple[str, str]] = set()

    def families(self) -> Iterable[Family[Number] | Family[Spread]]:
        yield from (self._requests, self._duration, self._tokens)

    def answered(self, event: InferenceComplete) -> None:
        model, provider = self._named(event)
        answer = (model, provider, "error" if event.finish_reason == "error" else "ok")
        self._requests.child(*answer).value += 1
        self._duration.child(*answer).observe(event.duration_ms / 1000)
        usage = event.usage
        for kind, tokens in (
            ("input", usage.input_tokens),
            ("output", usage.output_tokens),
            ("cache_read", usage.cache_read_tokens),
            ("cache_write", usage.cache_write_tokens),
            ("reasoning", usage.reasoning_tokens),
        ):
            if tokens:
                self._tokens.child(model, provider, kind).value += tokens

    def _named(self, event: InferenceComplete) -> tuple[str, str]:
        """The model and its provider; which models there are, agents say, and whoever may override them."""
        name = (event.model or _UNKNOWN, event.provider or _UNKNOWN)
        if name not in self._known:
            if len(self._known) >= MAX_MODELS:
                return _OTHER
            self._known.add(name)
        return name
