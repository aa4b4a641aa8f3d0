"""What models are described as, what they are shown, and what becomes of what they say."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from chat_server import Served
from torch import Tensor

from crossfade.errors import InputError
from crossfade.instructions.models import Answer, ModelSpec, PythonSpec, Question, Shaping, open_model, read_model
from crossfade.instructions.sounds import shaped

ENDPOINT = {"url": "http://127.0.0.1:9/v1", "model": "tiny"}


def question(*seconds: float, rate: int = 16000, text: str = "What is it?", **texts: str) -> Question:
    torch.manual_seed(7)
    return Question(tuple((0.1 * torch.randn(round(one * rate)), rate) for one in seconds), texts, text)


def described(path: Path, **said: Any) -> ModelSpec:
    file = path / "model.yaml"
    file.write_text(yaml.safe_dump(said))
    return read_model(file)


def test_a_question_is_its_instruction_then_its_texts() -> None:
    assert question(text="Is it so?", text2="a", text1="b").prompt == "Is it so?\ntext2: a\ntext1: b"


def test_sounds_are_joined_padded_and_cut_as_the_paper_does() -> None:
    """SALMONN's script: half a second between clips, a second at least, thirty at most."""
    rules = Shaping(join_seconds=0.5, pad_seconds=1, cut_seconds=30)
    first, second = (torch.ones(400), 1000), (torch.ones(200), 500)
    ((joined, rate),) = shaped([first, second], rules)
    assert (rate, len(joined)) == (1000, 400 + 500 + 400)
    assert joined[400:900].abs().max() == 0
    assert torch.equal(joined[:400], torch.ones(400))
    ((short, _),) = shaped([(torch.ones(400), 1000)], rules)
    assert (len(short), float(short.sum())) == (1000, 400.0)
    ((long, _),) = shaped([(torch.ones(31_000), 1000)], rules)
    assert len(long) == 30_000
    assert [len(samples) for samples, _ in shaped([first, second], Shaping())] == [400, 200]


@pytest.mark.parametrize("audio", ["input_audio", "audio_url"])
def test_a_chat_endpoint_hears_wav_at_its_own_rate(server: Served, tmp_path: Path, audio: str) -> None:
    endpoint = {"url": server.url, "model": "tiny"}
    model = open_model(described(tmp_path, kind="chat", endpoint=endpoint, audio=audio, system="Be brief."))
    asked = [question(0.1), question(0.2, 0.05, rate=8000), question()]
    texts = [answer.text for answer in model.answer(asked) if isinstance(answer, Answer)]
    model.close()
    heard = ["1600@16000", "1600@8000 400@8000", "nothing"]
    assert texts == [f"heard {sounds}: What is it?" for sounds in heard]


def test_an_identity_holds_what_decides_the_answers(tmp_path: Path) -> None:
    told = ENDPOINT | {"api_key_env": "PATH", "timeout": 3, "retries": 1}
    model = open_model(described(tmp_path, kind="chat", endpoint=told, name="mine"), seed=7)
    endpoint: Any = model.identity["endpoint"]
    assert (model.name, endpoint["model"], endpoint["seed"], endpoint["temperature"]) == ("mine", "tiny", 7, 0.0)
    assert not {"url", "api_key_env", "timeout", "retries"} & endpoint.keys()
    model.close()


