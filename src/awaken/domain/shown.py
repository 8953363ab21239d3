"""What callers are shown: runs, threads, messages and the rest, the same in a program and over HTTP.

Above: `Awaken` gives these, and the client reads them out of a server's answers; `docs/reference/http.md` and
`events.md` describe their JSON. Below: nothing.
Holds: a field this version does not know is ignored and one it misses has a default, so that client and server can be
of different versions; closed sets are plain text here, because a newer server may have more. Instants are RFC 3339.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from awaken.domain.errors import RunFailed, RunTimeout

Order = Literal["asc", "desc"]
Include = Literal["last_event", "usage", "why"]
"""What is said beside a run where that is asked for; its usage always is."""
IfExists = Literal["raise", "do_nothing"]
MessageVisibility = Literal["external", "internal", "all"]
"""Messages for everybody, those that only agents see, or both."""
MessageView = Literal["effective", "log"]
"""What is read of a conversation, or everything that it holds."""
ChildStrategy = Literal["reject", "detach", "cascade"]
"""What becomes of the threads whose parent is deleted: they refuse it, lose their parent, or go with it."""
CancelledStatus = Literal["queued", "running", "all"]
"""Which runs to stop: those that have not started, those that have, or all that are not done."""
StopAction = Literal["cancel", "rollback"]
"""Stop a run; or also have what belongs to it read no more."""


class _Shown(msgspec.Struct, frozen=True, kw_only=True):
    pass


class Thread(_Shown, frozen=True):
    thread_id: str
    status: str = "idle"
    title: str | None = None
    metadata: dict[str, Any] = {}
    resource_id: str | None = None
    parent_thread_id: str | None = None
    active_run_id: str | None = None
    open_run_id: str | None = None
    latest_run_id: str | None = None
    message_count: int = 0
    queued_count: int = 0
    open_ticket_count: int = 0
    cursor: str = ""
    """Its newest event: watching from here misses nothing that this does not show."""
    unreadable: tuple[str, ...] = ()
    """What of it is damaged, by name; the rest is shown."""
    created_at: str = ""
    updated_at: str = ""


class ThreadState(_Shown, frozen=True):
    """The state of a thread and what somebody who shows the thread needs beside it, all of one moment.

    `next`: the runs that are open or queued, in the order in which they go on.
    """

    values: dict[str, Any] = {}
    version: int = 0
    tickets: tuple[dict[str, Any], ...] = ()
    pending: tuple[dict[str, Any], ...] = ()
    next: tuple[str, ...] = ()
    cursor: str = ""


class ToolCall(_Shown, frozen=True):
    id: str
    name: str
    arguments: Any = None


class Message(_Shown, frozen=True):
    message_id: str
    role: str
    thread_id: str = ""
    seq: int = 0
    content: tuple[dict[str, Any], ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    tool_status: str | None = None
    run_id: str | None = None
    step_index: int | None = None
    visibility: str = "all"
    state: str = "committed"
    created_at: str = ""

    @property
    def text(self) -> str:
        """The visible text, blocks joined without a separator; empty when there is none."""
        return text_of(self.content)


class Receipt(_Shown, frozen=True):
    """What has become of a message: `fate` is `pending`, `consumed`, `superseded`, `cancelled`, `retracted` or
    `dead_lettered`; `path` how it was accepted: `started`, `queued` or `steered`.
    """

    message_id: str
    thread_id: str
    fate: str
    path: str = ""
    accepted_at: str = ""
    run_id: str | None = None
    """The run that took it, or that it is, or was, for."""
    seq: int | None = None
    step_index: int | None = None
    settled_at: str | None = None

    @property
    def is_final(self) -> bool:
        return self.fate != "pending"


class Sent(_Shown, frozen=True):
    """Messages that were accepted, and the run that takes them. `path` as in a `Receipt`."""

    path: str
    run_id: str
    thread_id: str
    dispatch_id: str = ""
    message_ids: tuple[str, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    replayed: bool = False
    """The same had been accepted before."""


class PendingMessage(_Shown, frozen=True):
    """A message that nobody has taken yet. `position` and `boundary` are those of one that waits for a run; one that
    belongs to a queued run has neither.
    """

    message_id: str
    thread_id: str
    revision: int = 1
    run_id: str | None = None
    content: tuple[dict[str, Any], ...] = ()
    position: int | None = None
    boundary: str | None = None
    granularity: str = "batch"
    barrier: bool = False
    fallback_to_new_run: bool = True
    target_run_id: str | None = None
    created_at: str = ""

    @property
    def text(self) -> str:
        """The visible text, blocks joined without a separator; empty when there is none."""
        return text_of(self.content)


class PendingList(_Shown, frozen=True):
    """What waits for runs of a thread, in order. `revision` is another one after every change."""

    items: tuple[PendingMessage, ...] = ()
    revision: str = ""


class Termination(_Shown, frozen=True):
    type: str
    code: str | None = None
    detail: str | None = None


class Usage(_Shown, frozen=True):
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    model_calls: int = 0


class Decision(_Shown, frozen=True):
    """What somebody decided, and over which protocol, `adapter`: `http` is the server's own API, `internal` a program
    that holds the app. `path` is `live` when the run was being executed then, else `durable`.
    """

    decision_id: str
    action: str
    result: Any = None
    arguments: Any = None
    reason: str | None = None
    decided_by: str | None = None
    adapter: str | None = None
    decided_at: str = ""
    path: str = ""


class Ticket(_Shown, frozen=True):
    """What a run waits for. `kind` is `approval`, `input`, `client_tool`, `external` or `child`; `state` is `open`,
    `decided`, `expired` or `withdrawn`; `allowed_actions` are those that `decide` takes.
    """

    ticket_id: str
    thread_id: str
    run_id: str
    agent_id: str = ""
    kind: str = ""
    state: str = "open"
    tool_call_id: str | None = None
    tool_name: str | None = None
    arguments: Any = None
    message: str | None = None
    response_schema: dict[str, Any] | None = None
    allowed_actions: tuple[str, ...] = ()
    resume_mode: str = ""
    on_expiry: str = "deny"
    expires_at: str | None = None
    created_at: str = ""
    closed_at: str | None = None
    decision: Decision | None = None


class SkippedTicket(_Shown, frozen=True):
    """One that could not be decided as was asked; `code` for programs, `why` in words."""

    ticket_id: str
    code: str = ""
    why: str = ""


class DecidedTickets(_Shown, frozen=True):
    """Which tickets are decided as was asked, now or before, and which not."""

    decided: tuple[str, ...] = ()
    skipped: tuple[SkippedTicket, ...] = ()


class RunWaiting(_Shown, frozen=True):
    """`tickets` are what the run waits for in full, where one run was read; in lists there are the ids alone."""

    reason: str
    message: str | None = None
    since: str | None = None
    ticket_ids: tuple[str, ...] = ()
    tickets: tuple[Ticket, ...] = ()


class RunError(_Shown, frozen=True):
    message: str
    code: str = ""
    retryable: bool = False


class RunInput(_Shown, frozen=True):
    """The messages it was given, and their places once they are part of the conversation."""

    from_seq: int | None = None
    to_seq: int | None = None
    trigger_message_ids: tuple[str, ...] = ()
    messages: tuple[Message, ...] = ()
    """Those that no run has taken yet, in full. Only where one run is read, before it begins."""


class Sender(_Shown, frozen=True):
    """Who sent a message to an agent from inside: an agent, in a run of a thread."""

    agent_id: str | None = None
    thread_id: str | None = None
    run_id: str | None = None


class Blocker(_Shown, frozen=True):
    """What is in the way of a run: a `run`, a `ticket` or an `agent`."""

    kind: str
    id: str


class Repair(_Shown, frozen=True):
    """A request to the server that helps a run on. `label`: what it does."""

    method: str
    path: str
    body: dict[str, Any] | None = None
    label: str = ""


class Explanation(_Shown, frozen=True):
    """Why a run is where it is, in words; `code` for programs. `next_action`: what comes next, and what a person can
    do. `next_at`: when it changes by itself, where that is known.
    """

    code: str
    summary: str
    facts: dict[str, Any] = {}
    next_action: str = ""
    next_at: str | None = None
    blocked_by: tuple[Blocker, ...] = ()
    repair: Repair | None = None
    """The one request that helps, where one does."""


class LastEvent(_Shown, frozen=True):
    """The newest event of a run. `summary`: what it says, on one line."""

    kind: str
    summary: str = ""
    created_at: str = ""
    cursor: str = ""


class Run(_Shown, frozen=True):
    """One execution of an agent. `phase` is the one word for people; `status` is `created`, `running`, `waiting` or
    `done`.

    `attempt`, `max_attempts` and `available_at` belong to its place in the queue: None where that was not read, or is
    purged.
    """

    run_id: str
    thread_id: str
    agent_id: str = ""
    agent_version: str | None = None
    """The version of the agent that it began with, and stays with; None where that has none."""
    parent_run_id: str | None = None
    retry_of_run_id: str | None = None
    """The run that it does again."""
    status: str = "created"
    phase: str = ""
    termination: Termination | None = None
    attempt: int | None = None
    max_attempts: int | None = None
    available_at: str | None = None
    queue_position: int | None = None
    waiting: RunWaiting | None = None
    """Why it does not go on by itself: what it was suspended for, `no_agent`, or `agent_paused`."""
    input: RunInput = RunInput()
    output: Any = None
    """What it came to: a text, or the object, number, list … that a structured agent returned."""
    final_output: str | None = None
    """The same as text: a structured one as JSON."""
    usage: Usage = Usage()
    usage_by_model: dict[str, Usage] = {}
    """The same by the name of the model, of the calls that are in the log."""
    steps: int = 0
    error: RunError | None = None
    metadata: dict[str, Any] = {}
    dedupe_key: str | None = None
    origin: str = ""
    """Who asked for it: `user`, `internal` …"""
    adapter: str = ""
    """Over what: `http`, or `internal` from a program."""
    mode: str = ""
    """`foreground` where somebody waits or watches, `scheduled` …"""
    sender: Sender | None = None
    """The agent that sent its message, where one did."""
    hops: int = 0
    """How many runs before it were each caused by the run before."""
    dispatch_id: str = ""
    cancel_requested_at: str | None = None
    created_at: str = ""
    started_at: str | None = None
    finished_at: str | None = None
    updated_at: str = ""
    cursor: str = ""
    last_event: LastEvent | None = None
    """Only where it was asked for (`include`), as the next two are."""
    last_sign_of_life: str | None = None
    """Of a run that is executed: when its last event came, or its lease was renewed."""
    why: Explanation | None = None
    unreadable: tuple[str, ...] = ()
    """What of it is damaged, by name; the rest is shown."""

    @property
    def is_done(self) -> bool:
        return self.status == "done"

    @property
    def is_failed(self) -> bool:
        """It ended because of an error, or was given up."""
        return self.termination is not None and self.termination.type == "error"


class DeadLetter(_Shown, frozen=True):
    """A run that was given up, known by its newest dispatch. `state`: `open`, `retried` or `discarded`."""

    dispatch_id: str
    run_id: str
    thread_id: str = ""
    agent_id: str = ""
    state: str = "open"
    error_class: str = ""
    """The class of exception that decided its last failure, `ProcessDied`, or `other`."""
    last_error: str | None = None
    attempts: int = 0
    crash_count: int = 0
    first_failed_at: str | None = None
    last_failed_at: str | None = None
    retried_as: str | None = None
    """The run that does it again."""
    reason: str | None = None
    """Why it was discarded."""
    seen_to_at: str | None = None
    seen_to_by: str | None = None
    """When, and by whom, it was retried or discarded."""
    run: Run | None = None


class DeadLetterGroup(_Shown, frozen=True):
    """Dead letters of one agent with one class of error. `latest`: the one whose run arrived last."""

    agent_id: str
    error_class: str
    count: int = 0
    first_at: str = ""
    last_at: str = ""
    latest: DeadLetter | None = None


class SkippedLetter(_Shown, frozen=True):
    dispatch_id: str
    code: str = ""
    reason: str = ""


class HandledLetters(_Shown, frozen=True):
    """What became of many dead letters: how many were found, up to the limit, and how many of them were retried or
    discarded; both are 0 of a dry run. `more`: there are others behind them.
    """

    matched: int = 0
    retried: int = 0
    discarded: int = 0
    skipped: tuple[SkippedLetter, ...] = ()
    more: bool = False


class UnservedRoute(_Shown, frozen=True):
    """A route, an agent or one version of it, for which runs wait, and of which no process begins one. `code`:
    `unserved`, `not_loadable` or `agent_paused`. `waiting`: runs of the agent that have not begun; 10 000 means that or
    more.
    """

    route: str
    agent_id: str = ""
    code: str = "unserved"
    detail: str | None = None
    waiting: int = 0
    oldest_run_id: str | None = None
    oldest_at: str | None = None


class FewTickets(_Shown, frozen=True):
    """The first of a list; `has_more`: there are others behind them."""

    items: tuple[Ticket, ...] = ()
    has_more: bool = False


class FewRuns(_Shown, frozen=True):
    items: tuple[Run, ...] = ()
    has_more: bool = False


class FewUnserved(_Shown, frozen=True):
    items: tuple[UnservedRoute, ...] = ()
    has_more: bool = False


class FewGroups(_Shown, frozen=True):
    items: tuple[DeadLetterGroup, ...] = ()
    has_more: bool = False


class Attention(_Shown, frozen=True):
    """What wants somebody's attention now, a few of each kind. `tickets`: what somebody has to decide, oldest first;
    `stuck`: runs that do not go on as they should, the worst first; `running`: what is executed, oldest first;
    `unserved`: what no process begins; `dead_letters`: of the 200 newest.
    """

    at: str = ""
    version: str = ""
    role: str = ""
    store: str = ""
    durability: str = ""
    drained: bool = False
    tickets: FewTickets = FewTickets()
    stuck: FewRuns = FewRuns()
    running: FewRuns = FewRuns()
    unserved: FewUnserved = FewUnserved()
    dead_letters: FewGroups = FewGroups()


class TimeSpan(_Shown, frozen=True):
    """A part of a run. `parent`: the id of the span that it lies within; `ended_at` None: it is under way; `status`:
    `open`, `done`, `failed`, or `cut` where its attempt ended before; `facts`: what is known of it, by its kind.
    """

    id: int
    kind: str
    name: str = ""
    status: str = ""
    started_at: str = ""
    ended_at: str | None = None
    parent: int | None = None
    cursor: str = ""
    facts: dict[str, Any] = {}


class Timeline(_Shown, frozen=True):
    """A run as spans, in the order in which they began; each lies within its parent, which stands before it."""

    run_id: str
    thread_id: str = ""
    cursor: str = ""
    spans: tuple[TimeSpan, ...] = ()
    has_more: bool = False
    unreadable: tuple[str, ...] = ()


class PhaseCount(_Shown, frozen=True):
    agent_id: str
    phase: str
    count: int = 0


class RunSummary(_Shown, frozen=True):
    """The runs that are not done, by agent and phase; and how long the one that is due longest waits for its turn."""

    counts: tuple[PhaseCount, ...] = ()
    oldest_queued_s: float | None = None


class Counted(_Shown, frozen=True):
    """What a process did in some time. `started`: executions begun; `completed`: those that ended by themselves;
    `retried`: those that failed and are tried again; `failed`: runs given up. `wait`: from when a run was due until it
    was executed; `run`: how long executions took. A quantile is at most a tenth too long, and None where nothing was
    measured.
    """

    submitted: int = 0
    started: int = 0
    completed: int = 0
    failed: int = 0
    retried: int = 0
    cancelled: int = 0
    suspended: int = 0
    wait_p50_s: float | None = None
    wait_p99_s: float | None = None
    run_p50_s: float | None = None
    run_p99_s: float | None = None
    model_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class StatsMinute(Counted, frozen=True):
    """In the minute that began at `at`."""

    at: str = ""


class AgentStats(Counted, frozen=True):
    """For one agent, `since` then."""

    agent_id: str = ""
    since: str = ""


class Stats(_Shown, frozen=True):
    """The last hour of a process, oldest minute first, or what there is `since` counting began."""

    since: str = ""
    minutes: tuple[StatsMinute, ...] = ()


class Draining(_Shown, frozen=True):
    """Whether a process is drained, and how many runs it executes or settles, or may be claiming at this moment. One
    that is drained, with none of those, can be ended without any run noticing.
    """

    drained: bool = False
    executing: int = 0


class System(_Shown, frozen=True):
    """A server. `role`: `all`; `api` where it executes nothing; `worker` where it executes runs and accepts none.
    `exclusive`: nobody else may use its store meanwhile. `guard`: what keeps strangers from it, as in `domain.guard`;
    None where it does not know. `adapters`: other protocols that it speaks. `limits`: what it refuses beyond.
    """

    version: str = ""
    role: str = ""
    started_at: str | None = None
    uptime_s: float = 0.0
    store: str = ""
    durability: str = ""
    exclusive: bool = True
    guard: str | None = None
    adapters: tuple[str, ...] = ()
    limits: dict[str, int | float] = {}


class Setting(_Shown, frozen=True):
    """A setting in force. `source`: `default`, or who chose it: the `program`, a `flag` of the command that serves it,
    its `environment`, or the `command` itself.

    `name`: that of a field of `MailboxSettings` or `HttpSettings`, behind `mailbox.` or `http.`.
    """

    name: str
    value: Any = None
    source: str = ""


class WorkerStats(_Shown, frozen=True):
    """How many runs a process executes at once, at most, how many executions it has begun, and how many of them were
    taken from it.
    """

    slots: int = 0
    begun: int = 0
    lost: int = 0


class Worker(_Shown, frozen=True):
    """A process that works on a store. It executes runs of `routes`, and said at `seen_at`, `seen_ago_s` seconds ago,
    that it lives. `max_concurrent_total`: how many runs of an agent all of them together may execute at once, as it
    says.
    """

    consumer_id: str
    host: str = ""
    pid: int = 0
    version: str = ""
    role: str = ""
    routes: tuple[str, ...] = ()
    drained: bool = False
    executing: int = 0
    started_at: str | None = None
    seen_at: str = ""
    seen_ago_s: float = 0.0
    max_concurrent_total: dict[str, int] = {}
    stats: WorkerStats = WorkerStats()


class Swept(_Shown, frozen=True):
    """What a look for what falls due did. `taken_back`: claims that nobody carried, queued again; `expired`: tickets
    whose time was over; `begun`: runs of schedules that were due.
    """

    taken_back: int = 0
    expired: int = 0
    begun: int = 0


class Purged(_Shown, frozen=True):
    """What retention did not keep; `rows` are those of deleted threads. `more` is left for the next time."""

    runs: int = 0
    events: int = 0
    rows: int = 0
    more: bool = False


class Finding(_Shown, frozen=True):
    """Stored rows that contradict each other: the `invariant` that does not hold, its `sentence`, and the `subject`, a
    run, dispatch, message or ticket, or a place in a log. `result`: `found`; of a repair `mended`, `refused`, or
    `healthy` where it is so no more. `note`: what would be done, what was done, or why nothing can be.
    """

    invariant: str
    sentence: str = ""
    thread_id: str | None = None
    subject: str = ""
    result: str = "found"
    note: str = ""


class CancelledRun(_Shown, frozen=True):
    """`state`: `requested`, `acknowledged`, `stopped`; `ended` for one that had ended otherwise, or `not_found`."""

    run_id: str
    state: str


class Decided(_Shown, frozen=True):
    """What a decision came to. `duplicate`: the ticket had been decided so before."""

    ticket: Ticket
    run: Run
    duplicate: bool = False


class DecidedRun(_Shown, frozen=True):
    """The same for several tickets of one run, in the order of the decisions."""

    tickets: tuple[Ticket, ...]
    duplicates: tuple[bool, ...]
    run: Run


class Dispatch(_Shown, frozen=True):
    dispatch_id: str
    thread_id: str
    run_id: str
    status: str
    route: str = ""
    why: str = ""
    priority: int = 0
    position: int = 0
    epoch: int = 0
    attempt_count: int = 0
    max_attempts: int = 0
    crash_count: int = 0
    suspect: bool = False
    last_error: str | None = None
    claimed_by: str | None = None
    instance_id: str | None = None
    lease_until: str | None = None
    lease_remaining_s: float | None = None
    stale: bool = False
    lag_s: float | None = None
    available_at: str = ""
    created_at: str = ""
    updated_at: str = ""
    completed_at: str | None = None
    run: Run | None = None
    """Where one dispatch is read."""


class AgentVersion(_Shown, frozen=True):
    """A version of an agent; `version` None: the agent of that name that has none."""

    version: str | None = None
    paused: bool = False
    not_loadable: str | None = None


class Agent(_Shown, frozen=True):
    """An agent as a process has it. `version` is the newest, unless another was asked for; `versions` are all, in the
    order in which they were registered. `fallback`: `latest` where the newest executes older ones too.
    """

    agent_id: str
    name: str = ""
    description: str = ""
    kind: str = ""
    capabilities: dict[str, Any] = {}
    title: str | None = None
    input_schema: dict[str, Any] | None = None
    output_schema: dict[str, Any] | None = None
    skills: tuple[dict[str, Any], ...] = ()
    paused: bool = False
    """Its runs wait in that process until somebody resumes it."""
    not_loadable: str | None = None
    """Why that process cannot execute it, where loading it failed."""
    version: str | None = None
    versions: tuple[AgentVersion, ...] = ()
    fallback: str | None = None


class Schedule(_Shown, frozen=True):
    """When an agent is run again and again. `next_at` None: it is paused."""

    name: str
    agent_id: str = ""
    cron: str | None = None
    every_s: int | None = None
    zone: str = "UTC"
    overlap: str = "skip"
    missed: str = "one"
    thread_id: str = ""
    messages: tuple[dict[str, Any], ...] = ()
    metadata: dict[str, Any] = {}
    declared: bool = False
    paused: bool = False
    paused_by: str | None = None
    next_at: str | None = None
    last_at: str | None = None
    last_run_id: str | None = None
    skipped: int = 0
    last_error: str | None = None
    created_at: str = ""
    updated_at: str = ""


class Cancellation(_Shown, frozen=True):
    """How far a stop has come: `requested`, `acknowledged` or `stopped`; `run` None: nothing was active."""

    state: str
    run: Run | None = None


class HiddenRange(_Shown, frozen=True):
    """Messages of a conversation that are read no more, both ends included; `seq`s of messages."""

    first_seq: int
    last_seq: int
    why: str


class Hiding(_Shown, frozen=True):
    """What was hidden, in order; nothing where the message was not read already."""

    spans: tuple[HiddenRange, ...] = ()


class Interruption(_Shown, frozen=True):
    epoch: int
    active_run_id: str | None = None
    superseded: tuple[str, ...] = ()
    cancel: str = "stopped"


class Event(_Shown, frozen=True):
    """One entry of a thread's log. `cursor` is where to read on after it."""

    cursor: str
    kind: str
    thread_id: str = ""
    run_id: str | None = None
    dispatch_id: str | None = None
    visibility: str = "all"
    created_at: str = ""
    payload: dict[str, Any] = {}

    @property
    def seq(self) -> int:
        """Its place in the log of its thread, from 1, without gaps."""
        return int(self.cursor.rpartition(".")[2])


class WatchedEvent(Event, frozen=True):
    """The same on a stream over several threads and runs. `on`: the id under which it is watched."""

    on: str = ""


class Hint(_Shown, frozen=True):
    """Something has happened there. What is None is not known; with all of them None, more has than was kept, so that
    lists are to be read again.
    """

    thread_id: str | None = None
    run_id: str | None = None
    kind: str | None = None


def text_of(blocks: tuple[dict[str, Any], ...]) -> str:
    """The text blocks of a message's content, joined without a separator."""
    texts = [block.get("text") for block in blocks if block.get("type") == "text"]
    return "".join([text for text in texts if isinstance(text, str)])


def ended_well(run: Run, timeout_s: float | None) -> Run:
    """The run itself.

    Raises:
        RunFailed, RunTimeout: It ended in an error, or not yet.
    """
    if not run.is_done:
        raise RunTimeout(run, timeout_s or 0.0)
    if run.is_failed:
        raise RunFailed(run)
    return run
