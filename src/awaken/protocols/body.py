"""Request bodies of other protocols: their own names, and room for what only newer clients send.

Above: `protocols/<name>/wire.py`. Below: `http.submission.Body`, whose own API refuses what it does not know.

Source: docs/concepts/protocols.md.
"""

from __future__ import annotations

from typing import Any, Self

import msgspec

from awaken.http.submission import Body


class DialectBody(Body, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """Fields that it does not have are passed over. `rename="camel"` in a subclass gives them the protocol's names."""

    @classmethod
    def read(cls, raw: dict[str, Any]) -> Self:
        """Raises msgspec.ValidationError for a wrong shape."""
        return msgspec.convert(raw, cls)
