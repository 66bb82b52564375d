import json
from functools import partial

import pytest
import trio

from llmrouterd.edge.listen import bind_tcp
from llmrouterd.edge.pool import Origin, Pool
from llmrouterd.selftest.client import PATHS, ask, body
from llmrouterd.selftest.faults import WORDS
from llmrouterd.selftest.upstream import Upstream
from llmrouterd.selftest.voices import VOICES

pytestmark = pytest.mark.parametrize("name", VOICES)


async def asked(name, model, *, stream, heard=lambda case: None):
    """The client before the upstream itself: what it would see of a router that does nothing."""
    (listener,) = bind_tcp("127.0.0.1", 0)
    upstream, pool = Upstream(listener), Pool()

    def both(case):
        heard(case)
        upstream.heard(case)

    origin = Origin("http", "127.0.0.1", listener.port)
    async with trio.open_nursery() as nursery:
        await nursery.start(upstream.run)
        await nursery.start(pool.run)
        _, seen = await ask(pool, origin, name, model, "7", stream=stream, heard=both)
        nursery.cancel_scope.cancel()
    return seen


@pytest.mark.parametrize("stream", [False, True])
async def test_a_good_answer_is_heard_whole(name, stream):
    seen = await asked(name, "healthy", stream=stream)
    assert (seen.text, seen.stopped, seen.failed, seen.status) == (WORDS, True, None, 200)


async def test_the_first_words_are_told_before_the_rest_has_come(name):
    cases = []
    seen = await asked(name, "error-after", stream=True, heard=cases.append)
    assert cases[0] == "7"
    assert (seen.failed, seen.stopped) == ("it broke", False)


async def test_a_stream_that_is_merely_cut_tells_of_no_error(name):
    """A well-made end of HTTP without the format's: nothing that a library could show."""
    seen = await asked(name, "no-end-mark", stream=True)
    assert (seen.failed, seen.stopped) == (None, False)


async def test_a_connection_that_breaks_is_trouble(name):
    seen = await asked(name, "cut-after-content", stream=True)
    assert "cannot be read" in seen.trouble


async def test_an_error_is_read_in_its_format(name):
    seen = await asked(name, "500", stream=False)
    assert (seen.status, seen.failed) == (500, "it broke")


async def test_an_error_of_no_shape_is_trouble(name):
    seen = await asked(name, "redirect", stream=False)
    assert seen.trouble


def test_the_request_is_one_of_the_format(name):
    value = json.loads(body(name, "m", "7", stream=True))
    assert (value["model"], value["stream"]) == ("m", True)
    messages = value["input" if name == "responses" else "messages"]
    assert "case 7" in messages[0]["content"]
    assert PATHS[name] == VOICES[name].path
    assert partial(body, name)("m", "7", stream=False) != body(name, "m", "8", stream=False)
