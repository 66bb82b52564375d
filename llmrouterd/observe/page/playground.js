// A chat through the router, in any of its formats: the text beside the bytes.
import { at, element, lines, plain } from "./words.js";
import { FORMATS, reader } from "./streams.js";

const RAW = 200000; // characters of each that are shown
const play = { abort: null };

function asked() {
  return { model: at("play-model").value.trim(), system: at("play-system").value, text: at("play-text").value, max: Number(at("play-max").value) || 0, stream: at("play-stream").checked };
}

function report(text, kind = "dim") { at("play-state").textContent = text; at("play-state").className = kind; }

function append(node, text) {
  const room = RAW - node.textContent.length;
  if (room <= 0 || !text) return;
  const follow = node.scrollTop + node.clientHeight >= node.scrollHeight - 8;
  node.append(lines(text.slice(0, room)) + (text.length > room ? "\n\u2026 and more" : ""));
  if (follow) node.scrollTop = node.scrollHeight;
}

export async function send() {
  if (play.abort) return;
  const format = FORMATS[at("play-format").value], ask = asked(), abort = play.abort = new AbortController(), begun = performance.now();
  at("play-answer").replaceChildren(); at("play-raw").replaceChildren();
  at("send").disabled = true; at("stop").disabled = false;
  report("sent, waiting", "busy");
  try {
    const headers = { "content-type": "application/json", ...(format === FORMATS.anthropic && { "anthropic-version": "2023-06-01" }) };
    const answer = await fetch(`/dashboard/api/chat${format.path}`, { method: "POST", headers, body: JSON.stringify(format.body(ask)), signal: abort.signal });
    const place = [answer.headers.get("x-router-provider"), answer.headers.get("x-router-model")].filter(Boolean).map(plain).join(" / ");
    append(at("play-raw"), `HTTP ${answer.status}\n` + [...answer.headers].filter(([name]) => name.startsWith("x-router-")).map((pair) => pair.join(": ")).join("\n") + "\n\n");
    report(`HTTP ${answer.status}${place && `, from ${place}`}, coming in`, "busy");
    const broken = await read(answer, format);
    const took = ((performance.now() - begun) / 1000).toFixed(2);
    if (answer.ok && !broken) report(`Done after ${took} s${place && `, from ${place}`}.`, "good");
    else report(`Failed after ${took} s: ${answer.headers.get("x-router-error") ?? broken ?? answer.status}`, "bad");
  } catch (error) {
    if (abort.signal.aborted) report("Stopped. The router has ended the provider\u2019s work, too.", "busy");
    else report(`It broke off: ${plain(error.message)}`, "bad");
  } finally {
    play.abort = null;
    at("send").disabled = false; at("stop").disabled = true;
  }
}

async function read(answer, format) {
  const stream = answer.body.getReader(), decoder = new TextDecoder(), values = reader();
  let thinking = false, broken = null;
  for (let done = false; !done;) {
    const chunk = await stream.read();
    done = chunk.done;
    const text = decoder.decode(chunk.value ?? new Uint8Array(), { stream: !done });
    append(at("play-raw"), text);
    for (const value of values(text, done)) {
      if (value.error ?? value.response?.error) broken = plain((value.error ?? value.response.error).message ?? value.error);
      const thought = format.thought(value), piece = format.piece(value);
      if (thought && !thinking) at("play-answer").append(element("span", "thinking: ", "dim"));
      if (!thought && piece && thinking) append(at("play-answer"), "\n\n");
      thinking = thought ? true : piece ? false : thinking;
      append(at("play-answer"), thought || piece);
    }
  }
  if (broken) append(at("play-answer"), broken);
  return broken;
}

export function stop() { play.abort?.abort(); }

export function fill(model) {
  at("play-model").value = model;
  at("play-text").focus();
}

at("play-format").append(...Object.entries(FORMATS).map(([value, { name }]) => { const option = element("option", name); option.value = value; return option; }));
at("play").onsubmit = (event) => { event.preventDefault(); send(); };
at("stop").onclick = stop;
at("play-text").onkeydown = (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); at("play").requestSubmit(); } };
