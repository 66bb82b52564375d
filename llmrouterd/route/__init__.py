"""DECIDE. Pure: values in, values out; no trio, no I/O, no clock, no chance of its own."""
