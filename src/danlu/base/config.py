"""The strict door for everything a person writes: recipe values, overrides, files of settings.

In: plain values from YAML, JSON or `path=value` words. Out: frozen pydantic models, or one `ConfigError` that lists
every problem with its path, what was found, what is allowed and the nearest name. Called by `recipe` and by each
stage's `Config`. Knows units (`20M`, `4GB`, `2h`), not stages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from danlu.base.errors import ConfigError, nearest

COUNT_UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "b": 1_000_000_000, "t": 1_000_000_000_000}
BYTE_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}
SECOND_UNITS = {"": 1.0, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
NUMBER_WITH_UNIT = re.compile(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)\s*([a-z]*)\s*", re.IGNORECASE)


def with_unit(value: Any, units: Mapping[str, float], what: str) -> Any:
    """Turn `'20M'` into a number by the table; leave numbers alone; raise ValueError naming the allowed units."""
    if not isinstance(value, str):
        return value
    match = NUMBER_WITH_UNIT.fullmatch(value)
    if match is None or match[2].lower() not in units:
        allowed = ", ".join(unit for unit in units if unit)
        raise ValueError(f"{value!r} is not a {what}: write a number, if need be with one of {allowed}")
    return float(match[1].replace("_", "")) * units[match[2].lower()]


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Count = Annotated[int, BeforeValidator(lambda value: _whole(with_unit(value, COUNT_UNITS, "count")))]
"""A whole number that may be written `20M`, `1.5B`, `4k`."""
Bytes = Annotated[int, BeforeValidator(lambda value: _whole(with_unit(value, BYTE_UNITS, "size in bytes")))]
"""A size in bytes that may be written `4GB`, `512MiB`."""
Seconds = Annotated[float, BeforeValidator(lambda value: with_unit(value, SECOND_UNITS, "duration"))]
"""A duration in seconds that may be written `90s`, `2h`."""

IS_READ = "a file or folder that is read"
ReadPath = Annotated[str, IS_READ]
"""The path of something that must be there before the work starts; empty where nothing is named."""


class Settings(BaseModel):
    """Base of every config model: frozen, unknown keys forbidden, defaults checked."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


S = TypeVar("S", bound=Settings)
SEPARATOR = "\n         "
"""Between the problems of one error: each on a line of its own, below the first."""


def problems(error: ValidationError, model: type[Settings], prefix: str = "") -> list[str]:
    """One line for each problem: path, what was found, what is allowed, the nearest known name."""
    return [_problem(item, model, prefix) for item in error.errors(include_url=False)]


def _problem(item: Any, model: type[Settings], prefix: str) -> str:
    path = ".".join([prefix, *map(str, item["loc"])] if prefix else map(str, item["loc"]))
    if item["type"] == "extra_forbidden":
        known = sorted(_known_names(model, item["loc"][:-1]))
        name = str(item["loc"][-1])
        return f"{path}: unknown setting{nearest(name, known)}; known here: {', '.join(known)}"
    if item["type"] == "missing":
        return f"{path}: a value is required"
    message = item["msg"].removeprefix("Value error, ")
    return f"{path}: {message[0].lower()}{message[1:]}; found {item['input']!r:.80}"


def _known_names(model: type[Settings], loc: tuple[Any, ...]) -> list[str]:
    """Field names of the model that `loc` leads to, so that a misspelt nested key gets its own neighbours."""
    here: Any = model
    for part in loc:
        field = getattr(here, "model_fields", {}).get(part)
        if field is None:
            continue
        here = next((t for t in _types_in(field.annotation) if hasattr(t, "model_fields")), here)
    return list(here.model_fields)


def _types_in(annotation: Any) -> list[Any]:
    arguments = getattr(annotation, "__args__", ())
    return [annotation, *(inner for argument in arguments for inner in _types_in(argument))]


def paths_in(settings: Settings, prefix: str) -> Iterator[tuple[str, str]]:
    """(place in the recipe, path) of every `ReadPath` that names something, also in settings within settings."""
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, Settings):
                yield from paths_in(item, f"{prefix}.{name}")
            elif isinstance(item, str) and item and _is_read(field):
                yield f"{prefix}.{name}", item


def _is_read(field: FieldInfo) -> bool:
    """A field of the type `ReadPath`, or of it and None."""
    of_parts = (getattr(part, "__metadata__", ()) for part in _types_in(field.annotation))
    return IS_READ in field.metadata or any(IS_READ in marks for marks in of_parts)


def read_settings(model: type[S], values: Mapping[str, Any], where: str, prefix: str = "") -> S:
    """Validate `values` as `model`; raise one ConfigError that lists all problems, with `where` as their place."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        found = problems(error, model, prefix)
        raise ConfigError(
            "these settings cannot be used",
            where=where,
            found=SEPARATOR.join(found + _hidden(error, model, values, prefix)),
            remedy="correct the values above and start again",
        ) from None


def _hidden(error: ValidationError, model: type[Settings], values: Mapping[str, Any], prefix: str) -> list[str]:
    """Problems between values, which pydantic looks for only where each value for itself is right.

    They are looked for with the wrong values taken away; one that speaks of a value taken away says nothing.
    """
    taken: set[str] = set()
    found: list[str] = []
    while True:
        wrong = {str(item["loc"][0]) for item in error.errors(include_url=False) if item["loc"]} - taken
        if not wrong:
            return found
        taken |= wrong
        try:
            model.model_validate({key: value for key, value in values.items() if str(key) not in taken})
            return found
        except ValidationError as next_error:
            error = next_error
        found = [
            line
            for line, item in zip(problems(error, model, prefix), error.errors(include_url=False), strict=True)
            if not any(re.search(rf"\b{re.escape(name)}\b", line.removeprefix(prefix)) for name in taken)
        ]
