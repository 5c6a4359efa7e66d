from fastapi import APIRouter

from app.dependencies import SelectedRuns, Store
from app.schemas import Lens, LensRun, Look

router = APIRouter(tags=["lens"])


@router.get("/lens", summary="See what the pooling step looks at")
def read_lens(store: Store, runs: SelectedRuns) -> Lens:
    """For the same few test images the share of each token, the prediction and its confidence, in chosen epochs."""
    looks = store.looks(run.id for run in runs)
    seen = [
        LensRun(
            run_id=run.id,
            pooling=run.spec.pooling,
            seed=run.spec.seed,
            dataset=run.spec.dataset,
            looks=[Look.model_validate(look) for look in of_run],
        )
        for run, of_run in zip(runs, looks, strict=True)
    ]
    datasets = dict.fromkeys(run.spec.dataset for run in runs)
    return Lens.model_validate({"images": {name: store.images(name) for name in datasets}, "runs": seen})
