"""The link between a worker and its parent."""

import socket

import trio
import trio.testing

from llmrouterd.ops.worker import IDS, Child, Link


async def test_words_are_heeded_and_the_end_of_the_parent_drains(
    nursery: trio.Nursery,
) -> None:
    parent, own = socket.socketpair()
    said: list[object] = []
    ended = trio.Event()

    def end(at_once: bool) -> None:
        said.append(at_once)
        ended.set()

    async def reload(number: int) -> None:
        said.append(number)

    link = Link(own)
    link.ready("well")
    assert parent.recv(100) == b"READY=1\nSTATUS=well\n"
    parent.send(b"reload=7\nreopen\n")

    async def heed() -> None:
        await link.heed(end=end, reload=reload, reopen=lambda: said.append("reopen"))

    nursery.start_soon(heed)
    await trio.testing.wait_all_tasks_blocked(0.05)
    parent.close()
    with trio.fail_after(20):
        await ended.wait()
    assert said == ["reopen", 7, False]
    assert link.orphaned
    nursery.cancel_scope.cancel()
    own.close()


def test_ids_of_two_lives_do_not_meet() -> None:
    one, other = (Child(1, life, socket.socket(), "") for life in (2, 3))
    assert other.first_id - one.first_id == IDS
    one.link.close()
    other.link.close()
