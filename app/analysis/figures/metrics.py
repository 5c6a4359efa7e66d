"""What is measured in each epoch, as charts label it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """A field of `EpochRecord` as charts label it; `unit` follows values on hover."""

    name: str
    label: str
    unit: str = ""

    @property
    def is_percent(self) -> bool:
        return self.unit == " %"


METRICS = {
    metric.name: metric
    for metric in (
        Metric("val_top1", "Validation top-1 (%)", " %"),
        Metric("val_loss", "Validation loss"),
        Metric("val_balanced", "Validation balanced accuracy (%)", " %"),
        Metric("val_top5", "Validation top-5 (%)", " %"),
        Metric("val_nll", "Validation negative log-likelihood (nats)", " nats"),
        Metric("val_ece", "Validation calibration error"),
        Metric("train_top1", "Training top-1 (%)", " %"),
        Metric("train_loss", "Training loss"),
        Metric("lr", "Learning rate"),
        Metric("seconds", "Seconds per epoch", " s"),
        Metric("images_per_second", "Training images per second"),
        Metric("peak_memory_bytes", "Peak memory (bytes)"),
        Metric("pooling_entropy", "Entropy of pooling weights (nats)", " nats"),
    )
}
