"""One run by several processes, its ranks, each with a GPU: the recipe's batch, of which every rank computes its rows.

What a step computes is that of one process but for rounding, whatever the number of ranks: `rows` says which images of
a batch a rank has, `batches` makes those alone, `draws` gives each image the random numbers of its place in the batch,
`normalisation` normalises images of several ranks together, and `world` adds up what the ranks have computed. Start
with `share.py`, which is what a training sees of all that.
"""
