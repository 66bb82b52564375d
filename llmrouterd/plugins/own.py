"""The owner's own plugins and classifiers: a Python file that the configuration names.

Owns: reading such a file, running it, finding the one class in it, and what is said when that goes
wrong.
Refuses to know: when the hooks run, which settings a file of the owner's takes.

Laws:
1. What is wrong with the file is a ValueError that names file and line: a syntax error, an exception
   while it is loaded or its class is made, a class that is missing or is there twice, a hook that does
   not exist or takes other arguments.
2. A file that any user of the machine may change, or put another in the place of, is not run.
3. Loaded anew with each configuration. The file stands for itself: no folder is added to where
   Python looks for modules.
"""

from __future__ import annotations

import difflib
import inspect
import stat
import sys
import traceback
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any, Literal

from llmrouterd.hooks import Plugin

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Kind = Literal["plugins", "classifiers", "response_classifiers"]
# What a classifier is given; a plugin's hooks are those of the base class.
_CLASSIFY: Mapping[Kind, tuple[str, ...]] = {
    "classifiers": ("request", "ctx"),
    "response_classifiers": ("request", "response", "ctx"),
}
_LIKE_HOOKS = ("on_", "pre_", "post_")
_LARGEST = 4 * 1024 * 1024
_OTHERS = stat.S_IWOTH


def load(file: str, name: str, kind: Kind) -> Callable[[Mapping[str, Any]], Any]:
    """A factory for the class in `file`, which the configuration calls `name`. Raises ValueError."""
    path = Path(file)
    code = _compiled(path)
    module = ModuleType(f"llmrouterd_own_{kind}_{name}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look their own module up
    try:
        exec(code, module.__dict__)  # noqa: S102 - the owner's own file, see law 2
    except (Exception, SystemExit) as error:  # noqa: BLE001
        raise ValueError(f"{_place(error, path)}: while it was loaded: {_words(error)}") from None
    cls = _class(path, module, kind)
    _check_class(path, cls, kind)

    def make(settings: Mapping[str, Any]) -> Any:
        return _made(path, cls, name, settings)

    return make


def _made(path: Path, cls: type, name: str, settings: Mapping[str, Any]) -> Any:
    try:
        hook = cls() if _init(cls) is object.__init__ else cls(settings)
        hook.id = name  # the one that the configuration and requests call it by
    except ValueError:
        raise  # the file's own words on a setting
    except Exception as error:  # noqa: BLE001
        raise ValueError(f"{_place(error, path)}: while it was made: {_words(error)}") from None
    return hook


# --- the file -------------------------------------------------------------------------------------


def _compiled(path: Path) -> CodeType:
    try:
        with path.open("rb") as file:
            source = file.read(_LARGEST + 1)
        _check_owner(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    if len(source) > _LARGEST:
        raise ValueError(f"{path} is too large for a plugin")
    try:
        return compile(source, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        raise ValueError(f"{path}:{error.lineno or 1}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:  # null bytes, nesting without end
        raise ValueError(f"{path}: this is no Python: {_words(error)}") from None


def _check_owner(path: Path) -> None:
    if path.stat().st_mode & _OTHERS:
        raise ValueError(f"{path} can be changed by everybody on this machine: chmod o-w")
    folder = path.resolve().parent
    mode = folder.stat().st_mode
    if mode & _OTHERS and not mode & stat.S_ISVTX:
        raise ValueError(f"everybody on this machine can replace {path}: chmod o-w {folder}")


# --- the class ------------------------------------------------------------------------------------


def _class(path: Path, module: ModuleType, kind: Kind) -> type:
    """The one class that the file defines for this purpose; names with an underscore are its own."""
    found = {
        each
        for each in vars(module).values()
        if inspect.isclass(each)
        and each.__module__ == module.__name__
        and not each.__name__.startswith("_")
        and _fits(each, kind)
    }
    if len(found) == 1:
        return found.pop()
    what = "derives from llmrouterd.hooks.Plugin" if kind == "plugins" else "has a classify()"
    if not found:
        raise ValueError(f"{path}:1: there is no class in it that {what}")
    names = ", ".join(sorted(f"{each.__name__} (line {_line(each)})" for each in found))
    raise ValueError(f"{path}: more than one class {what}: {names}; begin the others' with _")


def _fits(cls: type, kind: Kind) -> bool:
    return issubclass(cls, Plugin) if kind == "plugins" else callable(getattr(cls, "classify", 0))


def _check_class(path: Path, cls: type, kind: Kind) -> None:
    init = _init(cls)
    if init is not object.__init__:
        _check_call(path, init, ("settings",), "__init__")
    if kind != "plugins":
        if isinstance(getattr(cls, "may_set", ()), str):
            raise ValueError(f"{path}:{_line(cls)}: may_set must be a list of tags, and not a text")
        _check_hook(path, cls, "classify", _CLASSIFY[kind], is_async=True)
        return
    hooks = {name: each for name, each in vars(Plugin).items() if inspect.isfunction(each)}
    for name in dir(cls):
        if name.startswith(_LIKE_HOOKS) and name not in hooks and callable(getattr(cls, name)):
            near = difflib.get_close_matches(name, hooks, n=1)
            names = ", ".join(hook for hook in hooks if hook.startswith(_LIKE_HOOKS))
            meant = f"; did you mean {near[0]}?" if near else f"; there are {names}"
            where = f"{path}:{_line(getattr(cls, name))}"
            raise ValueError(f"{where}: there is no hook {name}{meant}")
    for name, base in hooks.items():
        wanted = tuple(inspect.signature(base).parameters)[1:]
        is_async = inspect.iscoroutinefunction(base)
        _check_hook(path, cls, name, wanted, is_async=is_async)


def _init(cls: type) -> Any:
    return inspect.getattr_static(cls, "__init__")


def _check_hook(
    path: Path, cls: type, name: str, wanted: tuple[str, ...], *, is_async: bool
) -> None:
    hook = inspect.getattr_static(cls, name)
    if hook is getattr(Plugin, name, None):
        return
    if not inspect.isfunction(hook):
        raise ValueError(f"{path}:{_line(cls)}: {cls.__name__}.{name} must be a method")
    if inspect.iscoroutinefunction(hook) != is_async:
        must = "async def" if is_async else "def, without async"
        raise ValueError(f"{path}:{_line(hook)}: {name} must be written with {must}")
    _check_call(path, hook, wanted, name)


def _check_call(path: Path, function: Any, wanted: tuple[str, ...], name: str) -> None:
    try:
        inspect.signature(function).bind(None, *wanted)
    except TypeError:
        takes = ", ".join(("self", *wanted))
        raise ValueError(f"{path}:{_line(function)}: {name} must take ({takes})") from None


def _line(thing: Any) -> int:
    """Where it is defined. A class does not know: its first method is near."""
    code = getattr(inspect.unwrap(thing), "__code__", None)
    if code is not None:
        return int(code.co_firstlineno)
    methods = [each for each in vars(thing).values() if inspect.isfunction(each)]
    return min((each.__code__.co_firstlineno for each in methods), default=1)


# --- words ----------------------------------------------------------------------------------------


def _place(error: BaseException, path: Path) -> str:
    """file:line, the last one in the owner's own file."""
    if isinstance(error, SyntaxError) and error.filename:  # of a module that it imports
        return f"{path}: {error.filename}:{error.lineno or 1}"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f"{path}:{lines[-1] or 1}" if lines else str(path)


def _words(error: BaseException) -> str:
    text = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
