"""Splitting words: eighteen of them are five chains, and a run of a word is the rotated cycle between its two ends."""

import pytest

import thermolib as tl
from thermolib.ground.words import Word

#: Every word of A, B and O in which one map at most is written as two halves, by the chain it is a view of.
CHAINS = {
    "A/2 B A/2 O": ["BAOA", "AOAB", "OABA", "ABAO"],
    "A B/2 O B/2": ["OBAB", "BABO", "ABOB", "BOBA"],
    "A O/2 B O/2": ["BOAO", "OAOB", "AOBO", "OBOA"],
    "A O B": ["OBA", "AOB", "BAO"],
    "A B O": ["ABO", "BOA", "OAB"],
}
WORDS = [word for words in CHAINS.values() for word in words]
#: The same chains, looked at from the middle of a map.
HALVED = {
    "A/2 B A/2 O": ["BAOAB", "OABAO"],
    "A B/2 O B/2": ["OBABO", "ABOBA"],
    "A O/2 B O/2": ["BOAOB", "AOBOA"],
    "A O B": ["OBAO", "AOBA", "BAOB"],
    "A B O": ["OABO", "ABOA", "BOAB"],
}
ALL = [*WORDS, *(word for words in HALVED.values() for word in words)]


def test_eighteen_words_are_five_chains():
    assert len(set(WORDS)) == 18
    assert len({Word(word).chain for word in WORDS}) == 5
    for table in (CHAINS, HALVED):
        assert {chain: [Word(word).chain for word in words] for chain, words in table.items()} == {
            chain: [chain] * len(words) for chain, words in table.items()
        }


def test_the_longer_sub_step_tells_chains_apart():
    assert Word("OBA").chain != Word("ABO").chain
    assert Word("BABAO").chain != Word("BAO").chain


@pytest.mark.parametrize("word", ALL)
def test_the_fractions_of_each_letter_add_up_to_the_step(word):
    pieces = Word(word).pieces
    assert "".join(piece.letter for piece in pieces) == word
    assert [piece.position for piece in pieces] == list(range(len(word)))
    assert {x: sum(p.fraction for p in pieces if p.letter == x) for x in "ABO"} == {"A": 1, "B": 1, "O": 1}


@pytest.mark.parametrize("word", ALL)
def test_head_and_tail_are_the_word_cut_at_a_force(word):
    parsed = Word(word)
    assert parsed.head + parsed.tail == parsed.pieces
    assert parsed.tail[0].letter == "B"
    cycle = "".join(piece.letter for piece in parsed.tail + parsed.head)
    assert "B" not in cycle[cycle.rindex("A") :], "the force at the cut was asked for before it"
    assert parsed.forces == 1


@pytest.mark.parametrize(
    ("word", "head", "tail"),
    [("BAOAB", "BAOA", "B"), ("BAOA", "", "BAOA"), ("OBABO", "OBA", "BO"), ("ABOBA", "A", "BOBA"), ("OBA", "O", "BA")],
)
def test_where_words_are_cut(word, head, tail):
    parsed = Word(word)
    assert "".join(piece.letter for piece in parsed.head) == head
    assert "".join(piece.letter for piece in parsed.tail) == tail


@pytest.mark.parametrize(("word", "forces"), [("BABAO", 2), ("BABAB", 2), ("BBAO", 1), ("BOBA", 1), ("ABABA", 2)])
def test_kicks_between_two_drifts_share_one_force(word, forces):
    assert Word(word).forces == forces


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("BAXAB", "word='BAXAB' has the unknown letter 'X': allowed are A, B, O"),
        ("BAcAB", "unknown letter 'c'"),
        ("BOB", "word='BOB' has no A"),
        ("AOA", "word='AOA' has no B"),
        ("", "word='' has no A"),
    ],
)
def test_a_bad_word_is_refused_in_one_sentence(word, message):
    for refuses in (Word, lambda word: tl.Langevin(word, step_size=0.1)):
        with pytest.raises(ValueError) as error:
            refuses(word)
        assert message in str(error.value)
        assert "\n" not in str(error.value)


def test_other_alphabets_have_other_letters():
    assert Word("BACDEDCAB", "ABCDEF").forces == 1
    with pytest.raises(ValueError, match="unknown letter 'O'"):
        Word("BAOAB", "ABCDEF")
