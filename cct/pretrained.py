"""Starts a model from weights trained elsewhere: on another image size, with other classes or another pooling step."""

import fcntl
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import torch
import torch.nn.functional as F
from torch import Tensor

from cct.download import fetch
from cct.models import Model, TextTransformer
from cct.provenance import sha256_of
from cct.published import PUBLISHED
from cct.texts import UNKNOWN, read_vectors
from cct.weights import UnusableWeights, read_weights

FOLDER = "pretrained"
VECTORS_FOLDER = "word_vectors"
_POSITIONAL = "classifier.positional_emb"
_HEAD = ("classifier.fc.weight", "classifier.fc.bias")
_CLASS_TOKEN = "classifier.class_emb"
_EMBEDDING = "embedder.embeddings.weight"
_POOLING = ("classifier.attention_pool.", _CLASS_TOKEN)


def locate(pretrained: str, data_dir: Path) -> Path:
    """The file that `RunSpec.pretrained` names, below `data_dir/pretrained`; what has an address is downloaded once.

    Published weights are taken from there under the name that their file has been published by, if it is there. What
    has another checksum than the address tells is downloaded anew. Raises `UnusableWeights`.
    """
    folder = data_dir / FOLDER
    address, _, checksum = pretrained.partition("#sha256=")
    if pretrained in PUBLISHED:
        address = PUBLISHED[pretrained].address
        if (path := folder / Path(address).name).is_file():
            return path
    elif not pretrained.startswith("https://"):
        path = folder / pretrained
        if not path.is_file():
            raise UnusableWeights(f"pretrained: there is no file {path}; put it there")
        return path
    name = Path(urlsplit(address).path).name
    path = folder / "downloads" / f"{hashlib.sha256(address.encode()).hexdigest()[:12]}-{name}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f"{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists() or (checksum and sha256_of(path) != checksum):
                part = path.with_name(f"part-{path.name}")  # which keeps the ending, that tells what is in it
                try:
                    fetch(address, part)
                    if checksum and (found := sha256_of(part)) != checksum:
                        raise UnusableWeights(f"its checksum is sha256={found}, not sha256={checksum}")
                    read_weights(part)  # a page that asks for a password, say, must not stay here
                    part.replace(path)
                finally:
                    part.unlink(missing_ok=True)
    except (OSError, UnusableWeights) as error:
        raise UnusableWeights(
            f"pretrained: {address} cannot be downloaded ({error}); put the file into {folder}"
            f"{'' if pretrained in PUBLISHED else ' and give its name'}"
        ) from error
    return path


@dataclass(frozen=True, slots=True)
class Started:
    """What a model took from a file of weights."""

    not_used_for: list[str]
    """The keys of weights that keep their initial values."""
    entry: str
    """The entry of the file that was taken, empty for the file as a whole."""
    words: tuple[int, int] | None = None
    """How many words of a text model's vocabulary have their vectors from the file, of how many; None if it does not
    say whose vectors it has, so that none was taken."""

    def provenance(self) -> dict[str, str]:
        told = {"pretrained_not_used_for": ", ".join(self.not_used_for)}
        told |= {"pretrained_entry": self.entry} if self.entry else {}
        return told | ({"pretrained_words": "{} of {}".format(*self.words)} if self.words else {})


def load_pretrained(model: Model, path: Path, vocabulary: Sequence[str] = (), to_evaluate: bool = False) -> Started:
    """Copies the weights of a file into a model; a text model's words have a `vocabulary`.

    What may keep its initial values: the head, if the number of classes differs or the file has none; the weights of
    the pooling step, if the file's pooling has others, its class token included, whose position keeps its initial
    embedding then; a fixed positional embedding. A learned positional embedding is interpolated to the model's grid.
    Each word of a text model takes the vector that the file has for this very word; if the file does not say which
    words it has, none does. Raises `UnusableWeights`, which names the keys, if anything else is missing, unexpected or
    of another shape.

    Initial values are no weights `to_evaluate`: there only a fixed positional embedding may be the model's own, and
    words that the file lacks take the vector of its unknown word. Else raises `UnusableWeights`.
    """
    file, own = read_weights(path), model.state_dict()
    given = file.tensors
    if odd := [key for key, value in given.items() if not value.isfinite().all()]:
        raise UnusableWeights(f"{path} has weights that are infinite or not a number, such as {odd[0]}")
    weights = {key: value for key, value in given.items() if not key.startswith(_POOLING)}
    has_no_head = not any(key in weights for key in _HEAD)
    replaced = [key for key in _HEAD if has_no_head or (key in weights and _has_other_classes(weights[key], own[key]))]
    words: tuple[int, int] | None = None
    if _EMBEDDING in own and _EMBEDDING in weights and weights[_EMBEDDING].shape[1:] == own[_EMBEDDING].shape[1:]:
        numbers = {word: number for number, word in enumerate(file.vocabulary)}
        if 0 < len(numbers) <= len(weights[_EMBEDDING]):
            known = {number: numbers[word] for number, word in enumerate(vocabulary) if word in numbers}
            rows = own[_EMBEDDING].clone()
            if to_evaluate:
                rows[UNKNOWN:] = weights[_EMBEDDING][UNKNOWN].to(rows)
            rows[list(known)] = weights[_EMBEDDING][list(known.values())].to(rows)
            weights[_EMBEDDING], words = rows, (len(known), len(vocabulary))
        else:
            replaced.append(_EMBEDDING)
    positional = model.classifier.positional_emb
    if positional is not None and _POSITIONAL in weights:
        if not positional.requires_grad:
            replaced.append(_POSITIONAL)
        elif weights[_POSITIONAL].dim() == 3 and weights[_POSITIONAL].shape[::2] == positional.shape[::2]:
            had, has = (int(_CLASS_TOKEN in state) for state in (given, own))
            try:
                grid = resize_positional_embedding(weights[_POSITIONAL][:, had:], positional.shape[1] - has)
            except UnusableWeights as error:
                raise UnusableWeights(f"{path}: {error}") from error
            # A class token's is the file's if both have one.
            token = (weights[_POSITIONAL] if had else own[_POSITIONAL])[:, :has]
            weights[_POSITIONAL] = torch.cat([token.to(grid), grid], dim=1)
    pooling = [key for key in own if key.startswith(_POOLING)]
    if all(key in given and given[key].shape == own[key].shape for key in pooling):
        weights |= {key: given[key] for key in pooling}
    else:
        replaced += pooling
    if to_evaluate and (lacking := [key for key in replaced if key != _POSITIONAL]):
        raise UnusableWeights(
            f"{path} has no weights that fit this model's {_shortened(lacking)}, so there is nothing to evaluate; "
            "choose model, pooling and dataset as the weights were trained with, or train for 1 or more epochs"
        )
    weights |= {key: own[key] for key in replaced}
    problems = {
        "missing": [key for key in own if key not in weights],
        "unexpected": [key for key in weights if key not in own],
        "of another shape": [
            f"{key} {tuple(weights[key].shape)} instead of {tuple(own[key].shape)}"
            for key in own
            if key in weights and weights[key].shape != own[key].shape
        ],
    }
    if any(problems.values()):
        listed = "; ".join(f"{kind}: {_shortened(keys)}" for kind, keys in problems.items() if keys)
        raise UnusableWeights(f"{path} has weights of another model ({listed})")
    model.load_state_dict(weights)
    return Started(replaced, file.entry, words)


def load_word_vectors(model: TextTransformer, vocabulary: Sequence[str], path: Path) -> tuple[int, int, str]:
    """Gives the words of a vocabulary the vectors that a file in GloVe's format has for them; how many it has, of how
    many words, and what may be the reason if it seems to be written otherwise.

    A word that the file lacks becomes like the unknown word, whose vector is the mean of those found. Raises
    `UnusableWeights`.
    """
    embeddings = model.embedder.embeddings
    if not path.is_file():
        raise UnusableWeights(f"word_vectors: there is no file {path}; put it there")
    try:
        found, in_other_case = read_vectors(path, vocabulary, embeddings.embedding_dim)
    except ValueError as error:
        raise UnusableWeights(f"{path} has no word vectors in the format of GloVe for this model: {error}") from error
    # Without `<pad>` and `<unk>`, which are no words.
    words, hint = len(vocabulary) - UNKNOWN - 1, ""
    if in_other_case > len(found):
        hint = f"; it has {in_other_case} of them in capital letters, while texts are read in small ones: convert it"
    if not found:
        raise UnusableWeights(f"{path} has no vector for any of the {words} words of the training texts{hint}")
    vectors = torch.stack(list(found.values()))
    with torch.no_grad():
        embeddings.weight[UNKNOWN:] = vectors.mean(dim=0)
        embeddings.weight[list(found)] = vectors
    return len(found), words, hint


def resize_positional_embedding(grid: Tensor, tokens: int) -> Tensor:
    """`(1, old tokens, channels)` to `(1, tokens, channels)`: square grids, without class tokens; bilinear, as in the
    reference (`resize_pos_embed`).

    Raises `UnusableWeights` if the grids are not square.
    """
    if grid.shape[1] == tokens:
        return grid
    old, new = math.isqrt(grid.shape[1]), math.isqrt(tokens)
    if old * old != grid.shape[1] or new * new != tokens or not old:
        raise UnusableWeights(
            f"a positional embedding of {grid.shape[1]} tokens does not fit {tokens}: both must be square grids"
        )
    square = grid.float().transpose(1, 2).reshape(1, -1, old, old)
    resized = F.interpolate(square, size=(new, new), mode="bilinear").flatten(2).transpose(1, 2)
    return resized.to(grid.dtype)


def _has_other_classes(given: Tensor, own: Tensor) -> bool:
    return given.dim() == own.dim() and given.shape[1:] == own.shape[1:] and len(given) != len(own)


def _shortened(keys: list[str]) -> str:
    return ", ".join(keys[:8]) + (f" and {len(keys) - 8} more" if len(keys) > 8 else "")
