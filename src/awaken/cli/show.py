"""`awaken show`: one run, or one thread, as it is."""

from __future__ import annotations

import msgspec

from awaken.cli.failure import Exit
from awaken.cli.options import URL, AsJson, Headers, Url
from awaken.cli.remote import connected, found
from awaken.cli.terminal import print_facts, print_json, printable
from awaken.client import Client, Run, Thread

_MESSAGES = 20
_QUEUED = 5


def show(
    thread_or_run: str,
    /,
    *,
    url: Url = URL,
    header: Headers = (),
    as_json: AsJson = False,
) -> int:
    """Show a run and what it came to, or a thread and the end of its conversation.

    Example: awaken show order-7

    Parameters
    ----------
    thread_or_run
        The id of either.
    """
    with connected(url, header) as client:
        target = found(client, thread_or_run)
        if as_json:
            print_json(target)
        elif isinstance(target, Run):
            print_facts(_facts_of(target))
            for message in target.input.messages:
                print(f"\n{message.role}, not taken yet: {printable(message.text)}")
            _print_output(target)
        else:
            _print_thread(client, target)
    return Exit.OK


def _facts_of(run: Run) -> dict[str, object]:
    attempts = None if run.attempt is None else f"{run.attempt} of {run.max_attempts}"
    if run.attempt and run.phase == "retrying" and run.error is not None and run.error.code == "attempt_failed":
        attempts = f"{run.attempt - 1} of {run.max_attempts} failed"
    return {
        "run": run.run_id,
        "thread": run.thread_id,
        "agent": run.agent_id if run.agent_version is None else f"{run.agent_id}@{run.agent_version}",
        "phase": run.phase or run.status,
        "waiting": None if run.waiting is None else run.waiting.message or run.waiting.reason,
        "why": None if run.termination is None else run.termination.detail or run.termination.code,
        "error": None if run.error is None else run.error.message,
        "attempt": attempts,
        "queue": run.queue_position,
        "due": run.available_at if run.phase == "queued" else None,
        "created": run.created_at,
        "started": run.started_at,
        "finished": run.finished_at,
        "steps": run.steps or None,
        "metadata": msgspec.json.encode(run.metadata).decode() if run.metadata else None,
    }


def _print_output(run: Run) -> None:
    if isinstance(run.output, str):
        print(f"\n{printable(run.output)}")
    elif run.output is not None:
        print()
        print_json(run.output)


def _print_thread(client: Client, thread: Thread) -> None:
    print_facts(
        {
            "thread": thread.thread_id,
            "status": thread.status,
            "title": thread.title,
            "belongs to": thread.resource_id,
            "executing": thread.active_run_id,
            "latest run": thread.latest_run_id,
            "messages": thread.message_count,
            "queued": thread.queued_count,
        }
    )
    for message in reversed(list(client.messages(thread.thread_id, order="desc", limit=_MESSAGES))):
        print(f"\n{message.role}: {printable(message.text)}")
    for queued in client.list_runs(thread_id=thread.thread_id, status="created", order="asc", limit=_QUEUED):
        for message in client.get_run(queued.run_id).input.messages:
            print(f"\n{message.role}, for run {queued.run_id}, which is queued: {printable(message.text)}")
