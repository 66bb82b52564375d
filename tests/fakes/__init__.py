"""Fakes that tests share: an upstream that does what it is told, a daemon as a process."""