FAULTS = {
    "kind: expected what sort of model it is, received 'chatt'; did you mean 'chat'?": {"kind": "chatt"},
    "kind: expected what sort of model it is, received none": {"model": "x"},
    "endpoint.url: expected an address that begins with http": {"kind": "chat", "endpoint": ENDPOINT | {"url": "x"}},
    "unknown key 'endpoint.api_key'": {"kind": "chat", "endpoint": ENDPOINT | {"api_key": "sk-secret"}},
    "prompt: expected {question} in it": {
        "kind": "cascade",
        "whisper": {"model": "x"},
        "endpoint": ENDPOINT,
        "prompt": "{transcripts}",
    },
    "endpoint: expected keys and values, as {url: http://localhost:8000/v1, model: NAME}; received none": {
        "kind": "chat"
    },
    "whisper: expected keys and values, as {model: ./whisper-base}; received 'x'": {
        "kind": "cascade",
        "whisper": "x",
        "endpoint": {"url": "http://x"},
    },
    "unknown key 'promt'; did you mean 'prompt'?": {"kind": "cascade", "promt": "x"},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_descriptions_are_one_line(tmp_path: Path, fault: str) -> None:
    with pytest.raises(InputError, match=re.escape(fault)) as caught:
        described(tmp_path, **FAULTS[fault])
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


OWN = """
class Loud:
    def __init__(self, word="loud"):
        self.word = word
    def answer(self, questions):
        if self.word == "broken":
            raise KeyError("no such thing")
        if self.word == "few":
            return []
        if self.word == "odd":
            return [3 for _ in questions]
        return [f"{self.word} {len(question.sounds)}" for question in questions]
"""


def own(path: Path, **settings: str) -> Any:
    (path / "own.py").write_text(OWN)
    return open_model(PythonSpec(kind="python", model=f"{path}/own.py:Loud", settings=settings, batch=4))


def test_a_class_of_the_users(tmp_path: Path) -> None:
    model = own(tmp_path, word="quiet")
    assert (model.name, model.batch) == ("own", 4)
    assert [answer.text for answer in model.answer([question(0.1), question(0.1, 0.1)])] == ["quiet 1", "quiet 2"]
    (broken,) = own(tmp_path, word="broken").answer([question(0.1)])
    assert str(broken) == "KeyError: 'no such thing'"
    for word, fault in (("few", "0 answers to 1 questions"), ("odd", "an answer is int; expected text")):
        with pytest.raises(InputError, match=fault):
            own(tmp_path, word=word).answer([question(0.1)])


def test_a_class_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "broken.py").write_text("import nothing_of_that_name")
    cases = {
        "own.py:Lout": "has no class 'Lout'; did you mean 'Loud'?",
        "other.py:Loud": "no file '.*other.py'; expected FILE.py:NAME",
        "broken.py:Loud": "cannot be imported",
    }
    for name, fault in cases.items():
        with pytest.raises(InputError, match=fault.replace("?", r"\?")):
            open_model(PythonSpec(kind="python", model=f"{tmp_path}/{name}"))
    with pytest.raises(InputError, match=r"cannot be made \(TypeError"):
        own(tmp_path, other="x")


# Whisper ------------------------------------------------------------------------------------------------------------


def tiny_whisper(path: Path) -> Path:
    """A random Whisper that knows one language, with a tokenizer of as many words as it has tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, WhisperConfig, WhisperForConditionalGeneration

    marks = ["<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>", "<|pad|>"]
    words = marks + [f"w{number}" for number in range(28)]
    tokens = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="w0"))
    tokens.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokens, eos_token=marks[0], bos_token=marks[1], pad_token=marks[3],
        additional_special_tokens=[marks[2]],
    ).save_pretrained(path)  # fmt: skip
    torch.manual_seed(3)
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "num_mel_bins": 80}
    sizes |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "vocab_size": len(words)}
    marked = {"eos_token_id": 0, "decoder_start_token_id": 1, "bos_token_id": 1, "pad_token_id": 3}
    config = WhisperConfig(**sizes, **marked, suppress_tokens=None, begin_suppress_tokens=None, init_std=0.4)
    WhisperForConditionalGeneration(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_whisper(tmp_path_factory.mktemp("whisper"))


def heard_by_hand(folder: Path, samples: Tensor, tokens: int) -> str:
    """Transformers' own way: its feature extractor and greedy steps."""
    from transformers import AutoTokenizer, WhisperFeatureExtractor, WhisperForConditionalGeneration

    model = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    spectrum = WhisperFeatureExtractor()(samples.numpy(), sampling_rate=16000, return_tensors="pt").input_features
    said = [1]
    while len(said) <= tokens and said[-1] != 0:
        scores = model(input_features=spectrum, decoder_input_ids=torch.tensor([said])).logits[0, -1]
        said.append(int(scores.argmax()))
    return str(AutoTokenizer.from_pretrained(folder).decode(said, skip_special_tokens=True))


