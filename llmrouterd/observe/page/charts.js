// Charts in SVG, of what the router keeps: the bins of the last five minutes, hour or day.
import { at, button, clip, clock, dollars, drawn, duration, element, short } from "./words.js";

const SPANS = [[300, "5 min"], [3600, "1 h"], [86400, "24 h"]];
const HIGH = 176, LEFT = 52, RIGHT = 8, TOP = 10, FOOT = 20;
export const charts = { span: 300, told: null };
const small = (n) => short.format(n);
const at50 = { name: "median", hue: "h1" }, at90 = { name: "90 %", hue: "h2" }, at99 = { name: "99 %", hue: "h5" };
const third = (name) => [at50, at90, at99].map((one, index) => ({ ...one, of: (bin) => bin[name]?.[index] ?? null }));

// Each: bars that stand on each other, or lines. of(bin): null where nothing was seen.
const PLOTS = [
  { id: "requests", title: "Requests", kind: "bars", unit: small, series: () => [
    { name: "done", hue: "h3", of: (bin) => bin.requests - bin.errors - bin.left }, { name: "failed", hue: "h5", of: (bin) => bin.errors },
    { name: "client left", hue: "h8", of: (bin) => bin.left }] },
  { id: "errors", title: "Failed, of all", kind: "lines", unit: (n) => `${n.toFixed(n < 10 && n % 1 ? 1 : 0)} %`, least: 1, series: () => [
    { name: "failed", hue: "h5", of: (bin) => (bin.requests ? 100 * bin.errors / bin.requests : null) }] },
  { id: "latency", title: "Time to the end", kind: "lines", unit: duration, axis: (n) => (n ? duration(n).replace(/\.0+ s/, " s") : "0"), series: () => third("duration_ms") },
  { id: "ttft", title: "Time to the first token", kind: "lines", unit: duration, axis: (n) => (n ? duration(n).replace(/\.0+ s/, " s") : "0"), series: () => third("ttft_ms") },
  { id: "rate", title: "Tokens a second, as streams are written", kind: "lines", unit: (n) => n.toFixed(n < 10 && n % 1 ? 1 : 0), series: () => [{ ...at50, of: (bin) => bin.tokens_per_s?.[0] ?? null }, { ...at90, of: (bin) => bin.tokens_per_s?.[1] ?? null }] },
  { id: "tokens", title: "Tokens", kind: "bars", unit: small, series: () => [{ name: "in", hue: "h1", of: (bin) => bin.input_tokens }, { name: "out", hue: "h2", of: (bin) => bin.output_tokens }] },
  { id: "cost", title: "Cost by provider", kind: "bars", unit: dollars, least: 1e-6, series: costs },
];

function costs(bins) {
  const sums = new Map();
  for (const bin of bins) for (const [name, usd] of Object.entries(bin.cost_usd)) sums.set(name, (sums.get(name) ?? 0) + usd);
  const names = [...sums].sort((a, b) => b[1] - a[1]).map(([name]) => name), first = names.slice(0, names.length > 8 ? 7 : 8), rest = names.slice(first.length);
  const out = first.map((name, index) => ({ name: clip(name, 40), hue: `h${index + 1}`, of: (bin) => bin.cost_usd[name] ?? 0 }));
  if (rest.length) out.push({ name: "others", hue: "h8", of: (bin) => rest.reduce((sum, name) => sum + (bin.cost_usd[name] ?? 0), 0) });
  return out;
}

// A round figure at or above the greatest, and what to write at the axis.
export function scale(greatest, least) {
  const top = Math.max(greatest, least), power = 10 ** Math.floor(Math.log10(top));
  const step = [0.2, 0.5, 1, 2, 5].map((n) => n * power).find((n) => top / n <= 5.001) ?? 5 * power;
  return { step, high: Math.ceil(top / step - 1e-9) * step };
}

// Pixels, so that letters keep their shape: of a column of the grid, without what is round a plot. A grid that is hidden has none.
const column = () => Math.max(240, (parseFloat(getComputedStyle(at("plots")).gridTemplateColumns) || 0) - 32);

function plot(spec, told, WIDE) {
  const series = spec.series(told.bins), box = element("figure", undefined, "plot"), end = told.now_ms - (told.now_ms % told.step_ms) + told.step_ms;
  box.id = `plot-${spec.id}`;
  const begin = end - told.span_ms, wide = WIDE - LEFT - RIGHT, high = HIGH - TOP - FOOT;
  const bins = told.bins.filter((bin) => bin.at_ms >= begin), values = bins.map((bin) => series.map((one) => one.of(bin)));
  const heights = values.map((row) => (spec.kind === "bars" ? row.reduce((sum, n) => sum + n, 0) : Math.max(0, ...row.filter((n) => n !== null))));
  const { step, high: most } = scale(Math.max(0, ...heights), spec.least ?? 4);
  const x = (ms) => LEFT + wide * (ms - begin) / told.span_ms, y = (n) => TOP + high * (1 - n / most);
  const picture = drawn("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", tabindex: 0 });
  for (let n = 0; n <= most + step / 2; n += step) {
    picture.append(drawn("line", { class: "grid", x1: LEFT, x2: WIDE - RIGHT, y1: y(n), y2: y(n) }));
    picture.append(drawn("text", { x: LEFT - 6, y: y(n) + 4, "text-anchor": "end" }, (spec.axis ?? spec.unit)(n)));
  }
  const parts = WIDE < 400 ? 2 : 4;
  for (let n = 0; n <= parts; n += 1) {
    const ms = begin + told.span_ms * n / parts, text = new Date(ms).toLocaleTimeString([], { hour12: false, ...(told.span_ms > 3e5 && { hour: "2-digit", minute: "2-digit" }) });
    picture.append(drawn("text", { x: x(ms), y: HIGH - 4, "text-anchor": n === 0 ? "start" : n === parts ? "end" : "middle" }, text));
  }
  if (spec.kind === "bars" ? heights.some((n) => n > 0) : values.some((row) => row.some((n) => n !== null))) (spec.kind === "bars" ? bars : curves)(picture, series, bins, values, { x, y, told });
  else picture.append(drawn("text", { class: "nothing", x: LEFT + wide / 2, y: TOP + high / 2, "text-anchor": "middle" }, "nothing in this time"));
  annotate(box, picture, spec, series, bins, values, { x, told, begin, WIDE });
  return box;
}

