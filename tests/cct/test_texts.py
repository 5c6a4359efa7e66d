"""Text models, their masks, and the datasets and word vectors they read."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cct import checkpoint
from cct.cost import cost
from cct.data import load
from cct.download import DatasetUnavailable
from cct.events import EpochRecord, Facts, Look, Text
from cct.models import TextTransformer, build, create_model, mixes_batch
from cct.named_models import TEXT_LENGTH, TEXT_MODELS
from cct.pooling import POOLINGS
from cct.spec import RunSpec, SpecError
from cct.step import Stopped
from cct.texts import PADDING, UNKNOWN, encode, vocabulary_of, words_of
from cct.training import train
from cct.weights import UnusableWeights
from tests.cct.test_pooling import make
from tests.cct.test_training import numbers
from tests.cct.told import first, only

FAMILIES = ["text_cct_2", "text_cvt_2", "text_transformer_2", "text_vit_2"]
LENGTHS = torch.tensor([1, 5, 12, 33])

TREC_TRAIN = """DESC:manner How did serfdom develop in and then leave Russia ?
ENTY:cremat What films featured the character Popeye Doyle ?
ABBR:exp What is the full form of .com ?
HUM:ind What contemptible scoundrel stole the cork from my lunch ?
LOC:city What sprawling U.S. city boasts the most airports ?
NUM:date When was Ozzy Osbourne born ?
DESC:def What is caf\xe9 au lait ?
"""
TREC_TEST = """NUM:dist How far is it from Denver to Aspen ?
LOC:city What county is Modesto , California in ?
HUM:desc Who was Galileo ?
"""
SPEC = RunSpec(
    model="text_cct_2", dataset="trec", epochs=2, batch_size=3, lr=2e-3, warmup_epochs=0, word_vectors="", seed=1
)


@pytest.fixture
def trec(tmp_path: Path) -> Path:
    """A data folder with TREC's files as published, shortened."""
    folder = tmp_path / "trec"
    folder.mkdir()
    (folder / "train_5500.label").write_text(TREC_TRAIN, encoding="latin-1")
    (folder / "TREC_10.label").write_text(TREC_TEST, encoding="latin-1")
    return tmp_path


def text_model(name: str, pooling: str) -> TextTransformer:
    model = create_model(name, pooling=pooling, vocabulary_size=50, seed=0)
    assert isinstance(model, TextTransformer)
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in model.classifier.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=random))
    return model.eval()


