"""Tables 1 to 4 of Pons et al. 2018 as data: what was published, and the exact size of every model behind it.

The exact counts were worked out from the layers and agree with every printed one; tests build each model and count
again. Where a row reproduces someone else's system, `exact` is None: its design is not stated well enough.
"""

from dataclasses import dataclass
from typing import Literal

ModelName = Literal["waveform", "spectrogram", "other"]
DROPOUT = 0.5  # section 4, Parameters


@dataclass(frozen=True)
class Row:
    """One row of a published table."""

    table: int
    dataset: str  # 1.2M songs | MTT | MSD
    row: str  # as the paper names it
    model: ModelName
    tags: int  # outputs
    patch_seconds: float | None = None  # section 4, Parameters; 3 s for MTT: section 5.2
    capacity: dict[str, float | int] | None = None  # keyword arguments of the model; None for other systems
    train_size: int | None = None  # number of training songs, where the table varies it
    printed: str | None = None  # parameters as printed, truncated
    exact: int | None = None  # trainable parameters
    roc_auc: float | None = None  # percent
    pr_auc: float | None = None  # percent
    rmse: float | None = None  # square root of the mean squared error over regression tags


def printed(count: int) -> str:
    """A parameter count as the paper prints it: truncated, not rounded.

    >>> printed(5_377_082), printed(222_878), printed(7_034_554)
    ('5.3M', '222k', '7M')
    """
    if count < 1_000_000:
        return f"{count // 1000}k"
    return f"{count // 100_000 / 10:g}M"


def _waveform(width: float, filters: int = 512, units: int = 500, layers: int = 7) -> dict[str, float | int]:
    return {"layers": layers, "width": width, "filters": filters, "units": units, "dropout": DROPOUT}


def _spectrogram(width: float, filters: int = 512, units: int = 500) -> dict[str, float | int]:
    return {"width": width, "filters": filters, "units": units, "dropout": DROPOUT}


# Table 1: averages of three runs at each training size; 5.9M and 5.5M parameters are stated in section 5.1.
# (model, training songs, ROC-AUC, PR-AUC, root of MSE)
_TABLE_1: list[tuple[ModelName, int, float, float, float]] = [
    ("waveform", 1_000_000, 92.5, 61.2, 0.1465),
    ("spectrogram", 1_000_000, 92.17, 59.92, 0.1473),
    ("waveform", 500_000, 91.16, 56.42, 0.1504),
    ("spectrogram", 500_000, 91.61, 58.18, 0.1493),
    ("waveform", 100_000, 90.27, 52.76, 0.1554),
    ("spectrogram", 100_000, 90.14, 52.67, 0.1542),
]
# Tables 2 and 3: (row, capacity, parameters as printed, exact, ROC-AUC, PR-AUC)
_TABLE_2 = [
    ("# filters × 4", _waveform(4), "11.8M", 11_824_058, 89.05, 34.92),
    ("# filters × 2 (selected)", _waveform(2), "7M", 7_034_554, 88.96, 34.74),
    ("# filters × 1", _waveform(1), "5.3M", 5_377_082, 88.9, 34.18),
    ("# filters × 1/2", _waveform(1 / 2), "4.7M", 4_732_666, 88.69, 33.97),
    ("# filters × 1/4", _waveform(1 / 4), "4.4M", 4_456_538, 88.47, 33.89),
    ("64 CNN filters - 500 units", _waveform(2, 64, 500), "1.3M", 1_366_010, 88.57, 33.99),
    ("64 CNN filters - 200 units", _waveform(2, 64, 200), "1.3M", 1_311_710, 88.94, 34.47),
    ("128 CNN filters - 500 units", _waveform(2, 128, 500), "1.8M", 1_831_738, 88.82, 34.62),
    ("128 CNN filters - 200 units", _waveform(2, 128, 200), "1.7M", 1_739_038, 88.81, 34.6),
    ("256 CNN filters - 500 units", _waveform(2, 256, 500), "3.1M", 3_107_258, 88.95, 34.27),
    ("256 CNN filters - 200 units", _waveform(2, 256, 200), "2.9M", 2_937_758, 88.59, 34.39),
    ("512 CNN filters - 500 units", _waveform(2, 512, 500), "7M", 7_034_554, 88.96, 34.74),
    ("512 CNN filters - 200 units", _waveform(2, 512, 200), "6.7M", 6_711_454, 88.3, 34.05),
]
_TABLE_3 = [
    ("# filters × 1/8", _spectrogram(1 / 8), "4.4M", 4_425_258, 90.08, 37.18),
    ("# filters × 1/4", _spectrogram(1 / 4), "4.6M", 4_639_386, 90.12, 37.69),
    ("# filters × 1/2 (selected)", _spectrogram(1 / 2), "5M", 5_067_642, 90.4, 38.11),
    ("# filters × 1", _spectrogram(1), "5.9M", 5_924_154, 90.31, 37.79),
    ("# filters × 2", _spectrogram(2), "7.6M", 7_637_178, 90.07, 37.29),
    ("64 CNN filters - 500 units", _spectrogram(1 / 2, 64, 500), "277k", 277_178, 90.03, 36.98),
    ("64 CNN filters - 200 units", _spectrogram(1 / 2, 64, 200), "222k", 222_878, 90.28, 37.55),
    ("128 CNN filters - 500 units", _spectrogram(1 / 2, 128, 500), "617k", 617_466, 90.16, 37.61),
    ("128 CNN filters - 200 units", _spectrogram(1 / 2, 128, 200), "524k", 524_766, 90.28, 37.69),
    ("256 CNN filters - 500 units", _spectrogram(1 / 2, 256, 500), "1.6M", 1_642_106, 90.18, 37.98),
    ("256 CNN filters - 200 units", _spectrogram(1 / 2, 256, 200), "1.4M", 1_472_606, 90.06, 37.16),
    ("512 CNN filters - 500 units", _spectrogram(1 / 2, 512, 500), "5M", 5_067_642, 90.4, 38.11),
    ("512 CNN filters - 200 units", _spectrogram(1 / 2, 512, 200), "4.7M", 4_744_542, 89.98, 37.05),
]

