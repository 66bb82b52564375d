"""Runs what is plugged in: classifiers and plugins, in order, with what happens when one fails.

Owns: which plugins are active for a request, their contexts, and the meaning of what hooks return.
Refuses to know: providers, routing rules, sockets.

Laws:
1. A plugin that fails before the answer fails the request (500, naming the plugin); one that fails
   after it, and any classifier, is logged and skipped. The tags that a failed classifier would have
   judged are unknown, which is not the same as not set: the story says which.
2. Request settings override configured ones. Ids that are not known are ignored.
3. A plugin whose hook changed something, or stopped the chain, stands in the record.
4. The client's own text passes on only where it says what the request says: a plugin that changes a
   request either changes its text along, or the text is let go.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import trio

from formats.canonical import Event, Message, Request, Response, Text
from formats.errors import Failure
from llmrouterd.hooks import Along, Context, Place, Plugin, PluginFailed, PluginRefused, Stop
from llmrouterd.model import ANY_TAG, Headers
from llmrouterd.pipeline.errand import Errand
from llmrouterd.pipeline.inquiry import Inquiry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from llmrouterd.hooks import Classifier, Kept
    from llmrouterd.model import Candidate, EndState, ModelInfo, Provider, Record
    from llmrouterd.pipeline.cached import Recall
    from llmrouterd.pipeline.daemon import Generation, Installed
    from llmrouterd.pipeline.story import Story

T = TypeVar("T")
LOG = logging.getLogger("llmrouter.extend")
# What on_end may take: the answer is out, and the connection waits for its next request.
ON_END_S = 5.0


@dataclass(slots=True)
class _Active:
    id: str
    hook: Plugin
    ctx: Context
    timeout_s: float = 0.0
    keeps: int = 0  # bytes of the answer that it wants to see when all is over

    async def within(self, hook: Awaitable[T]) -> T:
        """What the hook returns, if it does in time."""
        return await _within(self.timeout_s, hook)


async def _within(timeout_s: float, hook: Awaitable[T]) -> T:
    if not timeout_s:
        return await hook
    with trio.move_on_after(timeout_s):
        return await hook
    raise PluginFailed(f"it took longer than {timeout_s:g} s")


class Extensions:
    """The extensions of one request. `answer` is set when a plugin has answered it, `kept` when one
    has kept the answer to it."""

    def __init__(
        self, gen: Generation, request: Request, story: Story, *, asks: bool = True
    ) -> None:
        """asks: extensions may ask models of providers."""
        self._gen = gen
        self._story = story
        self._asks = asks
        self._stopped_after = False
        self.along = Along()
        self._judged: Request | None = None  # as it stands, once its tags are known
        self.answer: Response | None = None
        self.kept: Kept | None = None
        self._tagged: tuple[Response, tuple[str, ...]] | None = None
        self.active = self._activate(request) if gen.plugins else []
        self._attempts: list[_Active] = []
        self._editors: list[_Active] = []
        self.whole_response = False
        self.wants_response = bool(gen.response_classifiers)
        if self.active:
            self._look_at_hooks()

    def _look_at_hooks(self) -> None:
        """What of each plugin will be called, so that nothing is done for the others."""
        for each in self.active:
            kind = type(each.hook)
            if kind.on_attempt is not Plugin.on_attempt:
                self._attempts.append(each)
            if kind.on_event is not Plugin.on_event:
                self._editors.append(each)
            if kind.post_response is not Plugin.post_response:
                self.wants_response = True
        self.whole_response = any(a.hook.waits(a.ctx) for a in self.active)

    def _activate(self, request: Request) -> list[_Active]:
        asked = {call.id: call.settings for call in request.plugins}
        active = []
        for installed in self._gen.plugins.values():
            if installed.enabled or installed.id in asked or _asked_for(installed, request):
                settings = {**installed.settings, **asked.get(installed.id, {})}
                ctx = self._context(installed.id, settings)
                ctx.enabled = installed.enabled
                active.append(_Active(installed.id, installed.hook, ctx, installed.timeout_s))
        return active

    def _context(self, id_: str, settings: Mapping[str, Any], *tags: str) -> Context:
        breathe = trio.lowlevel.checkpoint
        ctx = Context(id_, settings, tags, self._story.client, breathe=breathe, along=self.along)
        ctx.apart, ctx.leaving, ctx.dry = self._story.daemon.apart, self._leaving, not self._asks
        if self._asks:
            inquiry = Inquiry(self._gen, self._story, id_, leaving=self.sent)
            ctx.ask, ctx.embed = inquiry.ask, inquiry.embed
            ctx.fetch = Errand(self._gen, self._story, id_, lambda: self._judged).fetch
        return ctx

    @property
    def edits_events(self) -> bool:
        """An answer's events must be decoded one by one, because somebody may change them."""
        return bool(self._editors) or self.whole_response

    @property
    def forced(self) -> str | None:
        """The provider that a plugin chose, past the rules; the last word counts."""
        return next((a.ctx.forced for a in reversed(self.active) if a.ctx.forced), None)

    # --- before the answer ------------------------------------------------------------------------

    async def before(self, request: Request, recall: Recall | None = None) -> Request | Failure:
        """on_start, classifiers, pre_request. When a plugin has answered, `self.answer` or `self.kept` is
        set. recall: how kept answers are looked for; None: they are not."""
        refused = self._refused(request) or (self._arrive(recall) if recall is not None else None)
        if refused is not None:
            return refused
        if not self.active:
            self._story.classified(await self._classify(request))
            self._judged = request
            return request
        started = await self._run("on_start", request)
        if not isinstance(started, Request):
            return self._end_of_chain(request, started)
        self._story.classified(await self._classify(started))
        self._judged = started
        for active in self.active:
            active.ctx.tags = self._story.tags
        if recall is not None and self.keeps and self.answer is None:
            failure = await self._recall(recall)
            if failure is not None or self.kept is not None:
                return failure or started
        ready = await self._run("pre_request", started)
        if not isinstance(ready, Request):
            return self._end_of_chain(started, ready)
        return ready

    def _refused(self, request: Request) -> Failure | None:
        """What a request asks of plugins and may not have."""
        for call in request.plugins:
            installed = self._gen.plugins.get(call.id)
            owned = installed.hook.owned if installed is not None else ()
            for name in call.settings:
                if name in owned:
                    text = (
                        f"the setting {name!r} of plugin {call.id!r} is not for requests to change"
                    )
                    return Failure("bad_request", text, param="plugins")
        return None

    @property
    def recalls(self) -> bool:
        """Somebody may have kept the answer."""
        return any(type(a.hook).on_arrival is not Plugin.on_arrival for a in self.active)

    @property
    def keeps(self) -> int:
        """Bytes of the answer that somebody wants to keep."""
        return max((active.keeps for active in self.active), default=0)

    def _arrive(self, recall: Recall) -> Failure | None:
        for active in self.active:
            try:
                active.keeps = active.hook.on_arrival(recall.arrival, active.ctx)
            except Exception as error:  # noqa: BLE001
                return _failed(active, "on_arrival", error)
            _tell(active, self._story)
        return None

    async def _recall(self, recall: Recall) -> Failure | None:
        for active in self.active:
            if not active.keeps:
                continue
            try:
                self.kept = await recall.answer(active.hook, active.ctx)
            except Exception as error:  # noqa: BLE001
                return _failed(active, "recall", error)
            if self.kept is not None:
                self._story.plugins.append(active.id)
                break
        return None

    def release(self, kept: Kept | None, end: EndState) -> None:
        """on_release of whoever was to see the answer."""
        for active in self.active:
            if active.keeps:
                fits = kept is not None and kept.size <= active.keeps
                try:
                    active.hook.on_release(kept if fits else None, end, active.ctx)
                except Exception as error:  # noqa: BLE001
                    LOG.warning("plugin %r failed in on_release: %s", active.id, _words(error))

    def _end_of_chain(self, request: Request, end: Failure | Stop) -> Request | Failure:
        if isinstance(end, Failure):
            return end
        self.answer = end.response or self.answer
        if self.answer is None:
            return Failure("plugin", "a plugin stopped the request without answering it")
        return request

    async def _run(
        self, hook: Literal["on_start", "pre_request"], request: Request
    ) -> Request | Failure | Stop:
        for active in self.active:
            try:
                result = await active.within(getattr(active.hook, hook)(request, active.ctx))
                _check(hook, result, Request, Response, Stop)
            except Exception as error:  # noqa: BLE001
                return _failed(active, hook, error)
            finally:
                _tell(active, self._story)
            self._noted(active, changed=result is not request)
            if isinstance(result, Stop):
                return result
            if isinstance(result, Response):
                self.answer = result
            else:
                request = _told(request, result)
                self._judged = self._judged and request
        return request

    def _noted(self, active: _Active, *, changed: bool) -> None:
        if changed or active.ctx.changed:
            self._story.plugins.append(active.id)

    async def _classify(self, request: Request) -> tuple[str, ...]:
        if not self._gen.classifiers:
            return ()
        tags: set[str] = set()
        for installed in self._gen.classifiers:
            ctx = self._context(installed.id, installed.settings)
            try:
                found = installed.hook.classify(request, ctx)
                tags.update(_tags(await _within(installed.timeout_s, found)))
            except Exception as error:  # noqa: BLE001
                if self._asks:
                    LOG.warning("classifier %r failed: %s", installed.id, _words(error))
                self._unjudged(installed)
        self._story.unknown_tags -= tags  # another classifier knew
        return tuple(sorted(tags))

    def _unjudged(self, installed: Installed[Classifier]) -> None:
        self._story.unknown_tags |= frozenset(getattr(installed.hook, "may_set", (ANY_TAG,)))
        self._story.notes.append(f"classifier {installed.id} failed")

    async def for_attempt(
        self, request: Request, provider: Provider, candidate: Candidate, info: ModelInfo | None
    ) -> Request | Failure:
        """on_attempt: what the request is for this candidate. Of what was added others may want to cover
        something, as of all that leaves."""
        if not self._attempts:
            return request
        place = Place(
            provider.name,
            candidate.model,
            provider.format,
            provider.dialect.vendor,
            provider.local,
            info.capabilities if info is not None else None,
        )
        made = request
        for active in self._attempts:
            try:
                result = await active.within(active.hook.on_attempt(made, place, active.ctx))
                _check("on_attempt", result, Request)
            except PluginFailed as error:
                return Failure("unsupported", f"plugin {active.id!r}: {_words(error)}")
            except Exception as error:  # noqa: BLE001
                return _failed(active, "on_attempt", error)
            finally:
                _tell(active, self._story)
            self._noted(active, changed=result is not made)
            made = _told(made, result)
        try:
            return made if made is request else self.sent(made)
        except PluginFailed as error:
            return Failure("plugin", str(error))

    def _leaving(self, text: str) -> str:
        """A text as on_send of each plugin makes it. Raises PluginFailed."""
        sent = self.sent(Request("openai", "", (Message("user", (Text(text),)),)))
        return "".join(p.text for m in sent.messages for p in m.parts if isinstance(p, Text))

    def sent(self, request: Request) -> Request:
        """on_send of each plugin. Raises PluginFailed: what one would have done must not be missed."""
        for active in self.active:
            try:
                request = active.hook.on_send(request, active.ctx)
            except Exception as error:
                raise PluginFailed(f"plugin {active.id!r} failed: {_words(error)}") from error
        return request

    def left_along(self, fields: Headers, query: str) -> tuple[Headers, str]:
        """The client's header fields and its query, without what plugins took out."""
        left = self.along
        if not self.active or (left.query == query and len(left.fields) == len(fields.raw)):
            return fields, query
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in left.fields]
        return Headers(raw), left.query

    def shown(self, request: Request) -> Request:
        """`shown` of each plugin, the last one first."""
        for active in reversed(self.active):
            try:
                request = active.hook.shown(request, active.ctx)
            except Exception as error:  # noqa: BLE001
                LOG.warning("plugin %r failed in shown: %s", active.id, _words(error))
        return request

    # --- the answer -------------------------------------------------------------------------------

    def editing(self) -> Editing:
        """The plugins' hand in one stream. Another attempt has another, and may run beside it."""
        return Editing(self._editors, self._story)

    async def after(self, request: Request, response: Response) -> Response:
        """post_response, then response classifiers. What it returns is the answer, if the answer
        has not been sent yet."""
        for active in self.active:
            try:
                result = await active.within(active.hook.post_response(response, active.ctx))
                _check("post_response", result, Response, Stop)
            except Exception as error:  # noqa: BLE001
                LOG.warning("plugin %r failed in post_response: %s", active.id, _words(error))
                continue
            finally:
                _tell(active, self._story)
            self._noted(active, changed=result is not response)
            if isinstance(result, Stop):
                self._stopped_after = True
                return result.response or response
            response = result
        self._story.response_tags = await self.tags_of(request, response)
        return response

    async def tags_of(self, request: Request, response: Response) -> tuple[str, ...]:
        """What the response classifiers say of an answer; each answer is shown to them once."""
        if self._tagged is None or self._tagged[0] != response:
            self._tagged = response, await self._classify_response(request, response)
        return self._tagged[1]

    async def _classify_response(self, request: Request, response: Response) -> tuple[str, ...]:
        tags: set[str] = set()
        for installed in self._gen.response_classifiers:
            ctx = self._context(installed.id, installed.settings, *self._story.tags)
            try:
                found = installed.hook.classify(request, response, ctx)
                tags.update(_tags(await _within(installed.timeout_s, found)))
            except Exception as error:  # noqa: BLE001
                LOG.warning("response classifier %r failed: %s", installed.id, _words(error))
        return tuple(sorted(tags))

    # --- the end ----------------------------------------------------------------------------------

    def wants_end(self) -> bool:
        told = any(type(a.hook).on_error is not Plugin.on_error for a in self.active)
        return told or self._wants_on_end()

    def _wants_on_end(self) -> bool:
        return not self._stopped_after and any(
            type(a.hook).on_end is not Plugin.on_end for a in self.active
        )

    async def end(self, record: Record, failure: Failure | None = None) -> None:
        """on_error, if the request has failed, and on_end of every plugin, also when the client has
        gone; bounded in time."""
        with trio.move_on_after(ON_END_S, shield=True):
            for active in self.active if failure is not None else ():
                assert failure is not None
                try:
                    await active.within(active.hook.on_error(failure, active.ctx))
                except Exception as error:  # noqa: BLE001
                    LOG.warning("plugin %r failed in on_error: %s", active.id, _words(error))
            for active in self.active if self._wants_on_end() else ():
                try:
                    await active.within(active.hook.on_end(record))
                except Exception as error:  # noqa: BLE001
                    LOG.warning("plugin %r failed in on_end: %s", active.id, _words(error))


