"""A block of settings: typed, frozen, and strict about its keys."""

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError


class Block(BaseModel):
    """Settings that belong together. An unknown key is an error, and no value changes after reading.

    A number is finite, and `true` is none, though Python counts it as 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def no_truth_value_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        kind = cls.model_fields[str(info.field_name)].annotation
        values = value if isinstance(value, list) else [value]
        if bool not in (kind, *get_args(kind)) and any(isinstance(one, bool) for one in values):
            raise PydanticCustomError("truth_value", "true or false, where a number or a text is expected")
        return value
