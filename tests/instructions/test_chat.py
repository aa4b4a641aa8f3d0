"""Over real HTTP, against a server process."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from chat_server import FAULTS, KEY, Served

from crossfade.documents import validated
from crossfade.errors import InputError
from crossfade.instructions.chat import ChatClient, Endpoint, UnansweredError, _AgainError, _streamed, _whole

HELLO = [{"role": "user", "content": "hello"}]


def endpoint(url: str, **said: object) -> Endpoint:
    return Endpoint.model_validate({"url": url, "model": "tiny", "first_pause": 0.01, "timeout": 60} | said)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_and_its_tokens(server: Served, stream: bool) -> None:
    with ChatClient(endpoint(server.url, stream=stream)) as client:
        reply = client.ask(HELLO)
    assert (reply.text, reply.tokens_in, reply.tokens_out, reply.attempts) == ("read: hello", 11, 2, 1)


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "slow"])
@pytest.mark.parametrize("stream", [False, True])
def test_every_fault_is_asked_again_until_it_is_over(server: Served, fault: str, stream: bool) -> None:
    """Three of four attempts fail; every question is answered once, and the attempts are counted."""
    model = f"tiny/0.75/{fault}/{stream}"
    told = endpoint(server.url, model=model, stream=stream, retries=60, timeout=60, first_pause=0.001)
    with ChatClient(told) as client:
        replies = [client.ask([{"role": "user", "content": f"question {number}"}]) for number in range(3)]
    stats = server.stats(model)
    assert [reply.text for reply in replies] == [f"read: question {number}" for number in range(3)]
    assert set(stats.answered.values()) == {1}
    assert sum(reply.attempts for reply in replies) == stats.asked.total() == 3 + stats.faults[fault]


def test_an_answer_that_does_not_come_is_given_up(server: Served) -> None:
    with (
        ChatClient(endpoint(server.url, model="tiny/1.0/slow", timeout=0.2, retries=1)) as client,
        pytest.raises(UnansweredError, match=r"no answer within 0\.2 s \(2 attempts\)"),
    ):
        client.ask(HELLO)


def test_no_more_attempts_than_were_allowed(server: Served) -> None:
    with (
        ChatClient(endpoint(server.url, model="tiny/1.0/500", retries=2)) as client,
        pytest.raises(UnansweredError, match=r"^HTTP 500: .*sorry.* \(3 attempts\)$") as caught,
    ):
        client.ask(HELLO)
    assert caught.value.attempts == 3
    assert server.stats("tiny/1.0/500").asked.total() == 3


def test_a_refused_question_is_not_asked_again(server: Served) -> None:
    with (
        ChatClient(endpoint(server.url)) as client,
        pytest.raises(UnansweredError, match=r"HTTP 400: .*context too long") as caught,
    ):
        client.ask([{"role": "user", "content": "REFUSE this"}])
    assert caught.value.attempts == 1


def test_a_bad_key_is_one_line_without_the_key(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    told = endpoint(server.url, model="locked", api_key_env="TEST_KEY")
    monkeypatch.setenv("TEST_KEY", "sk-my-own")
    with ChatClient(told) as client, pytest.raises(InputError) as caught:
        client.ask(HELLO)
    assert str(caught.value) == f"{server.url}: HTTP 401: the key is refused; check what TEST_KEY holds"
    assert "sk-my" not in repr(client.endpoint) + str(client.endpoint.identity())
    monkeypatch.setenv("TEST_KEY", KEY)
    with ChatClient(told) as client:
        assert client.ask(HELLO).text == "read: hello"


def test_what_no_attempt_would_mend_stops_at_once(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        ChatClient(endpoint(server.url, model="other")) as client,
        pytest.raises(InputError, match="HTTP 404: no such address or model 'other'"),
    ):
        client.ask(HELLO)
    with (
        ChatClient(endpoint("http://127.0.0.1:9/v1")) as client,
        pytest.raises(InputError, match=r"nobody answers there .*; start the server, or mend url"),
    ):
        client.ask(HELLO)
    monkeypatch.delenv("TEST_KEY", raising=False)
    with pytest.raises(InputError, match="the variable TEST_KEY is not set"):
        ChatClient(endpoint(server.url, api_key_env="TEST_KEY"))


def test_addresses() -> None:
    assert endpoint("http://localhost:1/v1/chat/completions/").url == "http://localhost:1/v1"
    with pytest.raises(ValueError, match="begins with http"):
        endpoint("localhost:8000")


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"url": f"http://user:{KEY}@host/v1"}, "url: expected no key, password or query in the address"),
        ({"url": f"http://host/v1?api-key={KEY}"}, "url: expected no key, password or query in the address"),
        ({"api_key_env": KEY}, "api_key_env: expected the name of a variable that holds the key"),
        ({"api_key": KEY}, "unknown key 'api_key'; did you mean 'api_key_env'"),
        ({"extra": {"api_key": KEY}}, "extra: 'api_key' would be kept with the run"),
        ({"extra": {"headers": [{"Authorization": KEY}]}}, "extra: 'Authorization' would be kept with the run"),
    ],
)
def test_a_key_in_a_file_is_refused_and_not_repeated(said: dict[str, object], fault: str) -> None:
    with pytest.raises(InputError) as caught:
        validated(Endpoint, {"url": "http://host/v1", "model": "tiny"} | said, "judge.yaml")
    assert str(caught.value).startswith(f"judge.yaml: {fault}")
    assert KEY not in str(caught.value)


def test_a_key_that_looks_like_a_name_is_not_repeated() -> None:
    with pytest.raises(InputError, match=r"^api_key_env: the variable it names is not set; set it to your key$"):
        ChatClient(endpoint("http://host/v1", api_key_env="gskAbc123"))
    assert endpoint("http://host/v1", extra={"top_k": 1, "max_completion_tokens": 5}).extra["top_k"] == 1


def _events(*events: object) -> Iterator[str]:
    return (f"data: {event if isinstance(event, str) else json.dumps(event)}" for event in events)


def test_what_servers_stream() -> None:
    said, last = {"choices": [{"delta": {"content": "yes"}}]}, {"choices": [{"delta": {}, "finish_reason": "stop"}]}
    usage = {"usage": {"completion_tokens": 1}, "choices": None}
    assert _streamed(_events(said, said, last, usage, "[DONE]")) == ("yesyes", usage["usage"])
    assert _streamed(_events({"choices": []}, said, "[DONE]")) == ("yes", {})
    assert _streamed(_events(last)) == ("", {})
    for broken, why in (
        ([said], "broke off"),
        (["[DONE]"], "broke off"),
        ([said, {"error": {"message": "out of memory"}}, "[DONE]"], "told of an error: .*out of memory"),
        ([said, "{", last], "not a JSON object"),
        ([{"choices": ["yes"]}], "broke off"),
    ):
        with pytest.raises(_AgainError, match=why):
            _streamed(_events(*broken))


def test_what_servers_say_in_one_piece() -> None:
    assert _whole(b'{"choices": [{"message": {"content": "yes"}}], "usage": 3}') == ("yes", {})
    assert _whole(b'{"choices": [{"message": {"content": null}}]}') == ("", {})
    for broken in (b"[]", b"{}", b'{"choices": []}', b'{"choices": [{"message": {}}]}', b'{"error": "busy"}',
                   b'{"choices": [{"message": {"content": 3}}]}'):  # fmt: skip
        with pytest.raises(_AgainError):
            _whole(broken)


def test_the_rate_of_requests_is_held(server: Served) -> None:
    """At 1,200 a minute six requests of four threads take five pauses of 50 ms."""
    with ChatClient(endpoint(server.url, requests_per_minute=1200)) as client, ThreadPoolExecutor(4) as pool:
        started = time.monotonic()
        list(pool.map(lambda _: client.ask(HELLO), range(6)))
        assert time.monotonic() - started >= 0.25


def test_closing_ends_pauses(server: Served) -> None:
    model = "tiny/1.0/500/closed"
    with ThreadPoolExecutor(1) as pool:
        client = ChatClient(endpoint(server.url, model=model, first_pause=600, retries=9))
        asked = pool.submit(client.ask, HELLO)
        while not server.stats(model).asked:
            time.sleep(0.01)
        client.close()
        with pytest.raises(UnansweredError):
            asked.result(timeout=60)
