// One request, all of it: where it went and why, when it did what, what was said.
import { at, button, clip, copied, dollars, drawn, duration, element, grouped, lines, plain, rate } from "./words.js";
import { ENDS, FAULTS, speed } from "./requests.js";

const CLIP = 20000;
const UNTOLD = "load and prefill"; // one piece, where the server does not tell them apart
export const shown = { it: null, from: null, words: null };

export function open(it, from) {
  Object.assign(shown, { it, from, words: null, drawnOf: undefined });
  refresh();
  at("detail").focus({ preventScroll: true });
}

export function shut() {
  if (!shown.it) return false;
  const { it, from } = shown;
  shown.it = null;
  refresh();
  (it.row?.box.isConnected ? it.row.box : from)?.focus({ preventScroll: true });
  return true;
}

// Draws it anew when it has come further since.
export function refresh() {
  const { it } = shown, pane = at("detail");
  at("split").classList.toggle("open", Boolean(it));
  pane.hidden = !it;
  if (!it) return pane.replaceChildren();
  const key = it.how ? `ended ${shown.words !== null}` : `${it.stage} ${it.tries.length} ${it.tags.length}`;
  if (shown.drawnOf === key) return undefined;
  const inside = pane.contains(document.activeElement) && document.activeElement !== pane;
  shown.drawnOf = key;
  pane.replaceChildren(...parts(it));
  if (inside) pane.focus({ preventScroll: true });
  if (it.event && shown.words === null) fetchWords(it);
  return undefined;
}

async function fetchWords(it) {
  let said = {};
  try { said = await (await fetch(`/dashboard/api/event?number=${it.number}`)).json(); } catch { /* it is away: then there are none */ }
  if (shown.it !== it) return;
  shown.words = said.id === it.id && said.ts_ms === it.event.ts_ms ? said : {};
  refresh();
}

function parts(it) {
  const event = it.event, words = shown.words;
  const out = [top(it), tools(it, words), facts(it)];
  const time = timeline(it);
  if (time) out.push(element("h3", "When"), time);
  if (event?.trace.length) out.push(element("h3", "How it was routed"), walk(event.trace));
  const failed = event ? event.attempts : it.tries.map((one) => `${one.provider}/${one.model}: ${one.kind}: ${one.error}`);
  if (failed.length) out.push(section("Tries that failed", failed.map(plain).join("\n")));
  if (event?.dropped.length) out.push(section("Left out, because the provider\u2019s format cannot carry it", event.dropped.map(plain).join("\n")));
  if (words?.messages) out.push(...conversation(words));
  else if (words) out.push(element("p", "Its words are not held any more.", "dim"));
  if (words?.headers) out.push(element("h3", "Fields of the answer (of a stream, the figures came as trailers)"), fields(words.headers));
  return out;
}

function top(it) {
  const line = element("div", undefined, "top"), title = element("h2");
  title.append(element("bdi", clip(it.model || it.event?.endpoint || "no model")));
  if (it.provider) title.append(" \u2192 ", element("bdi", clip(it.provider)));
  const close = button("\u2715", shut);
  close.setAttribute("aria-label", "Close");
  close.title = "Close (Esc)";
  line.append(title, close);
  return line;
}

function quoted(text) { return `'${text.replaceAll("'", "'\\''")}'`; }

// Without a key: whoever runs it puts one in.
function command(it, words) {
  const more = it.event.client_format === "anthropic" ? ` -H ${quoted("anthropic-version: 2023-06-01")}` : "";
  return `curl -N ${location.origin}${it.event.endpoint} -H ${quoted("content-type: application/json")}${more} -d ${quoted(words.body)}`;
}

function tools(it, words) {
  const line = element("div", undefined, "row-of"), event = it.event;
  if (!event) { line.append(element("span", it.how ? it.why : "It is running.", it.how || "busy")); return line; }
  line.append(button("Copy id", () => copied(event.request_id, "id")));
  if (words?.body) line.append(button("Copy as curl", () => copied(command(it, words), "curl command")));
  const link = element("a", "JSON");
  link.href = `/dashboard/api/event?number=${it.number}`; link.target = "_blank"; link.rel = "noopener";
  if (words?.messages) line.append(link);
  return line;
}

