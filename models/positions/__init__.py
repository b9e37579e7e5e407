"""Positional encodings, one small class each; `models.positions.base` holds the hooks they share (loads no torch)."""
