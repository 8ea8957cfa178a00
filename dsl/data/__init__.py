"""Data for training: files, folders and named data sets as batches that fit the inputs of a `train` block (docs/data.md).

Everything about the data is checked before the first batch. Packages for reading are imported when they are needed.
"""
