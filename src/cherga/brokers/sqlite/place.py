"""The file and the folder it lies in: what must hold before SQLite touches them."""

from __future__ import annotations

import os
import shlex
import stat
from contextlib import suppress
from math import inf
from pathlib import Path

from cherga.words.clock import SystemClock
from cherga.words.errors import BrokerFull, BrokerUnusable

SPACE_AT_LEAST = 64 << 20
LOOK_FOR_SPACE = 0.05
"""Seconds between two looks at the space that is free."""

NETWORK_FILE_SYSTEMS = frozenset(
    """
    9p afs beegfs ceph cifs coda davfs fuse.davfs fuse.glusterfs fuse.rclone fuse.s3fs fuse.sshfs glusterfs gpfs lustre ncpfs
    nfs nfs4 orangefs prl_fs smb3 smbfs vboxsf virtiofs
    """.split()  # noqa: SIM905
)
"""File systems on which SQLite's locks and shared memory cannot be trusted."""

COARSE, FINE = 2.0, 0.05
"""Seconds within which two changes of a folder may bear the same time, where times are kept in seconds and where in less."""

Identity = tuple[int, int]
"""Device and inode: what tells one file from another that came to stand at its place."""


def prepare(path: Path, create: bool = True) -> Identity:
    """Make sure that a private file stands at ``path`` and return its identity. Raises ``BrokerUnusable``.

    The file is opened here only when this call makes it: closing any descriptor of a database drops every lock that the
    process holds on it (POSIX record locks), so an existing one is looked at with ``stat`` alone.
    """
    _check_folder(path)
    _check_network(path)

    if create:
        _make(path)

    return _identify(str(path))


