"""Whether this machine computes what it should, and how fast: what `inductive doctor` does. Start in examination.py."""