function facts(it) {
  const list = element("dl", undefined, "facts"), event = it.event, joined = (...texts) => texts.filter(Boolean).join(" \u00b7 ");
  const fast = event && speed(event), cached = event?.cached_tokens ? ` (${grouped.format(event.cached_tokens)} cached)` : "";
  const count = (n) => (n === null ? "unknown" : grouped.format(n));
  const rows = !event ? [["model", it.model], ["tags", it.tags.join(", ")], ["goes to", joined(it.provider, it.sent)]] : [
    ["ended", joined(ENDS[event.end] || event.end, event.status ? `HTTP ${event.status}` : "before an answer", event.error_kind)],
    ["error", event.error], ["fault", FAULTS[event.fault]],
    ["asked for", event.requested_model], ["by", joined(event.client, event.client_format, event.endpoint, event.stream ? "streaming" : "whole")],
    ["went to", event.provider && joined(event.provider, event.sent_model, event.address)], ["because of", event.rule],
    ["speed", joined(event.ttft_ms !== null && `first token after ${duration(event.ttft_ms)}`, `total ${duration(event.duration_ms)}`, fast && rate(fast))],
    ["tokens", (event.input_tokens !== null || event.output_tokens !== null) && `${count(event.input_tokens)} in${cached}, ${count(event.output_tokens)} out${event.usage_estimated ? ", estimated" : ""}`],
    ["cost", event.cost_usd === null ? event.provider && "unknown" : dollars(event.cost_usd)], ["tags", event.tags.join(", ")], ["answer\u2019s tags", event.response_tags.join(", ")],
    ["policies", event.policies.join(", ")], ["plugins", event.plugins.join(", ")], ["notes", event.notes.join("; ")],
    ["request id", event.request_id], ["provider\u2019s id", event.upstream_request_id], ["trace id", event.trace_id],
  ];
  for (const [name, value] of rows) if (value) list.append(element("dt", name), element("dd", plain(value)));
  return list;
}

// --- when -------------------------------------------------------------------------------------------

// What the answering attempt's time went into; begins and ends count from the request's beginning.
export function spans(event) {
  const end = event.duration_ms, asked = Math.min(event.asked_ms ?? end, end), queued = Math.min(event.queue_ms ?? 0, asked);
  const out = [];
  const add = (kind, name, from, to) => { if (to > from) out.push({ kind, name, from, to }); };
  const first = event.ttft_ms === null ? (event.head_ms ?? end) : Math.min(event.ttft_ms, end);
  const connected = Math.min(asked + (event.connect_ms ?? 0), first);
  add("queue", "queue", asked - queued, asked);
  add("connect", "connect", asked, connected);
  if (event.asked_ms == null) return out;
  const known = event.prefill_ms != null || event.load_ms != null, room = first - connected;
  const prefill = Math.min(event.prefill_ms ?? 0, room), load = Math.min(event.load_ms ?? 0, room - prefill);
  if (!known) {
    add("prefill", UNTOLD, connected, first);
    add("decode", event.stream ? "decode" : "answer", first, end);
  } else if (event.stream) { // what is left before them: it waited there, or was on its way
    add("wait", "waiting there", connected, first - prefill - load);
    add("load", "load", first - prefill - load, first - prefill);
    add("prefill", "prefill", first - prefill, first);
    add("decode", "decode", first, end);
  } else { // nobody saw the first token of a whole answer
    add("load", "load", connected, connected + load);
    add("prefill", "prefill", connected + load, connected + load + prefill);
    add("decode", "decode", connected + load + prefill, end);
  }
  return out;
}

function bar(pieces, total, name) {
  const picture = drawn("svg", { role: "img", "aria-label": name });
  for (const { kind, from, to } of pieces) {
    const x = 100 * Math.max(0, from) / total, width = Math.max(0.6, 100 * (to - Math.max(0, from)) / total);
    picture.append(drawn("rect", { class: kind, x: `${Math.min(x, 99.4)}%`, width: `${width}%`, y: 0, height: "100%", rx: 2 }));
  }
  return picture;
}

