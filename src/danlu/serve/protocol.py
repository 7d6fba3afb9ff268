"""What clients may ask: the OpenAI request types, with a hard limit on every number, list and string.

In: the bytes of a request's body. Out: a checked, frozen request, or one `ApiError` that names the parameter.
Called by `app`. Says what a request means (`sampling`, `records`), generates nothing. A parameter that is neither
honoured nor known to carry no meaning here is refused by name: nothing is silently ignored.
Source: https://platform.openai.com/docs/api-reference (chat/create, completions/create), read from openai 3.54.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from danlu.base.errors import nearest
from danlu.base.records import Message, ToolCall
from danlu.infer.sampling import Sampling

MAX_TEXT = 4_000_000
MAX_DEPTH = 64
MAX_CHOICES = 128
DEFAULT_COMPLETION_TOKENS = 16
"""OpenAI's own default for /v1/completions."""

WITHOUT_MEANING = frozenset(
    {
        "user",
        "metadata",
        "store",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning_effort",
        "verbosity",
        "prediction",
        "moderation",
    }
)
"""Accepted and unused: they steer the billing, storage and caching of a hosted service, or are hints only."""
UNSUPPORTED = frozenset({"suffix", "audio", "modalities", "web_search_options", "functions", "function_call"})


class ApiError(Exception):
    """An answer with an error in OpenAI's shape. `message` is for the client: no paths, no exception texts."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers) if headers is not None else {}
        self.id = f"err-{secrets.token_hex(8)}"

    @property
    def type(self) -> str:
        return ERROR_TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")

    def body(self) -> dict[str, Any]:
        """The error object; `id` is ours and stands in the server's log beside the cause."""
        facts = {"message": self.message, "type": self.type, "param": self.param, "code": self.code, "id": self.id}
        return {"error": facts}


ERROR_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error", 503: "overloaded_error"}


class Wire(BaseModel):
    """Base of everything that comes over the wire: no conversion of types, no unknown names."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _as_text(value: Any) -> Any:
    """A list of text parts is their texts put together; other kinds of parts are refused."""
    if not isinstance(value, list):
        return value
    if len(value) > 256:
        raise ValueError("at most 256 content parts are allowed")
    for index, part in enumerate(value):
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise ValueError(f"content part {index} is not a text part; this model reads text only")
    return "".join(part["text"] for part in value)


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Text = Annotated[str, BeforeValidator(_as_text), Field(max_length=MAX_TEXT)]
StopString = Annotated[str, Field(min_length=1, max_length=256)]


class FunctionCall(Wire):
    name: Name
    arguments: str = Field(max_length=MAX_TEXT)


class AskedCall(Wire):
    """A call that the assistant made in an earlier turn."""

    id: str = Field(default="", max_length=128)
    type: Literal["function"] = "function"
    function: FunctionCall
    index: int = Field(default=0, ge=0, le=1024)


class ChatMessage(Wire):
    """One turn as it is sent; `developer` is the newer word for `system`."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text = ""
    reasoning_content: str = Field(default="", max_length=MAX_TEXT)
    tool_calls: list[AskedCall] = Field(default=[], max_length=128)
    tool_call_id: str = Field(default="", max_length=128)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        """Clients send our own answers back, with `refusal: null` and the like."""
        return _meaningful(value, without={"name", "refusal", "annotations"})

    def record(self) -> Message:
        """The turn as danlu's own record."""
        calls = tuple(ToolCall(call.function.name, call.function.arguments, call.id) for call in self.tool_calls)
        role = "system" if self.role == "developer" else self.role
        return Message(role, self.content, self.reasoning_content, calls)


class Function(Wire):
    name: Name
    description: str = Field(default="", max_length=16_384)
    parameters: dict[str, Any] = Field(default={}, max_length=256)
    strict: bool = False

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        """The protocol's own types let the optional ones be null."""
        return _meaningful(value, without=frozenset())


class Tool(Wire):
    type: Literal["function"]
    function: Function


class StreamOptions(Wire):
    include_usage: bool = False

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        """Padding against listeners on the line is the proxy's matter: what encrypts, pads."""
        return _meaningful(value, without={"include_obfuscation"})


