#!/usr/bin/env python3
"""Write a tiny llama-architecture GGUF with hand-made weights.

The file is a real model for any GGUF server (llama.cpp, Ollama, ...): two
llama blocks, a SentencePiece-style vocabulary with all 256 byte tokens, ChatML
special tokens and a chat template that supports tools and thinking.  The
weights are not trained: the embedding and output matrices are built so that
the model is a bigram chain over a small word list (so the text looks like
words and ends by itself now and then); the blocks add small random noise.

Modes (what the model starts its answer with):
  chat   "Hello ..." words, sometimes an emoji / CJK text made of byte tokens,
         then end of turn
  think  <think> words </think> words, end of turn   (-> reasoning_content)
  tools  <tool_call> straight away (with tools in the request the server's
         grammar then forces a complete, valid call, also with tool_choice auto)
  loop   never ends by itself (for max_tokens, cancellation, soak)
  embed  no chat; carries a pooling type, so servers treat it as an embedding model

Needs: pip install gguf numpy. No network, no downloads, deterministic.
Run by start_llama_server.sh, in an environment of its own.
"""

# Written as a numerical script: matrices have capital letters.
# ruff: noqa: B905, E731, E741, N806, RUF007, SIM905, UP031

import argparse

import gguf
import numpy as np

TEMPLATE = r"""
{%- if tools %}
{{- '<|im_start|>system\n' }}
{%- if messages and messages[0].role == 'system' %}{{- messages[0].content + '\n\n' }}{%- endif %}
{{- "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function signatures within <tools></tools> XML tags:\n<tools>" }}
{%- for tool in tools %}{{- "\n" }}{{- tool | tojson }}{%- endfor %}
{{- "\n</tools>\n\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n" }}
{%- elif messages and messages[0].role == 'system' %}
{{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}
{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- elif message.role == 'assistant' %}
{{- '<|im_start|>assistant\n' }}
{%- if message.reasoning_content is string and message.reasoning_content %}{{- '<think>\n' + message.reasoning_content + '\n</think>\n\n' }}{%- endif %}
{%- if message.content %}{{- message.content }}{%- endif %}
{%- if message.tool_calls %}
{%- for tool_call in message.tool_calls %}
{%- if (loop.first and message.content) or (not loop.first) %}{{- '\n' }}{%- endif %}
{%- if tool_call.function %}{%- set tool_call = tool_call.function %}{%- endif %}
{{- '<tool_call>\n{"name": "' }}{{- tool_call.name }}{{- '", "arguments": ' }}
{%- if tool_call.arguments is string %}{{- tool_call.arguments }}{%- else %}{{- tool_call.arguments | tojson }}{%- endif %}
{{- '}\n</tool_call>' }}
{%- endfor %}
{%- endif %}
{{- '<|im_end|>\n' }}
{%- elif message.role == 'tool' %}
{%- if loop.first or (messages[loop.index0 - 1].role != 'tool') %}{{- '<|im_start|>user' }}{%- endif %}
{{- '\n<tool_response>\n' + message.content + '\n</tool_response>' }}
{%- if loop.last or (messages[loop.index0 + 1].role != 'tool') %}{{- '<|im_end|>\n' }}{%- endif %}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}
{%- endif %}
""".strip("\n")

WORDS = """Hello world this is a tiny model that only says words and then it
stops again the cat sat on a small mat while rain fell over old roofs we count
one two three four five and six lights in quiet streets near the river bank
where a clock rings every hour""".split()

EMOJI = "\U0001f600"  # 4 byte tokens: checks UTF-8 held back by the server
CJK = "\u65e5\u672c"  # 2 x 3 byte tokens


