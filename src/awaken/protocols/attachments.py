"""What clients attach: data in the request, or the address of something, as blocks of a message.

Above: the `wire` of a protocol, for its file parts. Below: domain blocks.
Holds: the server fetches nothing. Data is decoded only to be measured, an address is handed to the agent as it is.

Source: docs/concepts/protocols.md.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from awaken.domain.errors import ValidationError
from awaken.domain.message import Audio, Base64Source, Block, Document, Image, Message, Source, Text, UrlSource, Video
from awaken.http.settings import MAX_BLOCKS, MAX_MESSAGES, MAX_TEXT_CHARS
from awaken.http.submission import check_attachments
from awaken.protocols.foreign import says_nothing

MAX_URL_CHARS: Final = 8 * 1024
MAX_BROUGHT: Final = 10_000
"""Messages of a conversation from elsewhere with which a thread begins."""
_TYPES: Final[dict[str, type[Image | Audio | Video | Document]]] = {"image": Image, "audio": Audio, "video": Video}
_DOCUMENTS: Final = frozenset({"application/pdf", "application/json"})
_DATA: Final = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),(.*)", re.DOTALL)
_MEDIA: Final = re.compile(r"[a-z]+/[a-z0-9.+*-]+", re.ASCII)


def attachment(url: str, media_type: str | None = None, title: str | None = None, *loc: str | int) -> Block:
    """A file at a `data:`, `https:` or `http:` address.

    Raises:
        ValidationError: The address is none of these, or the type is not an image, audio, video, PDF, text or JSON, or
            the data is of another type than is said.
    """
    given = (media_type or "").partition(";")[0].strip().lower() or None
    found = _DATA.fullmatch(url) if url[:5].lower() == "data:" else None
    if found is not None:
        named = found[1].strip().lower() or "text/plain"
        if given is not None and given != named and not given.endswith("/*"):
            raise ValidationError(f"an attachment is said to be {given}, and its data to be {named}", loc=loc)
        return _block(named, Base64Source(named, _encoded(found[2], found[3], loc)), title, loc)
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ValidationError("the url of an attachment cannot be read", loc=loc) from error
    if parts.scheme not in ("http", "https") or not parts.hostname or len(url) > MAX_URL_CHARS:
        raise ValidationError("the url of an attachment is a data:, https: or http: URL", loc=loc)
    return _block(given or "application/octet-stream", UrlSource(url, given), title, loc, is_reference=True)


def inline(data: str, media_type: str, title: str | None = None, *loc: str | int) -> Block:
    """A file whose data, in base64, stands in the request. Raises as `attachment`."""
    return attachment(f"data:{media_type.partition(';')[0].strip()};base64,{data}", None, title, *loc)


def _encoded(parameters: str, data: str, loc: tuple[str | int, ...]) -> str:
    if parameters.lower().endswith(";base64"):
        return unquote_to_bytes(data).decode("latin-1") if "%" in data else data  # checked with all the others
    return base64.b64encode(unquote_to_bytes(data)).decode()


def _block(
    media_type: str, source: Source, title: str | None, loc: tuple[str | int, ...], *, is_reference: bool = False
) -> Block:
    family = media_type.partition("/")[0]
    made = _TYPES.get(family)
    if made is None and (family == "text" or media_type in _DOCUMENTS or is_reference):
        made = Document
    if made is None or _MEDIA.fullmatch(media_type) is None:
        raise ValidationError(
            f"an attachment is an image, audio, video, PDF, text or JSON, and not {media_type[:80]!a}", loc=loc
        )
    return made(source, title)


def check_foreign(messages: Iterable[Message], *loc: str) -> None:
    """Hold what a client brings to the bounds of this API.

    Raises:
        ValidationError: There are too many messages, blocks or characters, or attachments are too many or too large;
            or a message of a user says nothing.
    """
    sent = [*messages]
    if len(sent) > MAX_MESSAGES:
        raise ValidationError(f"a request has at most {MAX_MESSAGES} messages that are new", loc=("body", *loc))
    for message in sent:
        if says_nothing(message):
            raise ValidationError("a message of a user has a text, or a file that can be taken", loc=("body", *loc))
        _check_size(message, loc)
    check_attachments(_files_of(sent), *loc)


def check_brought(messages: Iterable[Message], *loc: str) -> None:
    """The same of a conversation from elsewhere, which was said one request at a time: it may be as long as the clients
    are that send all of it with each request, and each of its messages may have what a request may.

    Raises:
        ValidationError: There are too many messages, or one of them is too large.
    """
    sent = [*messages]
    if len(sent) > MAX_BROUGHT:
        raise ValidationError(
            f"a conversation that begins a thread has at most {MAX_BROUGHT} messages", loc=("body", *loc)
        )
    for message in sent:
        _check_size(message, loc)
        check_attachments(_files_of([message]), *loc)


def _check_size(message: Message, loc: tuple[str, ...]) -> None:
    if len(message.content) > MAX_BLOCKS:
        raise ValidationError(f"a message has at most {MAX_BLOCKS} parts", loc=("body", *loc))
    if sum([len(block.text) for block in message.content if isinstance(block, Text)]) > MAX_TEXT_CHARS:
        raise ValidationError(f"a message has at most {MAX_TEXT_CHARS} characters of text", loc=("body", *loc))


def _files_of(messages: Iterable[Message]) -> list[Image | Audio | Video | Document]:
    return [block for each in messages for block in each.content if isinstance(block, (Image, Audio, Video, Document))]
