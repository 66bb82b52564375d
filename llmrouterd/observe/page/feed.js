// The lists: cards of what runs, rows of what has ended. The document holds a part of what is kept.
import { at, clip, clock, dollars, duration, element, grouped, plain, rate } from "./words.js";
import { choices, ended, ENDS, FAULTS, fits, moved, named, running, sums, take, wanted } from "./requests.js";
import { open, shown } from "./detail.js";

const PAGE = 150, CARDS = 60, NAME = 90; // the last: letters of a name in a list
const STAGES = ["received", "classified", "routed", "queued", "waiting", "streaming"];
export const list = { most: PAGE, paused: false, turn: -1, stale: true, held: 0 };

function name(text) {
  const node = element("bdi", clip(text, NAME));
  if (text.length > NAME) node.title = plain(text);
  return node;
}

function route(node, it) {
  node.replaceChildren(name(it.model || it.event?.endpoint || "no model"));
  if (it.provider) {
    node.append(" \u2192 ", name(it.provider));
    if (it.sent && it.sent !== it.model) node.append(" / ", name(it.sent));
  }
  const tags = it.event ? [...it.tags, ...it.event.response_tags] : it.tags;
  for (const tag of tags.slice(0, 12)) node.append(element("bdi", clip(tag, 40), "tag"));
}

function shell(it, kind) {
  const item = element("li"), box = element("button", undefined, kind);
  box.type = "button";
  box.onclick = () => open(it, box);
  item.append(box);
  return { item, box };
}

// --- in flight --------------------------------------------------------------------------------------

function card(it) {
  const made = { ...shell(it, "card"), kind: "card", top: element("span", undefined, "top"), route: element("span", "", "route"), figure: element("span", "", "figure dim"),
    steps: element("span", undefined, "steps"), note: element("span", "", "note") };
  made.marks = STAGES.map((name) => element("span", name));
  made.steps.append(...made.marks);
  made.top.append(made.route, made.figure);
  made.box.append(made.top, made.steps, made.note);
  return made;
}

function stage(it, index, loading) {
  if (index === 3) return !it.place ? "queued" : `queued, place ${it.place}` + (it.estimate != null ? `, about ${duration(it.estimate)}` : "");
  if (index === 4) return it.stage === 4 ? (loading(it) ? "loading the model" : "waiting for the first token") : "waiting";
  if (index === 5) return it.rate ? `streaming, ${rate(it.rate)}` : "streaming";
  return STAGES[index];
}

function fillCard(it, loading) {
  const { row } = it;
  route(row.route, it);
  row.figure.textContent = duration(Math.max(0, Date.now() - moved.skew - it.begun)) + (it.pieces ? ` \u00b7 ${grouped.format(it.pieces)} pieces` : "");
  row.marks.forEach((mark, index) => {
    mark.textContent = stage(it, index, loading);
    mark.className = index === it.stage ? "now" : index < it.stage ? "past" : "";
    mark.hidden = index === 3 && it.stage !== 3 && !it.waited; // most need not queue
  });
  row.note.textContent = it.tries.length ? "tried before: " + clip(it.tries.map((one) => `${one.provider}: ${one.error}`).join("; "), 300) : "";
}

function drawRunning(loading) {
  const now = [...running.values()].filter(fits).reverse(), here = now.slice(0, CARDS), keep = new Set(here);
  for (const it of here) {
    if (it.row?.kind !== "card") it.row = card(it);
    fillCard(it, loading);
  }
  arrange(at("running"), here.map((it) => it.row.item));
  at("n-running").textContent = running.size ? (now.length > CARDS ? `${running.size}, the newest ${CARDS} shown` : String(running.size)) : "";
  at("idle").hidden = keep.size > 0;
  at("idle").textContent = running.size ? "Nothing in flight fits the filter." : "Nothing is running.";
}

// --- ended ------------------------------------------------------------------------------------------

function line(it) {
  const made = { ...shell(it, "line"), kind: "line", time: element("time"), how: element("b"), route: element("span", "", "route"), note: element("span", "", "note") };
  for (const name of ["ttft", "total", "tokens", "cost"]) made[name] = element("span", "", `number ${name}`);
  made.box.append(made.time, made.how, made.route, made.ttft, made.total, made.tokens, made.cost, made.note);
  return made;
}

function figure(node, unit, text) {
  node.replaceChildren();
  if (text) node.append(element("span", unit + " ", "unit"), text);
}

