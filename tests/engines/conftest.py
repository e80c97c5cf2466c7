"""Fixtures of the engine tests: the folder with models, one daemon a module."""
import os
import pathlib

import pytest

import harness


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """KVTIER_MODELS keeps the small models between runs."""
    folder = os.environ.get("KVTIER_MODELS")
    return pathlib.Path(folder) if folder else tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def big_daemon(tmp_path_factory):
    daemon = harness.Daemon(tmp_path_factory.mktemp("daemon"), 'host.capacity = "512MiB"', keep=True).start()
    yield daemon
    daemon.close()
