"""Follows the events of a job, piece by piece as they arrive."""

import http.client
import json
import time
from dataclasses import dataclass

from kit import LONG


@dataclass(frozen=True)
class Event:
    """A server-sent event; `data` is its JSON. An `end` has no ID."""

    id: int | None
    name: str
    data: dict

    @property
    def state(self) -> str:
        """The state of the job after the event."""
        return self.data["state"]


def without_progress(events: list[Event]) -> list[Event]:
    """The events that every stream has. New progress replaces earlier progress, so a stream may miss some."""
    return [event for event in events if event.name != "progress"]


class EventStream:
    """An open stream of a job's events. `headers` are those of the request, like those of the function `ask`.

    Raises ConnectionError if the service is away for the moment, so that `until` tries again.
    """

    def __init__(self, port: int, path: str, host: str = "127.0.0.1", **headers: str):
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection = http.client.HTTPConnection(host, port, timeout=LONG)
        self._connection.request("GET", f"{path}/events", headers=sent)
        self._response = self._connection.getresponse()
        self._unread = b""
        status = self._response.status
        if status != 200:
            self._connection.close()
            assert status in (502, 503, 504), status
            raise ConnectionError(f"the answer is {status}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # The response has the socket when the server has announced that it closes the connection.
        self._response.close()
        self._connection.close()

    def header(self, name: str) -> str | None:
        """The value of a header, which must not occur twice."""
        found = self._response.headers.get_all(name, [])
        assert len(found) <= 1, f"{name} is there {len(found)} times: {found}"
        return found[0] if found else None

    def _line(self, end: float) -> str | None:
        """Reads a line; None where the server has ended the stream. Raises HTTPException or OSError if it broke off."""
        while b"\n" not in self._unread:
            # Comments arrive for ever, so the time-out of the socket is not enough.
            assert time.monotonic() < end, "never: an event"
            # Unlike readline, read1 tells the end of a stream from a broken connection.
            if not (piece := self._response.read1()):
                assert not self._unread, self._unread
                return None
            self._unread += piece
        line, self._unread = self._unread.split(b"\n", 1)
        return line.decode()

    def comment(self) -> None:
        """Waits for a comment. No event may come before it."""
        end = time.monotonic() + LONG
        while not (line := self._line(end)):
            assert line is not None, "the stream has ended"
        assert line.startswith(":"), line

    def next(self) -> Event | None:
        """Waits for the next event; None where the server has ended the stream."""
        end = time.monotonic() + LONG
        fields = {}
        while (line := self._line(end)) is not None:
            if line and not line.startswith(":"):
                name, value = line.split(": ", 1)
                assert name not in fields, (fields, line)
                fields[name] = value
            elif not line and fields:
                identity = int(fields["id"]) if "id" in fields else None
                return Event(identity, fields["event"], json.loads(fields["data"]))
        assert not fields, f"the stream has ended within an event: {fields}"
        return None

    def rest(self) -> list[Event]:
        """Reads the stream to its end."""
        return list(iter(self.next, None))
