"""Spans of OpenTelemetry: how a request became a run, waited, was executed step by step, and was settled.

Above: `wiring` adds one to the observers where the process has a tracer. Below: the tracer.
Holds: no text of a message, argument, result or error is in a span, since any of them may be a secret. All spans of a
run are in the trace of whoever asked for it, also after a restart and in another process: the run is linked from the
`traceparent` that is stored with it. What a batch of the store took is known afterwards, so those spans are made then.

The span of an execution is the current one while the agent works, so what a framework traces of its own lies in it.

Source: docs/howto/observe.md; the names of attributes are those of the conventions for generative AI.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from awaken.domain.clock import Clock
from awaken.domain.event import Event, InferenceComplete, StepEnded, StepStarted, ToolCallDone, ToolCallReady
from awaken.domain.ids import ClaimToken
from awaken.domain.traceparent import traceparent
from awaken.mailbox.observer import Observer, OutcomeLabel
from awaken.store.transitions import Claimed, Failed, Outcome, Replayed, Settle, Staged, Submit, Submitted, Transition

OPERATION: Final = "gen_ai.operation.name"
AGENT: Final = "gen_ai.agent.name"
CONVERSATION: Final = "gen_ai.conversation.id"
PROVIDER: Final = "gen_ai.provider.name"
MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
TOOL: Final = "gen_ai.tool.name"
CALL: Final = "gen_ai.tool.call.id"
ERROR: Final = "error.type"
RUN: Final = "awaken.run.id"
DISPATCH: Final = "awaken.dispatch.id"
ATTEMPT: Final = "awaken.attempt"
WHY: Final = "awaken.why"
OUTCOME: Final = "awaken.outcome"
STEP: Final = "awaken.step.index"
ENDING: Final = "awaken.ending"

_ACCEPTED: Final[dict[type[Outcome], str]] = {Submitted: "accepted", Replayed: "replayed", Staged: "pending"}
_FAILED: Final = frozenset({"transient_error", "permanent_error", "lost"})
_WELL_CALLED: Final = frozenset({"succeeded", "denied", "cancelled"})
_W3C: Final = TraceContextTextMapPropagator()


def global_provider() -> TracerProvider | None:
    """That of this process; None while it has set none."""
    provider = trace.get_tracer_provider()
    return None if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider) else provider


class Traces(Observer):
    """One per mailbox, whose `Tracer` it is, too."""

    hears = frozenset({StepStarted, StepEnded, ToolCallReady, ToolCallDone, InferenceComplete})

    def __init__(self, provider: TracerProvider, clock: Clock) -> None:
        self._tracer = provider.get_tracer("awaken")
        self._clock = clock
        self._submits: dict[str, _Open] = {}
        """Those that are asked for and not answered, by their `traceparent`."""
        self._executions: dict[ClaimToken, _Execution] = {}

    # --- submitting ---------------------------------------------------------------------------------------------------

    def submitting(self, submit: Submit, parent: str | None) -> str:
        span = self._submit(submit, parent)
        known = span.traceparent
        self._submits[known] = span
        return known

    def applied(self, transitions: Sequence[Transition], outcomes: Sequence[Outcome], took_s: float) -> None:
        for transition, outcome in zip(transitions, outcomes, strict=True):
            if type(transition) is Submit:
                self._submitted(transition, outcome, took_s)
            elif type(transition) is Settle:
                self._settled(transition, outcome, took_s)

    def failed(self, transition: Transition) -> None:
        """It was not applied, as far as anybody knows."""
        if type(transition) is Submit:
            self._submitted(transition, None, 0.0)

    def _submitted(self, submit: Submit, outcome: Outcome | None, took_s: float) -> None:
        known = submit.request.trace.traceparent
        if known is None:
            return  # from inside, and in nobody's trace
        span = self._submits.pop(known, None)
        if span is None:
            if type(outcome) is not Submitted:
                return  # an errand that is repeated, or one whose failure is over
            span = self._submit(submit, known, before_s=took_s)
        span.set(AGENT, submit.request.intent.agent_id)
        span.set(CONVERSATION, submit.thread_id)
        span.set(RUN, submit.run_id)
        if outcome is None or type(outcome) is Failed:
            span.fail("store")
        else:
            span.set(OUTCOME, _ACCEPTED.get(type(outcome), "refused"))
        span.end()

    def _submit(self, submit: Submit, parent: str | None, *, before_s: float = 0.0) -> _Open:
        name = f"submit {submit.request.intent.agent_id}"
        return _Open(self._tracer, self._clock, name, _linked(parent), SpanKind.PRODUCER, before_s=before_s)

    # --- executing ----------------------------------------------------------------------------------------------------

    def started(self, claimed: Claimed, since_claim_s: float) -> None:
        execution = self._executions[claimed.token] = _Execution(self._tracer, self._clock, claimed)
        context.attach(execution.inside)  # of the execution's own task, with which it goes

    def said(self, claimed: Claimed, events: Sequence[Event]) -> None:
        execution = self._executions.get(claimed.token)
        if execution is not None:
            execution.hear(events)

    def _settled(self, settle: Settle, outcome: Outcome, took_s: float) -> None:
        execution = self._executions.get(settle.token)
        if execution is None:
            return  # a claim that nobody here carried
        span = _Open(self._tracer, self._clock, "settle", execution.inside, before_s=took_s)
        span.set(ENDING, type(settle.ending).__name__)
        span.set(OUTCOME, type(outcome).__name__)
        if type(outcome) is Failed:
            span.fail("store")
        span.end()

    def ended(self, claimed: Claimed, label: OutcomeLabel, runtime_s: float) -> None:
        execution = self._executions.pop(claimed.token, None)
        if execution is not None:
            execution.end(label)


class _Open:
    """A span that has begun, on the injected clock: its start by the wall, its length by what has passed."""

    def __init__(
        self,
        tracer: trace.Tracer,
        clock: Clock,
        name: str,
        linked: Context | None,
        kind: SpanKind = SpanKind.INTERNAL,
        *,
        before_s: float = 0.0,
    ) -> None:
        """`before_s`: for how long it has been going on."""
        self._clock = clock
        self._begun_s = clock.monotonic() - before_s
        self._begun_ns = clock.now() * 1_000_000 - round(before_s * 1e9)
        self.span: Span = tracer.start_span(name, linked, kind, start_time=self._begun_ns)

    @property
    def traceparent(self) -> str:
        place = self.span.get_span_context()
        return traceparent(place.trace_id, place.span_id, place.trace_flags)

    def set(self, name: str, value: str | int | Sequence[str]) -> None:
        self.span.set_attribute(name, value)

    def fail(self, kind: str) -> None:
        self.set(ERROR, kind)
        self.span.set_status(Status(StatusCode.ERROR))

    def end(self) -> None:
        took_s = self._clock.monotonic() - self._begun_s
        self.span.end(self._begun_ns + max(round(took_s * 1e9), 0))


class _Execution:
    """The spans of one execution: of the wait before it, of itself, and of what its agent says that it does."""

    def __init__(self, tracer: trace.Tracer, clock: Clock, claimed: Claimed) -> None:
        run, dispatch = claimed.run, claimed.dispatch
        linked = _linked(run.request.trace.traceparent)
        self._tracer = tracer
        self._clock = clock
        waited_s = max((clock.now() - dispatch.available_at) / 1000, 0.0)
        waiting = _Open(tracer, clock, f"wait {run.agent_id}", linked, before_s=waited_s)
        self._describe(waiting, claimed)
        waiting.end()
        self._whole = _Open(tracer, clock, f"invoke_agent {run.agent_id}", linked, SpanKind.CONSUMER)
        self._describe(self._whole, claimed)
        self._whole.set(OPERATION, "invoke_agent")
        self.inside = trace.set_span_in_context(self._whole.span, linked)
        self._begun_s = self._boundary_s = clock.monotonic()
        """And when its last step ended."""
        self._step: _Open | None = None
        self._calls: dict[str, _Open] = {}

    @staticmethod
    def _describe(span: _Open, claimed: Claimed) -> None:
        run, dispatch = claimed.run, claimed.dispatch
        span.set(AGENT, run.agent_id)
        span.set(CONVERSATION, run.thread_id)
        span.set(RUN, run.run_id)
        span.set(DISPATCH, dispatch.dispatch_id)
        span.set(ATTEMPT, dispatch.attempt_count + 1)
        span.set(WHY, dispatch.why)

    def hear(self, events: Sequence[Event]) -> None:
        whole_steps = {event.index for event in events if isinstance(event, StepEnded)}
        for event in events:
            match event:
                case StepStarted(index=index):
                    self._begin_step(index, since_s=self._boundary_s if index in whole_steps else None)
                case StepEnded():
                    self._end_step()
                case ToolCallReady():
                    self._calls[event.id] = self._call(event, before_s=0.0)
                case ToolCallDone():
                    self._end_call(event)
                case InferenceComplete():
                    self._inference(event)
                case _:
                    pass

    def end(self, label: OutcomeLabel) -> None:
        for call in self._calls.values():
            call.end()
        self._end_step()
        self._whole.set(OUTCOME, label)
        if label in _FAILED:
            self._whole.fail(label)
        self._whole.end()

    def _begin_step(self, index: int, since_s: float | None) -> None:
        """`since_s`: a step that is told of as a whole has gone on since the last one ended."""
        self._end_step()
        before_s = 0.0 if since_s is None else self._clock.monotonic() - since_s
        self._step = _Open(self._tracer, self._clock, f"step {index}", self.inside, before_s=before_s)
        self._step.set(STEP, index)

    def _end_step(self) -> None:
        if self._step is not None:
            self._step.end()
            self._step = None
        self._boundary_s = self._clock.monotonic()

    def _within_step(self) -> Context:
        return self.inside if self._step is None else trace.set_span_in_context(self._step.span, self.inside)

    def _call(self, event: ToolCallReady | ToolCallDone, before_s: float) -> _Open:
        name = f"execute_tool {event.name}"
        call = _Open(self._tracer, self._clock, name, self._within_step(), before_s=before_s)
        call.set(OPERATION, "execute_tool")
        call.set(TOOL, event.name)
        call.set(CALL, event.id)
        return call

    def _end_call(self, event: ToolCallDone) -> None:
        call = self._calls.pop(event.id, None)
        if call is None:  # it was ready in an earlier execution; carrying it out is what this one began with
            call = self._call(event, before_s=self._clock.monotonic() - self._begun_s)
        call.set(OUTCOME, event.status)
        if event.status not in _WELL_CALLED:
            call.fail(event.status)
        call.end()

    def _inference(self, event: InferenceComplete) -> None:
        name = "chat" if event.model is None else f"chat {event.model}"
        span = _Open(
            self._tracer, self._clock, name, self._within_step(), SpanKind.CLIENT, before_s=event.duration_ms / 1000
        )
        span.set(OPERATION, "chat")
        for attribute, value in ((MODEL, event.model), (PROVIDER, event.provider)):
            if value is not None:
                span.set(attribute, value)
        span.set(INPUT_TOKENS, event.usage.input_tokens)
        span.set(OUTPUT_TOKENS, event.usage.output_tokens)
        if event.finish_reason is not None:
            span.set(FINISH_REASONS, [event.finish_reason])
        span.end()


def _linked(parent: str | None) -> Context:
    """The trace of a `traceparent`; without one a new trace, whatever span this process happens to be in."""
    return Context() if parent is None else _W3C.extract({"traceparent": parent}, Context())
