// Text on its way to the screen. All that comes from outside goes into the document as text, never as markup.

export const at = (id) => document.getElementById(id);

export function element(name, text, kind) {
  const node = document.createElement(name);
  if (text !== undefined && text !== null) node.textContent = text;
  if (kind) node.className = kind;
  return node;
}

export function button(text, act, kind) {
  const node = element("button", text, kind);
  node.type = "button";
  node.onclick = act;
  return node;
}

export function drawn(name, members, text) {
  const node = document.createElementNS(at("ink").namespaceURI, name);
  for (const key of Object.keys(members)) node.setAttribute(key, members[key]);
  if (text !== undefined) node.textContent = text;
  return node;
}

export const grouped = new Intl.NumberFormat("en");
export const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
// Names come from anybody: what is invisible or turns the direction of writing is shown as what it is.
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
const escaped = (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`;
export const plain = (text) => String(text).replace(HIDDEN, escaped);
export const lines = (text) => String(text).replace(HIDDEN, (sign) => (sign === "\n" || sign === "\t" ? sign : escaped(sign)));
export const clip = (text, most = 160) => plain(text.length > most ? text.slice(0, most) + "\u2026" : text);
export const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour12: false });
// The time, and the day where it is another one.
export function day(ms) {
  const then = new Date(ms), time = then.toLocaleTimeString([], { hour12: false, hour: "2-digit", minute: "2-digit" });
  return then.toDateString() === new Date().toDateString() ? time : `${then.toLocaleDateString([], { month: "short", day: "numeric" })}, ${time}`;
}
export const rate = (figure) => `${figure.toFixed(figure < 10 ? 1 : 0)} tok/s`;

export function dollars(cost) {
  if (cost === 0) return "$0";
  return "$" + (cost >= 1 ? cost.toFixed(2) : cost >= 1e-6 ? String(Number(cost.toPrecision(2))) : "0.000001-");
}

export function duration(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60000) return `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`;
  return `${Math.floor(ms / 60000)} min ${String(Math.floor(ms / 1000) % 60).padStart(2, "0")} s`;
}

// For those who hear the page instead of seeing it, and for what was done out of sight.
export function say(text) { at("said").textContent = text; }

export async function copied(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    say(`${what} copied`);
    return true;
  } catch { // an address that is not this machine's has no clipboard for pages without TLS
    const box = element("textarea", text);
    document.body.append(box);
    box.select();
    const done = document.execCommand("copy");
    box.remove();
    say(done ? `${what} copied` : `${what} could not be copied`);
    return done;
  }
}
