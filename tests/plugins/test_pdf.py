"""The plugin pdf: who gets text for a PDF, what the text says, and what a PDF without text means."""

import json
from base64 import b64encode

import pytest

from formats.canonical import Document, Message, Request, Text, ToolResult
from llmrouterd.hooks import ApartFailed, Context, Place, PluginFailed, PluginRefused
from llmrouterd.model import Dialect
from llmrouterd.pipeline.apart import Apart
from llmrouterd.plugins import pdf as plugin_file
from llmrouterd.plugins.pdf import MISSING, Pdf
from tests.fakes.pdf import bomb, circular, encrypted, endless, pdf
from tests.pipeline.stage import anthropic, chat_answer, ollama, openai, replies, stage

LOCAL = Place("box", "m", "openai")
VENDOR = Place("cloud", "m", "anthropic", vendor=True)
SAID = {"text": "[Page 1]\nHello", "pages": 1, "read": 1, "empty": 0, "cut": ""}


def doc(data: bytes, **more) -> Document:
    return Document(data=b64encode(data).decode(), mime="application/pdf", name="a.pdf", **more)


def asking(*parts) -> Request:
    return Request("openai", "m", (Message("user", (Text("What is it?"), *parts)),))


class Child:
    """ctx.apart, that answers what it is told and counts its calls."""

    def __init__(self, said: dict | None = None, error: str = "") -> None:
        self.said = {**SAID, **(said or {})}
        self.error = error
        self.calls: list[tuple] = []

    async def __call__(self, function, data, settings=None, **bounds):
        self.calls.append((function, data, settings, bounds))
        if self.error:
            raise ApartFailed(self.error)
        return json.dumps(self.said).encode()


async def run(plugin: Pdf, child, request: Request, place: Place = LOCAL, **settings):
    ctx = Context("pdf", settings, apart=child)
    return await plugin.on_attempt(request, place, ctx), ctx


# --- who gets text --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "native"),
    [
        (VENDOR, True),
        (Place("cloud", "m", "openai", vendor=True), True),
        (Place("cloud", "m", "responses", vendor=True), True),
        (Place("box", "m", "anthropic"), False),
        (Place("box", "m", "ollama"), False),
        (LOCAL, False),
        (Place("box", "m", "openai", capabilities=frozenset({"completion"})), False),
        (Place("box", "m", "openai", capabilities=frozenset({"pdf"})), True),
        (Place("named", "m", "openai"), True),
    ],
)
async def test_who_reads_pdf_gets_it_and_others_get_text(place: Place, native: bool) -> None:
    request, child = asking(doc(b"%PDF-1.4")), Child()
    out, ctx = await run(Pdf({"native": ["named"]}), child, request, place)
    assert (out is request) is native
    assert bool(child.calls) is not native
    if not native:
        assert out.messages[0].parts[1] == Text(
            '<document title="a.pdf">\n[Page 1]\nHello\n</document>'
        )
        assert out.raw is None
        assert ctx.notes == ["1 of 1 pages of a PDF as text"]


async def test_other_documents_stay_as_they_are() -> None:
    others = (
        Document(text="a text", mime="text/plain"),
        Document(url="https://x.example/a.pdf", mime="application/pdf"),
        Document(file_id="file_1"),
        Document(data=b64encode(b"PK..").decode(), mime="application/zip"),
    )
    request = asking(*others)
    child = Child()
    out, _ = await run(Pdf({}), child, request)
    assert out is request
    assert child.calls == []


async def test_a_pdf_is_known_by_its_first_bytes_and_in_tools_results_too() -> None:
    nameless = Document(data=b64encode(b"%PDF-1.7 x").decode(), cache={"type": "ephemeral"})
    result = Message("tool", (ToolResult("1", (nameless,)),))
    request = Request("anthropic", "m", (result,))
    out, _ = await run(Pdf({}), Child(), request)
    (part,) = out.messages[0].parts[0].parts
    assert part == Text("<document>\n[Page 1]\nHello\n</document>", cache={"type": "ephemeral"})


