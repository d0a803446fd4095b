"""Panda mode: one live run, whose params a person or a rule changes while it trains."""
