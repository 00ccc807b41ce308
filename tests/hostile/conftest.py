"""One server for all trials: what one of them leaves behind, the next one finds."""

import pytest
from kit import Gateway


@pytest.fixture(scope="session")
def gateway():
    server = Gateway()
    if server.cgroup.missing:
        print(f"without limits of memory and processes: {server.cgroup.missing}")
    yield server
    server.close()


@pytest.fixture
def start():
    """Starts servers of other settings, which end with the test."""
    servers = []

    def begin(**variables) -> Gateway:
        servers.append(Gateway(**variables))
        return servers[-1]

    yield begin
    for server in servers:
        server.close()
