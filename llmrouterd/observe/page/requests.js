// What has happened: events in, requests and totals out. What is kept is bounded, however long the page stays open.
import { clip } from "./words.js";

export const KEPT = 1000; // requests that have ended; the words of one are fetched when somebody opens it
const LONGEST = 2000; // of any one text that is kept
const TRIES = 20;
export const ENDS = { complete: "done", truncated: "cut short", stalled: "stalled", client_gone: "client left", upstream_error: "provider failed",
  refused: "refused", over_budget: "over budget", internal_error: "router failed", lost: "lost" };
export const FAULTS = { client: "the client", upstream: "the provider", owner: "the configuration", router: "the router" };
// Failures of a try that say nothing about the provider's health.
const HARMLESS = new Set(["bad_request", "unsupported", "context_too_long", "refused_by_upstream", "too_large", "forbidden", "queue_full", "queue_timeout", "no_hub",
  "over_budget", "hedged", "tagged"]);

export const running = new Map(), ended = [], seenAt = new Map();
// Of all that has ended since the router's start: as the router said, up to event `through`, and what came since.
export const sums = { good: 0, bad: 0, left: 0, in: 0, out: 0, cost: 0, lost: 0, turn: 0, through: 0, since: null };
export const moved = { skew: 0 };

export function known(name) {
  if (!seenAt.has(name)) seenAt.set(name, { answered: 0, failed: 0, streak: 0, last: null });
  return seenAt.get(name);
}

export function totals({ number, totals: all }) {
  Object.assign(sums, { through: number, good: all.requests - all.errors - all.left, bad: all.errors, left: all.left, in: all.input_tokens, out: all.output_tokens, cost: all.cost_usd });
}

function request(event) {
  let it = running.get(event.id);
  if (!it) {
    it = { id: event.id, begun: event.ts_ms, model: "", provider: "", sent: "", tags: [], tries: [], stage: 0, hops: [], row: null };
    running.set(event.id, it);
  }
  return it;
}

// Stages: 0 received, 1 classified, 2 routed, 3 queued, 4 waiting (or loading), 5 streaming.
export const take = {
  start(event) { request(event).model = event.model.slice(0, LONGEST); },
  classified(event) { const it = request(event); it.tags = event.tags; it.stage = 1; },
  routed(event) {
    const it = request(event);
    Object.assign(it, { provider: event.provider, sent: event.model.slice(0, LONGEST), stage: 4, place: null });
    if (!it.hops.some((hop) => hop.ts_ms === event.ts_ms)) it.hops = [...it.hops.slice(-TRIES), event];
  },
  queued(event) {
    const it = request(event);
    Object.assign(it, { provider: event.provider, sent: event.model.slice(0, LONGEST), place: event.position, estimate: event.estimate_ms, stage: event.position ? 3 : 4 });
    if (event.position) it.waited = true;
  },
  attempt_failed(event) {
    const it = request(event);
    if (it.tries.some((one) => one.ts_ms === event.ts_ms && one.provider === event.provider && one.error === event.error)) return; // a replay tells what a snapshot has told
    it.tries = [...it.tries.slice(1 - TRIES), event];
    it.stage = Math.min(it.stage, 2);
    if (HARMLESS.has(event.kind.split(":")[0]) || event.kind === "timeout:request") return;
    const provider = known(event.provider);
    provider.failed += 1; provider.streak += 1; provider.last = event;
  },
  first_token(event) { const it = request(event); it.ttft = event.ttft_ms; it.stage = 5; },
  progress(event) {
    const it = running.get(event.id);
    if (!it) return;
    it.stage = 5; it.pieces = event.pieces;
    it.rate = event.writing_ms > 0 ? event.pieces * 1000 / event.writing_ms : null;
  },
  snapshot(event) { // what is in flight as the reader comes in: nothing else is
    const told = new Set(event.requests.map((events) => events[0].id));
    for (const it of [...running.values()]) if (!told.has(it.id)) drop(it, "its end was among the events that were missed");
    for (const events of event.requests) for (const each of events) take[each.type]?.(each);
  },
  lost(event) { sums.lost += event.count; totals(event); },
  complete(event, number) {
    const it = request(event);
    running.delete(event.id);
    for (const name of ["requested_model", "sent_model", "error"]) if (event[name]) event[name] = event[name].slice(0, LONGEST);
    for (const name of ["attempts", "trace", "notes"]) event[name] = event[name].slice(0, 60).map((text) => text.slice(0, LONGEST));
    const how = event.end === "complete" ? "good" : event.end === "client_gone" ? "left" : "bad";
    Object.assign(it, { event, number, how, model: event.requested_model, provider: event.provider, sent: event.sent_model, tags: event.tags });
    if (Number(number) > sums.through) { sums[how] += 1; sums.in += event.input_tokens || 0; sums.out += event.output_tokens || 0; sums.cost += event.cost_usd || 0; }
    if (how === "good" && it.provider) { const provider = known(it.provider); provider.answered += 1; provider.streak = 0; }
    put(it);
  },
};

function put(it) {
  const event = it.event;
  it.words = [it.model, it.provider, it.sent, ...(event ? [event.error, event.end, event.error_kind, event.fault, event.endpoint, event.rule, event.client, event.request_id,
    ...event.tags, ...event.response_tags, ...event.attempts] : [])].join("\n").toLowerCase();
  ended.unshift(it);
  sums.turn += 1;
  if (ended.length > KEPT) ended.length = KEPT;
}

function drop(it, why) {
  running.delete(it.id);
  Object.assign(it, { how: "bad", why, event: null });
  put(it);
}

export function abandon(why) { for (const it of [...running.values()]) drop(it, why); }

// What a request's speed was as it was written: without the wait for its first token.
export function speed(event) {
  const took = event.duration_ms - (event.ttft_ms ?? event.duration_ms);
  return event.stream && event.output_tokens && took > 0 ? event.output_tokens * 1000 / took : null;
}

export const wanted = { text: "", only: "", provider: "", model: "", client: "", tag: "" };

export function fits(it) {
  const { only } = wanted, event = it.event;
  if (only === "again" ? !(event && event.attempts.length) : only && it.how && it.how !== only) return false;
  if (wanted.provider && it.provider !== wanted.provider) return false;
  if (wanted.model && it.model !== wanted.model && it.sent !== wanted.model) return false;
  if (wanted.client && event && event.client !== wanted.client) return false;
  if (wanted.tag && !it.tags.includes(wanted.tag) && !event?.response_tags.includes(wanted.tag)) return false;
  const words = it.words ?? [it.model, it.provider, it.sent, ...it.tags].join("\n").toLowerCase();
  return wanted.text.toLowerCase().split(/\s+/).every((word) => words.includes(word));
}

// What there is to choose from, of what is kept.
export function choices() {
  const found = { provider: new Set(), model: new Set(), client: new Set(), tag: new Set() };
  for (const it of [...running.values(), ...ended]) {
    if (it.provider) found.provider.add(it.provider);
    if (it.model && found.model.size < 200) found.model.add(it.model);
    if (it.event?.client) found.client.add(it.event.client);
    for (const tag of [...it.tags, ...(it.event?.response_tags ?? [])]) if (found.tag.size < 200) found.tag.add(tag);
  }
  return found;
}

export const named = (name) => clip(name, 60);
