"""Webhooks to names that a client controls, and whose address changes between two lookups (DNS rebinding)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("changing_names.py")
# Runs a command in a network and with mounts of its own. Users other than root need a namespace for users as well.
APART = ["unshare", "--mount", "--net", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]
REFUSED = {"error": "the name resolves to an address that is not public"}
DELIVERED = {"status": 204}


@pytest.fixture(scope="module")
def sent() -> dict:
    """What `changing_names.py` saw."""
    trial = [*APART, "mount", "--bind", "/dev/null", "/etc/resolv.conf"]
    tried = subprocess.run(trial, capture_output=True, text=True)
    if tried.returncode != 0:
        pytest.skip(f"no network with a resolver of its own can be made here ({tried.stderr.strip()})")
    ran = subprocess.run([*APART, sys.executable, SCRIPT], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_an_attempt_whose_lookup_gives_a_forbidden_address_is_refused(sent):
    found = {
        name: [{key: value for key, value in attempt.items() if key != "at"} for attempt in attempts]
        for name, attempts in sent["attempts"].items()
    }
    assert found == {
        "allowed-first.test": [DELIVERED, REFUSED],
        "forbidden-first.test": [REFUSED, DELIVERED],
        "both.test": [DELIVERED],
        "trusted.test": [DELIVERED],
    }


def test_a_forbidden_address_gets_no_connection(sent):
    assert sent["forbidden"] == {"connections": 1, "names": ["trusted.test"]}
    names = ["allowed-first.test", "both.test", "forbidden-first.test"]
    assert sent["allowed"]["connections"] == len(names)
    assert sorted(sent["allowed"]["names"]) == names


def test_an_attempt_looks_the_name_up_once(sent):
    """A second lookup, after the check, could give another address."""
    assert sent["lookups"] == {name: len(attempts) for name, attempts in sent["attempts"].items()}
