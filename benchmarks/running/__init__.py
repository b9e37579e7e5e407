"""Runs on this machine: one (`execute`, `loop`), many side by side (`local`), and one again (`rerun`).

Imports training and what lies below it. Start at `execute`: it starts a run, continues it, or only evaluates.
"""
