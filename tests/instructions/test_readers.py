"""What answers in every form say: the golden set of both rule readers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.errors import InputError
from crossfade.instructions.choices import choose, refuses
from crossfade.instructions.numerals import in_digits, numbers_in
from crossfade.instructions.readers import Form, Reading, read
from crossfade.instructions.slots import any_slots, marked_slots

SAYS = 'The transcription is: "Hello, world!"'
MEANS = "The translation is: Hello, world."
MOODS = ("happy", "sad", "angry", "neutral")
SOUNDS = ("speech", "non-speech", "electric guitar", "guitar")


@pytest.mark.parametrize(
    ("answer", "meant"),
    [
        ("happy", "happy"),
        ("HAPPY", "happy"),
        (" Happy. ", "happy"),
        ("**Happy**", "happy"),
        ("“Happy”", "happy"),
        ("b", "sad"),
        ("B.", "sad"),
        ("(b)", "sad"),
        ("(B) sad", "sad"),
        ("option c", "angry"),
        ("I would choose option (d).", "neutral"),
        ("Answer: (d) neutral", "neutral"),
        ("The answer is happy", "happy"),
        ("Is it sad? No. The final answer is: angry.", "angry"),
        ("The speaker sounds angry to me", "angry"),
        ("I think it is sad, not happy", "sad"),
        ("Happy. The voice is bright rather than sad.", "happy"),
        ("It could be happy or sad.\nSad", "sad"),
        ("I'm sorry to hear that. The answer is sad.", "sad"),
        ("happy or sad", None),
        ("happy, sad", None),
        ("not happy", None),
        ("b) happy", None),
        ("option a or option b", None),
        ("joyful", None),
        ("I'm sorry, I can't tell whether it is happy", None),
        ("As an AI language model I cannot listen to the happy voice", None),
        ("It cannot be determined whether the speaker is angry", None),
        ("N/A", None),
        ("", None),
        ("  \n", None),
    ],
)
def test_an_option_in_many_words(answer: str, meant: str | None) -> None:
    assert choose(answer, MOODS) == meant


@pytest.mark.parametrize(
    ("answer", "options", "meant"),
    [
        ("I hear an electric guitar", SOUNDS, "electric guitar"),
        ("Electric Guitar!", SOUNDS, "electric guitar"),
        ("This is non-speech", SOUNDS, "non-speech"),
        ("the male one", ("male", "female"), "male"),
        ("female", ("male", "female"), "female"),
        ("Yes, they are the same.", ("yes", "no"), "yes"),
        ("True", ("yes", "no"), "yes"),
        ("Nope", ("yes", "no"), "no"),
        ("yes or no", ("yes", "no"), None),
        ("No idea.", ("yes", "no"), None),
        ("Yes, that is right", ("True", "False"), "True"),
        ("two speakers", ("1", "2", "3"), "2"),
        ("3", ("one", "two", "three"), "three"),
        ("about 2.5", ("2", "5"), None),
        ("minus five dB", ("-5", "0", "5"), "-5"),
        ("−5 dB", ("-5", "0", "5"), "-5"),
        ("negative 5", ("-5", "0", "5"), "-5"),
        ("C sharp", ("C", "C#"), "C#"),
        ("C-sharp", ("C", "C#"), "C#"),
        ("It is A#3, not A3", ("A3", "A#3"), "A#3"),
        ("A", ("A", "B"), "A"),
        ("The audio is a transcript of a song", ("A", "B"), None),
        ("A song with a B in it", ("A", "B"), "B"),
        ("It is an A, played on a guitar. A fine note.", ("A", "B"), "A"),
        ("A is the note that a piano plays", ("A", "B"), "A"),
        ("It plays a sharp", ("A", "A#"), "A#"),
        ("😢", ("😀", "😢"), "😢"),
        ("The rhythm is x--x--xx.", ("x---x-xx", "x--x--xx"), "x--x--xx"),
        ("x--x--xx", ("x---x-xx", "x--x--xx"), "x--x--xx"),
        ("(b)", ("x---x-xx", "x--x--xx"), "x--x--xx"),
        ("(b)", ("one", "two", "three"), "two"),
        ("none of the above", ("rain", "none of the above"), "none of the above"),
        ("unknown", ("rain", "unknown"), "unknown"),
    ],
)
def test_options_that_are_like_each_other(answer: str, options: tuple[str, ...], meant: str | None) -> None:
    assert choose(answer, options) == meant


@given(
    st.sampled_from(MOODS), st.sampled_from(["{}", "{}.", '"{}"', "*{}*", "The answer is {}.", "\n{}\n", "It is {}"])
)
def test_an_option_alone_is_always_found(option: str, frame: str) -> None:
    for written in (option, option.upper(), option.title()):
        assert choose(frame.format(written), MOODS) == option


@given(st.text(max_size=60))
def test_any_text_can_be_read(text: str) -> None:
    assert choose(text, MOODS) in (None, *MOODS)
    assert all(isinstance(number, float) for number in numbers_in(text))
    for form in ("phrase", "words", "characters", "phones", "text", "slots", "tags"):
        assert read("normalised", form, "a b", text).label is not None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("3.5", (3.5,)),
        ("about 3.5 seconds", (3.5,)),
        ("12dB", (12.0,)),
        ("-3,5", (-3.5,)),
        ("1,200.5", (1200.5,)),
        ("1, 2, 3", (1.0, 2.0, 3.0)),
        ("1,2,3", (1.0, 2.0, 3.0)),
        ("10-20", (10.0, 20.0)),
        ("4 out of 5", (4.0,)),
        ("4/5", (4.0,)),
        ("twenty-one point five dB", (21.5,)),
        ("three hundred and five", (305.0,)),
        ("two thousand five hundred", (2500.0,)),
        ("one two", (1.0, 2.0)),
        ("one and a half", (1.5,)),
        ("minus five", (-5.0,)),
        ("1e-3", (0.001,)),
        ("mp3", ()),
        ("none", ()),
    ],
)
def test_numbers_in_digits_and_words(text: str, numbers: tuple[float, ...]) -> None:
    assert numbers_in(text) == numbers
    assert numbers_in(in_digits(text)) == numbers


@pytest.mark.parametrize(
    ("form", "label", "answer", "exact", "normalised"),
    [
        ("option", "Happy", " happy", "happy", "happy"),
        ("option", "happy", "Happy.", None, "happy"),
        ("phrase", "jazz", "Jazz", "jazz", "jazz"),
        ("phrase", "jazz", "The genre is Jazz.", "the genre is jazz.", "jazz"),
        ("phrase", "A minor", "The key is A minor.", "the key is a minor.", "a minor"),
        ("number", "3.5", "3.5", 3.5, 3.5),
        ("number", "3.5 dB", "It is 3.5 dB.", None, 3.5),
        ("number", "3", "The answer is three.", None, 3.0),
        ("number", "3", "three or four", None, None),
        ("number", "3", "nan", None, None),
        ("words", "hello world", SAYS, SAYS, "hello world"),
        ("words", "a#3 -5 2.5 1200", "A♯3, −5, 2.5, 1,200.", "A♯3, −5, 2.5, 1,200.", "a#3 -5 2.5 1200"),
        ("words", "don't stop", "Don’t stop.", "Don’t stop.", "don't stop"),
        ("words", "i'm sorry i can't", "I'm sorry, I can't.", "I'm sorry, I can't.", "i'm sorry i can't"),
        ("words", "hello", "I'm sorry, I can't transcribe this.", "I'm sorry, I can't transcribe this.", None),
        ("words", "नमस्ते दुनिया", "नमस्ते, दुनिया!", "नमस्ते, दुनिया!", "नमस्ते दुनिया"),
        ("characters", "你好世界", "你好，世界。", "你好，世界。", "你好世界"),
        ("phones", "HH AH L OW", "hh ah  l ow", "hh ah  l ow", "hh ah l ow"),
        ("text", "Hello, world.", MEANS, MEANS, "Hello, world."),
        ("tags", "rock, pop", "Pop,rock", ("pop", "rock"), ("pop", "rock")),
        ("tags", "rock, pop", "The tags are pop and rock.", ("the tags are pop and rock.",), ("pop", "rock")),
    ],
)  # fmt: skip
def test_every_form_under_both_readers(form: Form, label: str, answer: str, exact: object, normalised: object) -> None:
    options = MOODS if form == "option" else ()
    assert read("exact", form, label, answer, options).answer == exact
    assert read("normalised", form, label, answer, options).answer == normalised


def test_what_is_no_answer_is_not_applicable_under_both() -> None:
    for answer in (None, "", "   "):
        assert read("exact", "option", "happy", answer, MOODS) == Reading("happy", None)
        assert read("normalised", "option", "happy", answer, MOODS) == Reading("happy", None)
        assert read("normalised", "words", "hello", answer) == Reading("hello", None)
    assert read("exact", "option", "happy", "joyful", MOODS).answer is None


def test_a_label_may_be_the_letter_of_an_option() -> None:
    assert read("normalised", "option", "B", "It is sad.", MOODS) == Reading("sad", "sad")
    assert read("normalised", "option", "(b)", "b", MOODS) == Reading("sad", "sad")


def test_a_label_that_is_no_option_is_compared_as_a_phrase() -> None:
    assert read("normalised", "option", "cheerful", "It is cheerful.", MOODS) == Reading("cheerful", "cheerful")
    assert read("exact", "option", "cheerful", "Cheerful", MOODS) == Reading("cheerful", "cheerful")


def test_labels_without_what_is_compared_are_refused() -> None:
    with pytest.raises(InputError, match="label 'loud': expected a number"):
        read("exact", "number", "loud", "3")
    with pytest.raises(InputError, match="label ' ': expected words"):
        read("normalised", "words", " ", "hello")


def test_refusals() -> None:
    assert all(map(refuses, ("", "I'm sorry, but I can't hear it.", "I cannot determine this.", "Unknown.", "n/a")))
    assert not any(map(refuses, ("happy", "I am happy", "no")))


MARKED = "play B-artist the beatles E-artist on B-service spotify E-service"
SLOTS = (("artist", "the beatles"), ("service", "spotify"))


@pytest.mark.parametrize(
    "text",
    [
        MARKED,
        '{"artist": "The Beatles", "service": ["Spotify"]}',
        '[{"artist": "The Beatles"}, {"service": "Spotify"}]',
        '```json\n{"artist": "The Beatles", "service": "Spotify"}\n```',
        "artist: the Beatles; service: Spotify",
        "- artist: the Beatles\n- service = Spotify",
    ],
)
def test_slots_in_every_form(text: str) -> None:
    assert any_slots(text) == SLOTS


def test_slots_that_cannot_be_read() -> None:
    assert marked_slots(MARKED) == SLOTS
    assert marked_slots("hello there") == ()
    assert marked_slots("play B-artist the beatles") is None
    for text in ("hello there", "{broken", "[1, 2]", "", "B-artist only"):
        assert any_slots(text) is None
    assert read("normalised", "slots", "no slots here", "artist: x").label == ()