class ResponseFormat(Wire):
    type: Literal["text"]


def _only_text_format(value: Any) -> Any:
    if isinstance(value, dict) and value.get("type") in ("json_object", "json_schema"):
        raise ValueError(
            f"the format {value['type']!r} is not supported by this server yet; leave it out or use 'text'"
        )
    return value


def _only_free_choice(value: Any) -> Any:
    if isinstance(value, dict) or value == "required":
        raise ValueError("forcing a tool call is not supported by this server yet; use 'auto' or 'none'")
    return value


class SamplingFields(Wire):
    """What chat and completions share: how tokens are chosen."""

    max_tokens: int | None = Field(default=None, ge=0, le=10_000_000)
    temperature: float = Field(default=1.0, ge=0, le=2, allow_inf_nan=False)
    top_p: float = Field(default=1.0, ge=0, le=1, allow_inf_nan=False)
    top_k: int = Field(default=0, ge=-1, le=10_000_000)
    min_p: float = Field(default=0.0, ge=0, le=1, allow_inf_nan=False)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    presence_penalty: float = Field(default=0.0, ge=-2, le=2, allow_inf_nan=False)
    frequency_penalty: float = Field(default=0.0, ge=-2, le=2, allow_inf_nan=False)
    repetition_penalty: float = Field(default=1.0, ge=1e-6, le=10, allow_inf_nan=False)
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]] = Field(
        default={}, max_length=1024
    )
    stop: Annotated[list[StopString], BeforeValidator(_as_list), Field(max_length=16)] = []
    n: int = Field(default=1, ge=1, le=16)

    def biases(self, vocabulary_limit: int) -> tuple[tuple[int, float], ...]:
        """`logit_bias` with ids instead of their spellings; ApiError for an id that does not exist."""
        for key in self.logit_bias:
            if not (key.isascii() and key.isdigit() and len(key) <= 9 and int(key) < vocabulary_limit):
                raise invalid("logit_bias", f"{key[:20]!r} is not a token id; ids are 0 to {vocabulary_limit - 1}")
        return tuple((int(key), bias) for key, bias in self.logit_bias.items())

    def sampling(
        self, max_tokens: int, stop_ids: frozenset[int], vocabulary_limit: int, logprobs: int | None
    ) -> Sampling:
        """The request's sampling, for an answer of at most `max_tokens`."""
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=max(self.top_k, 0),  # -1 is vLLM's spelling of "off"
            min_p=self.min_p,
            seed=self.seed,
            max_tokens=max_tokens,
            stop_ids=stop_ids,
            logprobs=logprobs,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            repetition_penalty=self.repetition_penalty,
            logit_bias=self.biases(vocabulary_limit),
        )


class ChatRequest(SamplingFields):
    """Body of POST /v1/chat/completions."""

    model: str = Field(max_length=256)
    messages: list[ChatMessage] = Field(min_length=1, max_length=4096)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=10_000_000)
    stream: bool = False
    stream_options: StreamOptions | None = None
    logprobs: bool = False
    top_logprobs: int = Field(default=0, ge=0, le=20)
    tools: list[Tool] = Field(default=[], max_length=128)
    tool_choice: Annotated[Literal["auto", "none"], BeforeValidator(_only_free_choice)] = "auto"
    parallel_tool_calls: bool = True
    response_format: Annotated[ResponseFormat | None, BeforeValidator(_only_text_format)] = None

    @model_validator(mode="after")
    def _consistent(self) -> ChatRequest:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs: needs logprobs to be true")
        if self.max_tokens == 0:
            raise ValueError("max_tokens: must be at least 1")
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options: needs stream to be true")
        return self

    @property
    def offered_tools(self) -> list[dict[str, Any]]:
        """The tools that the model is told of."""
        return [tool.model_dump(exclude_unset=True) for tool in self.tools] if self.tool_choice == "auto" else []

    @property
    def wanted_tokens(self) -> int | None:
        """`max_completion_tokens`, or its older name."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def wanted_logprobs(self) -> int | None:
        return self.top_logprobs if self.logprobs else None


def _as_prompts(value: Any) -> Any:
    """One prompt or many, each a text or a list of token ids, as a list of prompts."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value and all(type(item) is int for item in value):
        return [value]
    return value