def build(a):
    T = gguf.TokenType
    toks, scores, types = [], [], []

    def add(t, s, ty):
        toks.append(t.encode() if isinstance(t, str) else t)
        scores.append(s)
        types.append(int(ty))
        return len(toks) - 1

    unk = add("<unk>", 0.0, T.UNKNOWN)
    bos = add("<s>", 0.0, T.CONTROL)
    eos2 = add("</s>", 0.0, T.CONTROL)
    byte = {b: add("<0x%02X>" % b, 0.0, T.BYTE) for b in range(256)}
    im_start = add("<|im_start|>", 0.0, T.CONTROL)
    im_end = add("<|im_end|>", 0.0, T.CONTROL)
    sp = {
        t: add(t, 0.0, T.USER_DEFINED)
        for t in (
            "<tool_call>",
            "</tool_call>",
            "<think>",
            "</think>",
            "<tool_response>",
            "</tool_response>",
        )
    }
    chars = {}
    for i, c in enumerate([chr(x) for x in range(33, 127)] + ["\u2581"]):
        chars[c] = add(c, -1000.0 - i, T.NORMAL)
    words = {}
    for i, w in enumerate(dict.fromkeys(WORDS)):
        words[w] = add("\u2581" + w, -10.0 - i, T.NORMAL)
    punct = {p: chars[p] for p in (".", ",", '"', "!", "?")}

    V, d = len(toks), a.dim
    rng = np.random.default_rng(a.seed)
    E = rng.standard_normal((V, d)).astype(np.float32)
    E[:, 0] = 0
    E /= np.linalg.norm(E, axis=1, keepdims=True)
    x = E.copy()
    x[:, 0] = 1.0  # constant part: carries the per-token bias
    x *= np.sqrt(d)  # rows have norm sqrt(2 d): RMS norm gives 1/sqrt2 * sqrt(d)
    k = d / np.sqrt(2.0) / np.sqrt(d)  # dot of normalised hidden with E[u] (per unit)

    # logits wanted: bias[v] for any token, 8 + log(share) for a listed pair u -> v
    bias = np.full(V, -6.0)
    bias[[unk, bos, eos2, im_start]] = -30.0
    for b in byte.values():
        bias[b] = -12.0
    for c in chars.values():
        bias[c] = -7.0
    for t in sp.values():
        bias[t] = -9.0
    # only a grammar (JSON) lets these through: short strings, short numbers
    for c, v in (("{", -1.0), ("}", -2.0), ("]", -2.0), ('"', -2.0), (":", -3.0), (",", -4.0)):
        bias[chars[c]] = v
    bias[im_end] = -5.0
    big = {}

    def link(u, v, w):
        big.setdefault(u, {})[v] = big.get(u, {}).get(v, 0) + w

    seq = [words[w] for w in WORDS]
    for u, v in zip(seq, seq[1:]):
        link(u, v, 1.0)
    link(seq[-1], seq[1], 1.0)
    wl = sorted(words.values())
    for u in wl:
        for v in rng.choice(wl, 4, replace=False):
            link(u, int(v), 0.2)
        link(u, punct[","], 0.12)
        link(u, punct["."], a.stop)
        link(u, punct["!"], 0.10)
    for p in ",!?":
        for v in rng.choice(wl, 6, replace=False):
            link(punct[p], int(v), 1.0)
        if not a.ascii:
            link(punct[p], byte[EMOJI.encode()[0]], 1.0)
            link(punct[p], byte[CJK.encode()[0]], 1.0)
    for raw in (EMOJI.encode(), CJK.encode()):
        for u, v in zip(raw, raw[1:]):
            link(byte[u], byte[v], 1.0)
        for v in rng.choice(wl, 6, replace=False):
            link(byte[raw[-1]], int(v), 1.0)
    # "." ends the turn; where a grammar forbids that, it closes the JSON string
    # or starts the demanded tool call (min_p hides these two otherwise)
    for v in rng.choice(wl, 6, replace=False):
        link(punct["."], int(v), 0.15)
    link(punct["."], chars['"'], 0.9)
    link(punct["."], sp["<tool_call>"], 0.9)
    if a.mode == "loop":
        bias[im_end] = -60.0
        link(punct["."], seq[1], 20.0)
    else:
        link(punct["."], im_end, 20.0)
    start = {
        "embed": words["Hello"],
        "chat": words["Hello"],
        "loop": words["Hello"],
        "think": sp["<think>"],
        "tools": sp["<tool_call>"],
    }[a.mode]
    link(byte[10], start, 1.0)
    link(sp["<think>"], words["we"], 1.0)
    link(sp["<think>"], words["this"], 1.0)
    link(sp["</think>"], words["Hello"], 1.0)
    # the call opener is "<tool_call>\n" (a byte token), then the grammar takes over;
    # without tools in the request some words follow instead
    link(sp["<tool_call>"], byte[10], 0.85)
    link(sp["<tool_call>"], words["Hello"], 0.15)
    link(sp["</tool_call>"], im_end, 1.0)
    if a.mode == "think":
        # thinking closes at a comma; a comma in the answer is harmless text then
        big[punct[","]] = {sp["</think>"]: 1.0}

    O = np.zeros((V, d), dtype=np.float32)
    O[:, 0] = bias
    for u, nxt in big.items():
        tot = sum(nxt.values())
        for v, w in nxt.items():
            want = 8.0 + np.log(w / tot) - bias[v]
            O[v] += want * E[u]
    O /= k  # logits = O . (normalised hidden)

    w = gguf.GGUFWriter(a.out, "llama")
    w.add_name("tiny-" + a.mode)
    w.add_description("tiny hand-made test model, not trained")
    w.add_context_length(a.ctx)
    w.add_embedding_length(d)
    w.add_block_count(a.layers)
    w.add_feed_forward_length(a.ff)
    w.add_head_count(a.heads)
    w.add_head_count_kv(max(1, a.heads // 2))
    w.add_rope_dimension_count(d // a.heads)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_vocab_size(V)
    w.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    w.add_token_list(toks)
    w.add_token_scores(scores)
    w.add_token_types(types)
    w.add_bos_token_id(bos)
    w.add_eos_token_id(im_end)
    w.add_unk_token_id(unk)
    w.add_pad_token_id(eos2)
    w.add_add_bos_token(False)
    w.add_add_space_prefix(False)
    if a.mode == "embed":
        w.add_pooling_type(gguf.PoolingType.MEAN)
    else:
        w.add_chat_template(TEMPLATE)

    f16 = lambda m: m.astype(np.float16)
    rnd = lambda o, i: f16(rng.standard_normal((o, i)).astype(np.float32) * a.noise / np.sqrt(i))
    ones = lambda n: np.ones(n, dtype=np.float32)
    kv = d // a.heads * max(1, a.heads // 2)
    w.add_tensor("token_embd.weight", f16(x))
    w.add_tensor("output_norm.weight", ones(d))
    w.add_tensor("output.weight", f16(O))
    for i in range(a.layers):
        b = f"blk.{i}."
        w.add_tensor(b + "attn_norm.weight", ones(d))
        w.add_tensor(b + "attn_q.weight", rnd(d, d))
        w.add_tensor(b + "attn_k.weight", rnd(kv, d))
        w.add_tensor(b + "attn_v.weight", rnd(kv, d))
        w.add_tensor(b + "attn_output.weight", rnd(d, d))
        w.add_tensor(b + "ffn_norm.weight", ones(d))
        w.add_tensor(b + "ffn_gate.weight", rnd(a.ff, d))
        w.add_tensor(b + "ffn_up.weight", rnd(a.ff, d))
        w.add_tensor(b + "ffn_down.weight", rnd(d, a.ff))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("out")
    p.add_argument("--mode", choices=("chat", "think", "tools", "loop", "embed"), default="chat")
    p.add_argument("--dim", type=int, default=128)
    p.add_argument("--layers", type=int, default=2)
    p.add_argument("--ff", type=int, default=256)
    p.add_argument("--heads", type=int, default=4)
    p.add_argument("--ctx", type=int, default=32768)
    p.add_argument("--noise", type=float, default=0.05)
    p.add_argument("--seed", type=int, default=7)
    p.add_argument(
        "--stop",
        type=float,
        default=0.12,
        help="weight of a full stop (= end of turn) after a word",
    )
    p.add_argument("--ascii", action="store_true", help="no emoji / CJK byte tokens in the text")
    build(p.parse_args())


if __name__ == "__main__":
    main()
