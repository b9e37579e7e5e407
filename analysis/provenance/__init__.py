"""Where records come from and whether to trust them: digests, versions, edits, anonymity. Imports frame."""
