"""The page's sources become one document that loads nothing."""

import re
from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

from llmrouterd.observe import bundle


def document() -> str:
    return bundle.page()[1].decode()


def test_the_page_asks_for_nothing_outside_of_itself() -> None:
    page = document()
    assert not re.search(
        r"https?://|//[a-z]+\.|@import|\burl\(|<img|src=|style=|\son[a-z]+=\"", page
    )
    links = set(re.findall(r'href="([^",]*)', page))
    assert {link for link in links if not link.startswith("#")} == {"data:image/png;base64"}
    for never in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert never not in page  # what models and clients say is text, never markup
    assert set(re.findall(r'(?:EventSource|fetch)\([`"]([^`"?$]*)', page)) == {
        "/dashboard",
        "/dashboard/events",
        "/dashboard/api/chat",
        "/dashboard/api/event",
        "/dashboard/api/history",
        "/dashboard/api/models",
        "/dashboard/api/provider",
        "/dashboard/api/state",
    }


def test_it_has_one_script_and_one_style_and_the_policy_knows_them() -> None:
    policy = dict(bundle.page()[0])["content-security-policy"]
    assert "unsafe" not in policy
    assert "require-trusted-types-for 'script'" in policy
    for name in ("script", "style"):
        (content,) = re.findall(f"<{name}>(.*?)</{name}>", document(), re.DOTALL)
        known = b64encode(sha256(content.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{known}';" in policy


def test_every_source_is_in_it_after_those_it_imports() -> None:
    names = {path.name for path in files("llmrouterd.observe").joinpath("page").iterdir()}
    told = {f"{name}.js" for name in bundle.SCRIPTS} | {f"{name}.css" for name in bundle.STYLES}
    assert names == told | {"page.html"}
    for index, name in enumerate(bundle.SCRIPTS):
        text = bundle.source(f"{name}.js")
        for taken, other in re.findall(
            r'^import \{([^}]*)\} from "\./(\w+)\.js";', text, re.MULTILINE
        ):
            assert other in bundle.SCRIPTS[:index], (name, other)
            for each in taken.split(","):
                exported = rf"^export (?:async )?(?:const|function) .*?\b{each.strip()}\b"
                assert re.search(exported, bundle.source(f"{other}.js"), re.MULTILINE), (name, each)
    assert not re.search(r"^(import|export) ", document(), re.MULTILINE)


def test_no_two_sources_use_one_name() -> None:
    names = [
        name
        for source in bundle.SCRIPTS
        for name in re.findall(
            r"^(?:export )?(?:async )?(?:function|const|let) (\w+)",
            bundle.source(f"{source}.js"),
            re.MULTILINE,
        )
    ]
    assert len(names) > 80
    assert sorted(names) == sorted(set(names))


def test_no_source_is_long() -> None:
    for name in (*(f"{n}.js" for n in bundle.SCRIPTS), *(f"{n}.css" for n in bundle.STYLES)):
        assert bundle.source(name).count("\n") < 400, name
