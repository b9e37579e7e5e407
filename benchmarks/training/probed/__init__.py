"""Evaluations on images that a probe has changed: what each does to them, and measuring a network on them."""