class Editing:
    """on_event of each plugin over one stream, with what a plugin keeps of it."""

    def __init__(self, editors: Sequence[_Active], story: Story) -> None:
        self._editors = [replace(each, ctx=replace(each.ctx, stream=None)) for each in editors]
        self._story = story

    def __call__(self, events: Iterable[Event]) -> list[Event]:
        """Each plugin sees what the one before it made of an event. A failing one is skipped."""
        out = list(events)
        for active in self._editors:
            passed: list[Event] = []
            for event in out:
                try:
                    passed.extend(active.hook.on_event(event, active.ctx))
                except Exception as error:  # noqa: BLE001
                    LOG.warning("plugin %r failed in on_event: %s", active.id, _words(error))
                    passed.append(event)
            changed = active.ctx.changed if active.hook.delays else passed != out
            if changed and active.id not in self._story.plugins:
                self._story.plugins.append(active.id)
            _tell(active, self._story)
            out = passed
        return out


def _tell(active: _Active, story: Story) -> None:
    """What the plugin wants the record and the client to know."""
    story.notes += (f"{active.id}: {note}" for note in active.ctx.notes)
    active.ctx.notes.clear()
    for name, value in active.ctx.fields.items():
        story.plugin_fields[f"x-router-{active.id}-{name}".lower()] = value
    active.ctx.fields.clear()


