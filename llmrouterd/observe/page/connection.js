// The way to the router: the feed with replay, its state, the key.
import { at } from "./words.js";
import { abandon, moved, sums, take, totals } from "./requests.js";
import { heard } from "./fleet.js";

const feed = { source: null, name: null, last: "0", tries: 0, soon: () => {} };

export function tell(text, kind) {
  if (at("state").textContent !== text) at("state").textContent = text;
  at("state").className = kind;
  document.body.classList.toggle("offline", kind === "bad");
}

export const open_ = () => feed.source?.readyState === EventSource.OPEN;
export const started = () => feed.source !== null;

take.hello = (event) => {
  moved.skew = Date.now() - event.now_ms;
  if (feed.name !== null && feed.name !== event.feed) { // the router was started anew: what ran then will not be heard of again
    abandon("the router was started anew while this ran");
    if (feed.last !== "0") { feed.last = "0"; feed.name = event.feed; return follow(0); }
  }
  feed.name = sums.since = event.feed;
  totals(event);
  return tell("live", "good");
};

// What the router still holds comes first; a page that comes back says what it saw last.
export function follow(wait_ms) {
  feed.source?.close();
  feed.source = null;
  setTimeout(() => {
    if (feed.source || !at("door").hidden) return;
    const source = feed.source = new EventSource(`/dashboard/events?v=2&bodies=none&after=${feed.last}`);
    source.onopen = () => { feed.tries = 0; poll(); };
    source.onmessage = (message) => {
      if (feed.source !== source) return;
      const event = JSON.parse(message.data);
      feed.last = message.lastEventId || feed.last;
      if (Object.hasOwn(take, event.type)) take[event.type](event, message.lastEventId);
      feed.soon();
    };
    source.onerror = () => {
      tell("not connected, trying again", "bad");
      feed.tries += 1;
      follow(Math.min(5000, 500 * feed.tries));
      poll();
    };
  }, wait_ms);
}

export async function poll() {
  let answer;
  try { answer = await fetch("/dashboard/api/state"); } catch { return; }
  if (answer.status === 401) { door(); return; }
  if (!answer.ok) return;
  const state = await answer.json();
  heard(state.providers);
  at("version").textContent = state.version;
  if (open_()) tell(state.draining ? "the router is stopping" : state.ready ? "live" : "live, but no provider answers", state.ready ? "good" : "busy");
  if (!state.in_flight && sums.lost) abandon("its end was among the events that were missed");
  feed.soon();
}

function door() {
  feed.source?.close();
  feed.source = null;
  at("door").hidden = false;
  at("main").hidden = at("tabs").hidden = true;
  tell("locked", "busy");
  at("key").focus();
}

async function unlock(submitted) {
  submitted.preventDefault();
  let answer;
  try { answer = await fetch("/dashboard", { method: "POST", body: at("key").value }); } catch { answer = { ok: false }; }
  at("wrong").textContent = answer.ok ? "" : answer.status === 401 ? "That is not the key." : "The router did not take it.";
  if (!answer.ok) { at("key").select(); return; }
  at("key").value = "";
  at("door").hidden = true;
  at("main").hidden = at("tabs").hidden = false;
  tell("connecting", "busy");
  follow(0);
}

export function connect(soon) {
  feed.soon = soon;
  at("door").onsubmit = unlock;
  poll().then(() => follow(0));
}
