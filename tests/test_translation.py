"""docs/translation.md is what the translation does, and the translation does what its rules ask."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "contrib" / "translation.py"


@pytest.fixture(scope="module")
def translation():
    spec = importlib.util.spec_from_file_location("translation", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# What each cell must be, by the rules of translation and not by the code: for an upstream of Chat
# Completions or Responses that is not OpenAI's own. A cell may be one of several letters where the
# rules leave it to the writer whether a way round is worth a word.
#                                            C>R C>A C>O R>C R>A R>O A>C A>R A>O O>C O>R O>A
RULES = """
leading system prompt                      | =   =   =   =   =   =   =   =   =   =   =   =
developer message                          | ~   =   =   ~   =   =   .   .   .   .   .   .
system message inside the conversation     | =   ~   =   =   ~   =   =   =   =   =   =   ~
message name                               | D   D   D   .   .   .   .   .   .   .   .   .
image, base64                              | =   =   =   =   =   =   =   =   =   =   =   =
image, URL                                 | =   =   X   =   =   X   =   =   X   .   .   .
image detail                               | =   d   d   =   d   d   .   .   .   .   .   .
file in a vendor's store                   | X   X   X   X   X   X   X   X   X   .   .   .
PDF, base64                                | =   =   X   =   =   X   =   =   X   .   .   .
PDF, URL                                   | .   .   .   X   =   X   X   =   X   .   .   .
text document                              | ~=  ~=  ~=  ~=  ~=  ~=  ~=  ~=  ~=  .   .   .
audio                                      | ~=  X   d   ~=  X   d   .   .   .   .   .   .
spoken answer                              | X   X   X   .   .   .   .   .   .   .   .   .
function tools                             | =   =   ~   =   =   ~   =   =   ~   =   =   =
strict tools                               | =   =   D   =   =   D   =   =   D   .   .   .
custom tools                               | =   ~   ~   ~   ~   ~   .   .   .   .   .   .
namespace tools                            | .   .   .   ~   ~   ~   .   .   .   .   .   .
tools a vendor runs                        | D   D   D   D   D   D   D   D   D   .   .   .
tool choice: none                          | =   =   ~   =   =   ~   =   =   ~   .   .   .
tool choice: required                      | =   ~=  D   =   ~=  D   =   =   D   .   .   .
tool choice: one tool                      | =   ~=  D   =   ~=  D   =   =   D   .   .   .
tool choice: allowed tools                 | ~   ~=  ~   ~   ~=  ~   .   .   .   .   .   .
one call at a time                         | =   =   D   =   =   D   =   =   D   .   .   .
calls and results in the history           | =   ~=  ~=  =   ~=  ~=  =   =   =   ~   ~   ~
result that is an error                    | .   .   .   .   .   .   ~=  ~=  ~=  .   .   .
image in a result                          | .   .   .   ~   =   =   ~   =   =   .   .   .
reasoning in the history                   | ~=  D   =   ~d  D   d=  D   D   d   ~   ~   D
effort                                     | =   ~=  ~=  =   ~=  ~=  =   =   ~=  ~=  ~=  ~=
budget of thinking tokens                  | .   .   .   .   .   .   ~   ~   ~   .   .   .
thinking off                               | =   ~=  =   =   ~=  =   ~=  ~=  =   ~=  ~=  ~=
thinking on                                | .   .   .   .   .   .   ~   ~   =   ~   ~   ~=
answer is JSON                             | =   ~   =   =   ~   =   .   .   .   =   =   ~
answer bound by a schema                   | =   ~d  d=  =   ~d  d=  ~=  ~=  =   ~=  ~=  ~=
temperature, top_p                         | =   D   =   =   D   =   =   =   =   =   =   D
top_k                                      | D   D   =   .   .   .   =   D   =   =   D   D
min_p                                      | D   D   =   .   .   .   .   .   .   =   D   D
frequency and presence penalty             | D   D   =   .   .   .   .   .   .   =   D   D
logit_bias                                 | D   D   D   .   .   .   .   .   .   .   .   .
seed                                       | D   D   =   .   .   .   .   .   .   =   D   D
stop sequences                             | E   =   =   .   .   .   ~=  E   =   ~=  E   =
max tokens                                 | =   ~=  =   =   ~=  =   =   =   =   =   =   ~=
several answers                            | X   X   X   .   .   .   .   .   .   .   .   .
logprobs                                   | =   D   =   =   D   =   .   .   .   =   =   D
end user                                   | =   =   d   =   =   d   =   =   d   .   .   .
metadata                                   | =   d   d   =   d   d   .   .   .   .   .   .
cache marks                                | d   ~=  d   d   ~=  d   d   d   d   .   .   .
prompt_cache_key                           | =   d   d   =   d   d   .   .   .   .   .   .
service tier                               | =   d   d   =   d   d   ~d  ~d  d   .   .   .
verbosity                                  | =   D   D   =   D   D   .   .   .   .   .   .
previous_response_id unknown here          | .   .   .   X   X   X   .   .   .   .   .   .
an answer begun by the client              | X   X   =   X   X   =   X   X   =   X   X   X
context_management                         | .   .   .   .   .   .   D   D   D   .   .   .
thread                                     | .   .   .   .   .   .   X   X   X   .   .   .
MCP servers                                | .   .   .   .   .   .   X   X   X   .   .   .
keep_alive, load options                   | .   .   .   .   .   .   .   .   .   d   d   d
a field nobody knows                       | D   D   D   D   D   D   D   D   D   D   D   D
"""
CELLS = [
    (concept.strip(), at, letters)
    for concept, _, cells in (line.partition("|") for line in RULES.strip().splitlines())
    for at, letters in enumerate(cells.split())
]


@pytest.fixture(scope="module")
def matrix(translation):
    return translation.matrix()


def test_every_concept_has_its_rule(matrix):
    assert list(dict.fromkeys(concept for concept, _, _ in CELLS)) == list(matrix)


@pytest.mark.parametrize(("concept", "at", "letters"), CELLS)
def test_a_cell_is_as_the_rules_have_it(translation, matrix, concept, at, letters):
    client, to = translation.PAIRS[at]
    pair = f"{translation.LETTERS[client]}>{translation.LETTERS[to]}"
    assert matrix[concept].get(pair, ".") in letters


def test_the_page_is_what_the_translation_does(translation):
    assert translation.PAGE.read_text("utf-8") == translation.page()


def test_a_loss_without_a_word_is_found(translation):
    with pytest.raises(SystemExit, match="lost without a word"):
        translation.cell("openai", "ollama", {})
