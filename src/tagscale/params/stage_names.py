"""Names of the stages, in the order of the data: stages of dvc.yaml, modules of `stages`, components."""

STAGES = (
    "synth",
    "catalog",
    "preprocess",
    "validate",
    "partition",
    "describe",
    "encode",
    "train",
    "evaluate",
    "ensemble",
    "compare",
    "register",
)
