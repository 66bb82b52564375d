// Providers and models, as they are now.
import { at, button, clip, duration, element, grouped, plain, rate, say, short } from "./words.js";
import { known, moved, take } from "./requests.js";

export const fleet = { providers: [], models: [], aliases: {}, find: "", at_ms: 0 };

// What was replayed may be older than what the router has told since.
take.provider = (event) => {
  const state = fleet.providers.find((each) => each.name === event.provider);
  if (!state || event.ts_ms < fleet.at_ms) return;
  const { healthy, circuit, paused, reached, why, back_s } = event;
  Object.assign(state, { healthy, circuit, paused, reached, why, back_s });
  const [word] = health(state);
  say(`${plain(state.name)}: ${word}`);
};

export function heard(providers) { Object.assign(fleet, { providers, at_ms: Date.now() - moved.skew }); }

export function health(state) {
  const seen = known(state.name);
  if (state.paused) return ["paused", "busy"];
  if (state.circuit === "resting") return ["resting", "busy"];
  if (!state.healthy) return ["circuit open", "bad"];
  if (state.reached === false) return ["no answer", "bad"];
  if (seen.streak) return [seen.streak > 1 ? `last ${seen.streak} failed` : "last one failed", "busy"];
  if (state.reached || seen.answered) return ["up", "good"];
  return [state.format === "echo" ? "built in" : state.on_demand ? "on demand" : "not asked yet", "dim"];
}

// The model is not in the provider's memory, as far as it was last heard of.
export function loading(it) {
  const state = fleet.providers.find((each) => each.name === it.provider);
  return Boolean(state && state.format === "ollama" && state.models && !state.loaded.includes(it.sent));
}

function figures(state) {
  const list = element("dl", undefined, "facts"), seen = known(state.name), queue = state.queue;
  const loaded = element("span");
  for (const name of state.loaded) loaded.append(element("bdi", clip(name, 60), "tag"));
  const out = Object.entries(state.models_out).map(([name, why]) => `${plain(name)}: ${plain(why)}`).join("; ");
  const back = state.back_s === null ? "" : `, asked again in ${duration(state.back_s * 1000)}`;
  const rows = [
    ["circuit", state.circuit + back], ["in flight", grouped.format(state.in_flight)],
    ["queue", queue && `${grouped.format(queue.waiting)} waiting, ${grouped.format(queue.running)} at work`],
    ["models", state.models === null ? null : grouped.format(state.models)], ["in memory", state.loaded.length ? loaded : null], ["left alone", out],
    ["first token", state.first_token_ms === null ? null : duration(state.first_token_ms)], ["speed", state.tokens_per_s === null ? null : rate(state.tokens_per_s)],
    ["failing", state.failing ? `${(100 * state.failing).toFixed(0)} % of late` : null],
    ["seen here", seen.answered || seen.failed ? `${grouped.format(seen.answered)} answered, ${grouped.format(seen.failed)} failed` : null],
  ];
  for (const [name, value] of rows) {
    if (!value) continue;
    const told = element("dd");
    told.append(value);
    list.append(element("dt", name), told);
  }
  return list;
}

async function halt(state, it) {
  it.disabled = true;
  const paused = !state.paused;
  let answer;
  try {
    answer = await fetch("/dashboard/api/provider", { method: "POST", body: JSON.stringify({ name: state.name, paused }) });
  } catch { answer = { ok: false, status: 0 }; }
  say(answer.ok ? `${plain(state.name)} is ${paused ? "paused" : "asked again"}` : `it could not be done (${answer.status})`);
  if (answer.ok) state.paused = paused;
  drawProviders(true);
}

export function drawProviders(anyway) {
  const held = at("providers").contains(document.activeElement) ? document.activeElement.dataset.name : null;
  const key = JSON.stringify(fleet.providers.map((state) => [state, known(state.name)]));
  if (!anyway && key === at("providers").dataset.key) return;
  at("providers").dataset.key = key;
  at("providers").replaceChildren(...fleet.providers.map((state) => {
    const [word, kind] = health(state), item = element("li", undefined, "provider"), name = element("div", undefined, "name"), seen = known(state.name);
    name.append(element("bdi", clip(state.name, 80)), element("b", word, kind));
    item.append(name, element("div", [state.format, state.local ? "local" : "remote", state.address].filter(Boolean).join(" \u00b7 "), "sub"));
    const why = state.why || (seen.streak && seen.last?.error);
    if (why) item.append(element("div", clip(why, 300), "why"));
    const act = button(state.paused ? "Go on" : "Pause", () => halt(state, act));
    act.dataset.name = state.name;
    act.setAttribute("aria-label", `${state.paused ? "Ask again" : "Pause"} ${plain(state.name)}`);
    item.append(figures(state), act);
    return item;
  }));
  if (held !== null) [...at("providers").querySelectorAll("button")].find((each) => each.dataset.name === held)?.focus();
}

// --- models -----------------------------------------------------------------------------------------

const SHOWN = 300;

export async function readModels() {
  try {
    const answer = await fetch("/dashboard/api/models");
    if (answer.ok) Object.assign(fleet, await answer.json());
  } catch { return; }
  const names = [...new Set([...Object.keys(fleet.aliases), ...fleet.models.map((model) => model.name)])].slice(0, 1000);
  at("model-names").replaceChildren(...names.map((name) => { const option = element("option"); option.value = name; return option; }));
  drawModels();
}

export function drawModels(tryIt = drawModels.tryIt) {
  drawModels.tryIt = tryIt;
  const words = at("find-model").value.trim().toLowerCase().split(/\s+/);
  const names = Object.entries(fleet.aliases).map(([name, places]) => ({ name, provider: `alias of ${places.join(", ")}`, capabilities: [] }));
  const found = [...names, ...fleet.models].filter((model) => words.every((word) => `${model.name} ${model.provider} ${model.capabilities.join(" ")}`.toLowerCase().includes(word)));
  at("models").tBodies[0].replaceChildren(...found.slice(0, SHOWN).map((model) => {
    const row = element("tr"), ask = element("td"), act = button("Try", () => tryIt(model.name));
    act.setAttribute("aria-label", `Try ${plain(model.name)}`);
    ask.append(act);
    row.append(element("td", clip(model.name)), element("td", clip(model.provider, 80)), element("td", model.loaded ? "yes" : "", "good"),
      element("td", model.context ? short.format(model.context) : ""), element("td", model.capabilities.join(", "), "dim"), ask);
    return row;
  }));
  at("no-models").hidden = found.length > 0 && found.length <= SHOWN;
  at("no-models").textContent = found.length ? `${found.length - SHOWN} more; look for one by its name.` : fleet.models.length ? "No model fits." : "No provider has told its models yet.";
}
