"""One number over several data sets. Start at `aggregate`."""