def test_a_transcript_is_what_transformers_makes_of_each_window(whisper: Path, tmp_path: Path) -> None:
    model = open_model(described(tmp_path, kind="whisper", model=str(whisper), max_tokens=5, batch=2))
    one, long = question(1.0), question(31.0)
    first, second = (answer.text for answer in model.answer([one, long]) if isinstance(answer, Answer))
    samples = long.sounds[0][0]
    assert first == heard_by_hand(whisper, one.sounds[0][0], 5) != ""
    pieces = [heard_by_hand(whisper, piece, 5) for piece in (samples[:480_000], samples[480_000:])]
    assert second == " ".join(filter(None, pieces))


def test_what_ctranslate2_cannot_open(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"no tokenizer\.json, which turns tokens into text"):
        open_model(described(tmp_path, kind="whisper", model=str(tmp_path), device="cpu"))
    for name in ("tokenizer.json", "vocabulary.txt", "config.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match="CTranslate2 cannot open it as Whisper"):
        open_model(described(tmp_path, kind="whisper", model=str(tmp_path), device="cpu"))


def test_a_cascade_shows_transcripts_to_a_model_that_reads(whisper: Path, server: Served, tmp_path: Path) -> None:
    told = {"model": str(whisper), "max_tokens": 5}
    spec = described(tmp_path, kind="cascade", whisper=told, endpoint={"url": server.url, "model": "tiny"})
    model = open_model(spec)
    one, two = question(1.0), question(1.0, 0.5, text="Same?")
    answers = [answer.text for answer in model.answer([one, two]) if isinstance(answer, Answer)]
    model.close()
    said = [heard_by_hand(whisper, sound, 5) for sound, _ in two.sounds]
    assert answers[0] == f"read: Transcript of the audio: {heard_by_hand(whisper, one.sounds[0][0], 5)}\n\nWhat is it?"
    assert answers[1] == f"read: Transcript of audio 1: {said[0]}\nTranscript of audio 2: {said[1]}\n\nSame?"


# Audio language models ----------------------------------------------------------------------------------------------

TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}{% if part['type'] == 'audio' %}"
    "<|audio_bos|><|AUDIO|><|audio_eos|> {% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
)


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen2-Audio with its processor."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        PreTrainedTokenizerFast,
        Qwen2AudioConfig,
        Qwen2AudioEncoderConfig,
        Qwen2AudioForConditionalGeneration,
        Qwen2AudioProcessor,
        Qwen2Config,
        WhisperFeatureExtractor,
    )

    path = tmp_path_factory.mktemp("qwen")
    marks = ["<|end|>", "<|pad|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"]
    words = marks + ["What", "is", "it?"] + [f"w{number}" for number in range(24)]
    tokens = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="w0"))
    tokens.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokens, eos_token=marks[0], pad_token=marks[1], additional_special_tokens=marks[2:]
    )
    Qwen2AudioProcessor(WhisperFeatureExtractor(feature_size=80), fast, TEMPLATE).save_pretrained(path)
    torch.manual_seed(5)
    audio = Qwen2AudioEncoderConfig(
        num_mel_bins=80, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=16, d_model=16
    )
    text = Qwen2Config(
        vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, bos_token_id=None, eos_token_id=0, pad_token_id=1, initializer_range=0.5,
    )  # fmt: skip
    config = Qwen2AudioConfig(audio_config=audio, text_config=text, audio_token_index=2)
    Qwen2AudioForConditionalGeneration(config).save_pretrained(path)
    return path


def test_an_audio_language_model_answers_alike_alone_and_in_a_batch(qwen: Path, tmp_path: Path) -> None:
    model = open_model(described(tmp_path, kind="hub", model=str(qwen), device="cpu", max_tokens=6, batch=3))
    asked = [question(0.5), question(0.7, 0.3, rate=8000), question(1.0)]
    together = [answer for answer in model.answer(asked) if isinstance(answer, Answer)]
    alone = [answer for one in asked for answer in model.answer([one]) if isinstance(answer, Answer)]
    assert together == alone
    assert all(1 <= (answer.tokens_out or 0) <= 6 for answer in together)
    assert len({answer.tokens_in for answer in together}) == 3
    assert model.batch == 3


def test_what_is_no_audio_language_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be opened as an audio language model"):
        open_model(described(tmp_path, kind="hub", model=str(tmp_path), device="cpu"))
