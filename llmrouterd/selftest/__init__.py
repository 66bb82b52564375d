"""SELFTEST. A misbehaving upstream, and what this router does before it.

voices.py says what a server of each format says, faults.py what can go wrong and what must happen
then, upstream.py is the server, client.py the one who asks, judge.py compares, run.py does it all.
Stands above the daemon like the commands: nothing of the daemon imports it.
"""