async def test_always_is_before_anybody_looks() -> None:
    request, child = asking(doc(b"%PDF")), Child()
    ctx = Context("pdf", {}, apart=child)
    assert await Pdf({}).on_start(request, ctx) is request
    out = await Pdf({"always": True}).on_start(request, ctx)
    assert "Hello" in out.messages[0].parts[1].text


# --- the text -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"empty": 2}, "[2 of the pages that were read have no text: pictures, it seems.]"),
        ({"cut": "length"}, "as much as its bound on characters allows.]"),
        (
            {"cut": "time", "read": 3, "pages": 9},
            "3 of 9 pages were read, as much as its bound on time",
        ),
    ],
)
async def test_what_is_not_in_the_text_is_said_in_it(said: dict, words: str) -> None:
    out, _ = await run(Pdf({}), Child(said), asking(doc(b"%PDF")))
    assert words in out.messages[0].parts[1].text


async def test_the_bounds_are_the_owners() -> None:
    child = Child()
    owners = {"max_pages": 7, "max_chars": 5000, "parse_timeout": 9.0, "memory": 1 << 28}
    await run(Pdf(owners), child, asking(doc(b"%PDF")), max_pages=99999, memory=1 << 40)
    ((function, data, settings, bounds),) = child.calls
    assert (function, data) == ("llmrouterd.apart.pdftext:extract", b"%PDF")
    assert settings == {"seconds": 9.0, "max_pages": 7, "max_chars": 5000}
    assert (bounds["timeout_s"], bounds["memory_bytes"]) == (9.0, 1 << 28)


async def test_the_same_document_is_read_once_for_a_while() -> None:
    now, child = [0.0], Child()
    plugin = Pdf({"keep": 10}, now=lambda: now[0])
    request = asking(doc(b"%PDF"), doc(b"%PDF"))
    for at, count in ((0, 1), (9, 1), (11, 2)):
        now[0] = at
        await run(plugin, child, request)
        assert len(child.calls) == count
    never = Pdf({"keep": 0})
    for _ in range(2):
        await run(never, child, request)
    assert len(child.calls) == 4


async def test_what_is_kept_is_bounded() -> None:
    plugin = Pdf({})
    for number in range(20):
        await run(plugin, Child(), asking(doc(b"%%PDF %d" % number)))
    assert len(plugin._kept) == 16


# --- no text --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("child", "said"),
    [
        (Child({"error": "encrypted"}), "it is encrypted: send it without a password"),
        (Child({"error": "broken"}), "it is damaged, or no PDF"),
        (Child({"text": "", "empty": 1}), "its pages are pictures (a scan?)"),
        (Child({"error": "missing"}), MISSING),
        (Child(error="it took longer than 30 s"), "could not be read: it took longer than 30 s"),
    ],
)
async def test_a_pdf_without_text_is_not_for_this_one_and_it_is_said_why(
    child: Child, said: str
) -> None:
    with pytest.raises(PluginFailed) as failed:
        await run(Pdf({}), child, asking(doc(b"%PDF")))
    assert str(failed.value).startswith("box takes no PDF, and ")
    assert said in str(failed.value)
    with pytest.raises(PluginRefused):
        ctx = Context("pdf", {}, apart=child)
        await Pdf({"always": True}).on_start(asking(doc(b"%PDF")), ctx)
    out, _ = await run(Pdf({}), child, asking(doc(b"%PDF")), on_failure="continue")
    assert said in out.messages[0].parts[1].text


async def test_there_may_be_too_many_or_too_large_ones() -> None:
    with pytest.raises(PluginFailed, match="more than 20 PDFs"):
        await run(Pdf({}), Child(), asking(*(doc(b"%%PDF %d" % n) for n in range(21))))
    with pytest.raises(PluginFailed, match="the PDF is over 1024 bytes"):
        await run(Pdf({"max_bytes": 1024}), Child(), asking(doc(b"%PDF" + bytes(2000))))


