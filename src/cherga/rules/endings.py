"""What is said of jobs that a broker ended by itself, in words that are the same on every broker."""

from __future__ import annotations

CANNOT_BE_READ = "the stored job cannot be read"
QUEUE_WAS_FULL = "the queue was full"
