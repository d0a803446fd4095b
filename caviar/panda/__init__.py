"""Panda mode: watching over one model while it trains, and steering trials of a running sweep."""