function timeline(it) {
  const event = it.event;
  if (!event || event.duration_ms < 1) return null;
  const began = event.ts_ms - event.duration_ms, total = event.duration_ms, box = element("div"), lanes = element("div", undefined, "lanes");
  const lane = (label, pieces, took) => {
    const name = element("span", clip(label, 60), "place");
    name.title = plain(label);
    lanes.append(name, bar(pieces, total, `${plain(label)}: ${pieces.map((one) => `${one.name} ${duration(one.to - one.from)}`).join(", ")}`), element("span", duration(took), "number"));
  };
  for (const one of it.tries) {
    const to = one.ts_ms - began;
    lane(one.provider, [{ kind: "failed", name: "failed", from: to - one.duration_ms, to }], one.duration_ms);
  }
  const pieces = spans(event), from = pieces[0]?.from ?? 0;
  const failedLast = event.error && it.tries.length; // then the last try is the last lane
  if (!failedLast) lane(event.provider || "router", pieces, total - from);
  const own = { kind: "own", name: "router", from: 0, to: Math.max(0, Math.round((event.overhead_ms ?? 0) - (event.queue_ms ?? 0))) };
  const legend = element("ul", undefined, "legend");
  for (const one of [...(own.to ? [own] : []), ...(failedLast ? [] : pieces)]) legend.append(element("li", `${one.name} ${duration(one.to - one.from)}`, one.kind));
  if (!failedLast && pieces.some((one) => one.name === UNTOLD)) legend.append(element("li", "this provider does not tell loading and prefill apart", "aside"));
  if (it.tries.length) legend.append(element("li", it.tries.length > 1 ? `${it.tries.length} failed tries` : "a failed try", "failed"));
  box.append(lanes, legend);
  return box;
}

// --- why --------------------------------------------------------------------------------------------

const STEP = /^(.*?): (passed|candidate|skipped)(?: (.*?))?(?:: ([\s\S]*))?$/;
const MARKS = { passed: "\u00b7", candidate: "\u2713", skipped: "\u2715" };

function walk(trace) {
  const list = element("ol", undefined, "walk");
  for (const text of trace) {
    const [, rule, outcome, place, reason] = STEP.exec(text) ?? [text, text, "passed"];
    const item = element("li", undefined, outcome), told = element("span");
    const mark = element("b", MARKS[outcome]);
    mark.title = outcome;
    told.append(element("span", place ? `${outcome} ` : "", "unit"), element("bdi", plain(place || reason || outcome)));
    if (place && reason) told.append(`: ${plain(reason)}`);
    told.append(element("br"), element("span", plain(rule), "rule"));
    item.append(mark, told);
    list.append(item);
  }
  return list;
}

// --- what was said ----------------------------------------------------------------------------------

function section(title, text) {
  const box = element("div", undefined, "said"), cut = text.length > CLIP;
  const words = element("pre", lines(cut ? text.slice(0, CLIP) : text) + (cut ? `\n\u2026 ${grouped.format(text.length - CLIP)} more characters` : ""));
  words.tabIndex = 0;
  words.setAttribute("aria-label", title);
  box.append(element("b", title), words);
  return box;
}

function part(piece) {
  if (piece.type === "image") return `[image ${piece.media_type}, ${grouped.format(Math.ceil(piece.data.length * 3 / 4096))} KiB]`;
  if (piece.type === "tool_use") return `calls ${piece.name}(${JSON.stringify(piece.input, null, 1)})`;
  if (piece.type === "tool_result") return `result: ${piece.content}`;
  return piece.text ?? `[${piece.type}]`;
}

function conversation(words) {
  const out = [element("h3", "What was said")], answer = words.response, many = words.messages.length;
  if (words.system) out.push(section("system", words.system));
  if (many > 40) out.push(element("p", `${many - 40} earlier messages are in the JSON.`, "dim"));
  for (const one of words.messages.slice(-40)) out.push(section(one.role, one.content.map(part).join("\n")));
  if (!answer) return out;
  out.push(element("h3", `Answer (${answer.stop_reason})`));
  if (answer.reasoning) out.push(section("reasoning", answer.reasoning));
  if (answer.content) out.push(section("text", answer.content));
  for (const call of answer.tool_calls ?? []) out.push(section("tool call", `${call.name}(${JSON.stringify(call.input, null, 1)})`));
  return out;
}

function fields(pairs) {
  const list = element("dl", undefined, "facts fields");
  for (const [name, value] of pairs) list.append(element("dt", name), element("dd", plain(value)));
  return list;
}
