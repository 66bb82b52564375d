"""What a page of this room asks for is what the edge has."""

import inspect

from llmrouterd.edge.client import Client
from llmrouterd.edge.incoming import Incoming, WholeBody
from llmrouterd.model import Headers
from llmrouterd.observe.surface import Answering, Asking


def test_the_edges_request_fits() -> None:
    incoming: Asking = Incoming("GET", "/dashboard?a=b", Headers(), WholeBody())
    assert incoming.query == "a=b"
    assert incoming.headers.get("x") is None


def test_the_edges_client_takes_the_very_same_calls() -> None:
    for name, wanted in inspect.getmembers(Answering, inspect.iscoroutinefunction):
        given = list(inspect.signature(getattr(Client, name)).parameters.values())
        asked = list(inspect.signature(wanted).parameters)
        assert [p.name for p in given][: len(asked)] == asked, name
        rest = given[len(asked) :]
        assert all(p.default is not inspect.Parameter.empty for p in rest), name