Prompt = (
    Annotated[str, Field(max_length=MAX_TEXT)]
    | Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1, max_length=1_000_000)]
)


class CompletionRequest(SamplingFields):
    """Body of POST /v1/completions. `best_of` answers are made and the `n` most likely ones returned."""

    model: str = Field(max_length=256)
    prompt: Annotated[list[Prompt], BeforeValidator(_as_prompts), Field(min_length=1, max_length=64)]
    echo: bool = False
    best_of: int | None = Field(default=None, ge=1, le=16)
    logprobs: int | None = Field(default=None, ge=0, le=20)
    stream: bool = False
    stream_options: StreamOptions | None = None

    @model_validator(mode="after")
    def _consistent(self) -> CompletionRequest:
        if self.best_of is not None and self.best_of < self.n:
            raise ValueError("best_of: must be at least n")
        if self.best_of is not None and self.best_of > self.n and self.stream:
            raise ValueError("best_of: cannot be larger than n when streaming")
        if len(self.prompt) * self.num_tries > MAX_CHOICES:
            raise ValueError(f"n: more than {MAX_CHOICES} answers in one request")
        if self.echo and self.logprobs is not None:
            raise ValueError("echo: cannot be used together with logprobs")
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options: needs stream to be true")
        return self

    @property
    def num_tries(self) -> int:
        """Answers made for each prompt."""
        return self.n if self.best_of is None else self.best_of

    @property
    def wanted_tokens(self) -> int:
        return DEFAULT_COMPLETION_TOKENS if self.max_tokens is None else self.max_tokens

    @property
    def wanted_logprobs(self) -> int | None:
        """Choosing the best needs the log-probabilities, also where the client does not want to see them."""
        return 0 if self.logprobs is None and self.num_tries > self.n else self.logprobs


R = TypeVar("R", ChatRequest, CompletionRequest)


def invalid(param: str | None, message: str, code: str = "invalid_value") -> ApiError:
    """The 400 that names a parameter."""
    named = f"Invalid '{param}': " if param is not None else ""
    return ApiError(400, f"{named}{message}", param=param, code=code)


def read(model: type[R], body: bytes) -> R:
    """A checked request from a body; ApiError 400 with the first problem's parameter."""
    try:
        value = orjson.loads(body)  # refuses NaN, broken UTF-8, lone surrogates and nesting beyond 1,024
    except orjson.JSONDecodeError as error:
        raise invalid(None, f"The body is not valid JSON (line {error.lineno}, column {error.colno}).") from None
    if not isinstance(value, dict):
        raise invalid(None, "The body must be a JSON object.")
    if _is_deeper(value, MAX_DEPTH):
        raise invalid(None, f"The body is nested more than {MAX_DEPTH} levels deep.")
    value = _meaningful(value, without=WITHOUT_MEANING)
    for name in value:
        if name in UNSUPPORTED:
            raise invalid(name, "this parameter is not supported by this server.", "unsupported_parameter")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _first_problem(error, model) from None


def _meaningful(value: Any, *, without: frozenset[str] | set[str]) -> Any:
    """A JSON object without nulls, which mean "the default", and without the names that carry no meaning here."""
    if not isinstance(value, dict):
        return value
    return {key: item for key, item in value.items() if item is not None and key not in without}


def _is_deeper(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [
            inner
            for item in level
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
            if isinstance(inner, dict | list)
        ]
    return bool(level)


def _first_problem(error: ValidationError, model: type[R]) -> ApiError:
    item = error.errors(include_url=False, include_input=False)[0]
    message = item["msg"].removeprefix("Value error, ")
    param = ".".join(str(part) for part in item["loc"] if "[" not in str(part))
    if not param and ": " in message:  # from a check across fields, which names its parameter itself
        param, message = message.split(": ", 1)
    if item["type"] == "extra_forbidden":
        hint = nearest(str(item["loc"][-1]), model.model_fields) if len(item["loc"]) == 1 else ""
        return invalid(param[:200], f"this parameter is not known{hint}.", "unknown_parameter")
    if item["type"] == "missing":
        return ApiError(400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")
    return invalid(param[:200], f"{message[0].lower()}{message[1:]}.")
