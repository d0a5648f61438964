"""Commands and options of other systems, and the answer to each: what is said here, or that it may be left out."""

from __future__ import annotations

COMMANDS = {
    "beat": "leave it out: every worker enqueues what is due",
    "call": "did you mean 'cherga jobs enqueue TASK'?",
    "cancel": "did you mean 'cherga jobs cancel ID'?",
    "control": "did you mean 'cherga jobs cancel', 'cherga queues pause' or 'cherga limits set'?",
    "empty": "did you mean 'cherga queues empty QUEUE'?",
    "enqueue": "did you mean 'cherga jobs enqueue TASK'?",
    "events": "did you mean 'cherga jobs list --watch'?",
    "info": "did you mean 'cherga queues list' or 'cherga workers'?",
    "inspect": "did you mean 'cherga jobs list --state running' or 'cherga workers'?",
    "list": "did you mean 'cherga jobs list'?",
    "logs": "did you mean 'cherga jobs logs ID'?",
    "multi": "did you mean 'cherga worker --processes N'?",
    "purge": "did you mean 'cherga queues empty QUEUE'?",
    "requeue": "did you mean 'cherga jobs retry ID'?",
    "result": "did you mean 'cherga jobs show ID'?",
    "resume": "did you mean 'cherga queues resume QUEUE'?",
    "retry": "did you mean 'cherga jobs retry ID'?",
    "revoke": "did you mean 'cherga jobs cancel ID'?",
    "scheduler": "leave it out: every worker enqueues what is due",
    "show": "did you mean 'cherga jobs show ID'?",
    "status": "did you mean 'cherga workers' or 'cherga queues list'?",
    "suspend": "did you mean 'cherga queues pause QUEUE'?",
    "watch": "did you mean 'cherga jobs watch ID'?",
    "why": "did you mean 'cherga jobs why ID'?",
}
WORKER_OPTIONS = {
    "--autoscale": "did you mean --processes?",
    "--max-jobs": "leave it out: a worker process is replaced only when it dies or stands still",
    "--max-tasks-per-child": "leave it out: a worker process is replaced only when it dies or stands still",
    "--prefetch-multiplier": "leave it out: a worker claims what it can run soon; the setting lookahead says how soon",
    "--time-limit": "give tasks or the application max_time, as in @app.task(max_time=60)",
    "--soft-time-limit": "give tasks or the application max_time, as in @app.task(max_time=60)",
    "--with-scheduler": "leave it out: every worker enqueues what is due",
    "-B": "leave it out: every worker enqueues what is due",
    "--beat": "leave it out: every worker enqueues what is due",
    "-E": "leave it out: it is always so",
    "-P": "leave it out: one worker runs def and async def tasks",
    "--pool": "leave it out: one worker runs def and async def tasks",
    "-Q": "did you mean -q?",
    "--queues": "did you mean --queue?",
    "-c": "did you mean --threads, --concurrency (for async def tasks) or --processes?",
    "-l": "did you mean --log-level?",
    "--loglevel": "did you mean --log-level?",
    "-n": "did you mean --name?",
    "--hostname": "did you mean --name?",
}


def command_answer(name: str) -> str | None:
    """The answer to a command of another system, or to one of ours that was said without its group."""
    return COMMANDS.get(name)


def option_answer(command: str | None, option: str) -> str | None:
    """The answer to an option of another system's worker."""
    return WORKER_OPTIONS.get(option) if command == "worker" else None
