"""Confusion matrices: kept by the store, drawn and served by the API."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.analysis import figures
from app.errors import Conflict, Invalid, LeaseLost
from app.store.lease import Lease
from app.store.rows import Confusion, Run, State
from app.store.run_store import RunStore
from cct.named_datasets import DATASETS
from tests.app.analysis.test_comparison import PROVENANCE, run
from tests.app.store.test_store import RECORD, SPEC

Matrix = list[list[int]]
CLASSES = 10


def matrix(*hits: int) -> Matrix:
    """Of 20 images of each class `hits` (usually 10) are recognised, the others are taken for the last class."""
    rows = [[0] * CLASSES for _ in range(CLASSES)]
    for label in range(CLASSES):
        right = hits[label] if label < len(hits) else 10
        rows[label][-1] += 20 - right
        rows[label][label] += right
    return rows


def kept(store: RunStore, run_id: str) -> list[int | None]:
    """The epochs of the best and of the last matrix."""
    found = [*store.confusions([run_id], "best"), *store.confusions([run_id], "last")]
    return [one.epoch if one else None for one in found]


def test_the_last_and_the_best_matrix_are_kept(store: RunStore, claim: Callable[[], Lease]) -> None:
    [run] = store.create_runs([SPEC])
    lease = claim()
    assert kept(store, run.id) == [None, None]
    seen = []
    for epoch, hits in ((1, 5), (2, 12), (3, 7), (4, 12), (5, 13), (6, 9)):
        lease.record_confusion(epoch, matrix(hits))
        seen.append(kept(store, run.id))
    assert seen == [[1, 1], [2, 2], [2, 3], [2, 4], [5, 5], [5, 6]], "of equals the first is the best"
    before = store.dump("run", run.id)["streams"]["confusion"]
    for epoch in (5, 6, 1):
        lease.record_confusion(epoch, matrix(20))
    assert store.dump("run", run.id)["streams"]["confusion"] == before, "a resumed run delivers again"
    [last] = store.confusions([run.id], "last")
    assert last
    assert last.counts == matrix(9)
    lease.release(State.failed, "out of memory")
    with pytest.raises(LeaseLost):
        lease.record_confusion(7, matrix())


def test_matrices_are_backed_up_and_deleted_with_their_run(store: RunStore, claim: Callable[[], Lease]) -> None:
    [run] = store.create_runs([SPEC])
    lease = claim()
    lease.record_confusion(1, matrix(12))
    lease.record_confusion(2, matrix(7))
    lease.release(State.completed)
    dump = store.dump("run", run.id)
    store.delete(run.id)
    assert kept(store, run.id) == [None, None]
    assert store.load("run", run.id, dump) == "loaded"
    assert kept(store, run.id) == [1, 2]


def drawn(**hits: list[tuple[int, ...]]) -> tuple[list[Run], dict[str, Confusion]]:
    """Completed runs by pooling, with seeds from 0, and their matrices."""
    runs, found = [], {}
    for pooling, by_seed in hits.items():
        for seed, of_seed in enumerate(by_seed):
            runs.append(run(pooling, seed, 50.0, spec={"dataset": "fashion_mnist", "epochs": 9}))
            found[runs[-1].id] = Confusion(epoch=9, counts=matrix(*of_seed))
    return runs, found


def traces(figure: Any) -> dict[str, Any]:
    return {trace.uid: trace for trace in figure.data}


def test_a_heat_map_sums_the_seeds_and_counts_rows_in_percent() -> None:
    figure = figures.confusion(*drawn(seqpool=[(20, 4), (20, 6)], mean=[(1, 1)]), variant="seqpool")
    [heat] = figure.data
    assert heat.x == heat.y == DATASETS["fashion_mnist"].class_names
    assert list(heat.customdata[1][1:3]) == [[10, 25.0], [0, 0.0]]
    assert list(heat.customdata[1][-1]) == [30, 75.0]
    assert heat.z[0][0] == 10, "the square root of 100 %"
    assert heat.text[1] == ["", "25", *[""] * 7, "75"]
    assert "seqpool, 2 seeds, epoch 9" in figure.layout.xaxis.title.text


def test_differences_by_class_are_paired_by_seed_and_sorted() -> None:
    runs, found = drawn(
        seqpool=[(10, 10, 10), (12, 11, 10), (11, 10, 12), (10, 10, 13)],
        mean=[(10, 18, 6), (12, 19, 7), (11, 18, 8)],
    )
    figure = figures.class_differences(runs, found)
    shown = traces(figure)
    names = DATASETS["fashion_mnist"].class_names
    assert (figure.layout.yaxis.ticktext[0], figure.layout.yaxis.ticktext[-1]) == (names[1], names[2])
    means = shown["mean_mean"]
    assert means.x[0] == pytest.approx(5 * (8 + 8 + 8) / 3), "three seeds are shared"
    assert means.x[-1] == pytest.approx(5 * (-4 - 3 - 4) / 3)
    assert means.marker.symbol[0] == "diamond-open", "three equal differences are not enough for ten classes"
    assert shown["seeds_mean"].x[-3:] == pytest.approx((-20, -15, -20))
    assert "n = 3" in means.customdata[-1][0]
    assert means.customdata[0][1:] == pytest.approx([5 * (18 + 19 + 18) / 3, 5 * (10 + 11 + 10) / 3])
    [heat] = figures.confusion(runs, found, variant="mean", baseline="seqpool").data
    assert heat.z[1][1] == pytest.approx(40)
    assert heat.z[1][-1] == pytest.approx(-40)
    assert heat.zmax == -heat.zmin == 40


def test_a_clear_difference_is_filled() -> None:
    runs, found = drawn(seqpool=[(1, 10)] * 6, mean=[(15, 10), (16, 11), (15, 9), (16, 10), (15, 11), (16, 9)])
    means = traces(figures.class_differences(runs, found))["mean_mean"]
    assert list(means.marker.symbol) == ["diamond"] + ["diamond-open"] * (CLASSES - 1)
    assert means.error_x.array[0] > 0
    watched = figures.class_differences(runs, found, claims=False)
    assert set(traces(watched)["mean_mean"].marker.symbol) == {"diamond-open"}
    assert "nothing is claimed by class" in watched.layout.xaxis.title.text


def test_only_equally_trained_runs_are_paired() -> None:
    runs, found = drawn(seqpool=[(10,), (10,)], mean=[(15,), (5,)])
    behind = runs[-1].model_copy(update={"state": State.running, "epoch": 4})
    paired = figures.class_differences([*runs[:-1], behind], found)
    assert max(traces(paired)["seeds_mean"].x) == 25
    with pytest.raises(Conflict, match="no seed yet"):
        figures.class_differences([runs[0], behind], found)


def test_many_classes_stay_readable() -> None:
    runs = [run(pooling, 0, 50.0, spec={"dataset": "cifar100"}) for pooling in ("seqpool", "mean")]
    counts = [[90 if column == row else column == 99 for column in range(100)] for row in range(100)]
    found = {one.id: Confusion.model_validate({"epoch": 1, "counts": counts}) for one in runs}
    heat = figures.confusion(runs, found, variant="mean")
    assert heat.data[0].text is None
    assert heat.layout.height / 100 > 10
    assert len(figures.class_differences(runs, found).layout.yaxis.ticktext) == 100
    assert figures.class_names(runs[0], 7) == list("0123456"), "names that do not fit are numbers"


def test_of_very_many_classes_the_most_confused_are_shown() -> None:
    classes = 400
    runs = [run(pooling, 0, 50.0, spec={"dataset": "cifar100"}) for pooling in ("seqpool", "mean")]
    right = [[50 * (column == row) for column in range(classes)] for row in range(classes)]
    mistaken = [row[:] for row in right]
    for label in range(7, classes, 8):
        mistaken[label][label] -= 20
        mistaken[label][label - 4] += 20
    found = {one.id: Confusion(epoch=1, counts=counts) for one, counts in zip(runs, (right, mistaken), strict=True)}
    confused = {str(label - beside) for label in range(7, classes, 8) for beside in (0, 4)}
    for baseline in (None, "seqpool"):
        figure = figures.confusion(runs, found, variant="mean", baseline=baseline)
        [heat] = figure.data
        assert confused <= set(heat.x), "both classes of each mistake"
        assert [len(cells) for cells in heat.z] == [len(heat.x)] * len(heat.y)
        assert len(heat.x) == len(heat.y) == len(heat.customdata) <= figures.SHOWN
        assert f"the {len(heat.x)} most confused of 400 classes" in figure.layout.xaxis.title.text
    row, column = heat.y.index("15"), heat.x.index("11")
    assert heat.z[row][column] == pytest.approx(40)
    by_class = figures.class_differences(runs, found)
    assert len(by_class.layout.yaxis.ticktext) == figures.SHOWN
    assert f"among 400 classes)<br>the {figures.SHOWN} classes that differ most" in by_class.layout.xaxis.title.text
    assert by_class.layout.yaxis.ticktext[-1] in {str(label) for label in range(7, classes, 8)}


def test_of_a_matrix_only_what_is_not_zero_is_stored(store: RunStore, claim: Callable[[], Lease]) -> None:
    [run] = store.create_runs([SPEC])
    counts = [[7 * (column == row) for column in range(1000)] for row in range(1000)]
    claim().record_confusion(1, counts)
    [found] = store.confusions([run.id], "last")
    assert found is not None
    assert found.counts == counts
    assert (store.redis.memory_usage(store.key("run", run.id, "confusion")) or 0) in range(1, 20_000)


def test_the_report_shows_matrices_and_differences_by_class(
    client: TestClient, store: RunStore, claim: Callable[[], Lease]
) -> None:
    specs = [replace(SPEC, pooling=pooling, epochs=1) for pooling in ("seqpool", "mean", "max")]
    experiment = store.create_experiment("Which?", {}, {}, specs)

    def charts() -> int:
        page = client.get(f"/report?experiment={experiment.id}")
        assert page.status_code == 200
        return page.text.count("Plotly.newPlot(")

    without = charts()
    for hits in (10, 15):
        lease = claim()
        lease.record_confusion(1, matrix(hits))
        lease.record_epoch(RECORD)
        lease.release(State.completed)
    assert charts() == without + 3, "two matrices and a difference; the third pooling has none yet"


def test_different_datasets_have_no_common_classes() -> None:
    runs, found = drawn(seqpool=[(10,)], mean=[(15,)])
    other = run("mean", 0, 50.0, spec={"dataset": "digits"})
    found[other.id] = found[runs[0].id]
    with pytest.raises(Invalid, match="digits and fashion_mnist"):
        figures.class_differences([runs[0], other], found)
    with pytest.raises(Invalid, match="choose one dataset"):
        figures.confusion([runs[1], other], found)


def test_folders_of_images_are_told_apart_and_have_the_classes_of_their_runs() -> None:
    pets = {"dataset": "image_folder", "image_folder": "pets"}
    names = PROVENANCE | {"classes": "a cat / a dog"}
    runs = [run(pooling, 0, 50.0, spec=pets, provenance=names) for pooling in ("seqpool", "mean")]
    found = {one.id: Confusion.model_validate({"epoch": 1, "counts": [[3, 1], [0, 4]]}) for one in runs}
    assert figures.confusion(runs, found, variant="mean").data[0].x == ("a cat", "a dog")
    birds = run("mean", 1, 50.0, spec=pets | {"image_folder": "birds"}, provenance=names)
    with pytest.raises(Invalid, match="image_folder/birds and image_folder/pets"):
        figures.confusion([*runs, birds], found | {birds.id: found[runs[0].id]}, variant="mean")
    more = Confusion.model_validate({"epoch": 1, "counts": [[3, 1, 0], [0, 4, 0], [1, 1, 1]]})
    with pytest.raises(Invalid, match=r"classes were added to image_folder/pets .* 2 and 3"):
        figures.class_differences(runs, found | {runs[1].id: more})


def test_matrices_are_served(client: TestClient, store: RunStore, claim: Callable[[], Lease]) -> None:
    spec = {"dataset": "digits", "epochs": 2}
    axes = {"pooling": ["seqpool", "mean"], "seed": [0]}
    experiment = client.post("/experiments", json={"spec": spec, "axes": axes}).json()["id"]
    for path in ("confusion", "classes"):
        early = client.get(f"/figures/{path}?experiment={experiment}")
        assert early.status_code == 409
        assert "epoch" in early.json()["detail"]
    assert client.get(f"/confusion?experiment={experiment}").json() == {"class_names": {}, "runs": []}
    for hits in (10, 15):
        lease = claim()
        for epoch, more in ((1, 2), (2, 0)):
            lease.record_confusion(epoch, matrix(hits + more))
            lease.record_epoch(replace(RECORD, epoch=epoch))
        lease.release(State.completed)
    served = client.get(f"/confusion?experiment={experiment}&epoch=best").json()
    assert served["class_names"] == {"digits": list("0123456789")}
    assert [(one["variant"], one["epoch"]) for one in served["runs"]] == [("seqpool", 1), ("mean", 1)]
    assert served["runs"][1]["counts"] == matrix(17)
    for path in ("confusion?", "confusion?variant=mean&baseline=seqpool&theme=dark&", "classes?epoch=best&"):
        figure = client.get(f"/figures/{path}experiment={experiment}")
        assert figure.status_code == 200, figure.text
        assert all(trace["uid"] for trace in figure.json()["data"])
    wrong = client.get(f"/figures/classes?variant=max&experiment={experiment}")
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "variant")
