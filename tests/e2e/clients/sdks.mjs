// The JavaScript SDKs: a plain answer, a stream, and a tool loop. Prints one JSON object.
//
//   node sdks.mjs URL KEY SDK MODEL
import OpenAI from "openai";
import Anthropic from "@anthropic-ai/sdk";
import { Ollama } from "ollama";

const [url, key, sdk, model] = process.argv.slice(2);
const schema = { type: "object", properties: { place: { type: "string" } }, required: ["place"] };
const ask = { role: "user", content: "What is the weather in Bonn?" };

async function openai() {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
  const tools = [{ type: "function", function: { name: "weather", parameters: schema } }];
  const plain = await client.chat.completions.create({ model, messages: [ask] });
  const stream = client.chat.completions.stream({ model, messages: [ask] });
  const streamed = await stream.finalContent();
  const called = await client.chat.completions.create({ model, messages: [ask], tools });
  const { message } = called.choices[0];
  const result = { role: "tool", tool_call_id: message.tool_calls[0].id, content: "rain" };
  const after = await client.chat.completions.create({ model, messages: [ask, message, result], tools });
  return {
    plain: plain.choices[0].message.content,
    streamed,
    call: JSON.parse(message.tool_calls[0].function.arguments),
    after: after.choices[0].message.content,
    usage: plain.usage.total_tokens,
  };
}

async function responses() {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
  const tools = [{ type: "function", name: "weather", parameters: schema, strict: false }];
  const plain = await client.responses.create({ model, input: [ask] });
  const stream = client.responses.stream({ model, input: [ask] });
  const streamed = (await stream.finalResponse()).output_text;
  const asked = client.responses.stream({ model, input: [ask], tools });
  const called = await asked.finalResponse();
  const call = called.output.find((item) => item.type === "function_call");
  const result = { type: "function_call_output", call_id: call.call_id, output: "rain" };
  const after = await client.responses.create({ model, input: [ask, ...called.output, result], tools });
  return {
    plain: plain.output_text,
    streamed,
    call: JSON.parse(call.arguments),
    after: after.output_text,
    usage: plain.usage.total_tokens,
  };
}

async function anthropic() {
  const client = new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0 });
  const tools = [{ name: "weather", input_schema: schema }];
  const base = { model, max_tokens: 100 };
  const plain = await client.messages.create({ ...base, messages: [ask] });
  const streamed = await client.messages.stream({ ...base, messages: [ask] }).finalText();
  const called = await client.messages.create({ ...base, messages: [ask], tools });
  const use = called.content.find((block) => block.type === "tool_use");
  const result = { type: "tool_result", tool_use_id: use.id, content: "rain" };
  const messages = [ask, { role: "assistant", content: called.content }, { role: "user", content: [result] }];
  const after = await client.messages.create({ ...base, messages, tools });
  return {
    plain: plain.content[0].text,
    streamed,
    call: use.input,
    after: after.content[0].text,
    usage: plain.usage.input_tokens + plain.usage.output_tokens,
  };
}

async function ollama() {
  const client = new Ollama({ host: url, headers: { Authorization: `Bearer ${key}` } });
  const tools = [{ type: "function", function: { name: "weather", parameters: schema } }];
  const plain = await client.chat({ model, messages: [ask] });
  let streamed = "";
  for await (const part of await client.chat({ model, messages: [ask], stream: true })) {
    streamed += part.message.content;
  }
  const called = await client.chat({ model, messages: [ask], tools });
  const result = { role: "tool", tool_name: "weather", content: "rain" };
  const after = await client.chat({ model, messages: [ask, called.message, result], tools });
  return {
    plain: plain.message.content,
    streamed,
    call: called.message.tool_calls[0].function.arguments,
    after: after.message.content,
    usage: plain.prompt_eval_count + plain.eval_count,
  };
}

const told = await { openai, responses, anthropic, ollama }[sdk]();
console.log(JSON.stringify(told));
