"""Poolings in a folder of the user's: found without being executed, kept as they were, tried before training."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import cct
from cct import own_poolings, pooling_check
from cct.catalog import poolings
from cct.events import CODE_OF, EpochRecord, Facts
from cct.own_poolings import MOST_BYTES, Source, UnusablePooling, found, full_name, learn, pooling_info, source_of
from cct.pooling import POOLINGS, SeqPool, pooling_class
from cct.pooling_check import Finding, check
from cct.spec import RunSpec, SpecError
from cct.training import train
from tests.cct.told import first, only
from tests.conftest import DIGITS

SHARP = '''
from cct.pooling import SeqPool, register

@register("sharp")
class Sharp(SeqPool):
    """Sequence pooling with sharper scores.

    And more about it."""

    formula = "softmax(4 g(x), tokens)ᵀ x"

    def scores(self, x):
        return 4 * super().scores(x)
'''


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "poolings"
    own_poolings.use(path)
    assert not found().sources, "it need not exist"
    path.mkdir()
    yield path
    own_poolings.use(own_poolings.DEFAULT)


@pytest.fixture
def quick_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the cost, which takes most of the time."""
    monkeypatch.setattr(pooling_check, "_CHECKS", tuple(one for one in pooling_check._CHECKS if one[0] != "cost"))


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)


def test_a_file_that_is_saved_is_found_and_one_that_is_removed_goes(folder: Path) -> None:
    write(folder, mine=SHARP)
    name = full_name("sharp")
    info = pooling_info("sharp")
    assert (info.name, info.summary) == (name, "Sequence pooling with sharper scores.")
    assert (info.formula, info.coefficients) == ("softmax(4 g(x), tokens)ᵀ x", (1, 1))
    assert RunSpec(pooling="sharp") == RunSpec(pooling=name), "a spec keeps the code as it was"
    (folder / "mine.py").unlink()
    assert not found().sources
    with pytest.raises(SpecError, match="pooling: 'sharp' is unknown; choose one of seqpool, "):
        RunSpec(pooling="sharp")
    assert RunSpec(pooling=name).pooling == name, "what was trained with it stays usable"
    assert "4 * super().scores(x)" in source_of(name).files["mine"]


def test_the_same_code_has_the_same_name_and_other_code_another(folder: Path) -> None:
    write(folder, mine=SHARP)
    before = full_name("sharp")
    for same in (
        SHARP.replace("    def scores", "    # twice as sharp as two\n    def scores"),
        SHARP.replace("sharper scores.", "scores that are sharper."),
        SHARP.replace("    def scores(self, x):", "\n    def scores(self,\n               x):"),
        SHARP + '\n@register("other")\nclass Other(Sharp):\n    """Another."""\n',
    ):
        write(folder, mine=same)
        assert full_name("sharp") == before
    (folder / "mine.py").rename(folder / "renamed.py")
    assert full_name("sharp") == before
    for other in (
        SHARP.replace("4 * super", "5 * super"),
        SHARP + "\nSeqPool.scores = Sharp.scores\n",
        SHARP.replace("SeqPool)", "Base)") + '\n@register("base")\nclass Base(SeqPool):\n    pass\n',
    ):
        write(folder, renamed=other)
        assert full_name("sharp") != before