def texts(width: int) -> tuple[Tensor, Tensor]:
    """Four texts of `LENGTHS` words, and their mask."""
    words = torch.randint(2, 50, (4, 33), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(width) < LENGTHS[:, None]
    padded = nn.functional.pad(words, (0, width - 33), value=PADDING)
    return padded.where(mask, torch.tensor(PADDING)), mask


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_pooling_does_not_see_padding(pooling: str) -> None:
    pool, lengths = make(pooling), [1, 4, 9]
    tokens = torch.randn(3, 9, 12, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(9) < torch.tensor(lengths)[:, None]
    pooled = pool(tokens, mask)
    assert pooled.isfinite().all()
    for padding in (1e4 * torch.randn(3, 9, 12), torch.zeros(3, 9, 12)):
        assert torch.equal(pool(tokens.where(mask[..., None], padding), mask), pooled)
    longer = pool(nn.functional.pad(tokens, (0, 0, 0, 5), value=3.0), nn.functional.pad(mask, (0, 5)))
    torch.testing.assert_close(longer, pooled)
    torch.testing.assert_close(pool(tokens, torch.ones_like(mask)), pool(tokens))
    if pooling != "seqpool_softmax_batch":
        alone = torch.cat([pool(text[None, :length]) for text, length in zip(tokens, lengths, strict=True)])
        torch.testing.assert_close(pooled, alone)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_has_no_share_and_no_gradient(pooling: str) -> None:
    pool = make(pooling)
    tokens = torch.randn(3, 9, 12, generator=torch.Generator().manual_seed(1)).requires_grad_()
    mask = torch.arange(9) < torch.tensor([1, 4, 9])[:, None]
    if hasattr(pool, "weights"):
        weights = pool.weights(tokens, mask).reshape(3, -1, 9)
        assert (weights.detach()[:, 0][~mask] == 0).all()
        torch.testing.assert_close(weights.sum(dim=2), torch.ones(weights.shape[:2]))
    pool(tokens, mask).square().sum().backward()
    assert tokens.grad is not None
    assert tokens.grad.isfinite().all()
    assert (tokens.grad[~mask] == 0).all()
    assert (tokens.grad[:, 0] != 0).any()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pooling", POOLINGS)
@torch.no_grad()
def test_padding_changes_no_logit(pooling: str, family: str) -> None:
    model = text_model(family, pooling)
    words, mask = texts(33)
    logits = model(words)
    assert logits.isfinite().all()
    assert logits.std(dim=0).min() > 1e-6
    for width in (40, TEXT_LENGTH, TEXT_LENGTH + 9):
        torch.testing.assert_close(model(texts(width)[0]), logits)
    torch.testing.assert_close(model(words.where(mask, torch.randint(2, 50, words.shape)), mask), logits)
    if pooling != "seqpool_softmax_batch":
        alone = [model(text[None, :length])[0] for text, length in zip(words, LENGTHS.tolist(), strict=True)]
        torch.testing.assert_close(torch.stack(alone), logits)
    changed = words.clone()
    changed[:, 0] = UNKNOWN
    differs = ~torch.isclose(model(changed), logits, rtol=1e-3).all(dim=1)
    assert differs[1:].all(), "words that are not padding count (a softmax over a single token is 1 whatever it is)"


@pytest.mark.parametrize("pooling", POOLINGS)
def test_only_one_pooling_mixes_the_texts_of_a_batch(pooling: str) -> None:
    assert mixes_batch(text_model("text_cct_2", pooling)) == (pooling == "seqpool_softmax_batch")


@pytest.mark.parametrize("name", TEXT_MODELS)
def test_every_text_model_learns(name: str) -> None:
    model = create_model(name, num_classes=6, vocabulary_size=50, seed=0)
    logits = model(texts(33)[0])
    assert logits.shape == (4, 6)
    logits.logsumexp(dim=1).sum().backward()
    for key, weight in model.named_parameters():
        if weight.requires_grad:
            assert weight.grad is not None, key
            assert weight.grad.isfinite().all(), key
    words = model.get_parameter("embedder.embeddings.weight")
    assert words.grad is not None
    assert (words[PADDING] == 0).all()
    assert (words.grad[PADDING] == 0).all()


@pytest.mark.parametrize(
    ("name", "kernel_size", "millions"),
    [
        ("text_cct_2", 1, 0.238),
        ("text_cct_2", 2, 0.276),
        ("text_cct_2", 4, 0.353),
        ("text_cct_4", 1, 0.436),
        ("text_cct_4", 2, 0.475),
        ("text_cct_4", 4, 0.551),
        ("text_cct_6", 1, 3.237),
        ("text_cct_6", 2, 3.313),
        ("text_cct_6", 4, 3.467),
    ],
)
def test_text_models_have_the_published_size(name: str, kernel_size: int, millions: float) -> None:
    config = replace(TEXT_MODELS[name], kernel_size=kernel_size, vocabulary_size=2)
    trained = [
        weight.numel()
        for key, weight in build(config, seed=0).named_parameters()
        if weight.requires_grad and not key.startswith("embedder")
    ]
    assert sum(trained) / 1e6 == pytest.approx(millions, abs=1e-3)


def test_the_tokenizer_of_a_convolution_carries_the_mask() -> None:
    model = text_model("text_cct_2", "seqpool")
    tokens, mask = model.tokenizer(model.embedder(*texts(TEXT_LENGTH)), texts(TEXT_LENGTH)[1])
    # A kernel of 4 with padding 2 sees a text of n words from n + 2 places; pooling of 2 with padding 1 halves that.
    assert mask.sum(dim=1).tolist() == [(length + 2) // 2 + 1 for length in LENGTHS.tolist()]
    assert tokens.shape == (4, cost(model.config).tokens, 128)
    assert (tokens[~mask] == 0).all()


@pytest.mark.parametrize("name", ["text_cct_2", "text_cvt_2"])
def test_the_tokenizer_computes_the_references_convolution(name: str) -> None:
    tokenizer = text_model(name, "seqpool").tokenizer
    words, mask = torch.randn(3, TEXT_LENGTH, 300), torch.ones(3, TEXT_LENGTH, dtype=torch.bool)
    _, stride, padding = tokenizer.windows[0]
    weight = tokenizer.get_parameter("conv_layers.0.weight")
    expected = nn.functional.conv2d(words.unsqueeze(1), weight, None, (stride, 1), (padding, 0))
    if name == "text_cct_2":
        expected = nn.functional.max_pool2d(expected.relu(), (2, 1), (2, 1), (1, 0))
    tokens, valid = tokenizer(words, mask)
    torch.testing.assert_close(tokens, expected.squeeze(3).transpose(1, 2), atol=1e-4, rtol=1e-4)
    assert valid.all()


def test_weights_have_the_references_names() -> None:
    keys = text_model("text_vit_2", "class_token").state_dict()
    shapes = {key: tuple(keys[key].shape) for key in list(keys)[:4]}
    assert shapes == {
        "embedder.embeddings.weight": (50, 300),
        "tokenizer.conv_layers.0.weight": (128, 1, 4, 300),
        "classifier.class_emb": (1, 1, 128),
        "classifier.positional_emb": (1, 17, 128),
    }


def test_words_are_lower_case_and_signs_are_words() -> None:
    assert words_of('Who\'s "U.S."? caf\xe9, 3_4') == ["who's", '"', "u", ".", "s", ".", '"', "?", "café", ",", "3_4"]


def test_the_vocabulary_has_the_most_frequent_words() -> None:
    vocabulary = vocabulary_of(["b a b", "c a b d"], 5)
    assert vocabulary == ("<pad>", "<unk>", "b", "a", "c")
    numbers = encode(["B d", "", "a b c a b c"], vocabulary, 4)
    assert numbers.tolist() == [[2, UNKNOWN, PADDING, PADDING], [UNKNOWN, PADDING, PADDING, PADDING], [3, 2, 4, 3]]


def test_trec_is_read_as_published(trec: Path) -> None:
    train_split, test_split = load("trec", trec)
    assert train_split.labels.tolist() == [1, 2, 0, 3, 4, 5, 1]
    assert test_split.labels.tolist() == [5, 4, 3]
    first = [train_split.vocabulary[number] for number in train_split.images[0].tolist()]
    expected = ["how", "did", "serfdom", "develop", "in", "and", "then", "leave", "russia", "?"]
    assert first == expected + ["<pad>"] * (TEXT_LENGTH - len(expected))
    assert "caf\xe9" in train_split.vocabulary
    seen = [test_split.vocabulary[number] for number in test_split.images[2, :4].tolist()]
    assert seen == ["<unk>", "was", "<unk>", "?"], "words of the test split alone are unknown"


def test_ag_news_is_read_as_published(tmp_path: Path) -> None:
    folder = tmp_path / "ag_news_csv"
    folder.mkdir()
    (folder / "train.csv").write_text('"3","Wall St. Bears","Short-sellers, ""dwindling""\\band"\n"1","A","B"\n')
    (folder / "test.csv").write_text('"4","Bears","B of A"\n')
    train_split, test_split = load("ag_news", tmp_path)
    assert train_split.labels.tolist() == [2, 0]
    first = [train_split.vocabulary[number] for number in train_split.images[0, :14].tolist()]
    assert first == [
        "wall",
        "st",
        ".",
        "bears",
        "short",
        "-",
        "sellers",
        ",",
        '"',
        "dwindling",
        '"',
        "band",
        *["<pad>"] * 2,
    ]
    assert test_split.labels.tolist() == [3]
    assert test_split.images[0, :4].tolist() == [
        train_split.vocabulary.index(word) for word in ("bears", "b", "<unk>", "a")
    ]


@pytest.mark.parametrize(
    ("name", "files"), [("trec", ("train_5500.label", "TREC_10.label")), ("ag_news", ("train.csv", "test.csv"))]
)
def test_missing_texts_say_which_files_belong_where(name: str, files: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(DatasetUnavailable) as error:
        load(name, tmp_path)
    assert all(said in str(error.value) for said in (name, *files, str(tmp_path / name), "CCTBOARD_DATASETS"))


@pytest.mark.parametrize(
    ("name", "file", "content", "line"),
    [
        ("trec", "train_5500.label", "HUM:ind Who ?\nWhat is this ?\n", "line 2"),
        ("ag_news", "train.csv", '"1","a","b"\n"5","a","b"\n', "line 2"),
        ("ag_news", "train.csv", '"1","a"\n', "line 1"),
        ("ag_news", "train.csv", "", "it has no texts"),
        ("ag_news", "train.csv", '"1","a","b', "line 1"),
    ],
)
def test_damaged_texts_are_refused(name: str, file: str, content: str, line: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    for published in ("TREC_10.label", "test.csv", file):
        (tmp_path / name / published).write_text(content)
    with pytest.raises(DatasetUnavailable, match=line):
        load(name, tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_training_on_texts_repeats_bit_for_bit_and_resumes(family: str, trec: Path, tmp_path: Path) -> None:
    spec = replace(SPEC, model=family)
    facts, *events = train(spec, data_dir=trec)
    assert isinstance(facts, Facts)
    assert ([look.epoch for look in only(Look, events)], {*map(type, facts.images)}) == ([1, 2], {Text})
    assert not facts.mixes_batch
    assert len(facts.provenance["dataset_sha256"]) == 64
    records = only(EpochRecord, events)
    assert (records[1].train_loss or 0) < (records[0].train_loss or 0)
    seen: list[EpochRecord] = []
    stopped = train(spec, data_dir=trec, checkpoint_dir=tmp_path / "run", should_stop=lambda: len(seen) == 1)
    seen.append(first(EpochRecord, stopped))
    with pytest.raises(Stopped):
        list(stopped)
    resumed = only(EpochRecord, train(spec, data_dir=trec, checkpoint_dir=tmp_path / "run"))
    assert numbers(resumed) == numbers(records)
    other = only(EpochRecord, train(replace(spec, seed=2), data_dir=trec))
    assert numbers(other) != numbers(records)


def test_the_provenance_of_texts_covers_the_words(trec: Path) -> None:
    def checksum() -> str:
        return first(Facts, train(SPEC, data_dir=trec)).provenance["dataset_sha256"]

    before = checksum()
    assert checksum() == before
    # The same order of frequencies, so the same numbers.
    renamed = TREC_TRAIN.replace("serfdom", "serfdon")
    (trec / "trec" / "train_5500.label").write_text(renamed, encoding="latin-1")
    assert checksum() != before


def test_word_vectors_are_taken_and_kept(trec: Path, tmp_path: Path) -> None:
    folder = trec / "word_vectors"
    folder.mkdir()
    vectors = {word: torch.randn(300) for word in ("what", "?", "nowhere")}
    lines = [" ".join([word, *map(str, vector.tolist())]) for word, vector in vectors.items()]
    (folder / "glove.txt").write_text("\n".join(lines) + "\n")
    spec = replace(SPEC, word_vectors="glove.txt")
    events = train(spec, data_dir=trec, checkpoint_dir=tmp_path / "run")
    begun = first(Facts, events)
    first(EpochRecord, events)
    (folder / "glove.txt").unlink()  # has done its work
    resumed = list(train(spec, data_dir=trec, checkpoint_dir=tmp_path / "run"))
    assert len(only(EpochRecord, resumed)) == 2
    assert [facts.provenance for facts in only(Facts, resumed)] == [begun.provenance]
    assert len(begun.provenance["word_vectors_sha256"]) == 64
    assert begun.provenance["word_vectors_found"].startswith("2 of ")
    weights = torch.load(tmp_path / "run" / checkpoint.LAST, weights_only=True)["model"]["embedder.embeddings.weight"]
    vocabulary = load("trec", trec)[0].vocabulary
    torch.testing.assert_close(weights[vocabulary.index("what")], vectors["what"])
    torch.testing.assert_close(weights[vocabulary.index("?")], vectors["?"])
    mean = (vectors["what"] + vectors["?"]) / 2
    torch.testing.assert_close(weights[[UNKNOWN, vocabulary.index("russia")]], mean.expand(2, -1))
    assert (weights[PADDING] == 0).all()


def test_word_vectors_that_hardly_fit_are_warned_of(trec: Path, tmp_path: Path) -> None:
    """In capital letters but for one word, and with the counts that word2vec writes first."""
    (trec / "word_vectors").mkdir()
    words = load("trec", trec)[0].vocabulary[2:]
    lines = ["what" + " 0.5" * 300, *(word.upper() + " 0.1" * 300 for word in words)]
    (trec / "word_vectors" / "glove.txt").write_text("\n".join([f"{len(lines)} 300", *lines]))
    spec, run = replace(SPEC, word_vectors="glove.txt"), tmp_path / "run"
    events = train(spec, data_dir=trec, checkpoint_dir=run)
    facts = first(Facts, events)
    first(EpochRecord, events)
    in_capitals = [word for word in words if word.upper() != word]
    found = len(words) - len(in_capitals) + 1
    assert facts.provenance["word_vectors_found"] == f"{found} of {len(words)}"
    warning = next(warning for warning in facts.warnings if warning.code == "few-words")
    assert warning.text == (
        f"glove.txt has vectors for only {found} of the {len(words)} words of the training texts; all others are one "
        f"and the same unknown word; it has {len(words)} of them in capital letters, while texts are read in small "
        "ones: convert it."
    )
    (trec / "word_vectors" / "glove.txt").unlink()
    assert warning in first(Facts, train(spec, data_dir=trec, checkpoint_dir=run)).warnings, "also when it goes on"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no file"),
        ("what 0.1 0.2\n", "line 1 has 2 numbers"),
        ("nowhere" + " 0.5" * 300, "no vector"),
        ("what" + " 0.5" * 299 + " a", "line 1 has 'a' for a number"),
        ("what" + " 0.5" * 299 + " nan", "line 1 has 'nan' for a number"),
    ],
)
def test_unusable_word_vectors_are_refused(content: str | None, said: str, trec: Path) -> None:
    (trec / "word_vectors").mkdir()
    if content:
        (trec / "word_vectors" / "glove.txt").write_text(content)
    with pytest.raises(UnusableWeights, match=said):
        list(train(replace(SPEC, word_vectors="glove.txt"), data_dir=trec))


@pytest.mark.parametrize(
    ("spec", "field", "choice"),
    [
        ({"model": "text_cct_2"}, "dataset", "trec"),
        ({"dataset": "ag_news"}, "model", "text_cct_2"),
        ({"dataset": "digits", "word_vectors": "glove.txt"}, "word_vectors", "leave it empty"),
        ({"model": "text_cct_2", "dataset": "trec", "word_vectors": "../glove.txt"}, "word_vectors", "without .."),
        ({"model": "text_cct_2", "dataset": "trec", "word_vectors": "/glove.txt"}, "word_vectors", "relative"),
    ],
)
def test_what_does_not_fit_together_says_what_to_choose(spec: dict[str, Any], field: str, choice: str) -> None:
    with pytest.raises(SpecError, match=choice) as error:
        RunSpec(**spec)
    assert error.value.field == field
