"""The snippets of the task interface's seed, in their order. Only the import line is another one, and what they name but do not
define (the application, a handler, two middlewares, the subtask) is added, each in a line of its own marked ``added``."""

# ruff: noqa

from cherga import AsyncRouter, QueueTasks, shared_task  # the seed: from qtasks import …

app = QueueTasks("qtasks_snippets")  # added


@shared_task()
def shared_func():
    print("Общая задача")


@shared_task(awaiting=True)
async def async_shared():
    print("async shared task")


router = AsyncRouter()


@router.task()
async def example():
    print("Router task")


app.include_router(router)


@app.task(echo=True)
async def echo_task(self):
    print(self.task_name)


@app.task  # added
def subtask(number):  # added
    print("subtask", number)  # added


@app.task(echo=True)
async def main(self):
    self.add_task("subtask", 123)


@app.task(echo=True)
def show(self):
    print(self.ctx.task_uuid)


@app.task(retry=5, retry_on_exc=[ZeroDivisionError])
def risky():
    return 1 / 0


class MyExec: ...


@app.task(executor=MyExec)
def task(): ...


class MyBefore:  # added
    def __call__(self, call):  # added
        print("before", call.task_name)  # added


class MyAfter:  # added
    def __call__(self, call):  # added
        print("after", call.task_name)  # added


@app.task(middlewares_before=[MyBefore], middlewares_after=[MyAfter], name="middleware_example")  # added: a name of its own
def example():
    pass


def handler(result):  # added
    print("handler", result)  # added
    return f"{result} was handled"  # added


@app.task(generate_handler=handler)
def mytask():
    step = yield "INIT"
    return step
