"""The ledger of behaviour cases: what is built, and what cannot occur here and why.

An id is a row of the specifications of stores (MB, TR, EV), mailbox (MBX) and server (SRV). A built case has a test that
shows it, on every store where a store shows it; a case that cannot occur has a test that shows why. `test_ledger` compares
this file with the `@behaviour` marks both ways. Entries are added, never taken away; rows that are not named here wait.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Built(NamedTuple):
    """What users get."""

    sentence: str
    note: str = ""
    """Where it differs from the row's letter, or how far it goes."""


class CannotOccur(NamedTuple):
    """What makes the case impossible."""

    reason: str


CATALOGUE: Final[dict[str, Built | CannotOccur]] = {
    "MB-001": Built("A dispatch is over when it is acked, cancelled, superseded or dead-lettered, and not before."),
    "MB-002": Built("A dispatch survives JSON whatever it has set."),
    "MB-003": Built("Every status survives JSON."),
    "MB-004": Built("A claimed dispatch has its token, its consumer and its lease."),
    "MB-005": Built("A queued dispatch has no claim, no execution and no completion."),
    "MB-006": CannotOccur("A dispatch carries no copy of its run's state, so none can contradict its status."),
    "MB-007": Built("A dispatch that is over cannot be claimed."),
    "MB-008": Built("A queued dispatch cannot be acked, failed or dead-lettered."),
    "MB-009": Built("A claimed dispatch is not cancelled from outside."),
    "MB-010": CannotOccur(
        "A requeued dispatch has no copy of a result to clear; the run's side: a failure leaves it running, its progress kept."
    ),
    "MB-011": CannotOccur(
        "An expired dispatch has no copy of a run's state to clear; the run's side: it stays running and is taken over."
    ),
    "MB-012": CannotOccur("A dead letter has no copy of a run's state to clear; the run's side: it ends in error."),
    "MB-013": Built("Queued and claimed work can be superseded and keeps its epoch; finished work cannot."),
    "MB-014": CannotOccur("There is no summary beside the details, and a run's result stands on the run alone."),
    "MB-015": CannotOccur("There is no summary beside the details, and a run's result stands on the run alone."),
    "MB-016": CannotOccur("There is no summary beside the details, and a run's result stands on the run alone."),
    "MB-017": Built("An ack clears the claim and stamps the completion."),
    "MB-020": Built("A submit stores one queued dispatch."),
    "MB-021": Built("A submit cannot ask for anything but a queued dispatch."),
    "MB-022": Built("A dedupe key of queued work answers with that work.", "Answers with the run that holds the key."),
    "MB-023": Built("A dedupe key holds within its thread and scope only."),
    "MB-024": Built("Cancelling the holder frees its dedupe key."),
    "MB-025": Built("An interrupt does not free the dedupe key of claimed work.", "As MB-022."),
    "MB-026": Built("Every end of the holder frees its dedupe key."),
    "MB-027": Built("Of many submits with one key at once exactly one is stored."),
    "MB-028": Built(
        "Callers that meet on one key from different tasks store it once.",
        "On one process; several handles come with a store for several processes.",
    ),
    "MB-029": Built("A submit does not choose its epoch: the thread's own is stored."),
    "MB-030": Built("What is submitted after an interrupt carries the new epoch."),
    "MB-031": Built("A dispatch id is never taken twice, whatever became of the first."),
    "MB-032": Built("Concurrent submits to one thread are all kept."),
    "MB-033": Built("What many submit at once is drained once by several workers.", "As MB-028."),
    "MB-034": Built("The queue stands by priority and then in the order of submission."),
    "MB-035": Built("A listing holds the wanted statuses only."),
    "MB-036": Built("Pages of a listing neither overlap nor leave out."),
    "MB-037": Built("Identity, priority and attempts survive the way through the queue."),
    "MB-038": Built("An explicit instant wins over a delay and is kept."),
    "MB-040": Built("A claim sets token, consumer and a lease that counts from now, and costs no attempt."),
    "MB-041": Built("Work is claimable from its instant on."),
    "MB-042": Built("Urgent work overtakes older work."),
    "MB-043": Built("Equals run in the order of submission."),
    "MB-044": Built("The order of submission needs no clock."),
    "MB-045": Built("A busy thread gives nothing to anybody."),
    "MB-046": Built("Settling frees the thread for its next dispatch."),
    "MB-047": CannotOccur("A claim takes one dispatch of each thread by construction; its slots count threads."),
    "MB-048": Built("A free thread gives one dispatch however many are wanted."),
    "MB-049": Built("Claiming without a free slot changes nothing."),
    "MB-050": Built("A busy thread holds up no other."),
    "MB-051": CannotOccur(
        "A submit offers a slot in its own transaction, so no dispatch is stored first and claimed by name afterwards."
    ),
    "MB-052": CannotOccur(
        "A submit offers a slot in its own transaction, so no dispatch is stored first and claimed by name afterwards."
    ),
    "MB-053": CannotOccur(
        "A submit offers a slot in its own transaction, so no dispatch is stored first and claimed by name afterwards."
    ),
    "MB-054": CannotOccur(
        "A submit offers a slot in its own transaction, so no dispatch is stored first and claimed by name afterwards."
    ),
    "MB-055": CannotOccur(
        "A submit offers a slot in its own transaction, so no dispatch is stored first and claimed by name afterwards."
    ),
    "MB-056": Built("Of ten claimers at once exactly one wins."),
    "MB-057": Built("Of any number of claimers at once exactly one wins."),
    "MB-058": Built("The stored token and consumer are those of the one winner."),
    "MB-059": Built("Two consumers asking for one dispatch get it once."),
    "MB-060": Built("Of two dispatches of a thread only one is taken at a time."),
    "MB-061": Built("A deep queue is drained once by many workers."),
    "MB-062": CannotOccur(
        "An interrupt supersedes the whole queue and a requeue needs a live epoch, so no queued dispatch is of an older epoch."
    ),
    "MB-063": CannotOccur("As MB-062; and nothing is claimed by its id."),
    "MB-064": Built("A failed dispatch comes back at its retry time."),
    "MB-065": Built("Urgent work that is not due holds up nothing."),
    "MB-066": Built("An expired claim blocks its thread until it is reclaimed."),
    "MB-067": Built("Much work elsewhere does not keep a small thread waiting."),
    "MB-068": CannotOccur(
        "No index, marker, lock row, signal or broker stands beside the rows, so none can be lost, late or out of step."
    ),
    "MB-069": Built("A deep queue behind a claim is not lost."),
    "MB-070": Built("An ack closes the dispatch and finishes the run."),
    "MB-071": Built("A wrong token changes nothing."),
    "MB-072": Built("An unknown dispatch cannot be written by anybody."),
    "MB-073": Built("A settled dispatch cannot be settled again."),
    "MB-074": CannotOccur(
        "What a run is and how it ended stands in the run alone, so no copy can be stale, kept or cleared."
    ),
    "MB-075": CannotOccur(
        "What a run is and how it ended stands in the run alone, so no copy can be stale, kept or cleared."
    ),
    "MB-076": CannotOccur("A result is recorded by the settlement that ends the claim, never before it."),
    "MB-077": CannotOccur("An acked dispatch has no copy of a result to keep; the run's record has it."),
    "MB-078": CannotOccur(
        "A result is part of a settlement, which names its own run; a settlement for another run loses its lease."
    ),
    "MB-079": CannotOccur("Start and result are parts of claim and settlement; a wrong token changes nothing there."),
    "MB-080": CannotOccur("Start and result are parts of claim and settlement, which need a claimed dispatch."),
    "MB-081": Built("A failure spends an attempt and waits."),
    "MB-082": Built("The last attempt ends in the dead letters."),
    "MB-083": CannotOccur("A dead letter has no copy of a result to keep; the run's record says how it ended."),
    "MB-084": Built("A hopeless failure goes to the dead letters at once."),
    "MB-085": Built("A dead letter is never executed or claimed again."),
    "MB-086": Built("Cancelling queued work closes dispatch and run at once."),
    "MB-087": Built("Cancelling claimed work asks its owner and leaves it claimed."),
    "MB-088": Built("Cancelling what ended or never was changes nothing."),
    "MB-089": Built("A renewal counts from now and not from the old end."),
    "MB-090": Built("A wrong token renews nothing."),
    "MB-091": Built("Only a claimed dispatch has a lease to renew."),
    "MB-092": Built("An owner whose lease ended unnoticed still owns."),
    "MB-093": Built("An owner that settles after an interrupt closes its dispatch as superseded, with the reason."),
    "MB-094": Built("A wrong token supersedes nothing."),
    "MB-095": Built("Only a claim can be given up: what is queued, finished or unknown has no owner."),
    "MB-100": Built("An interrupt supersedes everything queued."),
    "MB-101": Built("An interrupt reports the claimed dispatch and leaves it claimed."),
    "MB-102": Built("A thread nobody knew starts at epoch one when interrupted."),
    "MB-103": Built(
        "An interrupted claim is not extended and holds until its lease ends.",
        "The dispatch stays claimed until its owner settles it or the lease ends; a renewal says stop and extends nothing.",
    ),
    "MB-104": Built(
        "An interrupted owner commits nothing more.",
        "Starting is part of the claim; the first commit after an interrupt is refused.",
    ),
    "MB-105": Built(
        "After an interrupt every settlement supersedes and every commit is refused.",
        "Commits are refused; the settlement closes dispatch and run whatever it says.",
    ),
    "MB-106": Built(
        "A reclaim supersedes an interrupted claim.", "The superseded dispatch is reported by the reclaim."
    ),
    "MB-107": Built(
        "Work submitted after an interrupt is claimable once the old claim is over.",
        "The old claim ends with its settlement or its lease.",
    ),
    "MB-108": Built("While the interrupted owner holds its claim the thread gives nothing to anybody."),
    "MB-109": Built("A read after an interrupt sees what it did.", "As MB-028."),
    "MB-110": CannotOccur(
        "Its facts are read in the transaction that acts on them; a thread has one claimed dispatch at most."
    ),
    "MB-111": CannotOccur(
        "The database holds one claimed dispatch of a thread at most, so there is no stale one beside the live one."
    ),
    "MB-112": Built("Epochs only rise, also across a purge."),
    "MB-113": Built("A run interrupted before its agent began writes nothing."),
    "MB-120": Built("An expired lease returns the dispatch and spends an attempt."),
    "MB-121": Built("A lease ending now still holds."),
    "MB-122": Built("The last attempt that expires ends in the dead letters."),
    "MB-123": Built("Two sweeps at once never report the same claim."),
    "MB-124": Built("A reclaimed dispatch ignores its old owner."),
    "MB-125": Built(
        "A successor claims with a token and instance of its own.",
        "The second owner is the next process on the same file.",
    ),
    "MB-126": Built("A sweep takes no more than its limit and says that more remain."),
    "MB-127": CannotOccur(
        "No index, marker, lock row, signal or broker stands beside the rows, so none can be lost, late or out of step."
    ),
    "MB-128": Built("Reclaimed work is claimable at the same instant."),
    "MB-129": Built("A clock that goes back takes nothing away."),
    "MB-130": Built("A requeue by expiry keeps the error before it."),
    "MB-131": Built("Retry time is the first instant at which anybody may claim.", "As MB-028."),
    "MB-132": CannotOccur("A result is never recorded without its settlement, so no expiry can wipe one."),
    "MB-133": Built("The longest expired lease comes first."),
    "MB-140": Built("Finished work goes after its retention."),
    "MB-141": Built("Work finished exactly at the cutoff is kept."),
    "MB-142": Built("Open work is never purged."),
    "MB-143": Built("A drained thread keeps its conversation and its epoch, and nothing of the queue."),
    "MB-144": Built("What the queue keeps for a drained thread does not grow."),
    "MB-145": Built("Every thread with work is found once."),
    "MB-146": Built("Work is found by whoever looks after it was submitted.", "As MB-028."),
    "MB-147": Built("The counts follow every step."),
    "MB-148": Built("Finished work is listed in pages."),
    "MB-149": CannotOccur(
        "No index, marker, lock row, signal or broker stands beside the rows, so none can be lost, late or out of step."
    ),
    "MB-150": Built("Without retention, finished work goes with the next purge."),
    "MB-160": Built("Everything is there after reopening, and a claim is still fenced."),
    "MB-161": Built("A new file gets its schema, and opening it again changes nothing."),
    "MB-162": Built("A read after a write shows what it wrote.", "As MB-028."),
    "MB-163": CannotOccur(
        "No index, marker, lock row, signal or broker stands beside the rows, so none can be lost, late or out of step."
    ),
    "MB-164": CannotOccur(
        "No index, marker, lock row, signal or broker stands beside the rows, so none can be lost, late or out of step."
    ),
    "MB-165": CannotOccur(
        "No index, marker, lock row, signal or broker stands beside the rows, so none can be lost, late or out of step."
    ),
    "MB-166": CannotOccur(
        "No index, marker, lock row, signal or broker stands beside the rows, so none can be lost, late or out of step."
    ),
    "MB-167": CannotOccur(
        "No index, marker, lock row, signal or broker stands beside the rows, so none can be lost, late or out of step."
    ),
    "MB-168": CannotOccur(
        "No index, marker, lock row, signal or broker stands beside the rows, so none can be lost, late or out of step."
    ),
    "MB-169": CannotOccur(
        "No index, marker, lock row, signal or broker stands beside the rows, so none can be lost, late or out of step."
    ),
    "MB-170": CannotOccur(
        "No index, marker, lock row, signal or broker stands beside the rows, so none can be lost, late or out of step."
    ),
    "MB-171": CannotOccur(
        "No index, marker, lock row, signal or broker stands beside the rows, so none can be lost, late or out of step."
    ),
    "MB-172": Built("No id is taken for another."),
    "MB-173": CannotOccur(
        "No index, marker, lock row, signal or broker stands beside the rows, so none can be lost, late or out of step."
    ),
    "TR-001": Built("A thread is read as it was saved."),
    "TR-002": Built("What was never stored reads as nothing."),
    "TR-003": Built("An existing thread is kept, replaced or refused, as asked."),
    "TR-004": Built("A thread has an id and is not its own parent."),
    "TR-006": Built("A thread was made once and moves on with its use."),
    "TR-007": Built("The most recently active thread comes first, then the lowest id."),
    "TR-008": Built("Pages of threads neither overlap nor leave out."),
    "TR-010": Built("A prefix is taken literally."),
    "TR-011": Built("A page of threads with a prefix goes on after the last one seen."),
    "TR-012": Built("A page of no threads is empty."),
    "TR-028": Built("Concurrent saves of many threads lose none."),
    "TR-029": Built("A run that has not started is open and not active."),
    "TR-030": Built("A running run is active and open."),
    "TR-031": Built("A waiting run is open and not active."),
    "TR-032": Built("A finished run is neither active nor open."),
    "TR-033": Built("One run finishing leaves another open."),
    "TR-034": Built("The latest run is the one written last, whatever the clock says."),
    "TR-040": Built("Every kind of message is read back as it was written."),
    "TR-041": Built("A thread nobody knows has no messages."),
    "TR-042": Built("Calls, media and large texts are read back whole."),
    "TR-043": CannotOccur(
        "No write replaces the log or counts on its length: the claim token is the fence, and ids are checked."
    ),
    "TR-044": Built("Committed messages follow what is in the log."),
    "TR-045": Built("Concurrent writers of many threads each get contiguous seqs."),
    "TR-046": Built("A message id of the thread is never committed twice."),
    "TR-047": Built("No id comes twice in one request."),
    "TR-048": Built("A message needs an id."),
    "TR-049": Built("A tool message, and no other, names the call it answers."),
    "TR-050": Built("Only an assistant calls, and every call has an id of its own and a name."),
    "TR-052": Built("Valid messages are appended at the tail."),
    "TR-053": Built("A window of the log holds what was asked for."),
    "TR-054": Built("A page of no messages is empty."),
    "TR-055": Built("A place in the log means the same under every filter."),
    "TR-056": Built("A range of the log keeps its seqs."),
    "TR-057": Built("A message without an id is not a message."),
    "TR-058": Built("A stored message says which run and step produced it."),
    "TR-059": CannotOccur(
        "Reading shows the log as it is; a call nobody answered is answered in the log before the next run starts."
    ),
    "TR-060": CannotOccur(
        "Reading shows the log as it is; a call nobody answered is answered in the log before the next run starts."
    ),
    "TR-068": Built("A damaged log is reported and not read over."),
    "TR-069": Built("A producer is filled in only where it is missing."),
    "TR-070": Built("A message with its least fields gets the defaults."),
    "TR-080": Built("A run is read as it was written."),
    "TR-081": Built("A run id with another digest or in another thread is refused."),
    "TR-082": Built("A run nobody knows is nothing, and so is the latest run of an empty thread."),
    "TR-083": Built("The latest run is the last one written."),
    "TR-084": Built("Of runs written in the same millisecond the later write is the latest."),
    "TR-085": Built("Runs are listed by creation and by what is asked."),
    "TR-086": Built("Pages of runs neither overlap nor leave out."),
    "TR-087": Built("A prefix selects runs by their thread's id, literally."),
    "TR-088": Built("A run that contradicts itself is refused."),
    "TR-089": Built("A stored run that contradicts itself is an error that names it."),
    "TR-090": Built("A status nobody knows is not a run."),
    "TR-092": Built("A range of messages starts at one and is not empty."),
    "TR-093": Built("A run can become what the table allows."),
    "TR-094": Built("A termination leads to a status and a line."),
    "TR-095": Built("A request names what it needs."),
    "TR-097": Built(
        "Runs created at once are all kept, and an id taken twice is refused or answered with the run that has it."
    ),
    "TR-100": Built("A submit makes thread, run, messages and dispatch visible together."),
    "TR-101": CannotOccur(
        "No write replaces the log or counts on its length: the claim token is the fence, and ids are checked."
    ),
    "TR-102": Built("A submit makes its thread, with what is derived from it."),
    "TR-103": CannotOccur(
        "No write replaces the log or counts on its length: the claim token is the fence, and ids are checked."
    ),
    "TR-104": CannotOccur(
        "No write replaces the log or counts on its length: the claim token is the fence, and ids are checked."
    ),
    "TR-105": CannotOccur(
        "No write replaces the log or counts on its length: the claim token is the fence, and ids are checked."
    ),
    "TR-106": CannotOccur("A message is inserted, never written over: a known id is refused whatever comes with it."),
    "TR-107": CannotOccur("Only the owner of the one claim appends, so there are no concurrent appenders to count."),
    "TR-108": Built("A commit without messages updates the run and leaves the log."),
    "TR-109": Built("The reads after a step agree with each other and with its outcome."),
    "TR-110": Built("Where nothing is stored every read says so."),
    "TR-111": Built("A write that fails leaves earlier data as it was."),
    "TR-112": Built("After a failed write the next one is stored, and only that one."),
    "TR-113": Built("Writers that fail cost the others nothing."),
    "TR-114": Built("Readers see the old state while writers fail."),
    "TR-115": Built("Every message of concurrent submits is kept, and every run finds its input."),
    "TR-116": Built("What a run was made with never changes."),
    "TR-117": CannotOccur(
        "A store is one database or none: no folder of files, and no path made of what a client sent."
    ),
    "TR-118": CannotOccur(
        "A store is one database or none: no folder of files, and no path made of what a client sent."
    ),
    "TR-119": CannotOccur(
        "A store is one database or none: no folder of files, and no path made of what a client sent."
    ),
    "TR-120": CannotOccur(
        "A store is one database or none: no folder of files, and no path made of what a client sent."
    ),
    "TR-121": CannotOccur("Nothing is kept in JSON files; a damaged row is an error that names it."),
    "EV-003": CannotOccur(
        "It has no key of its own to be repeated under and no cursor to expect: the transition it belongs to is fenced."
    ),
    "EV-004": CannotOccur(
        "It has no key of its own to be repeated under and no cursor to expect: the transition it belongs to is fenced."
    ),
    "EV-005": CannotOccur(
        "It has no key of its own to be repeated under and no cursor to expect: the transition it belongs to is fenced."
    ),
    "EV-006": CannotOccur(
        "It has no key of its own to be repeated under and no cursor to expect: the transition it belongs to is fenced."
    ),
    "EV-007": Built("Outcomes and reads hold the same rows."),
    "EV-008": CannotOccur("An event has one place in its thread's log; a run's events are that log filtered."),
    "EV-010": Built("A page starts strictly after its seq."),
    "EV-011": Built("After the end there is nothing."),
    "EV-012": CannotOccur(
        "It has no key of its own to be repeated under and no cursor to expect: the transition it belongs to is fenced."
    ),
    "EV-013": CannotOccur(
        "It has no key of its own to be repeated under and no cursor to expect: the transition it belongs to is fenced."
    ),
    "EV-014": CannotOccur(
        "It has no key of its own to be repeated under and no cursor to expect: the transition it belongs to is fenced."
    ),
    "EV-015": CannotOccur(
        "It has no key of its own to be repeated under and no cursor to expect: the transition it belongs to is fenced."
    ),
    "EV-016": CannotOccur(
        "It has no key of its own to be repeated under and no cursor to expect: the transition it belongs to is fenced."
    ),
    "EV-017": Built("A run whose process is killed at any apply finishes without loss or repetition."),
    "EV-018": Built("A reader that starts from now gets only what is newer."),
    "EV-019": Built("A reader attached at any moment of a burst loses and doubles nothing."),
    "EV-020": Built(
        "A slow reader pages the log and comes level again.",
        "The reader pages the log instead of reporting a gap.",
    ),
    "EV-021": Built("Opening a file whose schema is there already is fine."),
    "EV-022": CannotOccur(
        "There is one family of logs, a thread's; tenant and thread id are separate columns of its key."
    ),
    "EV-023": Built(
        "What one process appends, a reader in another receives.",
        "The reader is an HTTP client in another process.",
    ),
    "EV-024": Built("Concurrent appends to one log leave no gap and nothing behind a cursor already handed out."),
    "EV-025": Built("A thread counts every event of its log."),
    "MBX-001": Built(
        "The defaults are those of the specification, and the lease is short enough for the takeover promise.",
        "Lease 12 s and renewal 4 s, for a takeover within 15 s.",
    ),
    "MBX-002": Built("Settings that were given are kept."),
    "MBX-004": CannotOccur("There is no window between storing a run and claiming it, so no guard delays it."),
    "MBX-006": Built("Each failure doubles the wait.", "The argument counts the failure it follows."),
    "MBX-007": Built("The wait is capped."),
    "MBX-008": Built("No failure counts as the first."),
    "MBX-009": Built("The wait stops growing after six doublings."),
    "MBX-010": Built(
        "An error says what was wrong and of which class it is.",
        "No prefixes in the text: the class and its code say what it is.",
    ),
    "MBX-011": Built("Errors of the store are told from all others.", "As MBX-010."),
    "MBX-012": Built("A submit answers with its run, its dispatch and whether it runs."),
    "MBX-013": Built("A submission is running or queued."),
    "MBX-014": Built("Running and queued are two values."),
    "MBX-015": Built("An ending carries what it says."),
    "MBX-016": Built("The labels of outcomes are stable."),
    "MBX-017": Built(
        "A request holds what was asked and comes from inside unless it says otherwise.",
        "The default run mode is scheduled: every submit is durable first.",
    ),
    "MBX-018": Built("A submit without messages is refused."),
    "MBX-020": Built("A blank thread id makes a new thread."),
    "MBX-021": Built("A thread id is kept without the spaces around it."),
    "MBX-022": Built("A sound thread id is kept as it is."),
    "MBX-023": Built("Several messages enter the conversation in order."),
    "MBX-024": Built("Every kind of id is minted with 36 characters and may name something."),
    "MBX-025": CannotOccur(
        "Everything an execution needs is typed fields of one record, so nothing is parsed out of a side field."
    ),
    "MBX-026": CannotOccur(
        "Everything an execution needs is typed fields of one record, so nothing is parsed out of a side field."
    ),
    "MBX-027": CannotOccur(
        "Everything an execution needs is typed fields of one record, so nothing is parsed out of a side field."
    ),
    "MBX-028": CannotOccur(
        "Everything an execution needs is typed fields of one record, so nothing is parsed out of a side field."
    ),
    "MBX-029": CannotOccur("A dispatch orders delivery and names its run; what is asked stands on the run alone."),
    "MBX-030": Built("Any driver can be an agent."),
    "MBX-031": CannotOccur("A mailbox has one store, so no two can disagree."),
    "MBX-032": Built("A dispatch starts queued and untouched."),
    "MBX-033": CannotOccur("A dispatch is only made together with its run, so it always has one."),
    "MBX-034": Built("An accepted run names its messages and is the open run of its thread."),
    "MBX-037": Built("A run without an agent goes to the last one of its thread."),
    "MBX-042": Built("A run nobody said anything about comes from a user and has no parent."),
    "MBX-050": CannotOccur("No copy of a conversation is held in memory, so none can be stale, refreshed or dropped."),
    "MBX-051": Built("A thread of an earlier life is continued."),
    "MBX-052": Built("A message that waits enters behind what the running run says."),
    "MBX-053": CannotOccur("No copy of a conversation is held in memory, so none can be stale, refreshed or dropped."),
    "MBX-054": CannotOccur("No copy of a conversation is held in memory, so none can be stale, refreshed or dropped."),
    "MBX-055": Built("32 submits at once on one thread lose no message."),
    "MBX-056": Built("Two mailboxes on one store lose no message.", "Two mailboxes on one store."),
    "MBX-057": Built("A submit stores a dispatch that names its run, and the two have ids of their own."),
    "MBX-058": Built("The agent is told how and where it was asked."),
    "MBX-059": Built("A busy thread queues what comes and refuses nothing."),
    "MBX-060": Built("A submit can be watched from its first event.", "A streaming submit is a submit and a reader."),
    "MBX-061": Built("Every submission is found in the thread's queue."),
    "MBX-062": Built("A run that succeeds is consumed with its answer."),
    "MBX-063": CannotOccur(
        "Result and settlement are one transaction, so there is no result without its settlement to recover."
    ),
    "MBX-064": Built("A run whose agent has vanished is dead-lettered, by name."),
    "MBX-065": Built("One background run shows in every family."),
    "MBX-066": Built(
        "A lease grows while its run executes and is never reclaimed.", "Lease and renewal on a manual clock."
    ),
    "MBX-068": Built("A run whose message is gone is dead-lettered once and never executed."),
    "MBX-069": Built("A dispatch whose run is gone is dead-lettered and never executed."),
    "MBX-070": Built("A broken dispatch does not hold up the good one behind it."),
    "MBX-071": Built("A broken dispatch is dead-lettered once and not looked at again."),
    "MBX-072": Built("A permanent failure is dead-lettered after one execution."),
    "MBX-073": Built("A transient failure goes back to the queue for as long as the provider asks."),
    "MBX-074": Built("A storm of permanent failures costs one execution each."),
    "MBX-075": Built(
        "A dead letter the store refuses at first still comes.",
        "The settlement is asked again while the lease holds, so one execution is enough.",
    ),
    "MBX-076": Built("Submits at once on one thread run one after the other in order."),
    "MBX-077": Built(
        "Streaming submits at once on one thread never run two at a time.", "As background submits: they queue."
    ),
    "MBX-078": CannotOccur("Claiming is an offer inside the submit: one that wins nothing leaves the run queued."),
    "MBX-079": CannotOccur("Claiming is an offer inside the submit: one that wins nothing leaves the run queued."),
    "MBX-080": CannotOccur(
        "There is no worker per thread whose state a poll could corrupt: slots are counted, claims are rows."
    ),
    "MBX-081": Built(
        "An interrupt before the agent got anywhere ends the run without it.",
        "Claim and start are one transaction; an interrupt right after it stops the agent before it is driven.",
    ),
    "MBX-082": CannotOccur(
        "A reader attaches to a thread's log, in whatever state the thread is; no sink is reconnected."
    ),
    "MBX-083": CannotOccur(
        "A reader attaches to a thread's log, in whatever state the thread is; no sink is reconnected."
    ),
    "MBX-084": CannotOccur(
        "A reader attaches to a thread's log, in whatever state the thread is; no sink is reconnected."
    ),
    "MBX-085": Built("An execution that returned is completed."),
    "MBX-086": Built("A thread that is already running is permanent."),
    "MBX-087": Built("An agent that is not there is permanent."),
    "MBX-088": Built("What cannot be imported fails the run for good and says why."),
    "MBX-089": Built("A failing store is transient."),
    "MBX-090": Built("A failure nobody knows is transient."),
    "MBX-091": Built("What was never valid is permanent."),
    "MBX-092": Built("What the provider will never accept is permanent."),
    "MBX-093": Built("A context that is too long fails for good."),
    "MBX-094": Built("A model that does not exist fails for good."),
    "MBX-095": Built("What the provider may accept later is transient."),
    "MBX-096": Built("Every kind of model failure has its verdict."),
    "MBX-097": Built("An execution that returns an error has answered and is not repeated."),
    "MBX-098": Built("An invalid resume is an answer and not repeated."),
    "MBX-099": Built("Neither the text nor the asked wait changes the verdict."),
    "MBX-100": Built("Cancelling a queued run closes dispatch and run together.", "The payload names the dispatch."),
    "MBX-101": Built("An interrupt raises the epoch.", "The thread exists."),
    "MBX-102": Built("An interrupt supersedes the queue with its runs."),
    "MBX-108": CannotOccur(
        "No repair pass is needed: cancelled, superseded and dead-lettered, seen right after the one apply that did it."
    ),
    "MBX-109": Built("An expired claim with its last attempt ends the run in error."),
    "MBX-110": CannotOccur(
        "No repair pass is needed: cancelled, superseded and dead-lettered, seen right after the one apply that did it."
    ),
    "MBX-111": Built("A start whose recovery fails is refused and can be repeated."),
    "MBX-119": Built("Work queued before the start runs."),
    "MBX-120": Built("A dead predecessor's runs are taken over at once where only one process may be alive."),
    "MBX-121": Built("Two starts on one queued dispatch execute it once."),
    "MBX-124": Built("A run that is done is not run again by a start."),
    "MBX-125": Built("Finished dispatches past their retention are removed."),
    "MBX-126": Built("A claim that expires while the mailbox lives is swept and completed."),
    "MBX-127": CannotOccur("Nothing is kept per thread in memory, so nothing has to be collected."),
    "MBX-128": CannotOccur("Nothing is kept per thread in memory, so nothing has to be collected."),
    "MBX-129": CannotOccur("Nothing is kept per thread in memory, so nothing has to be collected."),
    "MBX-132": CannotOccur("Run and dispatch are written together, so no start finds a run without its dispatch."),
    "MBX-133": CannotOccur("Run and dispatch are written together, so no start finds a run without its dispatch."),
    "MBX-134": CannotOccur("Run and dispatch are written together, so no start finds a run without its dispatch."),
    "MBX-135": CannotOccur(
        "Run and dispatch are written together, so there is nothing to reconstruct that two could reconstruct twice."
    ),
    "MBX-136": Built("Of 32 claimers one wins and the store names it."),
    "MBX-137": Built("A late owner can settle nothing."),
    "MBX-138": Built("A lease that ends exactly now still holds."),
    "MBX-139": Built("A retry is due exactly at its instant."),
    "SRV-001": Built(
        "A streamed submit shows the run from its start to its end, on a thread that is made when none is named."
    ),
    "SRV-002": Built("A submit that can never be accepted stores nothing."),
    "SRV-003": Built("Two streamed submits on one thread run one after the other."),
    "SRV-004": Built("Runs and threads are listed filtered, page by page, each row once."),
    "SRV-006": Built("Readiness reflects the store and liveness does not."),
    "SRV-007": Built("A request that breaks a rule gets the documented problem and stores nothing.", "Without keys."),
    "SRV-008": Built("The server does what its description says."),
    "SRV-010": Built(
        "A run, message or dedupe id sent again is answered with what it named.", "Run, message and dedupe ids."
    ),
    "SRV-015": Built(
        "A cancel stops queued work at once and asks running work, once however often it is sent.",
        "Without waiting runs.",
    ),
    "SRV-016": Built("An interrupt supersedes the queue and reports it."),
    "SRV-018": Built(
        "Waiting returns the result of a run that ends in time, and says so of one that does not.", "Without join."
    ),
    "SRV-020": Built("Cut anywhere and resumed, a stream is the uncut one.", "Native streams."),
    "SRV-022": Built("Whenever a reader attaches, it misses nothing and sees nothing twice."),
    "SRV-023": Built(
        "A cursor of another thread, one that is none and one ahead of the log are each answered as documented."
    ),
    "SRV-024": Built("An id that a reader has seen can be read back from elsewhere."),
    "SRV-025": Built("A slow reader delays nobody and catches up with everything."),
    "SRV-026": Built("A stream speaks at once and into silence only."),
    "SRV-027": Built("A thousand readers get the same bytes, encoded once."),
    "SRV-029": Built("A stopped server closes streams without an end, and they resume when it is back."),
    "SRV-030": Built(
        "A server stops within its deadline with streams open and agents running; a second signal stops it at once."
    ),
}


def counts() -> str:
    """One line for the end of a test run."""
    built = sum(isinstance(entry, Built) for entry in CATALOGUE.values())
    return f"behaviour ledger: {built} built, {len(CATALOGUE) - built} cannot occur"