def _make(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise BrokerUnusable(
            f"cannot create the queue file {path}: {error.strerror}; check the rights on {path.parent}"
        ) from error


class Files:
    """The file and its companions as they were when it was opened. Nobody may take one of them away or put another in its
    place: what is written then goes nowhere, or damages the file."""

    def __init__(self, path: Path, identity: Identity) -> None:
        """``identity``: of the file itself, from before it was opened."""
        self._opened = [(str(path), identity), *((name, _identify(name)) for name in companions(path))]
        self._folders = tuple({str(path.parent), os.path.dirname(os.path.realpath(path))})
        self.log = companions(path)[0]
        """The name of the write-ahead log."""
        self._quiet: list[int] = []
        """The time of the last change of names in the folders (nanoseconds), once looked at long enough after it."""
        self.check()

    def check(self) -> None:
        """Raise ``BrokerUnusable`` when one of them is gone, or is another one now."""
        try:
            changes = [os.stat(folder).st_mtime_ns for folder in self._folders]
        except OSError:
            changes = []

        if not changes or changes != self._quiet:
            self._look()
            self._quiet = changes if changes and all(map(shows_later_changes, changes)) else []

    def _look(self) -> None:
        for name, identity in self._opened:
            if _identify(name) != identity:
                raise BrokerUnusable(
                    f"the queue file {name} was replaced while it was in use; nothing more is written to either; "
                    "restart this process"
                )

    @property
    def stand(self) -> bool:
        """True when all of them are still there."""
        try:
            self.check()
        except BrokerUnusable:
            return False

        return True


def shows_later_changes(changed_at: int) -> bool:
    """True when any later change of a folder bears another time than this one (nanoseconds).

    A time with a fraction of a second is one of a file system that keeps them finely.
    """
    tick = FINE if changed_at % 1_000_000_000 else COARSE
    return SystemClock.now() - changed_at / 1e9 > tick


def companions(path: Path) -> tuple[str, str]:
    """The write-ahead log and the shared memory, which SQLite keeps beside the file, wherever a link to it stands."""
    real = os.path.realpath(path)
    return f"{real}-wal", f"{real}-shm"


def live_folder(path: Path) -> Path:
    """The folder of doorbells and locks: one for all that use the file, whatever links to it are called."""
    return Path(f"{os.path.realpath(path)}-live")


def check_rights(path: Path) -> None:
    """Raise ``BrokerUnusable`` when others than its owner may use the file or what belongs to it.

    An empty file, which holds nothing yet, is made private.
    """
    if os.name != "posix":
        return

    if path.stat().st_size == 0:
        with suppress(PermissionError):
            path.chmod(0o600)

    wide = [name for name in (str(path), *companions(path), str(live_folder(path))) if _others_may(name)]

    if wide:
        modes = ", ".join(f"{name} ({stat.S_IMODE(os.stat(name).st_mode):04o})" for name in wide)
        raise BrokerUnusable(
            f"expected a queue that its owner alone can use, found more rights on {modes}; "
            f"run: chmod go-rwx {' '.join(map(shlex.quote, wide))}"
        )


def _others_may(name: str) -> bool:
    with suppress(FileNotFoundError):
        return bool(os.stat(name).st_mode & (stat.S_IRWXG | stat.S_IRWXO))

    return False


def _identify(name: str) -> Identity:
    try:
        found = os.stat(name)
    except OSError as error:
        raise BrokerUnusable(f"the queue file {name} is gone ({error.strerror}); stop, put it back, and start again") from error

    return found.st_dev, found.st_ino


class Space:
    """Room on the disk beside the file, which is looked at twenty times a second at most."""

    def __init__(self, path: Path, log: str, watermark: int | None) -> None:
        """``log``: the name of the write-ahead log; ``watermark``: as in the URL."""
        self._path = path
        self._log = log
        self._watermark = watermark
        self._looked = -inf

    def check(self) -> None:
        """Raise ``BrokerFull`` when too little space is free to take new jobs."""
        now = SystemClock.monotonic()

        if now - self._looked >= LOOK_FOR_SPACE:
            self._look()
            self._looked = now

    def _look(self) -> None:
        if self._watermark == 0 or not hasattr(os, "statvfs"):
            return

        needed = required_space(self._log) if self._watermark is None else self._watermark
        disk = os.statvfs(self._path)
        free = disk.f_bavail * disk.f_frsize

        if free < needed:
            raise BrokerFull(
                f"expected {needed >> 20} MB free beside {self._path}, found {free >> 20} MB: no new jobs until there is room; "
                "running ones can still be completed"
            )


def required_space(log: str) -> int:
    """Enough for the running jobs to end and for a checkpoint: 64 MB or four times the write-ahead log."""
    try:
        return max(SPACE_AT_LEAST, 4 * os.stat(log).st_size)
    except OSError:
        return SPACE_AT_LEAST


def find_file_system(device: int, mounts: str) -> str | None:
    """The type of the file system with this device number, looked up in the text of ``/proc/self/mountinfo``."""
    number = f"{os.major(device)}:{os.minor(device)}"

    for line in mounts.splitlines():
        fields, _, kind = line.partition(" - ")

        if fields.split()[2:3] == [number]:
            return kind.split()[0]

    return None


def _check_folder(path: Path) -> None:
    if not path.parent.is_dir():
        raise BrokerUnusable(f"expected the folder {path.parent} for the queue file {path.name}; there is none, create it")

    if path.exists() and not path.is_file():
        raise BrokerUnusable(f"expected a file at {path}, found something else; give the broker URL another path")

    if path.exists() and (names := path.stat().st_nlink) > 1:
        raise BrokerUnusable(
            f"expected a queue file with one name, found {names} of {path}: whoever opens it by another one (a hard link) does "
            "not see what is in its log, and damages it; remove the others, or use a symbolic link"
        )


def _check_network(path: Path) -> None:
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="replace")
    except OSError:
        return

    kind = find_file_system(path.parent.stat().st_dev, mounts)

    if kind in NETWORK_FILE_SYSTEMS:
        raise BrokerUnusable(
            f"{path} lies on a network file system ({kind}), where SQLite loses data; "
            "put the file on a local disk, or use PostgreSQL or Redis"
        )
