"""One server for all tests, so that leftovers of a test are noticed in the next one."""

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
    """Starts servers with other settings; they are stopped after the test."""
    servers = []

    def begin(**variables) -> Gateway:
        servers.append(Gateway(**variables))
        return servers[-1]

    yield begin
    for server in servers:
        server.close()
