"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from benchmarks import contexts, enqueue, features, flow, idle, latency, later, limits, processing, startup
from benchmarks.run import Run

THEMES: dict[str, tuple[str, Callable[[Run], None]]] = {
    "enqueue": ("storing jobs one by one and in bulk", enqueue.measure),
    "processing": ("working off no-op jobs, beside the bare engine loop and huey", processing.measure),
    "features": ("plain no-op jobs beside those with echo, middlewares and a dependency", features.measure),
    "contexts": ("plain no-op jobs beside those of a Flask application, and its worker's way to be ready", contexts.measure),
    "flow": ("a group with a callback, a chain, and the results of a group", flow.measure),
    "limits": ("plain no-op jobs beside those with a limit, a key and a unique constraint", limits.measure),
    "latency": ("from enqueue to start in an idle worker, and the round trip", latency.measure),
    "startup": ("import, and a worker's way to its first job", startup.measure),
    "later": ("a thousand jobs due at once, and what a hundred thousand cost that are not", later.measure),
    "idle": ("processor time and memory of a worker that has nothing to do", idle.measure),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the themes named, or all; 0 when every aim is met, else 1."""
    options = _parse(arguments)
    _print_everywhere()

    if options.list:
        print("\n".join(f"{name:<12}{text}" for name, (text, _) in THEMES.items()))
        return 0

    with Run(rounds=options.rounds, scale=options.scale) as run:
        print(run.heading(), flush=True)

        for name in options.names or THEMES:
            run.begin(name, THEMES[name][0])
            THEMES[name][1](run)

    print(f"\nwritten to {run.save()}")
    return 0 if run.met else 1


def _print_everywhere() -> None:
    """A terminal that has no sign for "×" or "µ" shows its code."""
    for stream in (sys.stdout, sys.stderr):
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="theme", help="what to measure; all when none is named")
    parser.add_argument("--list", action="store_true", help="name the themes")
    parser.add_argument("--rounds", type=int, default=5, help="how often each throughput is taken; the median counts (5)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the usual number of jobs (1.0)")
    options = parser.parse_args(arguments)

    if unknown := set(options.names) - set(THEMES):
        parser.error(f"expected themes out of {', '.join(THEMES)}; got {', '.join(sorted(unknown))}")

    return options


if __name__ == "__main__":
    sys.exit(main())
