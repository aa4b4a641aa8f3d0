"""A client of chat endpoints that speak OpenAI's protocol: vLLM, llama.cpp and commercial servers do."""

import json
import os
import random
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Event, Lock
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from crossfade.documents import Strict
from crossfade.errors import InputError

if TYPE_CHECKING:
    import httpx2

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
"""Seconds before a second attempt, doubled for each one after it, and what no pause exceeds."""

BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""HTTP statuses that another attempt may not meet again."""

SHOWN = 200
"""Characters of a server's answer that a message repeats."""

SECRET = re.compile(r"(?i)api[-_]?key|authori[sz]ation|password|secret|(?:^|access[-_]?|auth[-_]?|bearer[-_]?)token$")
"""Names under which keys are sent; in `extra` they would be kept with the run."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Endpoint(Strict):
    """Where a model is served, and how it is asked. A key stays in the environment: the name of its variable is here.

    `url` ends before `/chat/completions`. `retries` are attempts after the first one, `timeout` seconds for each. With
    `stream` the answer is read as server-sent events. `extra` goes into every request as it is.
    """

    url: str
    model: str
    api_key_env: str | None = None
    timeout: Positive = 120.0
    retries: Annotated[int, Field(ge=0)] = 6
    first_pause: Positive = FIRST_PAUSE
    requests_per_minute: Positive | None = None
    max_tokens: Annotated[int, Field(ge=1)] = 256
    temperature: Annotated[float, Field(ge=0)] = 0.0
    seed: int | None = None
    stream: bool = False
    extra: Mapping[str, JsonValue] = {}

    @model_validator(mode="before")
    @classmethod
    def _without_keys(cls, told: Any) -> Any:
        """Of the whole, so that no message repeats what may be a key."""
        if not isinstance(told, Mapping):
            return told
        if re.search("[@?#]", str(told.get("url", ""))):
            raise ValueError(
                "url: expected no key, password or query in the address; name a key's variable in api_key_env"
            )
        if not re.fullmatch(r"[A-Za-z_]\w*", str(told.get("api_key_env") or "NONE")):
            raise ValueError("api_key_env: expected the name of a variable that holds the key, as MY_KEY; not the key")
        if found := _secret_names(told.get("extra")):
            raise ValueError(f"extra: '{found[0]}' would be kept with the run; name a key's variable in api_key_env")
        return told

    @field_validator("url")
    @classmethod
    def _plain(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")):
            raise ValueError("expected an address that begins with http:// or https://, as http://localhost:8000/v1")
        return url.rstrip("/").removesuffix("/chat/completions")

    def identity(self) -> dict[str, JsonValue]:
        """What decides the answers, wherever the model is served: neither address nor key nor patience."""
        decides = {"model", "max_tokens", "temperature", "seed", "extra"}
        return self.model_dump(mode="json", include=decides)


@dataclass(frozen=True)
class Reply:
    """What a model said, after how many attempts."""

    text: str
    tokens_in: int | None = None
    tokens_out: int | None = None
    attempts: int = 1


class UnansweredError(Exception):
    """A question that got no answer, after `attempts`. The message is one line, without the key."""

    def __init__(self, reason: str, attempts: int = 1) -> None:
        super().__init__(reason)
        self.attempts = attempts


class _AgainError(Exception):
    """An attempt that failed in a way that another may not; `pause` is what the server asked for, in seconds."""

    def __init__(self, reason: str, pause: float | None = None) -> None:
        super().__init__(reason)
        self.pause = pause


class ChatClient:
    """Asks one endpoint; threads may share it. Use it as a context manager, or close it."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Raises InputError where the key's variable is not set."""
        self.endpoint = endpoint
        self._key = _key(endpoint)
        self._http = _open(self._key, endpoint.timeout)
        self._closed = Event()
        self._reached = False
        self._turn = Lock()
        self._next = 0.0

    def ask(self, messages: Sequence[Mapping[str, JsonValue]], *, form: Literal["text", "json"] = "text") -> Reply:
        """The answer to `messages` (OpenAI's roles and contents); `form` json asks the server for a JSON object.

        A busy or failing server, a timeout, a dropped connection and an answer that cannot be read are asked again,
        each time after a longer pause.

        Raises:
            UnansweredError: it refuses this question, or no attempt led to an answer.
            InputError: nobody is there, the key is refused, or the server does not know the model.
        """
        body = self._body(messages, form)
        for attempt in range(1, self.endpoint.retries + 2):
            self._wait_turn()
            try:
                text, usage = self._attempt(body)
            except _AgainError as error:
                reason, pause = self._without_key(str(error)), error.pause
            except UnansweredError as error:
                raise UnansweredError(str(error), attempt) from None
            else:
                self._reached = True
                return Reply(text, _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"), attempt)
            if attempt > self.endpoint.retries or self._closed.wait(self._pause(attempt, pause)):
                raise UnansweredError(f"{reason} ({attempt} attempt{'s' if attempt > 1 else ''})", attempt)
        raise AssertionError  # the last attempt returns or raises

    def close(self) -> None:
        """End every pause and connection; whoever waits for an answer gets UnansweredError."""
        self._closed.set()
        self._http.close()

    def __enter__(self) -> "ChatClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _body(self, messages: Sequence[Mapping[str, JsonValue]], form: str) -> dict[str, Any]:
        told = self.endpoint
        body: dict[str, Any] = {"model": told.model, "messages": list(messages), "temperature": told.temperature}
        body |= {"max_tokens": told.max_tokens}
        body |= {} if told.seed is None else {"seed": told.seed}
        body |= {"response_format": {"type": "json_object"}} if form == "json" else {}
        body |= {"stream": True, "stream_options": {"include_usage": True}} if told.stream else {}
        return body | dict(told.extra)

    def _attempt(self, body: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        import httpx2

        try:
            with self._http.stream("POST", f"{self.endpoint.url}/chat/completions", json=body) as response:
                if response.status_code != 200:
                    response.read()
                    self._refused(response)
                if self.endpoint.stream:
                    return _streamed(response.iter_lines())
                return _whole(response.read())
        except httpx2.ConnectError as error:
            if self._reached:
                raise _AgainError(f"cannot connect ({error})") from None
            where = self.endpoint.url
            raise InputError(f"{where}: nobody answers there ({error}); start the server, or mend url") from None
        except httpx2.TimeoutException:
            raise _AgainError(f"no answer within {self.endpoint.timeout:g} s") from None
        except httpx2.HTTPError as error:
            raise _AgainError(f"connection lost ({self._without_key(str(error)) or type(error).__name__})") from None
        except RuntimeError:
            if not self._closed.is_set():
                raise
            raise UnansweredError("stopped") from None

    def _refused(self, response: "httpx2.Response") -> None:
        status = response.status_code
        said = self._without_key(" ".join(response.text.split()))[:SHOWN]
        where = f"{self.endpoint.url}: HTTP {status}"
        if status in (401, 403):
            name = self.endpoint.api_key_env
            mend = f"check what {name} holds" if name else "name the variable with your key in api_key_env"
            raise InputError(f"{where}: the key is refused; {mend}")
        if status == 404:
            raise InputError(f"{where}: no such address or model '{self.endpoint.model}' ({said}); mend url or model")
        if status in BUSY:
            raise _AgainError(f"HTTP {status}: {said}", _asked_for(response.headers.get("retry-after")))
        raise UnansweredError(f"HTTP {status}: {said}")

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text

    def _pause(self, attempt: int, asked: float | None) -> float:
        """Seconds: what the server asks for, else longer each time, by chance so that threads do not come at once."""
        longest = min(LONGEST_PAUSE, self.endpoint.first_pause * 2 ** (attempt - 1))
        return longest * random.uniform(0.5, 1.0) if asked is None else min(LONGEST_PAUSE, asked)

    def _wait_turn(self) -> None:
        """Hold the rate of requests, all threads together."""
        if self.endpoint.requests_per_minute is None:
            return
        with self._turn:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + 60.0 / self.endpoint.requests_per_minute
        self._closed.wait(turn - now)


def _secret_names(told: object) -> list[str]:
    """The names in a JSON value, at any depth, that keys go by."""
    if isinstance(told, Mapping):
        own = [str(name) for name in told if SECRET.search(str(name))]
        return own + [found for value in told.values() for found in _secret_names(value)]
    return [found for value in told for found in _secret_names(value)] if isinstance(told, list) else []


def _key(endpoint: Endpoint) -> str | None:
    if endpoint.api_key_env is None:
        return None
    shown = endpoint.api_key_env if endpoint.api_key_env.isupper() else "it names"  # else it may be the key itself
    key = os.environ.get(endpoint.api_key_env, "").strip()
    if not key:
        raise InputError(f"api_key_env: the variable {shown} is not set; set it to your key")
    if not (key.isascii() and key.isprintable()):
        raise InputError(f"api_key_env: what the variable {shown} holds is no key: expected plain characters")
    return key


def _open(key: str | None, timeout: float) -> "httpx2.Client":
    try:
        import httpx2
    except ImportError:
        raise InputError("chat endpoints need httpx2: pip install 'crossfade[instructions]'") from None
    headers = {"authorization": f"Bearer {key}"} if key else {}
    # As many connections as threads ask for: the runner says how many.
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx2.Client(headers=headers, timeout=httpx2.Timeout(timeout), limits=limits)


def _whole(content: bytes) -> tuple[str, Mapping[str, Any]]:
    """Text and usage of an answer in one piece; "" where nothing was said, as after too much thought.

    Raises _AgainError where it is no answer.
    """
    found = _json(content)
    try:
        text = found["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        text = False
    if not isinstance(text, str | None):
        raise _AgainError(f"an answer without choices[0].message.content: {content[:SHOWN].decode(errors='replace')}")
    return text or "", _mapping(found.get("usage"))


def _streamed(lines: Iterator[str]) -> tuple[str, Mapping[str, Any]]:
    """Text and usage of server-sent events. Raises _AgainError where they break off, tell of an error, or are none."""
    parts: list[str] = []
    usage: Mapping[str, Any] = {}
    finished = ended = False
    for line in lines:
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if ended := data == "[DONE]":
            break
        event = _json(data.encode())
        if event.get("error"):
            raise _AgainError(f"the stream told of an error: {data[:SHOWN]}")
        usage = _mapping(event.get("usage")) or usage
        for choice in map(_mapping, event.get("choices") or []):
            parts.append(str(_mapping(choice.get("delta")).get("content") or ""))
            finished = finished or choice.get("finish_reason") is not None
    if not (finished or (ended and parts)):
        raise _AgainError("the stream broke off")
    return "".join(parts), usage


def _json(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _AgainError(f"not a JSON object: {content[:SHOWN].decode(errors='replace')}")
    return found


def _mapping(told: object) -> Mapping[str, Any]:
    return told if isinstance(told, Mapping) else {}


def _count(usage: Mapping[str, Any], key: str) -> int | None:
    found = usage.get(key)
    return found if isinstance(found, int) else None


def _asked_for(header: str | None) -> float | None:
    """Seconds in a Retry-After header; a date, which nobody sends here, counts as nothing said."""
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:
        return None
