"""Rows of ids on disk: written once, memory-mapped, read in an order that is a pure function of seed and step."""
