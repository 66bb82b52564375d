"""A worker's tellings on their way, with a hub and without."""

from pathlib import Path
from typing import Any

import trio
import trio.testing

from llmrouterd.model import Record
from llmrouterd.ops.frames import Reader
from llmrouterd.ops.uplink import QUEUE, Uplink


def record(number: int) -> Record:
    return Record(number, "r", 0, "complete", 200, "openai", "/", "m")


async def test_what_was_told_before_the_hub_came_is_sent_and_the_rest_is_counted(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    path = str(tmp_path / "hub.sock")
    uplink = Uplink(path, 2)
    for number in range(QUEUE + 5):
        uplink.tell(record(number))
    found: list[tuple[Any, ...]] = []
    done = trio.Event()

    async def hub(stream: trio.SocketStream) -> None:
        reader = Reader()
        while data := await stream.receive_some(65536):
            found.extend(reader.feed(data))
        done.set()

    sock = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    await sock.bind(path)
    sock.listen()
    nursery.start_soon(trio.serve_listeners, hub, [trio.SocketListener(sock)])
    nursery.start_soon(uplink.run)
    await trio.testing.wait_all_tasks_blocked(0.05)
    uplink.close()
    with trio.fail_after(30):
        await done.wait()
    told = [words[1] for words in found if words[0] == "tell"]
    assert [each.id for each in told] == list(range(QUEUE))
    assert {each.worker for each in told} == {2}
    assert ("lost", 5) in found
    assert [words for words in found if words[0] == "over"] == [
        ("over", QUEUE + number) for number in range(5)
    ]
    nursery.cancel_scope.cancel()


async def test_without_a_hub_it_ends_all_the_same(tmp_path: Path) -> None:
    uplink = Uplink(str(tmp_path / "none.sock"), 1)
    uplink.tell(record(1))
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(uplink.run)
            await trio.sleep(0.01)
            uplink.close()
