"""Pieces of a Responses stream, for the tests of this package."""

import json
from pathlib import Path

from formats.responses import decoder

GOLDEN = Path(__file__).parents[2] / "transcripts" / "golden"
INDEX = json.loads((GOLDEN / "index.json").read_text())["entries"]
OURS = [entry for entry in INDEX if entry["format"] == "openai-responses"]
STREAMS = [entry["file"] for entry in OURS if entry["stream"]]
BIG = 1 << 24


def golden(name):
    return (GOLDEN / name).read_bytes()


def event(kind, **members):
    data = json.dumps({"type": kind, **members})
    return f"event: {kind}\ndata: {data}\n\n".encode()


CREATED = event("response.created", response={"id": "resp_1", "model": "m", "created_at": 5})


def completed(*items, status="completed", **members):
    response = {"id": "resp_1", "status": status, "output": list(items), **members}
    return event(f"response.{status}", response=response)


def message(*texts, **more):
    content = [{"type": "output_text", "text": text, "annotations": []} for text in texts]
    return {"type": "message", "id": "msg_1", "role": "assistant", "content": content, **more}


def text_delta(text, index=0, part=0):
    where = {"item_id": "msg_1", "output_index": index, "content_index": part}
    return event("response.output_text.delta", delta=text, **where)


def decoded(*pieces):
    reader = decoder(limit=BIG)
    return [*reader.feed(b"".join(pieces)), *reader.eof()]


def pieces(data):
    """The events of a written stream, as (name, members)."""
    out = []
    for block in data.decode().split("\n\n")[:-1]:
        name, _, text = block.partition("\n")
        value = json.loads(text.removeprefix("data: "))
        assert name == f"event: {value['type']}"
        out.append((value["type"], value))
    return out


def _places(value, path=()):
    """The places of everything inside a JSON value."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, each in inner:
        yield (*path, key)
        yield from _places(each, (*path, key))


_ODD = ["null", "1", "-1", "1.5", "true", '""', '"x"', "[]", "{}", "[1]", "[{}]", '{"type":1}']


def damaged(value, random):
    """A JSON value with a few members lost or turned into something else."""
    value = json.loads(json.dumps(value))
    for _ in range(random.randint(1, 3)):
        places = list(_places(value))
        if not places:
            break
        *way, last = random.choice(places)
        node = value
        for key in way:
            node = node[key]
        if isinstance(node, dict) and random.random() < 0.2:
            del node[last]
        else:
            node[last] = json.loads(random.choice(_ODD))
    return value