def _failed(active: _Active, hook: str, error: Exception) -> Failure:
    if isinstance(error, PluginRefused):
        return Failure("bad_request", f"plugin {active.id!r}: {_words(error)}")
    LOG.warning("plugin %r failed in %s: %s", active.id, hook, _words(error))
    return Failure("plugin", f"plugin {active.id!r} failed: {_words(error)}")


def _told(before: Request, after: Request) -> Request:
    """The request that a plugin made of another, with the client's own text only if the plugin changed
    that, too."""
    if after is before or after.raw is not before.raw:
        return after
    return replace(after, raw=None)


def _asked_for(installed: Installed[Plugin], request: Request) -> bool:
    if type(installed.hook).asked_for is Plugin.asked_for:
        return False
    try:
        return bool(installed.hook.asked_for(request))
    except Exception as error:  # noqa: BLE001
        LOG.warning("plugin %r failed in asked_for: %s", installed.id, _words(error))
        return False


def _check(hook: str, result: object, *kinds: type) -> None:
    """A plugin that forgot its `return` is told so, not with an error from somewhere later."""
    if not isinstance(result, kinds):
        names = ", ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{hook} returned {type(result).__name__}, not one of {names}")


def _tags(found: object) -> Iterable[str]:
    """A classifier that returned one text, or something else that is no list of tags, has failed."""
    if isinstance(found, str) or not isinstance(found, Iterable):
        raise TypeError(f"classify returned {type(found).__name__}, not a list of tags")
    tags = tuple(found)
    if not all(isinstance(tag, str) for tag in tags):
        raise TypeError("classify returned a list with something in it that is no text")
    return tags


def _words(error: Exception) -> str:
    """An exception in words, never empty."""
    return str(error) or type(error).__name__
