"""A client without a network: it calls the ASGI application, reads answers as they come, and leaves when it likes.

Holds: nothing is read ahead for a slow client. While it does not read, `send` blocks, as it does behind a full socket.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import quote

from awaken.http.app import HttpApp


class Answer(NamedTuple):
    """A complete answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a problem document."""
        assert self.headers["content-type"] == "application/problem+json", self
        return self.json()["code"]


class Frame(NamedTuple):
    """One server-sent event, or a comment (`event` is then `:` and `data` its text)."""

    id: str | None
    event: str
    data: str
    raw: bytes

    def json(self) -> Any:
        return json.loads(self.data)


class Connection:
    """One request in progress. Reading it is what lets the application write on."""

    def __init__(self, window: int = 1_000_000) -> None:
        self._window = asyncio.Semaphore(window)
        self._sent: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self._gone = asyncio.Event()
        self._requests: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self._rest = b""
        self.status = 0
        self.headers: dict[str, str] = {}
        self.received = b""
        """Every byte of the body so far."""
        self.is_complete = False
        """The application ended the body."""
        self.sends = 0

    def give(self, message: MutableMapping[str, Any]) -> None:
        self._requests.put_nowait(message)

    def leave(self) -> None:
        """Close the connection from the client's side."""
        self._gone.set()

    async def receive(self) -> MutableMapping[str, Any]:
        if not self._requests.empty():
            return self._requests.get_nowait()
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.body":
            await self._window.acquire()
        self._sent.put_nowait(message)

    def hung_up(self) -> None:
        """The application is finished with this request, whether or not it ended the body."""
        self._sent.put_nowait({"type": "over"})

    async def start(self) -> None:
        """Wait for the status and the headers."""
        message = await self._sent.get()
        if message["type"] == "over":
            raise ConnectionError("the application answered nothing")
        self.status = message["status"]
        self.headers = {name.decode(): value.decode() for name, value in message["headers"]}

    async def read(self) -> bytes | None:
        """What the application wrote next; None when there will be nothing more."""
        if self.is_complete:
            return None
        if not self.status:
            await self.start()
        message = await self._sent.get()
        if message["type"] == "over":
            return None
        self._window.release()
        self.sends += 1
        self.is_complete = not message.get("more_body", False)
        body: bytes = message.get("body", b"")
        self.received += body
        return body

    def waiting(self) -> bool:
        """Something was written that has not been read."""
        return not self._sent.empty()

    async def rest(self) -> bytes:
        while await self.read() is not None:
            pass
        return self.received

    async def frames(self) -> AsyncIterator[Frame]:
        """The frames, each as soon as it is complete; comments too."""
        while True:
            while b"\n\n" in self._rest:
                raw, _, self._rest = self._rest.partition(b"\n\n")
                yield parsed(raw + b"\n\n")
            more = await self.read()
            if more is None:
                return
            self._rest += more

    async def until(self, *events: str) -> list[Frame]:
        """The frames up to and with the first one of these events."""
        found: list[Frame] = []
        async for frame in self.frames():
            found.append(frame)
            if frame.event in events:
                return found
        raise AssertionError(f"the stream ended before {events}: {[frame.event for frame in found]}")


class Client:
    """Calls one application. `headers` go with every request."""

    def __init__(self, app: HttpApp, *, headers: Mapping[str, str] | None = None, root_path: str = "") -> None:
        self.app = app
        self.headers = {"host": "testserver", **(headers or {})}
        self.root_path = root_path

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.request("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        return await self.request("POST", path, body, **options)

    async def patch(self, path: str, body: Any = None, **options: Any) -> Answer:
        return await self.request("PATCH", path, body, **options)

    async def delete(self, path: str, **options: Any) -> Answer:
        return await self.request("DELETE", path, **options)

    async def request(self, method: str, path: str, body: Any = None, **options: Any) -> Answer:
        async with self.open(method, path, body, **options) as connection:
            await connection.rest()
        return Answer(connection.status, connection.headers, connection.received)

    @asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        chunks: Sequence[bytes] | None = None,
        window: int = 1_000_000,
    ) -> AsyncGenerator[Connection]:
        """A request on its way. Leaving the block closes the connection.

        `body` is bytes, or a value sent as JSON; `chunks` sends a body without saying how long it is.
        """
        connection = Connection(window)
        sent = {**self.headers, **(headers or {})}
        if chunks is None:
            raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
            chunks = (raw,)
            if raw:
                sent = {"content-type": "application/json", "content-length": str(len(raw)), **sent}
        else:
            sent = {"content-type": "application/json", **sent}
        for index, chunk in enumerate(chunks):
            connection.give({"type": "http.request", "body": chunk, "more_body": index < len(chunks) - 1})
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._run(connection, method, path, sent))
            try:
                yield connection
            finally:
                connection.leave()
                await asyncio.wait((task,))

    async def _run(self, connection: Connection, method: str, path: str, headers: Mapping[str, str]) -> None:
        plain, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": self.root_path + plain,
            "raw_path": quote(self.root_path + plain, safe="/:@%").encode(),
            "query_string": query.encode(),
            "root_path": self.root_path,
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("testserver", 80),
        }
        try:
            await self.app(scope, connection.receive, connection.send)
        finally:
            connection.hung_up()


def parsed(raw: bytes) -> Frame:
    """One block of an event stream."""
    id_, event, data = None, "message", ""
    for line in raw.decode().strip("\n").split("\n"):
        name, _, value = line.partition(":")
        match name:
            case "":
                return Frame(None, ":", value.strip(), raw)
            case "id":
                id_ = value.strip()
            case "event":
                event = value.strip()
            case "data":
                data = value.removeprefix(" ")
            case _:
                pass
    return Frame(id_, event, data, raw)


def all_frames(body: bytes) -> list[Frame]:
    """Every complete frame of a stream, comments left out."""
    *blocks, _ = body.split(b"\n\n")
    return [frame for frame in (parsed(block + b"\n\n") for block in blocks) if frame.event not in (":", "message")]
