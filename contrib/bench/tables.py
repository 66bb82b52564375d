"""The tables of a benchmark, in Markdown.

Owns: how figures are put together and written down. Refuses to know: how they were got.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

Run = dict[str, Any]
Cell = dict[str, Any]
LIMIT = "trio+h11+json"


def report(runs: list[Run]) -> str:
    """All tables over the rounds of all runs."""
    parts = [_head(runs), _rest(runs), _ratios(runs)]
    ids = dict.fromkeys(id_ for run in runs for id_ in run["cells"])
    parts += [_scenario(runs, id_) for id_ in ids]
    return "\n\n".join(parts)


def brief(cell: Cell) -> str:
    cost = cell["cpu_us"]
    text = f"{cell['ok']} answers, " + (f"{cost:.1f} us each" if cost else "no figure")
    return f"{text} {cell['complaints'].strip()}".rstrip()


def _head(runs: list[Run]) -> str:
    lines = []
    for run in runs:
        cells = [c for by_target in run["cells"].values() for cs in by_target.values() for c in cs]
        others = statistics.median(c["others_cores"] for c in cells)
        lines.append(
            f"{run['when']}: {run['python']}, {run['machine']}, {run['rounds']} rounds of "
            f"{run['secs']} s; other programs took {others:.2f} cores (median)."
        )
    return "\n".join(
        [*lines, "Figures are medians of all rounds, with least and most in brackets."]
    )


def _names(runs: list[Run]) -> list[str]:
    return list(dict.fromkeys(name for run in runs for name in run["targets"]))


def _rest(runs: list[Run]) -> str:
    rows = []
    for name in _names(runs):
        found = [run["rest"][name] for run in runs if name in run["rest"]]
        rss = _spread(f["rss_mib"] for f in found)
        rows.append([name, rss, _spread(f["pss_mib"] for f in found)])
    return "### At rest\n\n" + _table(["target", "RSS, MiB", "PSS, MiB"], rows)


def _ratios(runs: list[Run]) -> str:
    ids = list(dict.fromkeys(id_ for run in runs for id_ in run["cells"]))
    rows = [[name, *(_ratio(runs, name, id_) for id_ in ids)] for name in _names(runs)]
    head = f"### CPU time for the same work, {LIMIT} = 1"
    beside = ", ".join(f"{a} against its {b}" for a, b in runs[0]["beside"].items() if a in ids)
    foot = f"\n\nMedians of the ratios round by round. {LIMIT} does not translate: {beside}."
    return f"{head}\n\n{_table(['target', *ids], rows)}{foot if beside else ''}"


def _ratio(runs: list[Run], name: str, id_: str) -> str:
    found = []
    for run in runs:
        ours = run["cells"].get(id_, {}).get(name, [])
        beside = run["cells"].get(run["beside"].get(id_, id_), {}).get(LIMIT, [])
        pairs = zip(ours, beside, strict=False)
        found += [a["cpu_us"] / b["cpu_us"] for a, b in pairs if a["cpu_us"] and b["cpu_us"]]
    return f"{statistics.median(found):.2f}" if found else "n/a"


def _scenario(runs: list[Run], id_: str) -> str:
    rows = []
    stream = False
    for name in _names(runs):
        cells = [c for run in runs for c in run["cells"].get(id_, {}).get(name, [])]
        if cells:
            stream = stream or bool(cells[0]["stamps"])
            rows.append(_row(name, cells, stream=bool(cells[0]["stamps"])))
    unit = "chunk" if stream else "request"
    rate = "chunks/s" if stream else "requests/s"
    late = "chunk delay p50, ms" if stream else "p50, ms"
    head = ["target", f"CPU us a {unit}", rate, late, "p99, ms", "peak RSS, MiB", "errors"]
    return f"### {id_}: {runs[0]['titles'][id_]}\n\n{_table(head, rows)}"


def _row(name: str, cells: list[Cell], *, stream: bool) -> list[str]:
    times = "chunk_lat" if stream else "lat"
    return [
        name,
        _spread((c["cpu_us"] for c in cells), digits=1),
        _spread(c["stamps_s"] if stream else c["rps"] for c in cells),
        _spread((c[times]["p50"] / 1000 for c in cells if c.get(times)), digits=2),
        _spread((c[times]["p99"] / 1000 for c in cells if c.get(times)), digits=1),
        _spread(c["peak_rss_mib"] for c in cells),
        str(sum(_errors(c) for c in cells)),
    ]


def _errors(cell: Cell) -> int:
    """Answers that were not 200, lost connections, streams without an end, or none at all."""
    kinds = ("err_status", "err_conn", "err_cut", "unfinished")
    return sum(int(cell.get(kind, 0)) for kind in kinds)


def _spread(values: Iterable[float | None], digits: int = 0) -> str:
    """The median, with least and most where there is more than one."""
    found = [value for value in values if value is not None]
    if not found:
        return "n/a"
    middle = f"{statistics.median(found):.{digits}f}"
    if len(found) == 1:
        return middle
    return f"{middle} ({min(found):.{digits}f} to {max(found):.{digits}f})"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
