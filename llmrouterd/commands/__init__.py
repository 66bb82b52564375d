"""THE COMMANDS: `llmrouter X` is `commands/x.py`, with a `run(args) -> int`.

A command prints its answer to stdout and everything else to stderr, and returns the exit code: 0,
1 for what failed, 2 for wrong usage or a wrong configuration. It imports its rooms when it runs.
"""
