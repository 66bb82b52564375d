"""CONFIGURATION: a TOML file in, frozen values out, or every problem of the file at once.

keys.py is the table of all keys, read.py checks a table of the file against it, providers.py and
rules.py make the nouns of two of them, load.py puts the whole together.
"""

from llmrouterd.config.load import load, parse
from llmrouterd.config.nouns import Config, KeyHolder, Logging, Server, Telemetry
from llmrouterd.config.server import overridden

__all__ = ["Config", "KeyHolder", "Logging", "Server", "Telemetry", "load", "overridden", "parse"]
