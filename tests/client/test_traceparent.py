"""A client sends where in a trace it is called."""

from __future__ import annotations

from opentelemetry.sdk.trace import TracerProvider

from awaken.client.calls import Call
from awaken.client.connection import Setup
from awaken.domain.traceparent import current_traceparent
from awaken.testing.behaviour import behaviour


def headers_of(call: Call[bytes]) -> dict[str, str]:
    setup = Setup("http://127.0.0.1:8000", timeout_s=1, resume=None, headers=None, clock=None, chance=None)
    return setup.request_arguments(call)["headers"]


def call(**headers: str) -> Call[bytes]:
    return Call(method="GET", path="/v1/runs", decode=lambda body, status: body, headers=headers)


@behaviour("OT-005")
def test_the_span_in_which_a_client_is_called_goes_along() -> None:
    assert headers_of(call()) == {}
    with TracerProvider().get_tracer("theirs").start_as_current_span("click"):
        assert headers_of(call()) == {"traceparent": current_traceparent()}
        assert headers_of(call(traceparent="mine")) == {"traceparent": "mine"}
