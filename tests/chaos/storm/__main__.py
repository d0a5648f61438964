"""A storm by hand: ``python -m tests.chaos.storm --seed 7 --jobs 2000``.

Says what did not hold, with the timeline of each job.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos.storm.course import run
from tests.workers import Workplace


def main() -> int:
    """The exit code: 1 when a promise did not hold; then the folder with diary, queue file and logs is kept."""
    options = _options().parse_args()
    broken = [seed for seed in range(options.seed, options.seed + options.storms) if not _holds(seed, options)]
    return 1 if broken else 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.storm", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="decides what is enqueued and what is done to whom (default 1)")
    parser.add_argument("--jobs", type=int, default=2000, help="jobs that are enqueued, about (default 2000)")
    parser.add_argument("--storms", type=int, default=1, help="one after the other, this seed and the next ones (default 1)")
    parser.add_argument("--workers", type=int, default=3, help="workers at the same time (default 3)")
    parser.add_argument("--producers", type=int, default=3, help="producers at the same time (default 3)")
    return parser


def _holds(seed: int, options: argparse.Namespace) -> bool:
    folder = Path(tempfile.mkdtemp(prefix=f"storm-{seed}-"))
    place = Workplace(folder)

    try:
        outcome = run(place, seed, options.jobs, options.workers, options.producers)
    except BaseException:
        print(f"seed {seed}: broken off; see {folder}")
        raise
    finally:
        place.close()

    print(f"seed {seed}: {outcome.figures()}")

    if outcome.violations:
        print(f"{outcome.report()}\n\nseed {seed}: {len(outcome.violations)} violations; see {folder}")
        return False

    shutil.rmtree(folder)
    return True


if __name__ == "__main__":
    sys.exit(main())
