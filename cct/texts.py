"""Texts as numbers of words: the word tokenizer, vocabularies, and the published files of datasets and vectors.

Numbers of words are positions in a vocabulary, which begins with `<pad>` and `<unk>`.
"""

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor

from cct.named_datasets import DATASETS

PADDING, UNKNOWN = 0, 1
"""Numbers of what fills up a short text, and of any word outside the vocabulary."""

TREC_CLASSES = DATASETS["trec"].class_names
AG_NEWS_CLASSES = DATASETS["ag_news"].class_names

Labelled = tuple[int, str]
"""A label, counted from 0, and a text."""


def words_of(text: str) -> list[str]:
    """The words of a text in lower case: runs of letters, digits and underscores, with apostrophes in them (`don't`).

    Any other sign that is not white space is a word of its own.
    """
    return re.findall(r"\w+(?:'\w+)*|[^\w\s]", text.lower())


def vocabulary_of(texts: Iterable[str], size: int) -> tuple[str, ...]:
    """`<pad>`, `<unk>` and the most frequent words, at most `size` in all; those of the same frequency by alphabet."""
    frequency = Counter(word for text in texts for word in words_of(text))
    ranked = sorted(frequency, key=lambda word: (-frequency[word], word))
    return ("<pad>", "<unk>", *ranked[: size - 2])


def encode(texts: Sequence[str], vocabulary: Sequence[str], length: int) -> Tensor:
    """The numbers of the first `length` words of each text, `(texts, length)`, int32.

    A text without words is one unknown word, so that there is something to classify.
    """
    numbers = {word: number for number, word in enumerate(vocabulary)}
    rows = []
    for text in texts:
        found = [numbers.get(word, UNKNOWN) for word in words_of(text)[:length]] or [UNKNOWN]
        rows.append(found + [PADDING] * (length - len(found)))
    return torch.tensor(rows, dtype=torch.int32)


def read_ag_news(path: Path) -> list[Labelled]:
    """Rows of class index (from 1), title and description, in which backslashes stand for line breaks.

    A first row of column names and empty rows are left out. Raises `ValueError` with the number of the line that is not
    one.
    """
    found: list[Labelled] = []
    rows = csv.reader(_lines(path, "utf-8"), strict=True)
    try:
        for row in rows:
            if not row or (rows.line_num == 1 and row[0].strip().lower() in _COLUMN_NAMES):
                continue
            label, title, description = row
            if not 1 <= int(label) <= len(AG_NEWS_CLASSES):
                raise ValueError(f"there is no class {label}")
            found.append((int(label) - 1, f"{title} {description}".replace("\\", " ")))
    except (ValueError, csv.Error) as error:
        # A line that cannot be decoded is not counted yet.
        number = rows.line_num + isinstance(error, UnicodeDecodeError)
        raise ValueError(f"line {number} is not class, title, description: {error}") from error
    return found


_COLUMN_NAMES = ("class index", "class", "label")


def read_trec(path: Path) -> list[Labelled]:
    """Lines of coarse class, fine class and question, `DESC:manner How did ...`, in Latin-1; empty lines are left out.

    Raises `ValueError` with the number of the line that is not one.
    """
    found: list[Labelled] = []
    for number, line in enumerate(_lines(path, "latin-1"), start=1):
        coarse, colon, rest = line.strip().partition(":")
        if not coarse:
            continue
        if not colon or coarse not in TREC_CLASSES:
            raise ValueError(f"line {number} does not begin with a class of {', '.join(TREC_CLASSES)} and a colon")
        found.append((TREC_CLASSES.index(coarse), rest.partition(" ")[2]))
    return found


def _lines(path: Path, encoding: str) -> Iterator[str]:
    """The lines with their ends, decoded one by one, so that an error is of the line that is read; without the mark
    that some editors put first."""
    with path.open("rb") as file:
        for number, line in enumerate(file):
            yield (line.removeprefix(codecs.BOM_UTF8) if number == 0 else line).decode(encoding)


def read_vectors(path: Path, vocabulary: Sequence[str], channels: int) -> tuple[dict[int, Tensor], int]:
    """The vectors of those words of a vocabulary that a file has, by the words' numbers; and how many words it would
    have if its own were written in small letters.

    A line is a word and `channels` numbers, as GloVe is published; the first may be the two counts that word2vec writes
    there. Empty lines, and the mark that some editors put first, are left out. Raises `ValueError` with the number of
    the line that is not one.
    """
    numbers = {word: number for number, word in enumerate(vocabulary)}
    found: dict[int, Tensor] = {}
    in_small_letters: set[int] = set()
    line_number = 0
    try:
        for line_number, line in enumerate(_lines(path, "utf-8"), start=1):
            if not line.strip() or (line_number == 1 and re.fullmatch(r"\d+ \d+\s*", line)):
                continue
            word, *vector = line.rstrip(" \r\n").rsplit(" ", channels)
            if len(vector) != channels:
                raise ValueError(f"line {line_number} has {len(vector)} numbers instead of {channels}")
            if word in numbers:
                found[numbers[word]] = torch.tensor([_number(value, line_number) for value in vector])
            if word.lower() in numbers:
                in_small_letters.add(numbers[word.lower()])
    except UnicodeDecodeError as error:
        # A line that cannot be decoded is not counted yet.
        raise ValueError(f"line {line_number + 1} is not UTF-8 ({error.reason})") from error
    return found, len(in_small_letters)


def _number(value: str, line_number: int) -> float:
    with suppress(ValueError):
        if isfinite(number := float(value)):
            return number
    raise ValueError(f"line {line_number} has {value!r} for a number")
