"""What every section of a configuration has in common, and the kinds of numbers in it."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

Percent = Annotated[Decimal, Field(ge=0, le=100)]
Money = Annotated[Decimal, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]
Distance = Annotated[Decimal, Field(ge=Decimal("0.1"), le=100)]
"""In percent, so that 0.03 meant as 3 % is found out."""
Rsi = Annotated[Decimal, Field(gt=0, lt=100)]
Pace = Annotated[Decimal, Field(ge=1, le=1000)]
VariableName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]


LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
"""This machine: what is sent there leaves it not."""


class Section(BaseModel):
    """Shared by all sections: frozen, no unknown keys, docstrings under fields are their documentation."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _number_is_a_number(cls, value: object, info: ValidationInfo) -> object:
        """Refuse `true` and quoted digits for a number, which pydantic would take."""
        kind = _kind_of_number(cls.model_fields[info.field_name or ""].annotation)
        if kind is not None and isinstance(value, bool | str):
            raise PydanticCustomError(kind, "Input should be a number")
        return value


def _kind_of_number(annotation: object) -> Literal["int_type", "float_type"] | None:
    if annotation is int:
        return "int_type"
    return "float_type" if annotation is float or annotation is Decimal else None