function bars(picture, series, bins, values, { x, y, told }) {
  const width = Math.max(1.5, x(told.step_ms) - x(0) - 1);
  bins.forEach((bin, index) => {
    let foot = 0;
    series.forEach((one, which) => {
      const n = values[index][which];
      if (n > 0) picture.append(drawn("rect", { class: `bar ${one.hue}`, x: x(bin.at_ms) + 0.5, width, y: y(foot + n), height: Math.max(0.75, y(foot) - y(foot + n)) }));
      foot += n;
    });
  });
}

// A gap in the bins is a gap in the line: nothing was seen there, which is not nought.
function curves(picture, series, bins, values, { x, y, told }) {
  series.forEach((one, which) => {
    let path = "", before = -Infinity, alone = null;
    const dot = () => { if (alone) picture.append(drawn("circle", { class: one.hue, cx: alone[0], cy: alone[1], r: 2.5 })); };
    bins.forEach((bin, index) => {
      const n = values[index][which];
      if (n === null) return;
      const point = [x(bin.at_ms + told.step_ms / 2).toFixed(1), y(n).toFixed(1)], joined = bin.at_ms - before <= told.step_ms * 3;
      if (!joined) dot();
      path += `${joined ? "L" : "M"}${point.join(" ")}`;
      alone = joined ? null : point;
      before = bin.at_ms;
    });
    dot();
    if (path) picture.append(drawn("path", { class: one.hue, d: path }));
  });
}

function annotate(box, picture, spec, series, bins, values, { x, told, begin, WIDE }) {
  const top = element("div", undefined, "top"), headline = element("span", "", "headline"), legend = element("ul", undefined, "legend");
  top.append(element("h3", spec.title), headline);
  const last = values.length - 1, of = (n) => (n === null ? "\u2013" : spec.unit(n));
  const totals = series.map((_, which) => values.reduce((sum, row) => sum + (row[which] ?? 0), 0));
  const sum = totals.reduce((all, n) => all + n, 0);
  const calm = spec.kind === "bars" ? `${spec.unit(sum)} in all` : last >= 0 ? `last ${of(values[last][0])}` : "";
  const items = series.map((one) => element("li", one.name, one.hue));
  const show = (index) => {
    headline.textContent = index === null ? calm : clock(bins[index].at_ms);
    items.forEach((item, which) => {
      const n = index === null ? (spec.kind === "bars" ? totals[which] : null) : values[index][which];
      item.textContent = n === null && index === null ? series[which].name : `${series[which].name} ${of(n)}`;
    });
    picture.querySelector(".cursor")?.remove();
    if (index === null) return;
    const middle = x(bins[index].at_ms + told.step_ms / 2);
    picture.append(drawn("line", { class: "cursor", x1: middle, x2: middle, y1: TOP, y2: HIGH - FOOT }));
  };
  let now = null;
  const nearest = (event) => {
    const place = picture.getBoundingClientRect(), ms = begin + told.span_ms * (WIDE * (event.clientX - place.left) / place.width - LEFT) / (WIDE - LEFT - RIGHT);
    let best = null;
    bins.forEach((bin, index) => { if (best === null || Math.abs(bin.at_ms + told.step_ms / 2 - ms) < Math.abs(bins[best].at_ms + told.step_ms / 2 - ms)) best = index; });
    return best;
  };
  picture.onpointermove = (event) => { now = nearest(event); if (now !== null) show(now); };
  picture.onpointerleave = picture.onblur = () => { now = null; show(null); };
  picture.onkeydown = (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || !bins.length) return;
    event.preventDefault();
    now = Math.min(last, Math.max(0, (now ?? (by < 0 ? last + 1 : -1)) + by));
    show(now);
    picture.setAttribute("aria-label", `${spec.title}, ${clock(bins[now].at_ms)}: ${items.map((item) => item.textContent).join(", ")}`);
  };
  picture.setAttribute("aria-label", `${spec.title}: ${calm || "nothing"}. Arrow keys go through it.`);
  legend.append(...items);
  show(null);
  box.append(top, picture, legend);
}

export async function drawCharts() {
  const { span } = charts;
  let told;
  try {
    const answer = await fetch(`/dashboard/api/history?span=${span}`);
    if (!answer.ok) return;
    told = await answer.json();
  } catch { return; }
  if (span !== charts.span || at("plots").matches(":hover, :focus-within") && charts.told?.span_ms === told.span_ms) return; // nothing moves under a reader's cursor
  charts.told = told;
  paintCharts();
}

export function paintCharts() {
  const wide = column();
  if (charts.told) at("plots").replaceChildren(...PLOTS.map((spec) => plot(spec, charts.told, wide)));
}

export function choose(span) {
  charts.span = span;
  for (const each of at("span").children) each.setAttribute("aria-pressed", Number(each.dataset.span) === span);
  return drawCharts();
}

at("span").append(...SPANS.map(([span, name]) => { const each = button(name, () => choose(span)); each.dataset.span = span; return each; }));
