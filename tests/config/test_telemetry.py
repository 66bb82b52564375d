"""`[telemetry]`: where signals go, and keys that nobody sees."""

from pathlib import Path

import pytest

from llmrouterd.config import Telemetry, parse
from llmrouterd.model import ConfigError, Secret

ECHO = '[[providers]]\nname = "e"\nformat = "echo"\n'


def telemetry(text: str, **environ: str) -> Telemetry:
    return parse(f"{ECHO}[telemetry]\n{text}\n", "x.toml", environ).telemetry


def problems(text: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        telemetry(text, **environ)
    return str(caught.value)


def test_it_is_off_unless_asked_for() -> None:
    assert parse(ECHO, "x.toml", {}).telemetry == Telemetry()
    assert not telemetry("").enabled


def test_a_table_of_the_original_is_read() -> None:
    text = 'enabled = true\notlp_endpoint = "http://c:4318/"\nservice_name = "r"\nsample_ratio = 0'
    found = telemetry(text)
    assert found == Telemetry(True, "http://c:4318", "r", 0.0)


def test_headers_are_secrets() -> None:
    text = 'enabled = true\nheaders = { "X-Key" = "sesame" }\nheaders_env = "OTLP"'
    found = telemetry(text, OTLP="authorization=Bearer%20abc, b = c=d ,")
    assert dict(found.headers) == {
        "x-key": Secret("sesame"),
        "authorization": Secret("Bearer abc"),
        "b": Secret("c=d"),
    }
    assert "sesame" not in repr(found)


def test_a_password_in_the_url_is_a_header() -> None:
    found = telemetry('enabled = true\notlp_endpoint = "https://me:pass@c.example/otlp"')
    assert found.endpoint == "https://c.example/otlp"
    assert dict(found.headers) == {"authorization": Secret("Basic bWU6cGFzcw==")}


def test_a_variable_is_only_asked_for_where_it_is_enabled() -> None:
    assert telemetry('headers_env = "OTLP"').headers == ()
    assert "OTLP is not set" in problems('enabled = true\nheaders_env = "OTLP"')


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('otlp_endpoint = "localhost:4318"', "must begin with http:// or https://"),
        ('otlp_endpoint = "http://c:4318/v1/traces"', "leave out /v1/traces"),
        ('otlp_endpoint = ""', "must not be empty"),
        ('otlp_endpoint = "http://c/?k=v"', "must end with the path"),
        ('service_name = ""', "must not be empty"),
        ("sample_ratio = 1.5", "from 0 to 1"),
        ("interval = 0", "of at least 0.1"),
        ("timeout = 0", "of at least 0.1"),
        ('ca_file = "/nowhere/ca.pem"', "cannot be read"),
        ('headers = { "a b" = "c" }', "not a header's name"),
        ('headers = { "content-type" = "c" }', "the router's own business"),
        ('headers = { "host" = "c" }', "the router's own business"),
        ('headers = { "a" = "b\\u00e9\\u0100" }', "characters that no header may have"),
        ('protocol = "grpc"', "unknown key"),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str) -> None:
    assert said in problems(text)


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("sesame", "holds no list like name=value"),
        ("a=sesame,a b=sesame", "not a header's name"),
        ("a=%0Asesame", "characters that no header may have"),
        ("x=sesame", '"x" is given twice'),
    ],
)
def test_what_is_wrong_with_a_variable_is_said_without_its_text(variable: str, said: str) -> None:
    text = 'enabled = true\nheaders_env = "OTLP"\nheaders = { x = "1" }'
    found = problems(text, OTLP=variable)
    assert said in found
    assert "sesame" not in found


def test_a_file_that_is_there_is_fine(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("x")
    assert telemetry(f'ca_file = "{tmp_path}/ca.pem"').ca_file == f"{tmp_path}/ca.pem"
