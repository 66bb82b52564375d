"""`llmrouter stats`: files, spans, and how the totals are shown."""

import csv
import gzip
import io
import json
import time
from pathlib import Path

import pytest

import llmrouter
from tests.observe.test_stats import ORIGINAL, line


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    def run_stats(*words: str) -> tuple[int, str, str]:
        code = llmrouter.main(["stats", *words])
        return code, *capsys.readouterr()

    return run_stats


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "requests.jsonl"
    path.write_text(
        "\n".join([line(), line(provider="q", cost_usd=None), json.dumps(ORIGINAL), ""])
    )
    return path


def test_for_people(run, log: Path) -> None:
    code, out, err = run(str(log))
    assert (code, err) == (0, "")
    rows = [" ".join(row.split()) for row in out.splitlines()]
    assert rows[0].startswith("3 requests, 1970-01-01T00:00:00+00:00 to 2026-")
    assert rows[1] == "errors 0 (0.0 %); 0 clients went away"
    assert rows[2] == "tokens 72 in (40 from caches), 25 out (8 of reasoning)"
    assert rows[3] == "cost $0.5000, and 2 without a known price"
    assert rows[5] == "first token p50 100, p90 100, p95 100, p99 100 ms"
    assert "p 1 0 30 11 $0.5000 1100 1100 100 100 10.0" in rows
    assert "q 1 0 30 11 unknown 1100 1100 100 100 10.0" in rows
    assert "llama3.1:8b 1 0 12 3 unknown 5978 5978 - - -" in rows


def test_json_and_csv_say_the_same(run, log: Path) -> None:
    told = json.loads(run(str(log), "--json", "--by", "provider")[1])
    rows = list(csv.DictReader(io.StringIO(run(str(log), "--csv", "--by", "provider")[1])))
    assert (told["requests"], told["input_tokens"], told["cost_usd"]) == (3, 72, 0.5)
    assert [each["name"] for each in told["by"]["provider"]] == ["ollama", "p", "q"]
    assert (rows[0]["by"], rows[0]["requests"], rows[0]["cost_usd"]) == ("total", "3", "0.5")
    for row, group in zip(rows[1:], told["by"]["provider"], strict=True):
        assert row.pop("by") == "provider"
        assert row == {key: "" if value is None else str(value) for key, value in group.items()}


def test_several_kinds_of_groups(run, log: Path) -> None:
    told = json.loads(run(str(log), "--json", "--by", "end,day", "--by", "tag,end")[1])
    assert list(told["by"]) == ["end", "day", "tag"]


def test_a_kind_that_there_is_not(run, log: Path) -> None:
    code, out, err = run(str(log), "--by", "planet")
    assert (code, out) == (2, "")
    assert "--by takes provider, model, client" in err


@pytest.mark.parametrize(
    ("option", "seen"),
    [
        (("--since", "24h"), [2]),
        (("--since", "2w"), [2, 1]),
        (("--until", "1970-01-02"), [0]),
        (("--since", "1970-01-01T00:00:01", "--until", "24h"), [1]),
        (("--since", "1970-01-01T00:00:00+00:00"), [2, 1, 0]),
    ],
)
def test_a_span_of_time(run, tmp_path: Path, option: tuple[str, ...], seen: list[int]) -> None:
    now_ms = int(time.time() * 1000)
    ages = [now_ms, 3 * 86_400_000, 3_600_000]
    path = tmp_path / "x.jsonl"
    path.write_text(
        "".join(line(ts_ms=now_ms - age, client=str(n)) + "\n" for n, age in enumerate(ages))
    )
    told = json.loads(run(str(path), "--json", "--by", "client", *option)[1])
    assert sorted(each["name"] for each in told["by"]["client"]) == sorted(map(str, seen))
    assert told["outside_the_span"] == 3 - len(seen)


def test_a_span_that_is_none(run, log: Path) -> None:
    code, out, err = run(str(log), "--until", "yesterday")
    assert (code, out) == (2, "")
    assert "--until takes a span such as 90m, 24h or 7d, a date" in err


def test_compressed_files_whatever_their_name(run, tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "b.jsonl"):
        (tmp_path / name).write_bytes(gzip.compress(f"{line()}\n".encode()))
    told = json.loads(run(*(str(each) for each in tmp_path.iterdir()), "--json")[1])
    assert told["requests"] == 2


def test_a_compressed_file_that_ends_early_gives_what_it_has(run, tmp_path: Path) -> None:
    whole = gzip.compress("".join(f"{line(id=n)}\n" for n in range(1500)).encode())
    path = tmp_path / "a.gz"
    path.write_bytes(whole[: len(whole) // 2])
    code, out, err = run(str(path), "--json")
    assert code == 0
    assert 0 < json.loads(out)["requests"] < 1500
    assert "ends early" in err


def test_stdin(run, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(f"{line()}\n{line()}\n".encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    assert json.loads(run("-", "--json")[1])["requests"] == 2


def test_broken_lines_are_skipped_and_said(run, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(f"{line()}\n{{oops\n{line()}\n[]\n{line()[:50]}")
    code, out, err = run(str(path), "--json")
    assert (code, json.loads(out)["requests"], json.loads(out)["broken_lines"]) == (0, 2, 2)
    assert err == "llmrouter stats: 2 lines are no records, skipped\n"


def test_the_last_line_may_lack_its_end(run, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(f"{line()}\n{line()}")
    assert json.loads(run(str(path), "--json")[1])["requests"] == 2


def test_a_file_that_is_not_there(run, log: Path, tmp_path: Path) -> None:
    missing = str(tmp_path / "none.jsonl")
    code, out, err = run(missing)
    assert (code, out) == (1, "")
    assert err == f"llmrouter stats: {missing}: no such file or directory\n"
    code, out, err = run(missing, str(log))
    assert code == 1
    assert out.startswith("3 requests")


def test_nothing_in_it(run, tmp_path: Path, log: Path) -> None:
    (tmp_path / "empty").write_text("")
    assert run(str(tmp_path / "empty")) == (0, "no requests\n", "")
    code, out, _ = run(str(log), "--since", "2100-01-01")
    assert (code, out) == (0, "no requests in this span of time\n")


def test_the_configured_log_with_what_was_rotated(run, tmp_path: Path, log: Path) -> None:
    (tmp_path / "requests.jsonl.1").write_text(line(provider="one") + "\n")
    (tmp_path / "requests.jsonl.2.gz").write_bytes(gzip.compress(f"{line()}\n".encode()))
    (tmp_path / "requests.jsonl.bak").write_text(line() + "\n")
    config = tmp_path / "x.toml"
    config.write_text(f'[logging]\npath = "{log}"\n[server]\napi_key_env = "NOT_SET_HERE"\n')
    assert json.loads(run("--config", str(config), "--json")[1])["requests"] == 5


def test_a_configuration_that_cannot_be_read(run, tmp_path: Path) -> None:
    config = tmp_path / "x.toml"
    config.write_text("[logging\n")
    code, out, err = run("--config", str(config))
    assert (code, out) == (2, "")
    assert str(config) in err
    code, out, err = run("--config", str(tmp_path / "none.toml"))
    assert (code, err) == (2, f"llmrouter: {tmp_path / 'none.toml'}: no such file\n")


def test_names_of_others_cannot_write_to_the_terminal(run, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(line(provider="a\x1b[2Jb") + "\n")
    assert "\x1b" not in run(str(path))[1]
