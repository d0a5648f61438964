"""What a type checker is to say about tasks. Each line that ends in ``# is: …`` reveals that type, each that ends in
``# error`` is refused, and no other line is. Two checkers read this; it is never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator
from typing import reveal_type

from cherga import AsyncRouter, AsyncTask, Batch, Context, Depends, QueueTasks, SyncTask, chain, ctx, group, shared_task

app = QueueTasks("cases")
router = AsyncRouter()


class Session: ...


def open_session() -> Session:
    return Session()


def as_bytes(value: float) -> bytes:
    return str(value).encode()


async def as_bytes_later(value: float) -> bytes:
    return str(value).encode()


# --- functions


@app.task
def plain(a: int, b: str = "") -> float:
    return a


reveal_type(plain.enqueue(1, b="x"))  # is: Job[float]
reveal_type(plain.enqueue(1).result())  # is: float
reveal_type(plain.using(priority=3).enqueue(1, "x"))  # is: Job[float]
reveal_type(plain(1))  # is: float
plain.enqueue()  # error
plain.enqueue("1")  # error
plain.enqueue(1, c=2)  # error
plain.using(priority=3).enqueue("1")  # error


@app.task(retry=5, retry_on_exc=[ValueError], queue="mail", extra={"colour": "red"})
async def coroutine(a: int) -> str:
    return str(a)


async def awaiting() -> None:
    reveal_type(await coroutine.aenqueue(1))  # is: Job[str]
    reveal_type(await (await coroutine.aenqueue(a=1)).aresult())  # is: str
    reveal_type(await coroutine(1))  # is: str
    await coroutine.aenqueue("1")  # error


@app.task("another name", max_time=5)
def named(a: int) -> list[int]:
    return [a]


reveal_type(named.enqueue(1))  # is: Job[list[int]]


# --- generators


@app.task
def iterator(count: int) -> Iterator[int]:
    yield from range(count)


@app.task()
def generator(count: int) -> Generator[int, str, bytes]:
    answer = yield count
    return answer.encode()


@app.task()
def streaming(count: int) -> Generator[int, None, None]:
    yield count


@app.task
async def async_iterator(count: int) -> AsyncIterator[str]:
    yield str(count)


@app.task(generate_handler=as_bytes)
def handled(count: int) -> Iterator[float]:
    yield 1.0 * count


@app.task(generate_handler=as_bytes_later)
def handled_later(count: int) -> Generator[float, bytes, str]:
    answer = yield 1.0 * count
    return answer.decode()


reveal_type(iterator.enqueue(1))  # is: Job[list[int]]
reveal_type(iterator(1))  # is: Iterator[int]
reveal_type(generator.enqueue(1))  # is: Job[bytes]
reveal_type(streaming.enqueue(1))  # is: Job[list[int]]
reveal_type(async_iterator.enqueue(1))  # is: Job[list[str]]
reveal_type(handled.enqueue(1))  # is: Job[list[bytes]]
reveal_type(handled_later.enqueue(1))  # is: Job[str]
iterator.enqueue("1")  # error
generator.enqueue()  # error
async_iterator.enqueue(1, 2)  # error


# --- echo


@app.task(echo=True)
async def echo_coroutine(self: AsyncTask, a: int, b: str = "") -> float:
    reveal_type(self.add_task("plain", 1))  # is: Child
    reveal_type(await self.ctx.sleep(1))  # is: bool
    reveal_type(self.ctx.attempt)  # is: int
    return a


@app.task(echo=True, retry=3)
def echo_function(self: SyncTask, a: int) -> str:
    reveal_type(self.ctx.sleep(1))  # is: bool
    reveal_type(self.retry)  # is: int
    return str(a)


@app.task("echo generator", echo=True)
def echo_generator(self: SyncTask, a: int) -> Iterator[int]:
    yield a


@app.task(echo=True)
async def echo_async_generator(self: AsyncTask, a: int) -> AsyncIterator[int]:
    yield a


@app.task(echo=True, decode=as_bytes)
def echo_decoded(self: SyncTask, a: int) -> float:
    return a


@app.task(echo=True, generate_handler=as_bytes)
def echo_handled(self: SyncTask, a: int) -> Iterator[float]:
    yield a


reveal_type(echo_coroutine.enqueue(1, b="x"))  # is: Job[float]
reveal_type(echo_function.enqueue(1))  # is: Job[str]
reveal_type(echo_generator.enqueue(1))  # is: Job[list[int]]
reveal_type(echo_async_generator.enqueue(1))  # is: Job[list[int]]
reveal_type(echo_decoded.enqueue(1))  # is: Job[bytes]
reveal_type(echo_handled.enqueue(1))  # is: Job[list[bytes]]
reveal_type(echo_function("a fake", 1))  # is: str
echo_coroutine.enqueue()  # error
echo_coroutine.enqueue("1")  # error
echo_function.enqueue(1, 2)  # error
echo_generator.enqueue(a="1")  # error
echo_async_generator.enqueue("1")  # error
echo_function(1)  # error


# --- decode


@app.task(decode=as_bytes)
def decoded(a: int) -> float:
    return a


@app.task(decode=as_bytes_later)
async def decoded_later(a: int) -> float:
    return a


reveal_type(decoded.enqueue(1))  # is: Job[bytes]
reveal_type(decoded(1))  # is: float
reveal_type(decoded_later.enqueue(1))  # is: Job[bytes]
decoded.enqueue("1")  # error


# --- what the worker fills in, routers, shared tasks


@app.task
def filled(a: int, session: Session = Depends(open_session), context: Context = ctx) -> int:
    return a


@router.task(priority=3)
async def routed(a: int) -> int:
    return a


@shared_task
def shared(a: int) -> int:
    return a


@shared_task(awaiting=True)
async def shared_async(a: int) -> int:
    return a


reveal_type(filled.enqueue(1))  # is: Job[int]
reveal_type(routed.enqueue(1))  # is: Job[int]
reveal_type(shared.enqueue(1))  # is: Job[int]
reveal_type(shared_async.enqueue(1))  # is: Job[int]
routed.enqueue("1")  # error
shared.enqueue("1")  # error
shared_async.enqueue()  # error


# --- chains and groups


reveal_type(plain.s(1))  # is: Step[float]
reveal_type(plain.si(1, "x").enqueue())  # is: Job[float]
reveal_type(plain.using(priority=3).s(1))  # is: Step[float]
reveal_type(chain(shared.s(1), plain.s()))  # is: Chain[float]
reveal_type(chain(shared.s(1), routed.s(), plain.s()).enqueue().result())  # is: float
reveal_type(group(plain.s(1), plain.s(2)).enqueue())  # is: GroupJob[float]
reveal_type(group(plain.s(number) for number in range(3)).enqueue().results())  # is: list[float]
reveal_type(group([shared.s(1), routed.s(2)], then=plain.s()).enqueue().result())  # is: list[int]
reveal_type(group(plain.s(1), coroutine.s(1)).enqueue().results())  # is: list[Any]
reveal_type(group(chain(shared.s(1), plain.s()), plain.s(1)))  # is: Group[float]
reveal_type(chain(group(plain.s(1), plain.s(2)), shared.s()).enqueue())  # is: Job[int]
reveal_type(chain(plain.s(1), group(shared.s(), shared.s())).enqueue().result())  # is: list[int]
reveal_type(app.s("by name", 1))  # is: Step[Any]


async def awaiting_flows() -> None:
    reveal_type(await (await chain(plain.s(1), coroutine.s()).aenqueue()).aresult())  # is: str
    reveal_type(await (await group(plain.s(1)).aenqueue()).aresults())  # is: list[float]


plain.si("1")  # error
plain.si()  # error
chain(plain, plain.s())  # error
coroutine.s("x")  # error
plain.s(1, c=2)  # error
plain.s(1, "x", 3)  # error
plain.s(b=3)  # error
coroutine.using(priority=3).s("x")  # error
reveal_type(plain.s(b="x"))  # is: Step[float]
group(plain.s(1), then=plain)  # error


# --- batches


@app.task(batch=100, batch_wait=0.5)
def lengths(texts: list[str]) -> list[int]:
    return [len(text) for text in texts]


@app.task(batch=100)
def one_by_one(texts: Batch[str], session: Session = Depends(open_session)) -> None:
    texts.succeed(0, 7)
    texts.fail(1, ValueError("no"))
    texts.fail(2, "no")  # error


@app.task("lengths_later", batch=100, retry=3)
async def lengths_later(texts: list[str]) -> list[int]:
    return [len(text) for text in texts]


@app.task(batch=100)  # error
def one_text(text: str) -> None: ...


reveal_type(lengths.enqueue("a"))  # is: Job[int]
reveal_type(lengths(["a"]))  # is: list[int]
reveal_type(lengths.enqueue_many([("a",)]))  # is: list[Job[int]]
reveal_type(lengths.using(priority=1).enqueue("a"))  # is: Job[int]
reveal_type(one_by_one.enqueue("a"))  # is: Job[Any]
reveal_type(one_by_one(["a"]))  # is: None
reveal_type(lengths_later.enqueue("a"))  # is: Job[int]
lengths.enqueue(1)  # error
lengths.enqueue(["a"])  # error
lengths.enqueue()  # error
lengths.enqueue("a", "b")  # error
lengths([1])  # error
one_by_one.enqueue(1)  # error
lengths_later.enqueue(1)  # error


@shared_task(batch=100, awaiting=True)
async def shared_lengths(texts: list[str]) -> list[int]:
    return [len(text) for text in texts]


@router.task("routed_lengths", batch=100, batch_wait=0.5, priority=3)
def routed_lengths(texts: Batch[str], context: Context = ctx) -> list[int]:
    return [len(text) for text in texts]


@shared_task(batch=100)  # error
def shared_text(text: str) -> None: ...


@router.task(batch=100)  # error
def routed_text(text: str) -> None: ...


async def awaiting_batches() -> None:
    reveal_type(await shared_lengths.aenqueue("a"))  # is: Job[int]
    reveal_type(await (await shared_lengths.aenqueue("a")).aresult())  # is: int
    reveal_type(await shared_lengths(["a"]))  # is: list[int]
    reveal_type(await lengths_later(["a"]))  # is: list[int]
    await shared_lengths.aenqueue(1)  # error


reveal_type(shared_lengths.enqueue("a"))  # is: Job[int]
reveal_type(shared_lengths.enqueue_many([("a",)]))  # is: list[Job[int]]
reveal_type(routed_lengths.enqueue("a").result())  # is: int
reveal_type(routed_lengths.using(priority=1).enqueue("a"))  # is: Job[int]
reveal_type(routed_lengths(["a"]))  # is: list[int]
reveal_type(chain(plain.s(1), routed_lengths.s()).enqueue())  # is: Job[int]
shared_lengths.enqueue(1)  # error
routed_lengths.enqueue(["a"])  # error
routed_lengths.enqueue("a", "b")  # error
routed_lengths([1])  # error


# --- slips of the pen


@app.task(retrys=3)  # error
def misspelt() -> None: ...


@app.task(echo=True, retrys=3)  # error
def misspelt_echo(self: SyncTask) -> None: ...


@app.task(max_time="10m", every="1h", extra={"colour": "red"})
def with_text() -> None: ...


plain.using(prio=3)  # error
chain(plain.s(1)).using(owner="user:7", colour="red")  # error
reveal_type(chain(plain.s(1)).using(owner="user:7", run_in="5m").enqueue())  # is: Job[float]
