"""A kvtierd of a test's own, on a socket in a folder of its own. KVTIER_PROGRAMS names the built programs."""
import os
import pathlib
import signal
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROGRAMS = pathlib.Path(os.environ.get("KVTIER_PROGRAMS", ROOT / "build/release"))
PATIENCE = 30.0


class Daemon:
    """keep: whether host memory outlives the daemon, in a holder process, for its next start."""

    def __init__(self, folder, more="", keep=False):
        self.folder = pathlib.Path(folder)
        self.socket = str(self.folder / "kvtier.sock")
        self.config = self.folder / "kvtier.toml"
        self.process = None
        self.configure(more, keep)

    def configure(self, more, keep=False):
        """For its next start."""
        capacity = "" if "host.capacity" in more else 'host.capacity = "64MiB"\n'
        (self.folder / "state").mkdir(exist_ok=True)
        more += f'\ndaemon.state_directory = "{self.folder / "state"}"'
        more += f'\ndaemon.keep = "{"holder" if keep else "off"}"'
        self.config.write_text(
            f'daemon.socket = "{self.socket}"\nhost.segment_bytes_min = "1MiB"\n{capacity}{more}\n')

    def start(self):
        # Its log goes to a file: a pipe that nobody reads would stop it.
        log = open(self.folder / "kvtierd.log", "ab")
        offset = log.tell()
        self.process = subprocess.Popen(
            [str(PROGRAMS / "kvtierd"), "--config", str(self.config)], stderr=log, stdout=log)
        log.close()
        end = time.monotonic() + PATIENCE
        while "KV1001" not in self.log()[offset:]:
            assert self.process.poll() is None and time.monotonic() < end, self.log()[offset:]
            time.sleep(0.01)
        return self

    def log(self):
        return (self.folder / "kvtierd.log").read_text()

    def kill(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None

    def close(self):
        """Kills it and the holder of its memory."""
        self.kill()
        wanted = f"{self.socket}.keep".encode()
        for entry in pathlib.Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and wanted in (entry / "cmdline").read_bytes().split(b"\0"):
                    os.kill(int(entry.name), signal.SIGKILL)
            except (OSError, ValueError):
                continue  # gone meanwhile

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)


def eventually(holds, patience=PATIENCE):
    end = time.monotonic() + patience
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
