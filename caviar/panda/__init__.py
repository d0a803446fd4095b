"""Panda mode: one run, watched over by a person and by rules that change its params while it trains."""
