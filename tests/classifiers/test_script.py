"""llmrouterd/classifiers/script.py"""

# ruff: noqa: RUF001

import pytest

from llmrouterd.classifiers.script import LANGUAGES, SCRIPTS, language_of, script_of

TEXTS = [
    ("What is the weather?", "latin", None),
    ("Wie wird das Wetter morgen in Köln?", "latin", None),
    ("Какая завтра погода?", "cyrillic", "ru"),
    ("Яка завтра погода у Києві?", "cyrillic", "uk"),
    ("今天天气怎么样？", "han", "zh"),
    ("明日の天気はどうですか", "kana", "ja"),
    ("東京都庁の展望室へ", "kana", "ja"),
    ("내일 날씨 어때요?", "hangul", "ko"),
    ("Τι καιρό θα κάνει;", "greek", "el"),
    ("מה מזג האוויר מחר?", "hebrew", "he"),
    ("كيف الطقس غدا؟", "arabic", "ar"),
    ("فردا هوا چطور است؟", "arabic", "fa"),
    ("कल मौसम कैसा रहेगा?", "devanagari", "hi"),
    ("พรุ่งนี้อากาศเป็นอย่างไร", "thai", "th"),
    ("ხვალ როგორი ამინდი იქნება", "georgian", "ka"),
    ("Исправь баг в функции parse_config, пожалуйста", "cyrillic", "ru"),
]


@pytest.mark.parametrize(("text", "script", "language"), TEXTS)
def test_a_script_and_what_it_is_a_sign_of(text: str, script: str, language: str | None) -> None:
    assert (script_of(text), language_of(text)) == (script, language)
    assert script in SCRIPTS
    assert language is None or language in LANGUAGES


@pytest.mark.parametrize("text", ["", "123 + 456 = ?", "!!! ???", "🙂"])
def test_without_letters_there_is_no_script(text: str) -> None:
    assert script_of(text) is None
    assert language_of(text) is None


def test_a_word_of_another_script_does_not_change_a_text() -> None:
    assert script_of("What does the Russian word привет mean in English?") == "latin"


def test_only_the_beginning_of_a_long_text_is_read() -> None:
    assert script_of("a" * 4000 + "я" * 100000) == "latin"
