// The AI SDK: a plain answer, a stream, and a tool loop. Prints one JSON object.
//
//   node aisdk.mjs URL KEY PROVIDER MODEL
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";

const [url, apiKey, provider, name] = process.argv.slice(2);
const baseURL = `${url}/v1`;
const model = {
  chat: () => createOpenAI({ baseURL, apiKey }).chat(name),
  responses: () => createOpenAI({ baseURL, apiKey }).responses(name),
  compatible: () => createOpenAICompatible({ name: "llmrouter", baseURL, apiKey, includeUsage: true })(name),
  anthropic: () => createAnthropic({ baseURL, apiKey })(name),
}[provider]();
const weather = tool({
  description: "The weather somewhere.",
  inputSchema: jsonSchema({ type: "object", properties: { place: { type: "string" } }, required: ["place"] }),
  execute: async () => "rain",
});
const prompt = "What is the weather in Bonn?";

async function text(stream) {
  let all = "";
  for await (const piece of stream.textStream) all += piece;
  return all;
}

const plain = await generateText({ model, prompt });
const stream = streamText({ model, prompt });
const streamed = await text(stream);
const loop = await text(streamText({ model, prompt, tools: { weather }, stopWhen: stepCountIs(3) }));
console.log(JSON.stringify({ plain: plain.text, streamed, loop, usage: (await stream.usage).totalTokens }));
