import os
import select
import socket
import struct
from contextlib import contextmanager

import pytest
import trio
import trio.testing

from llmrouterd.edge.hangup import Hangups
from tests.edge.peers import PATIENCE_S, connected_pair

WAYS = [False, *([True] if hasattr(select, "epoll") else [])]


class Told:
    gone = False

    def went_away(self) -> None:
        self.gone = True


@pytest.fixture(params=WAYS, ids=lambda use: "epoll" if use else "peek")
async def hangups(request, nursery):
    it = Hangups(use_epoll=request.param)
    await nursery.start(it.run)
    return it


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@contextmanager
def listening(hangups, sock, half_close="gone"):
    ear = hangups.listen(sock, half_close)
    try:
        yield ear
    finally:
        ear.close()


async def watched_until_gone(hangups, sock, leave, half_close="gone") -> Told:
    told = Told()
    with trio.fail_after(PATIENCE_S), trio.CancelScope() as scope:
        with listening(hangups, sock, half_close) as ear, ear.watching(scope, told):
            leave()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    return told


async def test_a_close_cancels_the_scope(hangups) -> None:
    with connected_pair() as (ours, theirs):
        assert (await watched_until_gone(hangups, ours, theirs.close)).gone


async def test_a_reset_cancels_the_scope(hangups) -> None:
    with connected_pair() as (ours, theirs):
        assert (await watched_until_gone(hangups, ours, lambda: reset(theirs))).gone


async def test_a_half_close_counts_as_gone(hangups) -> None:
    with connected_pair() as (ours, theirs):
        leave = lambda: theirs.shutdown(socket.SHUT_WR)  # noqa: E731
        assert (await watched_until_gone(hangups, ours, leave)).gone


async def test_one_that_was_gone_before_is_noticed(hangups) -> None:
    with connected_pair() as (ours, theirs):
        theirs.close()
        assert (await watched_until_gone(hangups, ours, lambda: None)).gone


async def test_it_is_noticed_behind_unread_bytes_and_reads_none() -> None:
    if not hasattr(select, "epoll"):
        pytest.skip("only epoll sees past unread bytes")
    hangups = Hangups()
    async with trio.open_nursery() as nursery:
        await nursery.start(hangups.run)
        with connected_pair() as (ours, theirs):
            theirs.send(b"pipelined")
            assert (await watched_until_gone(hangups, ours, theirs.close)).gone
            assert ours.recv(100) == b"pipelined"
        nursery.cancel_scope.cancel()


async def test_half_close_ignored_only_a_reset_counts(hangups) -> None:
    told = Told()
    with connected_pair() as (ours, theirs), trio.CancelScope() as scope:
        with listening(hangups, ours, "ignore") as ear, ear.watching(scope, told):
            theirs.shutdown(socket.SHUT_WR)
            await trio.testing.wait_all_tasks_blocked(0.02)
            assert not told.gone
    if hangups._epoll is not None:
        with connected_pair() as (ours, theirs):
            assert (await watched_until_gone(hangups, ours, lambda: reset(theirs), "ignore")).gone


async def test_after_the_block_nobody_is_told(hangups) -> None:
    told = Told()
    with connected_pair() as (ours, theirs):
        with trio.CancelScope() as scope:
            with listening(hangups, ours) as ear, ear.watching(scope, told) as watch:
                watch.stop()
                watch.stop()
            theirs.close()
            await trio.testing.wait_all_tasks_blocked(0.02)
        assert not told.gone
        assert not scope.cancelled_caught


async def test_a_descriptor_used_again_is_not_mistaken(hangups) -> None:
    for _ in range(20):
        old, new = Told(), Told()
        with connected_pair() as (ours, theirs), connected_pair() as (other, _far):
            ear = hangups.listen(ours)
            with trio.CancelScope() as first, ear.watching(first, old):
                await trio.lowlevel.checkpoint()
            fd = ours.fileno()
            ours.close()
            os.dup2(other.fileno(), fd)
            with socket.socket(fileno=fd) as again, trio.CancelScope() as second:
                with listening(hangups, again) as young, young.watching(second, new):
                    ear.close()  # after its socket: the place is another's by now
                    theirs.close()
                    await trio.testing.wait_all_tasks_blocked(0.001)
                    assert not new.gone
        assert not old.gone


async def test_many_at_once(hangups) -> None:
    count = 50
    gone = []

    async def one() -> None:
        with connected_pair() as (ours, theirs):
            gone.append(await watched_until_gone(hangups, ours, theirs.close))

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)
    assert len(gone) == count
    assert hangups.watched == 0


async def test_a_stream_without_a_socket_is_not_watched(hangups) -> None:
    with listening(hangups, None) as ear, ear.watching(trio.CancelScope(), Told()):
        assert hangups.watched == 0


async def test_who_left_between_two_requests_is_remembered(hangups) -> None:
    with connected_pair() as (ours, theirs), listening(hangups, ours) as ear:
        with trio.CancelScope() as scope, ear.watching(scope, Told()):
            await trio.lowlevel.checkpoint()
        theirs.close()
        await trio.testing.wait_all_tasks_blocked(0.02)
        told = Told()
        with trio.fail_after(PATIENCE_S), trio.CancelScope() as scope, ear.watching(scope, told):
            await trio.sleep_forever()
        assert told.gone


async def test_many_requests_on_one_connection_are_watched_one_by_one(hangups) -> None:
    with connected_pair() as (ours, theirs), listening(hangups, ours) as ear:
        early = [Told() for _ in range(5)]
        for told in early:
            with trio.CancelScope() as scope, ear.watching(scope, told):
                theirs.send(b"x")
                await trio.lowlevel.checkpoint()
        last = Told()
        with trio.fail_after(PATIENCE_S), trio.CancelScope() as scope, ear.watching(scope, last):
            ours.recv(100)  # without epoll, unread bytes hide the end
            theirs.close()
            await trio.sleep_forever()
        assert last.gone
        assert not any(told.gone for told in early)


async def test_it_closes_what_it_owns() -> None:
    hangups = Hangups()
    async with trio.open_nursery() as nursery:
        await nursery.start(hangups.run)
        nursery.cancel_scope.cancel()
    assert hangups._epoll is None or hangups._epoll.closed
