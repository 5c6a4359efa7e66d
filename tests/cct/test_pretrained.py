import hashlib
import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from cct import checkpoint
from cct.__main__ import main
from cct.events import EpochRecord, Facts
from cct.models import create_model
from cct.pretrained import load_pretrained, resize_positional_embedding
from cct.spec import RunSpec, SpecError
from cct.training import train
from cct.weights import UnusableWeights, export_safetensors, read_weights
from tests.cct.test_models import GOLDEN, images
from tests.cct.test_training import numbers
from tests.cct.told import first, only

CHECKOUT = os.environ.get("CCTBOARD_REFERENCE", "")
"""A folder with SHI-Labs/Compact-Transformers."""

SPEC = RunSpec(
    model="cvt_2_4_32",
    dataset="digits",
    val_share=0.9,
    epochs=1,
    batch_size=64,
    augmentation="none",
    pretrained="start.safetensors",
)


@pytest.fixture
def weights() -> dict[str, Tensor]:
    return create_model("cct_2_3x2_32", seed=7).state_dict()


def packed(weights: dict[str, Tensor], path: Path) -> None:
    """As the reference publishes those of its short script, zipped on a Mac."""
    torch.save(weights, inner := path.with_suffix(".inner"))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(inner, "cct2-3x2_cifar10.pth")
        archive.writestr("__MACOSX/._cct2-3x2_cifar10.pth", b"beside it")
    inner.unlink()


WRITERS: dict[str, Callable[[dict[str, Tensor], Path], None]] = {
    "plain.pth": torch.save,
    "state_dict.pth": lambda weights, path: torch.save({"epoch": 3, "state_dict": weights}, path),
    "model.pth": lambda weights, path: torch.save({"model": weights, "optimizer": {"lr": 1.0}}, path),
    "legacy.pth": lambda weights, path: torch.save(weights, path, _use_new_zipfile_serialization=False),
    "packed.pth.zip": packed,
    "file.safetensors": lambda weights, path: safetensors.torch.save_file(weights, path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_weights_are_read_from_every_kind_of_file(name: str, weights: dict[str, Tensor], tmp_path: Path) -> None:
    WRITERS[name](weights, tmp_path / name)
    model = create_model("cct_2_3x2_32", seed=0)
    assert load_pretrained(model, tmp_path / name).not_used_for == []
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["file.pth", "file.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\3\4 cut off", bytes(100)])
def test_a_damaged_file_is_named(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnusableWeights, match=name):
        read_weights(tmp_path / name)


def test_a_file_cut_short_is_named(weights: dict[str, Tensor], tmp_path: Path) -> None:
    for name, write in WRITERS.items():
        path = tmp_path / name
        write(weights, path)
        path.write_bytes(path.read_bytes()[:-5_000])
        with pytest.raises(UnusableWeights, match=name):
            read_weights(path)


class Malicious:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return print, ("code in a file was run",)


def test_code_in_a_file_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"weights": Malicious()}, tmp_path / "evil.pth")
    with pytest.raises(UnusableWeights, match=r"evil\.pth"):
        read_weights(tmp_path / "evil.pth")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], torch.ones(3)])
