"""A throw-away machine: the real systemd, booted by systemd-nspawn on an overlay of /, without network.

What is written inside goes to a tmpfs and is gone afterwards. Needs root. Never touches the host's units.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

PATIENCE = 60


class Container:
    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="kvtier-container-"))
        self.root = self.folder / "root"
        self.nspawn = None
        self.leader = None
        self.mounts = []

    def __enter__(self):
        try:
            self.mount()
            self.boot()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.nspawn is not None:
            # Only the process that was started here; nspawn takes its container with it.
            self.nspawn.terminate()
            try:
                self.nspawn.wait(10)
            except subprocess.TimeoutExpired:
                self.nspawn.kill()
                self.nspawn.wait()
        for mount in reversed(self.mounts):
            subprocess.run(["umount", "-l", mount], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def mount(self):
        scratch = self.folder / "scratch"
        for folder in (scratch, self.root):
            folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2G,mode=0755", "tmpfs", scratch], check=True)
        self.mounts.append(scratch)
        for name in ("upper", "work"):
            (scratch / name).mkdir()
        layers = f"lowerdir=/,upperdir={scratch}/upper,workdir={scratch}/work"
        subprocess.run(["mount", "-t", "overlay", "-o", layers, "overlay", self.root], check=True)
        self.mounts.append(self.root)
        # Nothing of this machine that is of no use in there: it only costs time.
        units = self.root / "etc/systemd/system"
        for unit in ("systemd-networkd-wait-online.service", "systemd-resolved.service", "systemd-timesyncd.service",
                     "apt-daily.timer", "apt-daily-upgrade.timer", "man-db.timer", "e2scrub_all.timer",
                     "e2scrub_reap.service", "systemd-logind.service"):
            (units / unit).unlink(missing_ok=True)
            (units / unit).symlink_to("/dev/null")
        for wanted in units.glob("*.wants/*.service"):
            if wanted.parent.name == "multi-user.target.wants":
                wanted.unlink()
        for script in (self.root / "etc").glob("rc[0-9S].d/[SK]*"):
            script.unlink()
        (self.root / "usr/sbin/policy-rc.d").unlink(missing_ok=True)
        (self.root / "etc/machine-id").write_text("")

    def boot(self):
        self.log = open(self.folder / "console", "wb")
        self.nspawn = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "--boot", "--directory", self.root, "--register=no", "--keep-unit",
             "--private-network", "--console=pipe", f"--machine=kvtier-{os.getpid()}", "--link-journal=no",
             "systemd.unit=multi-user.target", "systemd.firstboot=off"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)
        self.leader = until("the container's init", self.find_leader)
        until("the container's boot", lambda: self.run(
            "systemctl is-system-running", check=False).stdout.strip() in ("running", "degraded"))

    def find_leader(self):
        if self.nspawn.poll() is not None:
            raise RuntimeError("systemd-nspawn ended: " + (self.folder / "console").read_text(errors="replace"))
        # nspawn's child is a process in between or, already, init: the last of the chain is it.
        pid = self.nspawn.pid
        found = None
        while True:
            children = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
            pids = children.read_text().split() if children.exists() else []
            if not pids:
                return found
            pid = int(pids[0])
            if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == "systemd":
                return pid

    def run(self, command, check=True, background=False, **options):
        """A shell command line in the container, as its root."""
        words = ["nsenter", f"--target={self.leader}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
                 "--root", "--wd", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TERM=dumb",
                 "DEBIAN_FRONTEND=noninteractive", "bash", "-c", command]
        if background:
            return subprocess.Popen(words, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
        done = subprocess.run(words, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=PATIENCE, **options)
        if check and done.returncode != 0:
            raise AssertionError(f"`{command}` ended with {done.returncode}:\n{done.stdout}")
        return done

    def say(self, command):
        return self.run(command).stdout.strip()

    def journal(self):
        return self.run("journalctl --no-pager -o short-monotonic | tail -80", check=False).stdout


def until(what, holds, patience=PATIENCE):
    """Asks again and again; what it answered in the end."""
    deadline = time.monotonic() + patience
    while True:
        answer = holds()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience} s: {what}")
        time.sleep(0.05)


def why_not():
    """The reason why no container can be had here, or nothing."""
    if os.geteuid() != 0:
        return "not root"
    for program in ("systemd-nspawn", "nsenter", "dpkg-deb", "cpack", "mount"):
        if shutil.which(program) is None:
            return f"no {program} (make deps installs it)"
    probe = subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], check=False,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return "" if probe.returncode == 0 else "namespaces cannot be made here"


if __name__ == "__main__":
    with Container() as machine:
        print(machine.run(sys.argv[1] if len(sys.argv) > 1 else "systemctl --failed").stdout)
