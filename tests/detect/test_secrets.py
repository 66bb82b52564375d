"""llmrouterd/detect/secrets.py: keys here are put together, so that nobody takes them for real ones."""

import pytest

from llmrouterd.detect.secrets import _SHAPES, api_keys, lowered, passwords, private_keys, tokens
from tests.detect.labelled import all_lines

DRAWN = "9fK2mQ7xLpR4tZ8wB3nV6cY1dG5hJ0sA2kE7uT4o"
BODY = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"


def values(found) -> list[str]:
    return [span.value for span in found]


def test_most_givers_have_an_example_that_is_found() -> None:
    found = {span.form for line in all_lines() for span in api_keys(line.text)}
    assert len({shape.form for shape in _SHAPES} & found) >= 28


@pytest.mark.parametrize("before", ["", " ", "=", '"', ":", "\n", "\\n", "(", "是", "/"])
@pytest.mark.parametrize("after", ["", " ", '"', ",", ".", "\n", ")", "\\n"])
def test_a_key_is_found_whatever_stands_beside_it(before: str, after: str) -> None:
    key = "gh" + "p_" + DRAWN[:36]
    assert values(api_keys(before + key + after)) == [key]


@pytest.mark.parametrize(
    "text",
    [
        "gh" + "p_" + DRAWN[:20],  # too short
        "xgh" + "p_" + DRAWN[:36],
        "gh" + "p_" + "x" * 36,
        "AK" + "IAIOSFODNN7EXAMPLE",
        "sk-" + "learn-and-other-names-of-packages-like-it",
        "sk-" + "0" * 48,
    ],
)
def test_what_only_begins_like_a_key_is_none(text: str) -> None:
    assert values(api_keys(text)) == []


def block(label: str = "", body: str = BODY, end: bool = True) -> str:
    text = f"-----BEGIN {label}PRIVATE KEY-----\n{body}\n"
    return text + (f"-----END {label}PRIVATE KEY-----" if end else "")


@pytest.mark.parametrize("label", ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "])
def test_a_block_is_found_from_its_beginning_to_its_end(label: str) -> None:
    assert values(private_keys(f"a\n{block(label)}\nb")) == [block(label)]


def test_a_block_without_its_end_goes_as_far_as_its_lines() -> None:
    text = block(end=False)
    assert values(private_keys(text + "and more")) == [text.rstrip("\n")]


def test_two_blocks_are_two_and_a_block_without_a_key_is_none() -> None:
    assert values(private_keys(block() + "\n" + block("EC "))) == [block(), block("EC ")]
    assert values(private_keys(block(body="..."))) == []
    assert values(private_keys(block().replace("PRIVATE", "PUBLIC"))) == []


def test_a_block_in_one_line_of_json_is_found() -> None:
    text = block().replace("\n", "\\n")
    assert values(private_keys(f'{{"key":"{text}"}}')) == [text]


def test_a_signed_token_is_found_and_a_part_of_one_is_not() -> None:
    token = "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + DRAWN
    assert values(tokens(f"jwt={token};")) == [token]
    assert values(tokens(token.rpartition(".")[0])) == []
    assert values(tokens("x" + token)) == []


def test_what_follows_bearer_is_found_if_it_looks_drawn() -> None:
    assert values(tokens(f"Authorization: Bearer {DRAWN}")) == [DRAWN]
    assert values(tokens("the bearer of bad news that came yesterday")) == []
    assert values(tokens("Bearer $TOKEN and Bearer <token>")) == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("password: hunter2!", "hunter2!"),
        ('"password": "hunter2!"', "hunter2!"),
        ('\\"password\\": \\"hunter2!\\"', "hunter2!"),
        ("PASSWORD='Tr0ub4dor&3'", "Tr0ub4dor&3"),
        ("passphrase: Tr0ub4dor&3", "Tr0ub4dor&3"),
        ("password=hunter2x&user=bob", "hunter2x"),
        ("my pwd := hunter2x.", "hunter2x"),
        (f"client_secret = '{DRAWN}'", DRAWN),
        ("postgres://bob:s3cr3tPw@db/x", "s3cr3tPw"),
        ("redis://:s3cr3tPw@db:1", "s3cr3tPw"),
        ("İİ password: hunter2!", "hunter2!"),
    ],
)
def test_the_value_of_a_telling_name_is_found(text: str, value: str) -> None:
    assert values(passwords(text)) == [value]


@pytest.mark.parametrize(
    "text",
    [
        *("password: required", "password = get_password2()", 'password=os.environ["X1"]'),
        *("password: ${DB_PW_1}", 'password: "********"', "password=settings.db.password2"),
        *(
            "token = load_token_v2(path)",
            "max_tokens: 4096000000000000000",
            "secret: my-service-2024",
        ),
        *("token: 123e4567-e89b-12d3-a456-426614174000", "password reset 2024-01-01"),
        *("postgres://bob@db/x", "postgres://root:root@db/x", "postgres://u:${PW}@db/x"),
        *("http://host:8080/a@b", "password:", "password: 1234567890"),
    ],
)
def test_what_names_or_refers_to_a_secret_is_none(text: str) -> None:
    assert values(passwords(text)) == []


def test_lower_case_keeps_every_character_in_its_place() -> None:
    assert lowered("İPASSWORD") == "İpassword"
    assert lowered("ÄB") == "äb"
