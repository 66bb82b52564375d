// The four chat formats, as far as a playground needs them: what to send, and what of an answer is text.

export const FORMATS = {
  openai: { name: "OpenAI chat", path: "/v1/chat/completions", body: (ask) => ({ ...common(ask), messages: withSystem(ask), ...(ask.max && { max_tokens: ask.max }),
    ...(ask.stream && { stream_options: { include_usage: true } }) }),
    piece: (it) => (it.choices ?? []).map((one) => one.delta?.content ?? one.message?.content ?? "").join(""),
    thought: (it) => (it.choices ?? []).map((one) => (one.delta ?? one.message)?.reasoning_content ?? (one.delta ?? one.message)?.reasoning ?? "").join("") },
  responses: { name: "OpenAI Responses", path: "/v1/responses", body: (ask) => ({ ...common(ask), input: ask.text, ...(ask.system && { instructions: ask.system }), ...(ask.max && { max_output_tokens: ask.max }) }),
    piece: (it) => (it.type === "response.output_text.delta" ? it.delta : it.object === "response" ? outputs(it) : ""),
    thought: (it) => (/^response\.reasoning(_summary)?_text\.delta$/.test(it.type) ? it.delta : "") },
  anthropic: { name: "Anthropic Messages", path: "/v1/messages", body: (ask) => ({ ...common(ask), max_tokens: ask.max || 1024, messages: [{ role: "user", content: ask.text }], ...(ask.system && { system: ask.system }) }),
    piece: (it) => it.delta?.text ?? (it.type === "message" ? it.content.map((part) => part.text ?? "").join("") : ""), thought: (it) => it.delta?.thinking ?? "" },
  ollama: { name: "Ollama chat", path: "/api/chat", body: (ask) => ({ ...common(ask), messages: withSystem(ask), ...(ask.max && { options: { num_predict: ask.max } }) }),
    piece: (it) => it.message?.content ?? "", thought: (it) => it.message?.thinking ?? "" },
};

const common = (ask) => ({ model: ask.model, stream: ask.stream });
const withSystem = (ask) => [...(ask.system ? [{ role: "system", content: ask.system }] : []), { role: "user", content: ask.text }];
const outputs = (it) => it.output.flatMap((item) => item.content ?? []).map((part) => part.text ?? "").join("");

// Whole lines of what has come, each as the JSON it holds; a partial one is held back. Where a line is no
// JSON (an event's name, a comment, the end mark) there is nothing to read.
export function reader() {
  let rest = "";
  return (text, last) => {
    const found = (rest + text).split("\n");
    rest = last ? "" : found.pop();
    return found.flatMap((each) => {
      const json = each.startsWith("data:") ? each.slice(5) : each;
      try { const value = JSON.parse(json); return value && typeof value === "object" ? [value] : []; } catch { return []; }
    });
  };
}
