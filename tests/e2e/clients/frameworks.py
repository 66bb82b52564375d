"""LangChain and LiteLLM: a plain answer, a stream, and a tool loop. Prints one JSON object.

python frameworks.py URL KEY CLIENT MODEL
"""

import json
import sys

URL, KEY, CLIENT, MODEL = sys.argv[1:]
QUESTION = "What is the weather in Bonn?"
PLACE = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": PLACE}}


def langchain():
    if CLIENT == "ollama":
        from langchain_ollama import ChatOllama

        headers = {"headers": {"Authorization": f"Bearer {KEY}"}}
        return ChatOllama(model=MODEL, base_url=URL, client_kwargs=headers)
    if CLIENT == "anthropic":
        from langchain_anthropic import ChatAnthropic

        return ChatAnthropic(model=MODEL, base_url=URL, api_key=KEY, max_tokens=100)
    from langchain_openai import ChatOpenAI

    responses = CLIENT == "responses"
    return ChatOpenAI(model=MODEL, base_url=f"{URL}/v1", api_key=KEY, use_responses_api=responses)


def with_langchain() -> dict:
    from langchain_core.messages import HumanMessage, ToolMessage

    model = langchain()
    plain = model.invoke(QUESTION)
    streamed = "".join(str(piece.text) for piece in model.stream(QUESTION))
    able = model.bind_tools([TOOL])
    said = [HumanMessage(QUESTION)]
    said.append(able.invoke(said))
    (call,) = said[1].tool_calls
    said.append(ToolMessage("rain", tool_call_id=call["id"]))
    return {
        "plain": str(plain.text),
        "streamed": streamed,
        "call": call["args"],
        "after": str(able.invoke(said).text),
        "usage": plain.usage_metadata["total_tokens"],
    }


def with_litellm() -> dict:
    import litellm

    kind = CLIENT.removeprefix("litellm-")
    told = {
        "openai": {"model": f"openai/{MODEL}", "api_base": f"{URL}/v1", "api_key": KEY},
        "anthropic": {"model": f"anthropic/{MODEL}", "api_base": URL, "api_key": KEY},
        "ollama": {"model": f"ollama_chat/{MODEL}", "api_base": URL, "api_key": KEY},
    }[kind]

    def ask(messages, **more):
        return litellm.completion(messages=messages, **told, **more)

    question = {"role": "user", "content": QUESTION}
    plain = ask([question])
    pieces = [piece.choices[0].delta.content or "" for piece in ask([question], stream=True)]
    called = ask([question], tools=[TOOL]).choices[0].message
    (call,) = called.tool_calls
    result = {"role": "tool", "tool_call_id": call.id, "name": "weather", "content": "rain"}
    after = ask([question, called.model_dump(exclude_none=True), result], tools=[TOOL])
    return {
        "plain": plain.choices[0].message.content,
        "streamed": "".join(pieces),
        "call": json.loads(call.function.arguments),
        "after": after.choices[0].message.content,
        "usage": plain.usage.total_tokens,
    }


sys.stdout.write(json.dumps(with_litellm() if CLIENT.startswith("litellm-") else with_langchain()))
