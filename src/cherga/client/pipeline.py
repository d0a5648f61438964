"""Pipelines: how one attempt of a task runs when there is more to it than calling a function.

Written once: every step is a coroutine, and ``settle`` decides how something awaitable is awaited. In an ``async def`` task it
is awaited on the loop; in a ``def`` task the steps are driven on the task's own thread, and awaitables run on the worker's
loop while the thread waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from functools import cache
from typing import Any, Protocol, TypeVar

from cherga.client.bound import AsyncTask, BoundTask, SyncTask
from cherga.client.context import Context
from cherga.client.depends import Lifetimes, Opening, Overrides
from cherga.client.features import Features, Step, takes_executor
from cherga.client.fitting import fits
from cherga.client.middleware import Call, Handler, Middleware, around
from cherga.client.scopes import Inside, Scope, SharedScope
from cherga.client.task import Task
from cherga.client.waiting import Stopped
from cherga.rules.elsewhere import slip_of
from cherga.words.control import TaskWish
from cherga.words.errors import ConfigError
from cherga.words.later import asyncio, inspect

T = TypeVar("T")


class Surroundings(Protocol):
    """The services that a worker offers to the pipelines of its jobs."""

    worker: SharedScope
    process: SharedScope

    def settle_in_thread(self, made: Awaitable[Any], /, to_the_end: bool = ...) -> Any: ...
    @property
    def middleware(self) -> tuple[Middleware, ...]: ...
    @property
    def overrides(self) -> Overrides: ...
    @property
    def inside(self) -> Inside: ...


async def step(made: Any) -> Any:
    """The value that a step gives, be it ``def`` or ``async def``. Steps are driven on the task's own thread or loop."""
    return await made if inspect.isawaitable(made) else made


