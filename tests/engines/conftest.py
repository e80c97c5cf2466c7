"""Fixtures of the engine tests: the folder with models, a daemon, and two engines that start at once."""
import os
import pathlib

import pytest

import harness
import models

BIG = 'host.capacity = "512MiB"'


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """KVTIER_MODELS keeps the small models between runs."""
    folder = os.environ.get("KVTIER_MODELS")
    return pathlib.Path(folder) if folder else tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def big_daemon(tmp_path_factory):
    daemon = harness.Daemon(tmp_path_factory.mktemp("daemon"), BIG, keep=True).start()
    yield daemon
    daemon.close()


@pytest.fixture
def little_memory(big_daemon, tmp_path):
    """big_daemon with hardly any host memory, and NVMe."""
    def again(more, keep):
        big_daemon.close()
        big_daemon.configure(more, keep)
        big_daemon.start()

    again(harness.little_memory_and_nvme(tmp_path / "disk"), False)
    yield big_daemon
    again(BIG, True)


@pytest.fixture(scope="session")
def tiny(model_folder):
    return models.make(model_folder, "tiny", "float32")


@pytest.fixture(scope="session")
def off(tmp_path_factory, tiny):
    """Without kvtier, with vLLM's own prefix cache."""
    engine = harness.Engine(tmp_path_factory.mktemp("off"), tiny)
    yield engine
    engine.kill()


@pytest.fixture(scope="session")
def engine(tmp_path_factory, tiny, big_daemon):
    running = harness.Engine(tmp_path_factory.mktemp("engine"), tiny, big_daemon.socket, harness.PATIENT)
    yield running
    running.kill()


@pytest.fixture(scope="session")
def second(tmp_path_factory, tiny, big_daemon):
    running = harness.Engine(tmp_path_factory.mktemp("second"), tiny, big_daemon.socket, harness.PATIENT)
    yield running
    running.kill()


@pytest.fixture(scope="session")
def asked():
    return harness.conversations(200)


@pytest.fixture(scope="session")
def right(off, asked):
    """The answers without kvtier, by a cold engine."""
    answers = harness.in_batches(off, asked, fresh=True)
    off.kill()  # its memory is for the next ones
    assert all(answer["finish"] == "length" for answer in answers)
    return answers
