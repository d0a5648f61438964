"""Words for jobs that a broker ended by itself, the same on every broker."""

from __future__ import annotations

CANNOT_BE_READ = "the stored job cannot be read"
QUEUE_WAS_FULL = "the queue was full"
