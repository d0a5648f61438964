"""huey's consumer as a process of its own: ``python -m benchmarks.peer_consumer FILE WORKERS JOBS``.

It prints how long that many jobs took, from the first call of the task to the last, and ends; with 0 it runs until stopped.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.peer import Peer


def main(database: Path, workers: int, jobs: int) -> None:
    """Consume."""
    peer = Peer(database)
    peer.expected = jobs
    consumer = peer.huey.create_consumer(workers=workers)

    if not jobs:
        consumer.run()
        return

    consumer.start()
    peer.done.wait()
    consumer.stop(graceful=True)
    print(peer.last - peer.first)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
