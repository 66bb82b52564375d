"""Tells what happens: consumes what the pipeline says and never holds it up."""