class TaskExecutor:
    """Runs one attempt, step by step. Subclass it (or write a plain class with some of its steps) and give the class to
    ``@app.task(executor=...)`` to replace steps; each may be ``def`` or ``async def``.
    """

    def __init__(self, task: Task[..., Any], ctx: Context, surroundings: Surroundings) -> None:
        self.task = task
        self.ctx = ctx
        self.features: Features = task.features
        self.surroundings = surroundings
        self._scope = Scope()
        self._judged: tuple[BaseException | None, bool] = (None, False)

    # --- the steps, in the order in which they happen

    async def before(self, call: Call) -> Any:
        """Run ``middlewares_before``. What one returns, if it is not None, takes the place of the arguments: a ``Call``, or
        a tuple of positional arguments and a dict of named ones."""
        for middleware in self.features.before:
            _replace_arguments(call, await self.settle(self._made(middleware)(call)))

    async def call(self, call: Call) -> Any:
        """Call the function and return what it gives; of a generator, what its values come to."""
        args, kwargs = await self._arguments(call)
        made = self.task.function(*args, **kwargs)
        return await (self._exhausted(made) if self.features.is_generator else self.settle(made))

    async def exhaust(self, generator: Any) -> Any:
        """Hand each value to ``generate_handler``, put what comes of it into the job's stream, and send it back.

        Without a handler the values themselves are streamed, and nothing is sent back. Gives what the generator returned, else
        the list of the handled values. Afterwards the generator is closed, whatever happens.
        """
        has_handler = self.features.generate_handler is not None
        kept: list[Any] = []

        while True:
            is_over, value = await self._next(generator, kept[-1] if kept and has_handler else None)

            if is_over:
                return kept if value is None else value

            kept.append(await self._handled(value))
            await self._pause()

    async def after(self, call: Call) -> Any:
        """Run ``middlewares_after``. What one returns, if it is not None, takes the place of the result."""
        for middleware in self.features.after:
            made = await self.settle(self._made(middleware)(call))
            call.result = call.result if made is None else made

    async def decode(self, call: Call) -> Any:
        """Turn the result into what is stored."""
        if self.features.decode is not None:
            call.result = await self.settle(self.features.decode(call.result))

    def should_retry(self, error: BaseException) -> Any:
        """True when another attempt, if one is left, may help after this error."""
        return self.task.policy.retry.worth(error)

    async def on_error(self, call: Call, error: Exception) -> Any:
        """Return a result to turn the failure into a success; raise to fail. The default raises the error again."""
        raise error

    # --- how the steps are put together

    def run(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run the attempt of a ``def`` task on this thread."""
        return drive(self.execute(args, kwargs))

    async def arun(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run the attempt of an ``async def`` task on this loop."""
        return await self.execute(args, kwargs)

    async def execute(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run all steps inside the application's middleware and return what is to be stored."""
        handler: Handler = self._run_steps

        for middleware in reversed(self.surroundings.middleware):
            handler = around(middleware, handler)

        try:
            return await handler(Call(self.task, args, kwargs, self.ctx, self.settle))
        except TaskWish:
            raise
        except Exception as error:
            self._judged = (error, bool(await step(self.should_retry(error))))
            raise

    async def settle(self, value: Any) -> Any:
        """The value, or what it gives when it can be awaited; use it to await anything in a step of a ``def`` task."""
        if not inspect.isawaitable(value):
            return value

        return await value if self.features.is_async else self.surroundings.settle_in_thread(value)

    def bound(self) -> BoundTask:
        """The task bound to the running job, for ``echo=True``."""
        return AsyncTask(self.task, self.ctx) if self.features.is_async else SyncTask(self.task, self.ctx)

    def worth(self, error: BaseException) -> bool:
        """The answer of ``should_retry`` about this error; the task's policy where it was not asked."""
        judged, verdict = self._judged
        return verdict if judged is error else self.task.policy.retry.worth(error)

    async def _run_steps(self, call: Call) -> Any:
        try:
            await step(self.before(call))
            call.result = await step(self.call(call))
            await step(self.after(call))
            await step(self.decode(call))
        except BaseException as error:
            await self._scope.close(error, self._settle_to_the_end)

            if isinstance(error, TaskWish) or not isinstance(error, Exception):
                raise

            return await step(self.on_error(call, error))

        await self._scope.close(None, self._settle_to_the_end)
        return call.result

    async def _settle_to_the_end(self, value: Any) -> Any:
        """Closing is not broken off when a job on a thread is asked to stop."""
        if self.features.is_async or not inspect.isawaitable(value):
            return await self.settle(value)

        return self.surroundings.settle_in_thread(value, to_the_end=True)

    # --- arguments

    async def _arguments(self, call: Call) -> tuple[tuple[Any, ...], dict[str, Any]]:
        task, features = self.task, self.features
        found: dict[str, Any] = dict.fromkeys(task.injected, self.ctx)

        if features.needs:
            opening = self._opening()
            found.update({need.parameter: await opening.value_of(need.depends) for need in features.needs})

        args, kwargs = task.reconciled(call.args, call.kwargs) if call.kwargs else (call.args, call.kwargs)
        args, kwargs = task.fill(args, kwargs, found) if found else (args, kwargs)
        return ((self.bound(), *args) if features.echo else args), kwargs

    def _opening(self) -> Opening:
        around = self.surroundings
        lifetimes = Lifetimes(self._scope, around.worker, around.process)
        return Opening(lifetimes, around.overrides, self.settle, self.features.is_async, self.ctx, around.inside)

    def _made(self, step: Step) -> Step:
        """An instance of a middleware class, made for this job; it may take the executor."""
        if not inspect.isclass(step):
            return step

        kind: Any = step
        made: Step = kind(self) if takes_executor(kind) else kind()
        return made

    # --- generators

    async def _exhausted(self, generator: Any) -> Any:
        try:
            return await step(self.exhaust(generator))
        finally:
            await self._close_generator(generator)

    async def _next(self, generator: Any, answer: Any) -> tuple[bool, Any]:
        """True when the generator is over, and the value that it gave last."""
        try:
            if inspect.isasyncgen(generator):
                return False, await generator.asend(answer)

            return False, generator.send(answer if _hears(generator) else None)
        except (StopIteration, StopAsyncIteration) as stop:
            return True, getattr(stop, "value", None)

    async def _handled(self, value: Any) -> Any:
        """The value that the handler makes of another, put into the stream."""
        handler = self.features.generate_handler
        handled = value if handler is None else await self.settle(handler(value))
        self.ctx.emit(handled)
        return handled

    async def _pause(self) -> None:
        """Between two values a generator can be stopped, whatever it does, and holds up no other job of its loop."""
        if self.features.is_async:
            await asyncio.sleep(0)
        elif self.ctx.cancelled:
            raise Stopped

    async def _close_generator(self, generator: Any) -> None:
        if inspect.isasyncgen(generator):
            await generator.aclose()
        else:
            generator.close()


def _hears(generator: Any) -> bool:
    """``yield from`` of something that is no generator can be sent nothing."""
    inner = generator

    while (following := getattr(inner, "gi_yieldfrom", None)) is not None:
        inner = following

    return hasattr(inner, "send")


STEPS = {"before": 1, "call": 1, "exhaust": 1, "after": 1, "decode": 1, "should_retry": 1, "on_error": 2}
"""The steps that may be replaced, and how many arguments each is given."""


_MACHINERY = {name for name in vars(TaskExecutor) if not name.startswith("__")} - STEPS.keys()


def executor_of(wish: Any) -> type[TaskExecutor]:
    """The class that runs a task's attempts: the steps that a plain class lacks are the usual ones.

    Raises ``ConfigError`` for a class that cannot run any.
    """
    return TaskExecutor if wish is None else _checked(wish)


@cache
def _checked(wish: Any) -> type[TaskExecutor]:
    for name, count in STEPS.items():
        own = getattr(wish, name, None)

        if own is not None and not callable(own):
            raise ConfigError(f"expected {wish.__name__}.{name} to be a function, got {own!r}")

        if own is not None and not fits(own, *[None] * (count + 1)):
            raise ConfigError(f"expected {wish.__name__}.{name} to take {count} besides self, got {inspect.signature(own)}")

    return wish if issubclass(wish, TaskExecutor) else _mix(wish)


def _mix(plain: type[Any]) -> type[TaskExecutor]:
    """A plain class and the usual executor in one: both are made, the plain one with nothing."""
    _check_names(plain)

    if not fits(plain):
        raise ConfigError(f"expected executor {plain.__name__} to be made with nothing, or to be a subclass of TaskExecutor")

    def make_both(self: Any, task: Task[..., Any], ctx: Context, surroundings: Surroundings) -> None:
        TaskExecutor.__init__(self, task, ctx, surroundings)

        if plain.__init__ is not object.__init__:
            plain.__init__(self)

    try:
        return type(plain.__name__, (plain, TaskExecutor), {"__init__": make_both})
    except TypeError as error:
        raise ConfigError(f"expected executor {plain.__name__} to be a class that can be mixed in: {error}") from None


def _check_names(plain: type[Any]) -> None:
    """A plain class brings steps and whatever it likes, but nothing of what puts the steps together."""
    for name in _MACHINERY & set(dir(plain)):
        raise ConfigError(
            f"expected executor {plain.__name__} to have steps ({', '.join(STEPS)}), got {name!r}; "
            "only a subclass of TaskExecutor may replace that"
        )

    for name in set(vars(plain)) - STEPS.keys():
        if hint := slip_of(name, STEPS):
            raise ConfigError(f"executor {plain.__name__} has no step {name!r}; did you mean {hint!r}?")


def drive(steps: Coroutine[Any, Any, T]) -> T:
    """Run the steps of a ``def`` task on this thread.

    Awaitables are settled by ``settle`` and never reach this far; a step or middleware that awaits something of its own in a
    ``def`` task does, and is told what to do.
    """
    try:
        steps.send(None)
    except StopIteration as done:
        result: T = done.value
        return result

    steps.close()
    raise RuntimeError(
        "expected a step or middleware of a def task to await only what comes next; await anything else through "
        "call.settle(…), or make the task async def"
    )


def _replace_arguments(call: Call, made: Any) -> None:
    if made is None or made is call:
        return

    if isinstance(made, Call):
        call.args, call.kwargs = made.args, made.kwargs
    elif isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], tuple | list) and isinstance(made[1], dict):
        call.args, call.kwargs = tuple(made[0]), made[1]
    else:
        raise TypeError(
            f"expected a middleware before task {call.task_name} to return None, a Call or (args, kwargs); got {made!r}"
        )
