"""Which protocols are served is a setting, and what is not served is not imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from awaken import Awaken
from awaken.domain.errors import ValidationError
from awaken.http.settings import HttpSettings
from awaken.protocols.mounting import PROTOCOLS, operations_of


def test_each_protocol_has_operations_of_its_own() -> None:
    """All of them are served together, and each alone."""
    for name in PROTOCOLS:
        assert operations_of([name])
    Awaken("memory://").asgi()


def test_a_protocol_that_is_named_twice_is_served_once() -> None:
    assert len(operations_of([*PROTOCOLS, *PROTOCOLS])) == len(operations_of(None))


def test_a_protocol_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match="'telex'"):
        Awaken("memory://").asgi(protocols=["telex"])
    with pytest.raises(ValidationError, match="'telex'"):
        Awaken("memory://", http=HttpSettings(protocols=("telex",))).asgi()


def test_what_is_not_served_is_not_imported() -> None:
    """Nothing of a protocol either way before the application is made."""
    told = (
        "import sys\n"
        "from awaken import Awaken\n"
        "def loaded(): return [n for n in sys.modules if n.startswith('awaken.protocols.') and n.count('.') > 2]\n"
        "app = Awaken('memory://')\n"
        "assert not loaded(), loaded()\n"
        "app.asgi(protocols=())\n"
        "assert not loaded(), loaded()\n"
    )
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