async def test_without_pypdf_nothing_is_begun(monkeypatch) -> None:
    monkeypatch.setattr(plugin_file, "installed", lambda: False)
    child = Child()
    with pytest.raises(PluginFailed, match="pip install 'llmrouter"):
        await run(Pdf({}), child, asking(doc(b"%PDF")))
    assert child.calls == []


async def test_a_wrong_setting_of_a_request_is_its_own_mistake() -> None:
    with pytest.raises(PluginRefused, match="on_failure: expected"):
        await run(Pdf({}), Child(), asking(doc(b"%PDF")), on_failure="x")


# --- for real -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "hostile",
    [bomb(1024), endless(3_000_000), circular(), encrypted(), b"%PDF-1.4"],
    ids=["bomb", "endless", "circular", "encrypted", "empty"],
)
async def test_a_hostile_document_costs_its_own_process_and_no_more(hostile: bytes) -> None:
    plugin = Pdf({"parse_timeout": 8.0})
    with pytest.raises(PluginFailed, match="box takes no PDF, and "):
        await run(plugin, Apart(), asking(doc(hostile)))
    out, _ = await run(plugin, Apart(), asking(doc(pdf("Hello"))))
    assert "Hello" in out.messages[0].parts[1].text


def body(data: bytes) -> dict:
    url = f"data:application/pdf;base64,{b64encode(data).decode()}"
    parts = [
        {"type": "text", "text": "hi"},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": url}},
    ]
    return {"model": "m", "messages": [{"role": "user", "content": parts}]}


OLLAMA = {"model": "up", "message": {"role": "assistant", "content": "x"}, "done": True}
OLLAMA |= {"done_reason": "stop", "prompt_eval_count": 1, "eval_count": 1}


@pytest.mark.slow
@pytest.mark.parametrize("provider", [ollama(), openai()], ids=["ollama", "openai"])
async def test_a_server_that_takes_none_gets_text(provider) -> None:
    answer = OLLAMA if provider.format == "ollama" else chat_answer("x")
    async with stage(provider, up={"a": replies(200, answer)}, plugins=[Pdf({})]) as st:
        out = await st.ask("openai", body(pdf("Hello there")))
        assert out.status == 200
        assert "[Page 1]\\nHello there" in st.asked["a"][0].body.decode()
        assert "base64" not in st.asked["a"][0].body.decode()
    assert st.record.plugins == ("pdf",)
    assert st.record.notes == ("pdf: 1 of 1 pages of a PDF as text",)


@pytest.mark.slow
async def test_where_one_takes_none_and_there_is_no_text_another_is_asked() -> None:
    vendor = anthropic("b", dialect=Dialect("anthropic", vendor=True))
    said = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "u",
        "stop_reason": "end_turn",
    }
    said |= {
        "content": [{"type": "text", "text": "x"}],
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    up = {"a": replies(200, OLLAMA), "b": replies(200, said)}
    async with stage(ollama("a"), vendor, up=up, plugins=[Pdf({})]) as st:
        out = await st.ask("openai", body(encrypted()))
        assert st.asked["a"] == []
        assert "application/pdf" in st.asked["b"][0].body.decode()
    assert (out.status, out.headers.get("x-router-provider")) == (200, "b")


@pytest.mark.slow
async def test_nobody_else_is_there_and_the_client_is_told_why() -> None:
    async with stage(ollama(), up={"a": replies(200, OLLAMA)}, plugins=[Pdf({})]) as st:
        out = await st.ask("openai", body(encrypted()))
        assert st.asked["a"] == []
    assert out.status == 400
    assert "a takes no PDF, and the PDF cannot be read: it is encrypted" in out.body.decode()


@pytest.mark.slow
async def test_where_it_is_always_done_the_client_is_told_the_same() -> None:
    plugin = Pdf({"always": True})
    async with stage(ollama(), up={"a": replies(200, OLLAMA)}, plugins=[plugin]) as st:
        out = await st.ask("openai", body(encrypted()))
    assert out.status == 400
    assert "it is encrypted" in out.body.decode()