ROWS: tuple[Row, ...] = (
    Row(1, "1.2M songs", "Baseline", "other", 139, train_size=1_200_000, roc_auc=91.61, pr_auc=54.27, rmse=0.1569),
    *(
        Row(
            table=1,
            dataset="1.2M songs",
            row=model.capitalize(),
            model=model,
            tags=139,
            patch_seconds=15.0,
            capacity=_waveform(1, layers=9) if model == "waveform" else _spectrogram(1),
            train_size=songs,
            printed="5.5M" if model == "waveform" else "5.9M",
            exact=5_520_743 if model == "waveform" else 5_968_743,
            roc_auc=roc_auc,
            pr_auc=pr_auc,
            rmse=rmse,
        )
        for model, songs, roc_auc, pr_auc, rmse in _TABLE_1
    ),
    Row(2, "MTT", "SampleCNN [14], cleaner data", "other", 50, printed="2.4M", roc_auc=90.55),
    Row(2, "MTT", "SampleCNN (reproduced)", "other", 50, printed="2.4M", roc_auc=88.56, pr_auc=34.38),
    Row(2, "MTT", "Dieleman et al. [9]", "other", 50, roc_auc=84.87),
    Row(2, "MTT", "Dieleman et al. (reproduced)", "other", 50, printed="194k", roc_auc=85.58, pr_auc=29.59),
    *(Row(2, "MTT", row[0], "waveform", 50, 3.0, row[1], None, *row[2:]) for row in _TABLE_2),
    Row(3, "MTT", "VGG - Choi et al. [5]", "other", 50, printed="22M", roc_auc=89.40),
    Row(3, "MTT", "VGG (reproduced)", "other", 50, printed="450k", roc_auc=89.99, pr_auc=37.56),
    Row(3, "MTT", "Timbre CNN [21]", "other", 50, printed="191k", roc_auc=89.30),
    Row(3, "MTT", "Timbre CNN (reproduced)", "other", 50, printed="220k", roc_auc=89.07, pr_auc=34.92),
    *(Row(3, "MTT", row[0], "spectrogram", 50, 3.0, row[1], None, *row[2:]) for row in _TABLE_3),
    Row(4, "MSD", "Waveform", "waveform", 50, 15.0, _waveform(1), None, "5.3M", 5_377_082, 87.41, 28.53),
    Row(4, "MSD", "SampleCNN [14]", "other", 50, printed="2.4M", roc_auc=88.12),
    Row(4, "MSD", "SampleCNN multi-level & multi-scale [15]", "other", 50, roc_auc=88.42),
    Row(4, "MSD", "Spectrogram", "spectrogram", 50, 15.0, _spectrogram(1), None, "5.9M", 5_924_154, 88.75, 31.24),
    Row(4, "MSD", "VGG + RNN [6]", "other", 50, printed="3M", roc_auc=86.2),
    Row(4, "MSD", "Multi-level & multi-scale [13]", "other", 50, roc_auc=88.78),
)
