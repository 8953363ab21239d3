"""The conversation as it is stored and read."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, absent, built, cannot

AREA: Final = Area(
    "messages",
    built("TR-040", sentence="Every kind of message is read back as it was written."),
    built("TR-041", sentence="A thread nobody knows has no messages."),
    built("TR-042", sentence="Calls, media and large texts are read back whole."),
    cannot(
        "TR-043",
        because="No write replaces the log or counts on its length: the claim token is the fence, and ids are checked.",
    ),
    built("TR-044", sentence="Committed messages follow what is in the log."),
    built("TR-045", sentence="Concurrent writers of many threads each get contiguous seqs."),
    built("TR-046", sentence="A message id of the thread is never committed twice."),
    built("TR-047", sentence="No id comes twice in one request."),
    built("TR-048", sentence="A message needs an id."),
    built("TR-049", sentence="A tool message, and no other, names the call it answers."),
    built("TR-050", sentence="Only an assistant calls, and every call has an id of its own and a name."),
    built("TR-052", sentence="Valid messages are appended at the tail."),
    built("TR-053", sentence="A window of the log holds what was asked for."),
    built("TR-054", sentence="A page of no messages is empty."),
    built("TR-055", sentence="A place in the log means the same under every filter."),
    built("TR-056", sentence="A range of the log keeps its seqs."),
    built("TR-057", sentence="A message without an id is not a message."),
    built("TR-058", sentence="A stored message says which run and step produced it."),
    absent(
        "TR-067",
        because="Messages live as long as their thread; what should not be read any more is hidden, not removed.",
    ),
    built("TR-068", sentence="A damaged log is reported and not read over."),
    built("TR-069", sentence="A producer is filled in only where it is missing."),
    built("TR-070", sentence="A message with its least fields gets the defaults."),
    built("TR-100", sentence="A submit makes thread, run, messages and dispatch visible together."),
    cannot(
        "TR-101",
        because="No write replaces the log or counts on its length: the claim token is the fence, and ids are checked.",
    ),
    built("TR-102", sentence="A submit makes its thread, with what is derived from it."),
    cannot(
        "TR-103",
        "TR-104",
        "TR-105",
        because="No write replaces the log or counts on its length: the claim token is the fence, and ids are checked.",
    ),
    built("TR-106", sentence="A message that is stored is never written over."),
    built("TR-107", sentence="Concurrent writers of one thread each append once, one after the other."),
)
