"""CONFIGURATION: a TOML file in, frozen values out, or every problem of the file at once.

keys.py is the table of all keys, read.py checks a table of the file against it, providers.py and
rules.py make the nouns of two of them, load.py puts the whole together.
"""

from llmrouterd.config.load import load, overridden, parse
from llmrouterd.config.nouns import Config, KeyHolder, Logging, Server

__all__ = ["Config", "KeyHolder", "Logging", "Server", "load", "overridden", "parse"]
