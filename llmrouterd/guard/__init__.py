"""PERMIT. Pure state machines and predicates; `now` is an argument."""
