"""Fixtures of the package's tests."""
import pytest

from daemons import Daemon


@pytest.fixture
def daemon(tmp_path):
    running = Daemon(tmp_path).start()
    yield running
    running.close()