def test_a_variant_consists_of_what_it_needs_of_the_folder(folder: Path) -> None:
    mine = """
from cct.pooling import register
from .shared import Base, twice

@register("mine")
class Mine(Base):
    def scores(self, x):
        return twice(super().scores(x))

@register("unused")
class Unused(Base):
    pass

@register("inner")
class Inner(Base):
    def scores(self, x):
        return Mine(x.shape[-1]).scores(x)
"""
    shared = """
from cct.pooling import SeqPool
from .deeper import FACTOR

def twice(x):
    return FACTOR * x

class Base(SeqPool):
    coefficients = (1, 1)
"""
    write(folder, mine=mine, shared=shared, deeper="FACTOR = 2\n", alone=SHARP)
    source = source_of(full_name("mine"))
    assert source.files.keys() == {"mine", "shared", "deeper"}
    assert "Unused" not in source.files["mine"]
    assert source.files["mine"].splitlines()[6] == "    def scores(self, x):", "lines keep their numbers"
    assert "class Mine" in source_of(full_name("inner")).files["mine"]
    assert pooling_info("mine").coefficients == (1, 1)
    names = {name: full_name(name) for name in ("mine", "inner", "sharp")}
    write(folder, deeper="FACTOR = 3\n")
    assert full_name("mine") != names["mine"]
    assert full_name("inner") != names["inner"]
    assert full_name("sharp") == names["sharp"]
    for name, factor in ((names["mine"], 2), (full_name("mine"), 3)):
        pooling, baseline = pooling_class(name)(8), SeqPool(8)
        baseline.load_state_dict(pooling.state_dict())
        tokens = torch.randn(2, 5, 8)
        torch.testing.assert_close(pooling.scores(tokens), factor * baseline.scores(tokens))  # type: ignore[operator]


def test_a_source_is_all_that_another_process_needs(folder: Path, tmp_path: Path) -> None:
    write(folder, mine="from .helper import *\n" + SHARP, helper="def same(x): return x\n")
    told = source_of(full_name("sharp")).told()
    assert Source.read(told) == source_of(full_name("sharp"))
    code = f"""
import sys
from cct import own_poolings
from cct.spec import RunSpec
source = own_poolings.Source.read({told!r})
own_poolings.learn(source)
spec = RunSpec(pooling=source.name)
from cct.cost import cost_of_run
print(cost_of_run(spec).parameters, "torch" in sys.modules)
from cct.models import model_of, parameter_count
model = model_of(spec, 10)
print(parameter_count(model))
import inspect
print(inspect.getsource(type(model.classifier.attention_pool).scores).strip().splitlines()[-1].strip())
"""
    said = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == ["283723 False", "283723", "return 4 * super().scores(x)"]


def test_versions_live_beside_each_other_and_registers_stay_as_they_were(folder: Path) -> None:
    write(folder, mine=SHARP)
    old = full_name("sharp")
    write(folder, mine=SHARP.replace("4 *", "9 *") + 'from cct.pooling import POOLINGS\nPOOLINGS["seqpool"] = Sharp\n')
    new = full_name("sharp")
    before = dict(POOLINGS)
    tokens = torch.randn(1, 3, 8)
    scores = [pooling_class(name)(8) for name in (old, new)]
    scores[1].load_state_dict(scores[0].state_dict())
    torch.testing.assert_close(9 / 4 * scores[0].scores(tokens), scores[1].scores(tokens))  # type: ignore[operator]
    assert before == POOLINGS
    assert full_name("seqpool") == "seqpool"


GOOD = SHARP.replace("sharp", "good").replace("Sharp", "Good")

BROKEN = {
    "an open bracket": ("x = (", "SyntaxError: '(' was never closed", 1),
    "an indent": ("\nx = 1\n  y = 2\n", "SyntaxError: unexpected indent", 3),
    "no Python": ("{% extends %}", "SyntaxError: ", 1),
    "a zero byte": ("x = 1\0", "null bytes", 0),
    "nested deeply": ("x = " + "+".join(["1"] * 50_000), "it is nested too deeply; write it in several steps", 0),
    "a long sum": (SHARP + "\nx = " + "+".join(["1"] * 1500) + "\n", "nested too deeply", None),
    "a computed name": ('N = "a"\n' + SHARP.replace('"sharp"', "N"), "register needs a name in quotes", 5),
    "no name": (SHARP.replace('register("sharp")', "register()"), "register needs a name in quotes", 4),
    "a number": (SHARP.replace('"sharp"', "4"), "register needs a name in quotes", 4),
    "an odd name": (SHARP.replace('"sharp"', '"Sharp pool"'), "'Sharp pool' is no name of a pooling; use a to z", 5),
    "a long name": (SHARP.replace('"sharp"', f'"{"a" * 61}"'), "is no name of a pooling", 5),
    "an empty name": (SHARP.replace('"sharp"', '""'), "'' is no name of a pooling", 5),
    "a name of ours": (SHARP.replace('"sharp"', '"gem"'), "'gem' is a pooling of CCT Board; choose another", 5),
    "a name twice": (SHARP + SHARP, "'sharp' is registered twice; choose another name", 18),
    "a name of another file": (GOOD, "'good' is registered by good.py too; choose another name", 5),
    "a formula that is none": (SHARP.replace('"softmax(4 g(x), tokens)ᵀ x"', "4"), "formula must be a text", 10),
    "counts that are computed": (
        SHARP + "\n    coefficients = (1, 2 + len('a'))\n",
        "coefficients must be a tuple",
        15,
    ),
    "counts below zero": (SHARP + "\n    coefficients = (-1,)\n", "coefficients must be a tuple of numbers", 15),
    "a class token or not": (SHARP + "\n    uses_class_token = 1\n", "uses_class_token must be True or False", 15),
    "a file that is missing": ("from .helper import x\n" + SHARP, "it takes from .helper, but helper.py is missing", 1),
    "a file that is broken": ("from . import worse\n" + SHARP, "but worse.py is missing or broken", 1),
    "another encoding": ("é", "it is not UTF-8; save it so", 0),
    "a large file": ("#" * (MOST_BYTES + 1), "it has more than 200,000 bytes", 0),
}


