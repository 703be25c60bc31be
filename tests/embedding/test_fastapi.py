"""A real FastAPI service, whose plain and async endpoints call one remote object at once."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Any

import pytest
import roundhouse as rh
from e2e.conftest import World

from .conftest import SECONDS

APP = """
import asyncio
import os
from contextlib import asynccontextmanager

import roundhouse as rh
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel


class Shelf:
    def __init__(self):
        import threading
        self.lock, self.books, self.barrier = threading.Lock(), {}, threading.Barrier(4)

    def put(self, name, pages):
        with self.lock:
            self.books[name] = pages
            return len(self.books)

    async def find(self, name):
        return {"name": name, "pages": self.books[name]}

    def meet(self):
        self.barrier.wait(15)
        return "met"

    def each(self, n):
        for i in range(n):
            yield f"{i}\\n"

    async def forever(self, begun, ended):
        import asyncio, pathlib
        pathlib.Path(begun).touch()
        try:
            await asyncio.sleep(60)
        finally:
            pathlib.Path(ended).touch()


class Book(BaseModel):
    name: str
    pages: int


@asynccontextmanager
async def lifespan(app):
    box = await rh.compute("shared").a_up_if_not()
    app.shelf = box.get("shelf", remote=True)
    yield


app = FastAPI(lifespan=lifespan)


@app.post("/put")
def put(book: Book):
    return {"books": app.shelf.put(book.name, book.pages), "server": os.getpid()}


@app.post("/put-async")
async def put_async(book: Book):
    return {"books": await app.shelf.put.submit(book.name, book.pages), "server": os.getpid()}


@app.get("/find/{name}")
async def find(name: str):
    try:
        return Book(**await app.shelf.find(name))
    except KeyError as error:
        raise HTTPException(404, f"no book {error}")


@app.get("/meet")
def meet():
    return app.shelf.meet()


@app.get("/meet-async")
async def meet_async():
    return await app.shelf.meet.submit()


@app.get("/each")
def each(n: int):
    return StreamingResponse(app.shelf.each(n), media_type="text/plain")


@app.get("/each-async")
async def each_async(n: int):
    async def lines():
        async for line in app.shelf.each(n):
            yield line
    return StreamingResponse(lines(), media_type="text/plain")


@app.get("/forever")
async def forever(begun: str, ended: str):
    try:
        await asyncio.wait_for(app.shelf.forever(begun, ended), 0.2)
    except asyncio.TimeoutError:
        raise HTTPException(504, "too long")
"""


class Unix(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self.path = path

    def connect(self) -> None:
        self.sock = socket(AF_UNIX, SOCK_STREAM)
        self.sock.settimeout(SECONDS)
        self.sock.connect(str(self.path))


class Server:
    def __init__(self, path: Path) -> None:
        self.path = path

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        connection = Unix(self.path)
        try:
            connection.request(
                method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        status, text = self.ask("GET", path)
        assert status == 200, text
        return text


@pytest.fixture(scope="module", params=[1, 2], ids=["one-process", "two-processes"])
def server(request: pytest.FixtureRequest, world: World, box: rh.Cluster) -> Iterator[Server]:
    folder = world.folder / f"app-{request.param}"
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    sys.path.insert(0, str(folder))
    try:
        # The object is there before the service is, as where a trainer is served: the code comes from the same file.
        import app as module  # type: ignore[import-not-found]

        rh.cls(module.Shelf).to(box, replace=True)(name="shelf")
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("app", None)
    path = folder / "socket"
    command = [sys.executable, "-m", "uvicorn", "app:app", "--uds", path, "--workers", request.param]
    with world.start(*command, cwd=folder) as process:
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()))
        reader.start()
        try:
            until = time.monotonic() + SECONDS
            while "".join(lines).count("startup complete") < request.param:
                assert process.poll() is None, "".join(lines)
                assert time.monotonic() < until, "".join(lines)
                time.sleep(0.01)
            yield Server(path)
            process.send_signal(signal.SIGINT)
            assert process.wait(SECONDS) in (0, -signal.SIGINT), "".join(lines)
        finally:
            if process.poll() is None:
                process.kill()
            reader.join(SECONDS)
    assert "Traceback" not in "".join(lines)


def test_endpoints_share_one_object(server: Server, box: rh.Cluster) -> None:
    def put(n: int) -> dict[str, Any]:
        status, text = server.ask("POST", "/put" if n % 2 else "/put-async", {"name": f"book-{n}", "pages": n})
        assert status == 200, text
        return json.loads(text)  # type: ignore[no-any-return]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(put, range(80)))
    # Each one saw what the others had put there.
    assert sorted(answer["books"] for answer in answers) == list(range(1, 81))
    assert json.loads(server.get("/find/book-7")) == {"name": "book-7", "pages": 7}
    assert len(box.get("shelf", remote=True).remote.books) == 80


def test_calls_of_both_kinds_overlap(server: Server) -> None:
    """None of the four returns before all of them are there: neither kind of endpoint keeps the other waiting."""
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(server.get, ["/meet", "/meet-async"] * 2)) == ['"met"'] * 4


def test_a_failure_is_an_exception_of_the_endpoint(server: Server) -> None:
    assert server.ask("GET", "/find/nothing") == (404, '{"detail":"no book \'nothing\'"}')


@pytest.mark.parametrize("path", ["/each", "/each-async"])
def test_a_stream_is_passed_on(server: Server, path: str) -> None:
    assert server.get(f"{path}?n=500") == "".join(f"{i}\n" for i in range(500))


def test_a_deadline_of_asyncio_cancels_the_remote_call(server: Server, tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    status, text = server.ask("GET", f"/forever?begun={begun}&ended={ended}")
    assert (status, text) == (504, '{"detail":"too long"}')
    until = time.monotonic() + SECONDS
    while not ended.exists():
        assert time.monotonic() < until, "it goes on there"
        time.sleep(0.01)
