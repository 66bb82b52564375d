"""The file that keeps what was spent over a restart."""

import json

import pytest
import trio
import trio.testing

from llmrouterd.guard.budget import Budget
from llmrouterd.model import ConfigError
from llmrouterd.ops.spendings import NAME, Spendings


def spent(folder, *names, day=9):
    budget = Budget()
    Spendings(str(folder)).load(budget, day)
    return [budget.spent(name, day) for name in names]


async def until(true):
    with trio.fail_after(20):
        while not true():  # noqa: ASYNC110 - a file is no event
            await trio.sleep(0.01)


async def write(folder, *costs, day=9):
    spendings = Spendings(str(folder))
    async with trio.open_nursery() as nursery:
        await nursery.start(spendings.run)
        for client, usd in costs:
            spendings.spent(client, day, usd)
        nursery.cancel_scope.cancel()


async def test_what_was_spent_is_known_after_a_restart(tmp_path):
    await write(tmp_path, ("ann", 0.25), ("bob", 1.0), ("ann", 0.5))
    assert spent(tmp_path, "ann", "bob", "cyd") == [0.75, 1.0, 0.0]
    await write(tmp_path, ("ann", 0.25))
    assert spent(tmp_path, "ann") == [1.0]


async def test_it_is_written_while_the_daemon_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("llmrouterd.ops.spendings.GATHER_S", 0.01)
    spendings = Spendings(str(tmp_path))
    async with trio.open_nursery() as nursery:
        await nursery.start(spendings.run)
        spendings.spent("ann", 9, 0.5)
        await until((tmp_path / NAME).exists)
        nursery.cancel_scope.cancel()
    assert spent(tmp_path, "ann") == [0.5]


async def test_other_days_are_left_out_of_the_file(tmp_path):
    await write(tmp_path, ("ann", 0.25), day=8)
    assert spent(tmp_path, "ann", day=9) == [0.0]
    assert (tmp_path / NAME).read_bytes() == b""


async def test_only_the_owner_may_read_it(tmp_path):
    await write(tmp_path, ("ann", 0.25))
    assert (tmp_path / NAME).stat().st_mode & 0o077 == 0


async def test_lines_that_are_none_are_left_out(tmp_path, caplog):
    good = json.dumps({"day": 9, "client": "ann", "usd": 0.5})
    lines = [good, '{"day": 9, "client"', "[]", '{"day": 9, "client": "ann", "usd": -5}', "NaN"]
    lines += ['{"day": 9, "client": "ann", "usd": NaN}', '{"day": 9, "client": 1, "usd": 1}']
    (tmp_path / NAME).write_text("\n".join(lines))
    assert spent(tmp_path, "ann") == [0.5]
    assert "were left out" in caplog.text


def test_a_folder_of_no_use_is_said_at_the_start(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as caught:
        spent(tmp_path / "file")
    assert caught.value.problems[0].startswith("state_dir: ")


async def test_what_could_not_be_written_is_not_lost(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("llmrouterd.ops.spendings.GATHER_S", 0.01)
    spendings = Spendings(str(tmp_path / "later"))
    async with trio.open_nursery() as nursery:
        await nursery.start(spendings.run)
        spendings.spent("ann", 9, 0.5)
        await until(lambda: "cannot be written" in caplog.text)
        (tmp_path / "later").mkdir()
        await until((tmp_path / "later" / NAME).exists)
        nursery.cancel_scope.cancel()
    assert spent(tmp_path / "later", "ann") == [0.5]
    assert caplog.text.count("cannot be written") == 1
