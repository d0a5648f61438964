"""How one attempt of a task runs when there is more to it than calling a function.

Written once: every step is a coroutine, and ``Settle`` decides how something awaitable is awaited. In an ``async def`` task it
is awaited on the loop; in a ``def`` task the steps are driven on the task's own thread, and awaitables run on the worker's
loop while the thread waits.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar, cast

from cherga.client.bound import AsyncTask, BoundTask, SyncTask
from cherga.client.context import Context
from cherga.client.depends import Lifetimes, Overrides, Scope, resolve
from cherga.client.features import Features, Step
from cherga.client.middleware import Call, Handler, Middleware
from cherga.client.task import Task
from cherga.words.control import Snooze, TaskWish

T = TypeVar("T")


class Surroundings(Protocol):
    """What a worker offers to the pipelines of its jobs."""

    worker: Scope
    process: Scope
    settle_in_thread: Callable[[Awaitable[Any]], Any]

    @property
    def middleware(self) -> tuple[Middleware, ...]: ...
    @property
    def overrides(self) -> Overrides: ...


async def step(made: Any) -> Any:
    """What a step gives, be it ``def`` or ``async def``. Steps are driven on the task's own thread or loop."""
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
        self._lifetimes = Lifetimes(Scope(), surroundings.worker, surroundings.process)

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

        if self.features.is_generator:
            return await self.exhaust(made)

        return await self.settle(made)

    async def exhaust(self, generator: Any) -> Any:
        """Hand each value to ``generate_handler``, put it into the job's stream, and send back what the handler gave."""
        proceed = generator.asend if inspect.isasyncgen(generator) else generator.send
        handled: list[Any] = []
        answer = None

        try:
            while True:
                value = await self._own(proceed(answer), inspect.isasyncgen(generator))
                answer, kept = await self._handle(value)
                self.ctx.emit(kept)
                handled.append(kept)
                self._stop_if_asked(generator)
        except StopIteration as stop:
            return handled if stop.value is None else stop.value
        except StopAsyncIteration:
            return handled

    def _stop_if_asked(self, generator: Any) -> None:
        """Between two values a generator can be stopped, whatever it does: it is closed, and the job is given back."""
        if self.ctx.cancelled and inspect.isgenerator(generator):
            generator.close()
            raise Snooze(0)

    async def after(self, call: Call) -> Any:
        """Run ``middlewares_after``. What one returns, if it is not None, takes the place of the result."""
        for middleware in self.features.after:
            made = await self.settle(self._made(middleware)(call))
            call.result = call.result if made is None else made

    async def decode(self, call: Call) -> Any:
        """Turn the result into what is stored."""
        if self.features.decode is not None:
            call.result = await self.settle(self.features.decode(call.result))

    def should_retry(self, error: BaseException) -> bool:
        """Whether another attempt, if one is left, may help after this error."""
        return self.task.policy.retry.worth(error)

    async def on_error(self, call: Call, error: Exception) -> Any:
        """Return a result to turn the failure into a success; raise to fail. The default raises the error again."""
        raise error

    # --- how the steps are put together

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Run the attempt of a ``def`` task on this thread."""
        return drive(self.execute(args, kwargs))

    async def arun(self, *args: Any, **kwargs: Any) -> Any:
        """Run the attempt of an ``async def`` task on this loop."""
        return await self.execute(args, kwargs)

    async def execute(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run all steps inside the application's middleware and return what is to be stored."""
        handler: Handler = self._handle_call

        for middleware in reversed(self.surroundings.middleware):
            handler = middleware(handler)

        return await handler(Call(self.task, args, kwargs, self.ctx))

    async def settle(self, value: Any) -> Any:
        """The value, or what it gives when it can be awaited."""
        if not inspect.isawaitable(value):
            return value

        return await value if self.features.is_async else self.surroundings.settle_in_thread(value)

    async def _handle_call(self, call: Call) -> Any:
        try:
            await step(self.before(call))
            call.result = await step(self.call(call))
            await step(self.after(call))
            await step(self.decode(call))
        except TaskWish as wish:
            await self._close(wish)
            raise
        except Exception as error:
            await self._close(error)
            return await step(self.on_error(call, error))
        except BaseException as error:
            await self._close(error)
            raise

        await self._close(None)
        return call.result

    async def _close(self, error: BaseException | None) -> None:
        await self._lifetimes.task.close(error)

    async def _arguments(self, call: Call) -> tuple[tuple[Any, ...], dict[str, Any]]:
        features = self.features

        if not features.needs and not features.echo:
            return call.args, call.kwargs

        found = {need.parameter: await self._resolve(need.depends) for need in features.needs}
        args = (self.bound(), *call.args) if features.echo else call.args
        return args, {**call.kwargs, **found}

    async def _resolve(self, depends: Any) -> Any:
        given = {"ctx": self.ctx, "context": self.ctx}
        return await resolve(depends, self._lifetimes, self.surroundings.overrides, self.settle, given)

    def bound(self) -> BoundTask:
        """The task bound to the running job, for ``echo=True``."""
        return AsyncTask(self.task, self.ctx) if self.features.is_async else SyncTask(self.task, self.ctx)

    async def _handle(self, value: Any) -> tuple[Any, Any]:
        """What is sent back into the generator, and what is kept of the value."""
        if self.features.generate_handler is None:
            return None, value

        handled = await self.settle(self.features.generate_handler(value))
        return handled, handled

    async def _own(self, made: Any, is_async: bool) -> Any:
        return await self.settle(made) if is_async else made

    def _made(self, step: Step) -> Step:
        """An instance of a middleware class, made for this job; it may take the executor."""
        if not inspect.isclass(step):
            return step

        make = cast("Callable[..., Step]", step)
        return make(self) if inspect.signature(make).parameters else make()


def executor_of(features: Features) -> type[TaskExecutor]:
    """The class that runs a task's attempts: the steps that a plain class lacks are the usual ones."""
    wish = features.executor

    if wish is None:
        return TaskExecutor

    return wish if issubclass(wish, TaskExecutor) else type(wish.__name__, (wish, TaskExecutor), {})


def drive(steps: Coroutine[Any, Any, T]) -> T:
    """Run the steps of a ``def`` task on this thread.

    Awaitables are settled by ``Settle`` and never reach this far; a middleware that awaits something of its own in a ``def``
    task does, and is told what to do.
    """
    try:
        steps.send(None)
    except StopIteration as done:
        result: T = done.value
        return result

    steps.close()
    raise RuntimeError(
        "expected middleware around a def task to await only what comes next; make the task async def to await anything else"
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
