"""The routes of LangGraph's API and of the Agent Protocol, at the root of the server.

Above: `mounting`. Below: the handlers, by what they are about.

Source: docs/concepts/protocols.md; SRV-037.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from starlette.responses import Response

from awaken.http.operation import Call, Handler, Method, Operation, json_response
from awaken.http.query import Query
from awaken.http.submission import Body
from awaken.protocols.langgraph import assistants, commands, runs, threads
from awaken.protocols.langgraph.wire import (
    ERRORS,
    AssistantBody,
    AssistantSearch,
    Batch,
    CancelBody,
    CancelQuery,
    CheckpointBody,
    DialectQuery,
    HistoryBody,
    HistoryQuery,
    PruneBody,
    RunBody,
    RunSearch,
    RunsQuery,
    StateBody,
    StreamQuery,
    ThreadBody,
    ThreadPatchBody,
    ThreadSearch,
    ThreadStreamQuery,
    WaitQuery,
)

_STREAM: Final = "text/event-stream"
_SUBMIT: Final = (
    "thread_not_found", "thread_deleted", "already_accepted", "already_exists", "unknown_agent", "agent_not_found",
    "invalid_id", "thread_busy", "queue_full", "not_supported", "state_too_large", "run_not_waiting",
    "ticket_not_found", "unknown_tool_call", "decision_conflict", "ticket_expired", "ticket_withdrawn",
    "decision_rejected_by_schema", "action_not_allowed", "run_not_found",
)  # fmt: skip
_THREAD: Final = ("thread_not_found", "invalid_id")
_RUN: Final = ("run_not_found", "thread_not_found", "invalid_id")


async def say_ok(call: Call) -> Response:
    return json_response({"ok": True})


async def say_info(call: Call) -> Response:
    flags = {
        "assistants": True,
        "crons": False,
        "langsmith": False,
        "strict_resume": True,
        "langsmith_tracing_replicas": False,
    }
    return json_response({"version": _version(), "flags": flags})


def _version() -> str:
    try:
        return version("awaken")
    except PackageNotFoundError:
        return "unknown"


def _operation(
    method: Method,
    path: str,
    name: str,
    summary: str,
    handler: Handler,
    *,
    body: type[Body] | None = None,
    query: type[Query] = DialectQuery,
    answers: dict[int, Any] | None = None,
    problems: tuple[str, ...] = (),
    carries_messages: bool = False,
    always_answers: bool = False,
) -> Operation:
    return Operation(
        method=method,
        path=path,
        id=f"langgraph_{name}",
        summary=summary,
        handler=handler,
        body=body,
        query=query,
        answers=answers or {200: dict[str, Any]},
        problems=problems,
        carries_messages=carries_messages,
        always_answers=always_answers,
        errors=ERRORS,
    )


_MANY: Final[dict[int, Any]] = {200: list[dict[str, Any]]}
_COUNT: Final[dict[int, Any]] = {200: int}


def _submitting(prefix: str, suffix: str, where: str) -> tuple[Operation, ...]:
    """The three ways to submit, below one path."""
    given: dict[str, Any] = {"body": RunBody, "carries_messages": True, "problems": _SUBMIT}
    return (
        _operation("POST", f"{prefix}/runs", f"create_run{suffix}", f"Submit a run {where}", runs.create_run, **given),
        _operation(
            "POST",
            f"{prefix}/runs/stream",
            f"stream_new_run{suffix}",
            f"Submit a run {where}, and stream it",
            runs.create_run_and_stream,
            answers={200: _STREAM},
            **given,
        ),
        _operation(
            "POST",
            f"{prefix}/runs/wait",
            f"wait_for_new_run{suffix}",
            f"Submit a run {where}, and wait for it",
            runs.create_run_and_wait,
            query=WaitQuery,
            **given,
        ),
    )


def _reading(prefix: str, suffix: str) -> tuple[Operation, ...]:
    """What is asked about one run, below one path."""
    return (
        _operation("GET", f"{prefix}/runs/{{run_id}}", f"get_run{suffix}", "Read a run", runs.get_run, problems=_RUN),
        _operation(
            "GET",
            f"{prefix}/runs/{{run_id}}/stream",
            f"stream_run{suffix}",
            "Stream a run, or the rest of it",
            runs.stream_run,
            query=StreamQuery,
            answers={200: _STREAM},
            problems=(*_RUN, "cursor_mismatch", "cursor_expired"),
        ),
        _operation(
            "GET",
            f"{prefix}/runs/{{run_id}}/{'join' if prefix else 'wait'}",
            f"join_run{suffix}",
            "Wait for a run",
            runs.join_run,
            query=WaitQuery,
            problems=_RUN,
        ),
        _operation(
            "POST",
            f"{prefix}/runs/{{run_id}}/cancel",
            f"cancel_run{suffix}",
            "Stop a run",
            runs.cancel_run,
            query=CancelQuery,
            answers={204: None, 202: None},
            problems=(*_RUN, "run_not_open"),
        ),
        _operation(
            "DELETE",
            f"{prefix}/runs/{{run_id}}",
            f"delete_run{suffix}",
            "Leave a run that has ended out of lists",
            runs.delete_run,
            answers={204: None},
            problems=(*_RUN, "run_not_finished"),
        ),
    )


OPERATIONS: Final = (
    _operation("GET", "/ok", "ok", "Say that the server is there", say_ok, always_answers=True),
    _operation("GET", "/info", "info", "Say what this server serves", say_info),
    # assistants
    _operation(
        "POST",
        "/assistants",
        "create_assistant",
        "Find the assistant of a graph",
        assistants.create_assistant,
        body=AssistantBody,
        problems=("agent_not_found",),
    ),
    _operation(
        "POST",
        "/assistants/search",
        "search_assistants",
        "List assistants",
        assistants.search_assistants,
        body=AssistantSearch,
        answers=_MANY,
    ),
    _operation(
        "POST",
        "/assistants/count",
        "count_assistants",
        "Count assistants",
        assistants.count_assistants,
        body=AssistantSearch,
        answers=_COUNT,
    ),
    _operation(
        "GET",
        "/assistants/{assistant_id}",
        "get_assistant",
        "Read an assistant",
        assistants.get_assistant,
        problems=("agent_not_found",),
    ),
    _operation(
        "GET",
        "/assistants/{assistant_id}/schemas",
        "get_schemas",
        "Read the schemas of an assistant",
        assistants.get_schemas,
        problems=("agent_not_found",),
    ),
    _operation(
        "GET",
        "/assistants/{assistant_id}/graph",
        "get_graph",
        "Read the graph of an assistant",
        assistants.get_graph,
        problems=("agent_not_found",),
    ),
    _operation(
        "GET",
        "/assistants/{assistant_id}/subgraphs",
        "get_subgraphs",
        "List the subgraphs of an assistant",
        assistants.get_subgraphs,
        problems=("agent_not_found",),
    ),
    _operation(
        "POST",
        "/assistants/{assistant_id}/versions",
        "list_versions",
        "List the versions of an assistant",
        assistants.list_versions,
        body=AssistantSearch,
        answers=_MANY,
        problems=("agent_not_found",),
    ),
    _operation(
        "POST",
        "/agents/search",
        "search_agents",
        "List agents",
        assistants.search_agents,
        body=AssistantSearch,
        answers=_MANY,
    ),
    _operation(
        "GET", "/agents/{agent_id}", "get_agent", "Read an agent", assistants.get_agent, problems=("agent_not_found",)
    ),
    _operation(
        "GET",
        "/agents/{agent_id}/schemas",
        "get_agent_schemas",
        "Read the schemas of an agent",
        assistants.get_agent_schemas,
        problems=("agent_not_found",),
    ),
    # threads
    _operation(
        "POST",
        "/threads",
        "create_thread",
        "Make a thread",
        threads.create_thread,
        body=ThreadBody,
        problems=("already_exists", "invalid_id", "thread_deleted"),
    ),
    _operation(
        "POST",
        "/threads/search",
        "search_threads",
        "Search threads",
        threads.search_threads,
        body=ThreadSearch,
        answers=_MANY,
        problems=("invalid_id",),
    ),
    _operation(
        "POST",
        "/threads/count",
        "count_threads",
        "Count threads",
        threads.count_threads,
        body=ThreadSearch,
        answers=_COUNT,
        problems=("invalid_id",),
    ),
    _operation(
        "POST",
        "/threads/prune",
        "prune_threads",
        "Delete threads",
        threads.prune_threads,
        body=PruneBody,
        problems=("invalid_id",),
    ),
    _operation("GET", "/threads/{thread_id}", "get_thread", "Read a thread", threads.get_thread, problems=_THREAD),
    _operation(
        "PATCH",
        "/threads/{thread_id}",
        "patch_thread",
        "Change the metadata of a thread",
        threads.patch_thread,
        body=ThreadPatchBody,
        answers={200: dict[str, Any], 204: None},
        problems=(*_THREAD, "thread_deleted"),
    ),
    _operation(
        "DELETE",
        "/threads/{thread_id}",
        "delete_thread",
        "Delete a thread, and stop what it does",
        threads.delete_thread,
        answers={204: None},
        problems=_THREAD,
    ),
    _operation(
        "POST", "/threads/{thread_id}/copy", "copy_thread", "Copy a thread", threads.copy_thread, problems=_THREAD
    ),
    _operation(
        "GET",
        "/threads/{thread_id}/state",
        "get_state",
        "Read the state of a thread",
        threads.get_state,
        problems=_THREAD,
    ),
    _operation(
        "POST",
        "/threads/{thread_id}/state",
        "update_state",
        "Add messages to an idle thread, and change its state",
        threads.update_state,
        body=StateBody,
        carries_messages=True,
        problems=(*_THREAD, "thread_busy", "already_exists", "state_too_large", "thread_deleted"),
    ),
    _operation(
        "POST",
        "/threads/{thread_id}/state/checkpoint",
        "get_state_at",
        "Read a past state of a thread",
        threads.get_state_at,
        body=CheckpointBody,
        problems=_RUN,
    ),
    _operation(
        "GET",
        "/threads/{thread_id}/state/{checkpoint_id}",
        "get_past_state",
        "Read a past state of a thread",
        threads.get_past_state,
        problems=_RUN,
    ),
    _operation(
        "GET",
        "/threads/{thread_id}/history",
        "get_history",
        "List the states of a thread",
        threads.get_history,
        query=HistoryQuery,
        answers=_MANY,
        problems=_RUN,
    ),
    _operation(
        "POST",
        "/threads/{thread_id}/history",
        "search_history",
        "List the states of a thread",
        threads.search_history,
        body=HistoryBody,
        answers=_MANY,
        problems=_RUN,
    ),
    _operation(
        "GET",
        "/threads/{thread_id}/stream",
        "stream_thread",
        "Stream what is done on a thread",
        threads.stream_thread,
        query=ThreadStreamQuery,
        answers={200: _STREAM},
        problems=(*_THREAD, "cursor_mismatch", "cursor_expired"),
    ),
    _operation(
        "POST",
        "/threads/{thread_id}/commands",
        "command",
        "Carry out a command of the streaming protocol",
        commands.command,
        body=commands.CommandBody,
        carries_messages=True,
    ),
    _operation(
        "POST",
        "/threads/{thread_id}/stream/events",
        "follow_events",
        "Stream the events of a thread, in the streaming protocol",
        commands.follow_events,
        body=commands.EventsBody,
        answers={200: _STREAM},
        problems=_THREAD,
    ),
    # runs
    *_submitting("/threads/{thread_id}", "_on_thread", "on a thread"),
    *_submitting("", "", "on a thread of its own"),
    _operation(
        "POST",
        "/runs/batch",
        "create_runs",
        "Submit several runs",
        runs.create_runs,
        body=Batch,
        carries_messages=True,
        answers=_MANY,
        problems=_SUBMIT,
    ),
    _operation(
        "POST",
        "/runs/cancel",
        "cancel_runs",
        "Stop several runs",
        runs.cancel_runs,
        body=CancelBody,
        query=CancelQuery,
        answers={204: None},
        problems=_RUN,
    ),
    _operation(
        "POST",
        "/runs/search",
        "search_runs",
        "Search runs",
        runs.search_runs,
        body=RunSearch,
        answers=_MANY,
        problems=("invalid_id",),
    ),
    _operation(
        "GET",
        "/threads/{thread_id}/runs",
        "list_runs",
        "List the runs of a thread",
        runs.list_runs,
        query=RunsQuery,
        answers=_MANY,
        problems=_THREAD,
    ),
    *_reading("/threads/{thread_id}", "_of_thread"),
    *_reading("", ""),
)
