"""Settings, errors, start, stop, and what a process keeps."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built, cannot, same

AREA: Final = Area(
    "the mailbox as a service",
    built(
        "MBX-001",
        sentence="The defaults are those of the specification, and the lease is short enough for the takeover promise.",
        note="Lease 12 s and renewal 4 s, for a takeover within 15 s.",
    ),
    built("MBX-002", sentence="Settings that were given are kept."),
    built(
        "MBX-003",
        sentence="A start takes back and looks for work at once; it fails at once where the store is not available, unless `startup_retry_s` says otherwise, and no maintenance is called that nobody gave.",
        note="There is no delay before it, and a time instead of a count of attempts.",
    ),
    built("MBX-112", sentence="A start tries again for `startup_retry_s` while the store is not available."),
    built("MBX-006", sentence="Each failure doubles the wait.", note="The argument counts the failure it follows."),
    built("MBX-007", sentence="The wait is capped."),
    built("MBX-008", sentence="No failure counts as the first."),
    built("MBX-009", sentence="The wait stops growing after six doublings."),
    built(
        "MBX-010",
        sentence="An error says what was wrong and of which class it is.",
        note="No prefixes in the text: the class and its code say what it is.",
    ),
    built("MBX-011", sentence="Errors of the store are told from all others.", note="As MBX-010."),
    built("MBX-030", sentence="Any driver can be an agent."),
    cannot("MBX-031", because="A mailbox has one store, so no two can disagree."),
    cannot(
        "MBX-080",
        because="There is no worker per thread whose state a poll could corrupt: slots are counted, claims are rows.",
    ),
    same("SV-029", as_="MBX-006"),
    built("MBX-111", sentence="A start whose recovery fails is refused and can be repeated."),
    same("SV-024", as_="MBX-111"),
    built("MBX-113", "MBX-118", sentence="However many start it at once, a mailbox starts once."),
    built("MBX-114", sentence="A start that is under way is waited for, not overtaken."),
    built("MBX-115", sentence="Starting what runs changes nothing."),
    built("MBX-116", sentence="What was stopped can be started again."),
    built("MBX-117", sentence="Only a stop stops a mailbox."),
    built("MBX-119", sentence="Work queued before the start runs."),
    built("MBX-120", sentence="A dead predecessor's runs are taken over at once where only one process may be alive."),
    built("MBX-122", sentence="Maintenance that a user gave is called every `purge_interval_s`."),
    built("MBX-123", sentence="When the mailbox is left, a round under way is cancelled and none begins any more."),
    cannot(
        "MBX-127",
        "MBX-128",
        "MBX-129",
        because="No worker stands for a thread; what the writer remembers of threads is bounded, and forgetting it costs a read.",
    ),
    built("LF-001", sentence="An agent that ignores a stop is abandoned after a bounded time, and named in the log."),
    built(
        "LF-002",
        sentence="The thread of an abandoned execution is not claimed in this process until its task has ended.",
        note="Where the store was opened anew meanwhile, the claim of the next life waits for that end.",
    ),
    built(
        "LF-003",
        sentence="A wait that is called off because the mailbox stops is unavailable, and returns no unfinished run.",
    ),
    built("LF-004", sentence="Leaving that is cancelled still frees the file."),
    built(
        "EX-001",
        sentence="Where one process owns the store nothing is renewed or taken back except when the store is opened.",
    ),
    built(
        "EX-002",
        sentence="A claim of this process that no execution knows is released by the sweep, without attempt or crash.",
    ),
    built(
        "EX-003", sentence="The next run of a thread never starts while the task of the one before still executes here."
    ),
    built("EX-004", sentence="A mailbox that is started again in its process keeps its name as a consumer."),
)