@pytest.mark.parametrize(("text", "said", "line"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_told_with_its_line_and_harms_no_other(
    text: str, said: str, line: int | None, folder: Path
) -> None:
    write(folder, good=GOOD, worse="x = (")
    (folder / "mine.py").write_text(text, encoding="latin-1" if text == "é" else "utf-8")
    [broken] = [one for one in found().broken if one.file == "mine.py"]
    assert said in broken.error
    assert line is None or broken.line == line
    assert list(found().sources) == ["good"]
    with pytest.raises(UnusablePooling, match=r"'mine' cannot be read: .*mine\.py"):
        full_name("mine")


IMPORTED = {
    "an unknown name": ("undefined_name", "NameError: name 'undefined_name' is not defined (mine.py, line 15)"),
    "a missing package": ("import nowhere", "ModuleNotFoundError: No module named 'nowhere' (mine.py, line 15)"),
    "another way to import": ("import helper", "ModuleNotFoundError: No module named 'helper' (mine.py, line 15)"),
    "the end": ("raise SystemExit(3)", "SystemExit: 3 (mine.py, line 15)"),
    "no class of modules": ("register('sharp')(int)", "must be registered by a class of nn.Module"),
    "a helper's mistake": ("from .helper import *", "ZeroDivisionError: division by zero (helper.py, line 2)"),
}


@pytest.mark.parametrize(("text", "said"), IMPORTED.values(), ids=IMPORTED)
def test_what_cannot_be_imported_is_told_with_the_last_line_of_its_traceback(
    text: str, said: str, folder: Path
) -> None:
    write(folder, mine=f"{SHARP}\n{text}\n", helper="\n1 / 0\n")
    with pytest.raises(SpecError) as error:
        cct.create_model("cct_2_3x2_32", pooling="sharp")
    assert said in str(error.value)
    assert [finding.outcome for finding in check(full_name("sharp"))] == ["failed"]
    assert "sharp" not in POOLINGS


MISTAKES = {
    "imports": ("import nowhere", "No module named 'nowhere'"),
    "output": ("Sharp.forward = lambda self, x, mask=None: x", "(4, 64, 128) must become (4, 128), not (4, 64, 128)"),
    "gradients": ("Sharp.scores = lambda self, x: x.detach().sum(2)", "no gradient reaches weight"),
    "repeatable": (
        "import torch\nSharp.forward = lambda self, x, mask=None: x.mean(1) + torch.rand(())",
        "another result at the second time",
    ),
    "batch": ("Sharp.values = lambda self, x, mask=None: x.softmax(0)", "it mixes the batch"),
    "bf16": ("Sharp.values = lambda self, x, mask=None: (x.to(x.dtype) + 1000) - 1000", "differ from those in fp32 by"),
    "masks": ("Sharp.weights = lambda self, x, mask=None: self.scores(x).softmax(1)", "padding changes the result"),
    "weights shown": ("Sharp.weights = lambda self, x, mask=None: self.scores(x).sigmoid()", "do not sum to 1"),
    "checkpoint": (
        "import torch\ninit = Sharp.__init__\ndef made(self, channels):\n    init(self, channels)\n"
        "    self.more = torch.rand(())\nSharp.__init__ = made\n"
        "Sharp.values = lambda self, x, mask=None: x * self.more",
        "saved and loaded again, it gives another result",
    ),
    "number of weights": ("    coefficients = (1,)", "has 129 weights, but coefficients = (1,) declares 1; write"),
}


@pytest.mark.parametrize(
    ("name", "text", "said"), [(name, *mistake) for name, mistake in MISTAKES.items()], ids=MISTAKES
)
@pytest.mark.usefixtures("quick_checks")
def test_each_check_finds_its_mistake(name: str, text: str, said: str, folder: Path) -> None:
    write(folder, mine=f"{SHARP}\n{text}\n")
    findings = {finding.name: finding for finding in check(full_name("sharp"))}
    assert said in findings[name].text
    assert findings[name].outcome == ("noted" if name == "batch" else "failed")


@pytest.mark.usefixtures("quick_checks")
def test_all_variants_of_this_package_pass_but_the_historic_mistake() -> None:
    before = torch.get_rng_state()
    odd = {name: [one for one in check(name) if one.outcome != "passed"] for name in poolings()}
    assert [(name, finding.name) for name, found in odd.items() for finding in found] == [
        ("seqpool_softmax_batch", "batch")
    ]
    assert torch.equal(before, torch.get_rng_state())


def test_a_pooling_for_images_alone_is_noted_and_its_cost_is_told(folder: Path) -> None:
    write(
        folder,
        mine="from cct.pooling import register\nfrom torch import nn\n\n@register('first')\nclass First(nn.Module):\n"
        "    def __init__(self, channels):\n        super().__init__()\n\n"
        "    def forward(self, x):\n        return x[:, 0]\n",
    )
    findings = {finding.name: finding for finding in check(full_name("first"))}
    assert [name for name, one in findings.items() if one.outcome != "passed"] == ["masks"]
    assert findings["masks"] == Finding(
        "masks", "noted", "for images only: forward takes no mask, which models of texts give it"
    )
    assert "MB less for its gradients" in findings["cost"].text


def test_a_run_is_trained_with_the_code_of_its_spec(folder: Path, tmp_path: Path) -> None:
    write(folder, mine=SHARP)
    spec = RunSpec(**DIGITS, epochs=2, val_share=0.9, pooling="sharp", seed=1)
    whole = list(train(spec, data_dir=tmp_path))
    events = train(spec, data_dir=tmp_path, checkpoint_dir=tmp_path)
    first(EpochRecord, events)
    events.close()  # type: ignore[attr-defined]
    write(folder, mine="x = (")
    resumed = list(train(spec, data_dir=tmp_path, checkpoint_dir=tmp_path))
    ours, theirs = ([one.val_loss for one in only(EpochRecord, events)] for events in (resumed, whole))
    assert ours == theirs
    [facts] = only(Facts, resumed)
    write(folder, mine=SHARP.replace("4 *", "5 *"))
    other = first(Facts, train(RunSpec(**DIGITS, epochs=2, val_share=0.9, pooling="sharp"), data_dir=tmp_path))
    codes = [value for one in (facts, other) for key, value in one.provenance.items() if key.startswith(CODE_OF)]
    assert len(set(codes)) == 2
    assert facts.provenance["code"] == other.provenance["code"], "of this package"


def test_names_without_code_are_refused(folder: Path) -> None:
    write(folder, mine=SHARP)
    with pytest.raises(SpecError, match="the code of 'sharp@12345678' is not known here; name 'sharp' for that in the"):
        RunSpec(pooling="sharp@12345678")
    learn(Source("elsewhere@12345678", "a", {"a": SHARP.replace('"sharp"', '"elsewhere"')}))
    assert RunSpec(pooling="elsewhere@12345678").pooling == "elsewhere@12345678"
