"""The application whose schedule is to survive its workers."""

from __future__ import annotations

from cherga import QueueTasks

app = QueueTasks("jobs", heartbeat=0.2, lease=1.0, sweep=0.2, poll_interval=1.0)


@app.task(every=0.2, catch_up="all")
def beat() -> None: ...
