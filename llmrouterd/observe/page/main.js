// The page itself: views, keys, colours, and when what is drawn.
import { at, day, dollars, element, grouped, say, short } from "./words.js";
import { running, sums } from "./requests.js";
import { refresh, shut } from "./detail.js";
import { drawLists, list, more, pause, refilter, step, unfilter } from "./feed.js";
import { charts, choose, drawCharts, paintCharts } from "./charts.js";
import { drawModels, drawProviders, loading, readModels } from "./fleet.js";
import { fill } from "./playground.js";
import { connect, poll, started } from "./connection.js";

const VIEWS = ["requests", "charts", "providers", "models", "playground"];
const DRAW_MS = 120, POLL_MS = 4000;
const drawing = { due: false, rest: DRAW_MS, view: "requests" };

// --- drawing ----------------------------------------------------------------------------------------

function drawFigures() {
  const told = [["in flight", grouped.format(running.size), running.size ? "busy" : ""], ["done", grouped.format(sums.good), ""], ["failed", grouped.format(sums.bad), sums.bad ? "bad" : ""],
    ["client left", grouped.format(sums.left), ""], ["tokens in / out", `${short.format(sums.in)} / ${short.format(sums.out)}`, "", `${grouped.format(sums.in)} / ${grouped.format(sums.out)}`],
    ["cost", sums.cost ? dollars(sums.cost) : "\u2013", "", `$${sums.cost.toFixed(6)}`], ["since the start at", sums.since ? day(sums.since) : "\u2013", "start"]];
  at("figures").replaceChildren(...told.map(([name, value, kind, exactly]) => {
    const box = element("div", undefined, kind === "start" ? "since" : ""), figure = element("dd", value, kind);
    if (exactly) figure.title = exactly;
    box.append(element("dt", name), figure);
    return box;
  }));
  at("missed").hidden = !sums.lost;
  const words = `${grouped.format(sums.lost)} events were missed: this page was too slow, or away for longer than the router holds them.`;
  if (sums.lost && at("missed").textContent !== words) at("missed").textContent = words;
  document.title = (running.size ? `(${running.size}) ` : "") + "llmrouter";
}

function draw() {
  const begun = performance.now();
  drawing.due = false;
  drawFigures();
  if (drawing.view === "requests") { drawLists(loading); refresh(); }
  if (drawing.view === "providers") drawProviders();
  drawing.rest = Math.max(DRAW_MS, 4 * (performance.now() - begun)); // a slow machine has time for other things
}

export function soon() {
  if (drawing.due) return;
  drawing.due = true;
  setTimeout(draw, drawing.rest);
}

// --- views ------------------------------------------------------------------------------------------

function show() {
  const view = VIEWS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "requests";
  drawing.view = view;
  for (const name of VIEWS) at(`view-${name}`).hidden = name !== view;
  for (const link of at("tabs").children) {
    if (link.hash === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (view === "charts") choose(charts.span);
  if (view === "models" || view === "playground") readModels();
  draw();
}

function tryIt(model) { location.hash = "#playground"; setTimeout(() => fill(model), 0); }

// --- colours ----------------------------------------------------------------------------------------

const THEMES = ["auto", "light", "dark"], THEME = "llmrouter-theme";

function kept() { try { return localStorage.getItem(THEME); } catch { return null; } }

function paint(theme) {
  document.documentElement.dataset.theme = theme;
  at("theme").textContent = { auto: "Auto", light: "Light", dark: "Dark" }[theme];
  at("theme").setAttribute("aria-label", `Colours: ${theme}`);
}

function turn() {
  const theme = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length];
  paint(theme);
  say(`colours: ${theme}`);
  try { localStorage.setItem(THEME, theme); } catch { /* then it is for this visit only */ }
}

// --- keys -------------------------------------------------------------------------------------------

const KEYS = [["/", "search in requests", () => { location.hash = "#requests"; show(); at("filter").focus(); }],
  ["j", "next row", () => step(1)], ["k", "previous row", () => step(-1)], ["Enter", "open it"], ["Esc", "close, or leave a field"], ["p", "pause the list", pause],
  ["e", "failures only, and back", () => { at("only").value = at("only").value === "bad" ? "" : "bad"; refilter(); }], ["x", "clear the filters", unfilter],
  ...VIEWS.map((view, index) => [String(index + 1), view, () => { location.hash = `#${view}`; }]), ["t", "colours", turn], ["?", "this help", () => at("keys").showModal()]];

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || at("keys").open || !at("door").hidden) return;
  const inField = event.target.closest?.("input, select, textarea");
  if (event.key === "Escape") {
    if (inField) inField.blur();
    else if (shut()) event.preventDefault();
    return;
  }
  const act = KEYS.find(([key]) => key === event.key)?.[2];
  if (inField || !act) return;
  event.preventDefault();
  act();
  soon();
}

for (const [key, words] of KEYS) {
  const name = element("dt");
  name.append(element("kbd", key));
  document.querySelector("#keys dl").append(name, element("dd", words));
}
at("help").onclick = () => at("keys").showModal();
at("theme").onclick = turn;
at("pause").onclick = () => { pause(); draw(); };
at("clear").onclick = () => { unfilter(); at("filter").focus(); draw(); };
at("more").onclick = () => { more(); draw(); };
at("filter").oninput = at("only").onchange = () => { refilter(); soon(); };
for (const name of ["provider", "model", "client", "tag"]) at(`by-${name}`).onchange = () => { refilter(); soon(); };
at("find-model").oninput = () => drawModels();
drawModels.tryIt = tryIt;
document.onkeydown = press;
onhashchange = show;
onresize = () => { if (drawing.view === "charts") paintCharts(); };
document.onvisibilitychange = () => { if (!document.hidden && started()) poll(); };
setInterval(() => { if (running.size && !list.paused && !document.hidden) soon(); }, 500);
setInterval(() => { if (document.hidden || !started()) return; poll(); if (drawing.view === "charts") drawCharts(); }, POLL_MS);
paint(THEMES.includes(kept()) ? kept() : "auto");
if (new URLSearchParams(location.search).has("api_key")) history.replaceState(null, "", location.pathname + location.hash);
show();
connect(soon);