function fillLine(it) {
  const { row, event } = it, when = new Date(event ? event.ts_ms : it.begun);
  row.time.textContent = clock(when); row.time.dateTime = when.toISOString(); row.time.title = when.toLocaleString();
  route(row.route, it);
  row.how.className = it.how;
  row.how.textContent = event ? ENDS[event.end] || event.end : ENDS.lost;
  if (!event) { row.note.textContent = it.why; return; }
  const fault = it.how === "bad" && FAULTS[event.fault];
  row.note.textContent = event.error ? clip((fault ? `${fault}\u2019s fault: ` : "") + event.error, 300)
    : event.attempts.length ? "tried before: " + clip(it.tries.length ? it.tries.map((one) => `${one.provider}: ${one.error}`).join("; ") : event.attempts.join("; "), 300) : "";
  figure(row.ttft, "first token", event.ttft_ms === null ? "" : duration(event.ttft_ms));
  figure(row.total, "total", duration(event.duration_ms));
  const used = event.input_tokens !== null || event.output_tokens !== null, count = (n) => (n === null ? "?" : grouped.format(n));
  figure(row.tokens, "tokens", used ? `${event.usage_estimated ? "~" : ""}${count(event.input_tokens)} / ${count(event.output_tokens)}` : "");
  figure(row.cost, "cost", event.cost_usd === null ? "" : dollars(event.cost_usd));
}

// The children in this order; those that are there already are moved as little as can be.
function arrange(parent, items) {
  const keep = new Set(items), held = parent.contains(document.activeElement) ? document.activeElement : null;
  for (const child of [...parent.children]) if (!keep.has(child)) child.remove();
  let next = parent.firstChild;
  for (const item of items) {
    if (item === next) next = next.nextSibling;
    else parent.insertBefore(item, next);
  }
  if (held && document.activeElement !== held && parent.contains(held)) held.focus({ preventScroll: true });
}

function drawEnded() {
  if (list.turn === sums.turn && !list.stale) return;
  const all = ended.filter(fits), here = all.slice(0, list.most), focused = document.activeElement;
  let follow = null;
  for (const it of here) {
    if (it.row?.kind === "line") continue;
    if (it.row?.box === focused) follow = it;
    it.row = line(it);
    fillLine(it);
  }
  const drawn = new Set(here);
  for (const it of ended) if (it.row?.kind === "line" && !drawn.has(it)) it.row = null;
  arrange(at("feed"), here.map((it) => it.row.item));
  follow?.row.box.focus({ preventScroll: true });
  list.turn = sums.turn; list.stale = false;
  at("n-feed").textContent = ended.length ? (all.length === ended.length ? String(ended.length) : `${all.length} of ${ended.length}`) : "";
  at("more").hidden = all.length <= list.most;
  at("none").hidden = here.length > 0;
  at("none").textContent = ended.length ? "No request fits the filter." : "No request yet. The first one appears here as it comes in.";
  drawChoices();
}

function drawChoices() {
  const found = choices();
  for (const [name, all] of [["provider", "all providers"], ["model", "all models"], ["client", "all clients"], ["tag", "all tags"]]) {
    const select = at(`by-${name}`), values = [...found[name]].sort();
    if (wanted[name] && !found[name].has(wanted[name])) values.push(wanted[name]);
    select.hidden = !values.length;
    const key = JSON.stringify(values);
    if (select.dataset.key === key || document.activeElement === select) continue;
    select.dataset.key = key;
    const none = element("option", all);
    none.value = "";
    select.replaceChildren(none, ...values.map((value) => { const option = element("option", named(value)); option.value = value; return option; }));
    select.value = wanted[name];
  }
}

export function drawLists(loading) {
  const news = sums.turn - list.turn;
  at("pause").textContent = list.paused ? (list.held !== sums.turn ? `Go on (${sums.turn - list.held} new)` : "Go on") : "Pause";
  if (list.paused && !list.stale) return;
  if (!list.paused || news === 0 || list.stale) { drawRunning(loading); drawEnded(); }
  for (const box of document.querySelectorAll("[aria-current=true].line, [aria-current=true].card")) box.removeAttribute("aria-current");
  shown.it?.row?.box.setAttribute("aria-current", "true");
}

export function pause() {
  list.paused = !list.paused; list.held = sums.turn; list.stale = !list.paused;
  at("pause").setAttribute("aria-pressed", list.paused);
}

export function refilter() {
  wanted.text = at("filter").value.trim(); wanted.only = at("only").value;
  for (const name of ["provider", "model", "client", "tag"]) wanted[name] = at(`by-${name}`).value;
  at("clear").hidden = !Object.values(wanted).some(Boolean);
  list.most = PAGE; list.stale = true;
}

export function unfilter() {
  for (const id of ["filter", "only", "by-provider", "by-model", "by-client", "by-tag"]) at(id).value = "";
  refilter();
}

export function more() { list.most += PAGE; list.stale = true; }

// To the next or the last row, from wherever the focus is.
export function step(by) {
  const rows = [...document.querySelectorAll("#running .card, #feed .line")], now = rows.indexOf(document.activeElement);
  rows[Math.min(rows.length - 1, Math.max(0, now < 0 ? 0 : now + by))]?.focus();
}
