"""A block of settings: typed, frozen, and strict about its keys."""

from pydantic import BaseModel, ConfigDict


class Block(BaseModel):
    """Settings that belong together. An unknown key is an error, and no value changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)
