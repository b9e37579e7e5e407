"""`--at training`: how runs went, side by side, and on which images they differ."""