def test_a_file_without_weights_says_so(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(UnusableWeights, match="no state dict"):
        read_weights(tmp_path / "other.pth")


def test_the_head_is_replaced_for_other_classes(weights: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(weights, tmp_path / "ten.pth")
    model = create_model("cct_2_3x2_32", num_classes=3, seed=0)
    fresh = model.classifier.fc.weight.clone()
    assert load_pretrained(model, tmp_path / "ten.pth").not_used_for == ["classifier.fc.weight", "classifier.fc.bias"]
    assert torch.equal(model.classifier.fc.weight, fresh)
    assert torch.equal(model.classifier.norm.weight, weights["classifier.norm.weight"])
    linear = model.classifier.get_submodule("blocks.1.linear1")
    assert torch.equal(linear.get_parameter("weight"), weights["classifier.blocks.1.linear1.weight"])


@pytest.mark.parametrize(("pooling", "fresh"), [("mean", 0), ("gem", 1), ("seqpool_multihead", 1)])
def test_a_model_with_another_pooling_takes_the_rest(
    pooling: str, fresh: int, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save(weights, tmp_path / "seqpool.pth")
    model = create_model("cct_2_3x2_32", pooling=pooling, seed=0)
    kept = load_pretrained(model, tmp_path / "seqpool.pth").not_used_for
    assert len(kept) == fresh
    own = model.state_dict()
    assert all(torch.equal(own[key], weights[key]) for key in own if not key.startswith("classifier.attention_pool."))


def test_other_weights_are_named(weights: dict[str, Tensor], tmp_path: Path) -> None:
    weights["extra.weight"] = weights.pop("classifier.norm.weight")
    weights["classifier.norm.bias"] = torch.zeros(5)
    torch.save(weights, tmp_path / "other.pth")
    before = create_model("cct_2_3x2_32", seed=0)
    model = create_model("cct_2_3x2_32", seed=0)
    with pytest.raises(UnusableWeights) as error:
        load_pretrained(model, tmp_path / "other.pth")
    assert "missing: classifier.norm.weight; unexpected: extra.weight" in str(error.value)
    assert "of another shape: classifier.norm.bias (5,) instead of (128,)" in str(error.value)
    assert all(torch.equal(value, before.state_dict()[key]) for key, value in model.state_dict().items())
    with pytest.raises(UnusableWeights, match=r"missing: classifier\.blocks\.2\..* and \d+ more"):
        load_pretrained(create_model("cct_4_3x2_32"), tmp_path / "other.pth")


def test_a_smooth_embedding_stays_so_on_another_grid() -> None:
    """A plane is what interpolation of a plane gives, away from the edges; the class token is not part of it."""

    def plane(side: int) -> Tensor:
        centres = (torch.arange(side) + 0.5) / side
        return torch.stack([centres[:, None].expand(side, side), centres.expand(side, side)], dim=-1)

    embedding = plane(16).reshape(1, -1, 2)
    resized = resize_positional_embedding(embedding, 24 * 24)
    inner = slice(4, 20)
    ours = resized.reshape(24, 24, 2)[inner, inner]
    torch.testing.assert_close(ours, plane(24)[inner, inner], atol=5e-3, rtol=0)
    assert resize_positional_embedding(embedding, 256) is embedding


def test_a_positional_embedding_is_interpolated_linearly_as_by_the_reference() -> None:
    corners = torch.tensor([0.0, 1.0, 2.0, 3.0]).reshape(1, 4, 1)
    line = torch.tensor([0.0, 0.25, 0.75, 1.0])
    assert torch.equal(resize_positional_embedding(corners, 16).reshape(4, 4), 2 * line[:, None] + line)


@pytest.mark.skipif(not CHECKOUT, reason="CCTBOARD_REFERENCE names no checkout of SHI-Labs/Compact-Transformers")
@pytest.mark.parametrize(("name", "size"), [("cct_2_3x2_32", 48), ("vit_2_4_32", 64), ("vit_2_4_32", 24)])
def test_weights_for_another_image_size_are_those_that_the_reference_makes(
    name: str, size: int, tmp_path: Path
) -> None:
    found = spec_from_file_location("helpers", Path(CHECKOUT) / "src/utils/helpers.py")
    assert found
    assert found.loader
    helpers = module_from_spec(found)
    found.loader.exec_module(helpers)
    small, large = create_model(name, seed=1), create_model(name, image_size=size, seed=2)
    torch.save(small.state_dict(), tmp_path / "small.pth")
    load_pretrained(large, tmp_path / "small.pth")
    given, ours = (model.state_dict()["classifier.positional_emb"] for model in (small, large))
    theirs = helpers.resize_pos_embed(given, torch.empty_like(ours), int("vit" in name))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("tokens", [63, 65])
def test_a_grid_that_is_not_square_is_refused(tokens: int) -> None:
    with pytest.raises(UnusableWeights, match="square"):
        resize_positional_embedding(torch.zeros(1, 16, 4), tokens)


@pytest.mark.parametrize(("given", "wanted"), [("class_token", "seqpool"), ("seqpool", "class_token")])
def test_weights_with_and_without_a_class_token_start_each_other(given: str, wanted: str, tmp_path: Path) -> None:
    start = create_model("vit_2_4_32", pooling=given, seed=1).state_dict()
    torch.save(start, tmp_path / "start.pth")
    model = create_model("vit_2_4_32", pooling=wanted, seed=2)
    own = model.state_dict()["classifier.positional_emb"].clone()
    of_the_pooling = [key for key in model.state_dict() if key.startswith(("classifier.attention", "classifier.class"))]
    assert load_pretrained(model, tmp_path / "start.pth").not_used_for == of_the_pooling
    loaded, given_embedding = model.state_dict()["classifier.positional_emb"], start["classifier.positional_emb"]
    assert torch.equal(loaded[:, -64:], given_embedding[:, -64:])
    assert torch.equal(loaded[:, :-64], own[:, :-64]), "the class token's, if there is one"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("classifier.fc.weight", torch.tensor(1.0)),
        ("classifier.fc.weight", torch.zeros(7, 64)),
        ("classifier.fc.weight", torch.zeros(10, 128).to_sparse()),
        ("classifier.fc.weight", torch.zeros(10, 128, device="meta")),
        ("classifier.fc.weight", torch.zeros(10, 128, dtype=torch.complex64)),
        ("classifier.norm.bias", torch.full((128,), torch.nan)),
        ("classifier.positional_emb", torch.tensor(1.0)),
        ("classifier.positional_emb", torch.zeros(1, 0, 128)),
        ("classifier.positional_emb", torch.zeros(1, 65, 128)),
        ("classifier.positional_emb", torch.zeros(1, 49, 64)),
        ("classifier.positional_emb", torch.zeros(2, 49, 128)),
        ("classifier.positional_emb", torch.zeros(1, 49, 128, 1)),
        ("classifier.positional_emb", torch.zeros(1, 64, 128, 1)),
        ("classifier.fc.bias", torch.zeros(10, dtype=torch.float8_e4m3fn)),
        ("classifier.fc.bias", torch.zeros(10, dtype=torch.int64)),
        (1, torch.zeros(1)),
    ],
)
@pytest.mark.filterwarnings("ignore:.*[Ss]parse.*invariant")
def test_odd_weights_are_refused(key: str, value: Tensor, weights: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(weights | {key: value}, tmp_path / "odd.pth")
    with pytest.raises(UnusableWeights, match=r"odd\.pth"):
        load_pretrained(create_model("cct_2_3x2_32", seed=0), tmp_path / "odd.pth")


@pytest.mark.parametrize("name", ["vit_2_4_32", "cct_2_3x2_32", "vit_2_4_32_sine"])
def test_weights_of_one_image_size_start_a_model_of_another(name: str, tmp_path: Path) -> None:
    small = create_model(name, seed=1)
    torch.save(small.state_dict(), tmp_path / "small.pth")
    large = create_model(name, image_size=48, seed=2)
    kept = load_pretrained(large, tmp_path / "small.pth").not_used_for
    assert kept == (["classifier.positional_emb"] if "sine" in name else [])
    assert large(images(2, 48)).shape == (2, 10)
    if name == "vit_2_4_32":
        ours, theirs = (model.state_dict()["classifier.positional_emb"] for model in (large, small))
        assert torch.equal(ours[:, 0], theirs[:, 0])


def test_an_export_has_the_references_keys_and_the_checkpoints_values(tmp_path: Path) -> None:
    list(train(replace(SPEC, pretrained=""), data_dir=tmp_path, checkpoint_dir=tmp_path))
    out = tmp_path / "weights.safetensors"
    assert main(["export", str(tmp_path / checkpoint.LAST), str(out)]) == 0
    exported = safetensors.torch.load_file(out)
    golden = GOLDEN["models"]["cvt_2_4_32"]["state_dict"]
    assert {key: list(value.shape) for key, value in exported.items()} == golden
    trained = torch.load(tmp_path / checkpoint.LAST, weights_only=True)["model"]
    assert all(torch.equal(exported[key], trained[key]) for key in golden)
    assert load_pretrained(create_model("cvt_2_4_32"), out).not_used_for == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "last.pt", "weights.safetensors"]


def test_an_export_that_fails_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tmp_path / "none.pt"), str(tmp_path / "out.safetensors")]) == 2
    assert capsys.readouterr().err == f"python -m cct: there is no file {tmp_path / 'none.pt'}\n"
    torch.save({"model": {"a": torch.ones(1)}}, tmp_path / "some.pt")
    out = tmp_path / "nowhere" / "out.safetensors"
    assert main(["export", str(tmp_path / "some.pt"), str(out)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"python -m cct: {out} cannot be written (No such file or directory); name a file in")
    assert said.count("\n") == 1


def test_a_run_starts_from_given_weights(tmp_path: Path) -> None:
    (tmp_path / "pretrained").mkdir()
    start = tmp_path / "pretrained" / "start.safetensors"
    first = create_model("cvt_2_4_32", seed=99)
    safetensors.torch.save_file(first.state_dict(), start)
    # At this learning rate weights stay where they are.
    still = replace(SPEC, lr=1e-12, weight_decay=0.0, warmup_epochs=0)
    [facts] = only(Facts, train(still, data_dir=tmp_path, checkpoint_dir=tmp_path / "run"))
    trained = read_weights(tmp_path / "run" / checkpoint.LAST).tensors
    for key, value in first.state_dict().items():
        torch.testing.assert_close(trained[key], value, atol=1e-6, rtol=0)
    assert facts.provenance["pretrained_sha256"] == hashlib.sha256(start.read_bytes()).hexdigest()
    assert facts.provenance["pretrained_not_used_for"] == ""


def test_a_run_goes_on_without_the_weights_that_it_started_from(tmp_path: Path) -> None:
    (tmp_path / "pretrained").mkdir()
    start = tmp_path / "pretrained" / "start.safetensors"
    safetensors.torch.save_file(create_model("cvt_2_4_32", seed=99).state_dict(), start)
    spec = replace(SPEC, epochs=2)
    facts, *undisturbed = train(spec, data_dir=tmp_path)
    first(EpochRecord, train(spec, data_dir=tmp_path, checkpoint_dir=tmp_path / "run"))
    start.unlink()
    same_facts, *resumed = train(spec, data_dir=tmp_path, checkpoint_dir=tmp_path / "run")
    assert numbers(only(EpochRecord, resumed)) == numbers(only(EpochRecord, undisturbed))
    assert same_facts == facts


def test_a_run_whose_weights_are_not_there_fails_and_names_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UnusableWeights, match=str(tmp_path / "pretrained" / "start.safetensors")):
        list(train(SPEC, data_dir=tmp_path))
    options = ["--model", "cvt_2_4_32", "--dataset", "digits", "--pretrained", "start.safetensors"]
    assert main([*options, "--data", str(tmp_path)]) == 1
    assert "start.safetensors; put it there" in capsys.readouterr().err


