"""Answers that are kept at the hub, for all workers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import trio

from formats.errors import Failure
from llmrouterd.model import Candidate
from llmrouterd.ops.archive import Archive, Far
from llmrouterd.ops.frames import Reader, Writer
from llmrouterd.pipeline.answers import Resumed

HOME = Candidate("p", "m", "r")


def answer(number: int) -> dict[str, Any]:
    return {"id": f"resp_{number}", "output": [{"id": f"msg_{number}", "type": "message"}]}


def test_a_conversations_items_are_held_once() -> None:
    archive, items = Archive(), ({"role": "user", "content": "hi"},)
    archive.put("ann", answer(1), items, 10, None, "")
    first = archive.of("ann").get("resp_1")
    assert first is not None
    again = ({"role": "user", "content": "hi"}, answer(1)["output"][0], {"role": "user"})
    archive.put("ann", answer(2), again, 10, HOME, "resp_1")
    second = archive.of("ann").get("resp_2")
    assert second is not None
    assert second.items == (*again, answer(2)["output"][0])
    assert second.items[0] is first.items[0]
    archive.put("ann", answer(3), again, 10, None, "resp_none")
    assert archive.of("ann").get("resp_3") is None


def test_nobody_finds_anothers() -> None:
    archive = Archive()
    archive.put("ann", answer(1), (), 10, HOME, "")
    assert archive.find("bob", ["resp_1", "msg_1"]) == ({}, {})
    kept, items = archive.find("ann", ["resp_1", "msg_1"])
    assert kept["resp_1"][2] == HOME
    assert items == {"msg_1": answer(1)["output"][0]}
    assert not archive.lacks("ann", ["resp_1", "msg_1"])
    assert archive.lacks("ann", ["resp_1", "resp_2"])


async def test_a_worker_asks_the_hub_and_tells_it(tmp_path: Path, nursery: trio.Nursery) -> None:
    archive, said = Archive(), []

    async def hub(stream: trio.SocketStream) -> None:
        reader = Reader()
        while data := await stream.receive_some(65536):
            for kind, *words in reader.feed(data):
                if kind == "find":
                    found = archive.find(*words[1:])
                    await stream.send_all(Writer().frame("found", *found))
                else:
                    dropped = await archive.drop(*words)
                    await stream.send_all(Writer().frame("forgot", dropped))

    path = str(tmp_path / "hub.sock")
    sock = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    await sock.bind(path)
    sock.listen()
    nursery.start_soon(trio.serve_listeners, hub, [trio.SocketListener(sock)])
    far = Far(path, 1, lambda size, kind, *words: said.append((size, kind, words)))
    far.keep("ann", answer(1), Resumed(None, ({"role": "user"},), previous=""), 7, HOME)  # type: ignore[arg-type]
    [(size, kind, words)] = said
    assert (size, kind) == (7, "shelve")
    [(_, *crossed)] = Reader().feed(Writer().frame(kind, *words))
    archive.put(*crossed)
    with trio.fail_after(30):
        known = await far.known("ann", ["resp_1", "msg_1", "resp_9"])
        assert not isinstance(known, Failure)
        kept = known.get("resp_1")
        assert kept is not None
        assert (kept.answer, kept.home) == (answer(1), HOME)
        assert kept.items == ({"role": "user"}, answer(1)["output"][0])
        assert known.get("resp_9") is None
        assert known.items_by_id(["msg_1", "x"]) == {"msg_1": answer(1)["output"][0]}
        assert await far.drop("ann", "resp_1")
        assert not await far.drop("ann", "resp_1")
    nursery.cancel_scope.cancel()


async def test_without_the_hub_it_is_no_404(tmp_path: Path) -> None:
    far = Far(str(tmp_path / "none.sock"), 1, lambda *words: None)
    found = await far.known("ann", ["resp_1"])
    assert isinstance(found, Failure)
    assert found.kind == "no_hub"
    nothing = await far.known("ann", [])  # nothing is asked for
    assert not isinstance(nothing, Failure)
    assert nothing.get("x") is None


def test_an_answer_that_is_there_is_not_looked_for_among_all_items() -> None:
    archive = Archive()
    archive.put("ann", answer(1), (), 10, None, "")

    class Unread(tuple):
        def __iter__(self):
            raise AssertionError("read")

    shelf = archive.of("ann")
    shelf._kept["resp_1"] = replace(shelf._kept["resp_1"], items=Unread())
    assert set(archive.find("ann", ["resp_1"])[0]) == {"resp_1"}
    assert not archive.lacks("ann", ["resp_1"])
