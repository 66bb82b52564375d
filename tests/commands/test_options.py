"""Options that stand outside of the command's own file."""

import pytest

import llmrouter


def test_the_options_of_replay() -> None:
    args = llmrouter.parse(["replay", "a", "b.gz", "--config", "n.toml", "--limit", "5", "--json"])
    assert [str(path) for path in args.log] == ["a", "b.gz"]
    assert (str(args.config), args.limit, args.concurrency) == ("n.toml", 5, 1)
    assert (args.json, args.send, args.all, args.url) == (True, False, False, None)


@pytest.mark.parametrize("wrong", ["0", "-1", "x", "1" * 12, "٣"])
def test_a_count_is_a_number_above_0(wrong: str, capsys) -> None:
    with pytest.raises(SystemExit) as exit_:
        llmrouter.parse(["replay", "a", f"--limit={wrong}"])
    assert exit_.value.code == 2
    assert "is not a number above 0" in capsys.readouterr().err


def test_every_command_whose_options_are_there_has_them(capsys) -> None:
    for word in llmrouter.ELSEWHERE:
        with pytest.raises(SystemExit) as exit_:
            llmrouter.parse([word, "-h"])
        assert exit_.value.code == 0
        assert "--json" in capsys.readouterr().out
