"""The names of the stages, in their order."""

STAGES = ("extract", "score", "select", "tokenize", "train", "sample", "report")
