"""What the stages are called, in the order of the data: a stage of dvc.yaml, a module of `stages`, a component each."""

STAGES = (
    "synth",
    "catalog",
    "preprocess",
    "validate",
    "partition",
    "describe",
    "train",
    "evaluate",
    "compare",
    "register",
)
