"""What keeps strangers from a server: said by the command that serves it, by its API, and by whoever shows that.

Above: `awaken serve`, which refuses to begin without one; `/v1/system`, and what shows it. Below: nothing but values.
Holds: nothing about how it guards is said, only what does.

Source: docs/howto/operate.md.
"""

from __future__ import annotations

from typing import Final, Literal

Guard = Literal["authorize", "loopback", "nobody"]
"""`authorize`: each request is asked who sends it. `loopback`: only this machine reaches it. `nobody`: neither."""

UNGUARDED: Final = "no authentication: whoever reaches this address may use it"


def guard_of(*, authorizes: bool, on_loopback: bool | None) -> Guard | None:
    """None: whoever serves the application decides where it listens, and has not said it."""
    if authorizes:
        return "authorize"
    if on_loopback is None:
        return None
    return "loopback" if on_loopback else "nobody"