@pytest.mark.parametrize(
    "fine",
    [
        *("", "a.pth", "a#1.pth", "sub/folder/a..b.pth", "https://example.org:8443/a/b.pth?download=1"),
        f"https://example.org/a.pth#sha256={64 * '0'}",
    ],
)
def test_paths_below_the_folder_and_https_addresses_are_accepted(fine: str) -> None:
    assert RunSpec(pretrained=fine).pretrained == fine


@pytest.mark.parametrize(
    "wrong",
    [
        "/etc/passwd",
        "../secret.pth",
        "sub/../../secret.pth",
        "sub/..",
        "..",
        "..\\secret.pth",
        "http://example.org/a.pth",
        "file:///etc/passwd",
        "HTTPS://example.org/a.pth",
        "https:///a.pth",
        "https://[::1/a.pth",
        "https://user:password@example.org/a.pth",
        "https://example.org/a.pth#",
        "https://example.org/a.pth#sha256=0123",
        f"https://example.org/a.pth#md5={32 * '0'}",
        f"https://example.org/a.pth#sha256={64 * 'A'}",
        "a\0.pth",
        "a\n.pth",
        "a" * 501,
        7,
        None,
    ],
)
def test_other_files_and_addresses_are_refused(wrong: object) -> None:
    with pytest.raises(SpecError) as error:
        RunSpec(pretrained=wrong)  # type: ignore[arg-type]
    assert error.value.field == "pretrained"


def test_exports_are_the_same_bytes_each_time(weights: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"model": weights}, tmp_path / "best.pt")
    export_safetensors(tmp_path / "best.pt", tmp_path / "a.safetensors")
    export_safetensors(tmp_path / "best.pt", tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
