"""Tables 1 to 4 of Pons et al. 2018 as data: what was published, which model stands for each row here, and its size.

`exact` was worked out from the layers by hand and agrees with every count that the paper prints for its own models;
tests build each model from its preset and count again. A row of someone else's system has notes where that system's
design is not stated or its count differs.
"""

from dataclasses import dataclass

from tagscale.models.spec import BASELINE

TREES = (
    "Gradient-boosted trees on timbre, rhythm and harmony descriptors, one ensemble per tag. Trees have thresholds and "
    "leaves instead of parameters that a gradient trains; the paper prints no number."
)
IN_THE_TEXT = "Section 5.1 states the number of parameters; the table does not."
NO_M = "Printed as 5.9, without its M."
ROUNDED = (
    "The paper rounds 2,394,162, as its own publication does; it truncates the other counts. The last convolution has "
    "three taps here; in the released code it has one, which makes 1,869,874."
)
RATE = "Published at 22,050 Hz. Here the model hears the same number of samples at 16 kHz: 3.69 s instead of 2.68 s."
CLEANER = "The score is quoted from its own publication, on a cleaner MagnaTagATune of 21k clips (section 5.2)."
QUOTED = "The scores are quoted from its own publication."
UNCOUNTED = "The paper prints no number of parameters."
GUESSED = (
    "The design behind the printed number is not stated. The design here is the plainest with as many parameters; its "
    "file in models/ says how it was found."
)
TEN_SECONDS = "The count comes out with patches of 10 s; the paper's own models take 3 s of this data."
FIFTEEN_SECONDS = "The count comes out with patches of 15 s; the paper's own models take 3 s of this data."
FCN_4 = (
    "The scores are quoted from its own publication, and 22M is printed for that system. Its four layers as published "
    "(128, 384, 768 and 2,048 filters) have 17.3M, as built here; what else was counted is unknown. The original hears "
    "29 s at 12 kHz; here it hears the paper's own spectrogram, of at least 20.48 s."
)
TWO_STEPS = (
    "The number counts all single-scale models and the head on them, two layers of 1,024 units; the authors' code has "
    "8,192, and 151M parameters for eight scales. The memory is that of the larger training step."
)


@dataclass(frozen=True)
class Row:
    """One row of a published table."""

    table: int
    dataset: str  # 1.2M songs | MTT | MSD
    row: str  # as the paper names it
    model: str  # what stands for it here: a name in presets/table-N.yaml
    tags: int  # outputs
    train_size: int | None = None  # number of training songs, where the table varies it
    printed: str | None = None  # parameters as printed, truncated
    exact: int | None = None  # trainable parameters of the paper's own models
    roc_auc: float | None = None  # percent
    pr_auc: float | None = None  # percent
    rmse: float | None = None  # square root of the mean squared error over regression tags
    notes: tuple[str, ...] = ()  # what a reader must know before comparing


def printed(count: int) -> str:
    """A parameter count as the paper prints it: truncated, not rounded.

    >>> printed(5_377_082), printed(222_878), printed(7_034_554)
    ('5.3M', '222k', '7M')
    """
    if count < 1_000_000:
        return f"{count // 1000}k"
    return f"{count // 100_000 / 10:g}M"


@dataclass(frozen=True)
class Data:
    """What a table's scores are of, as tagscale's sources name it."""

    name: str  # what readers call it
    source: str  # dataset.source
    split: str | None  # None: the table says it, track by track
    tags: int


DATA = {
    "1.2M songs": Data("1.2 million private songs", "folder", None, 139),
    "MTT": Data("MagnaTagATune in its original split", "mtt", "original", 50),
    "MSD": Data("the Million Song Dataset's 50 tags in the usual split", "msd", "original", 50),
}
_DATASETS = {2: "MTT", 3: "MTT", 4: "MSD"}


def _own(table: int, row: str, model: str, count: str, exact: int, roc_auc: float, pr_auc: float) -> Row:
    notes = (NO_M,) if (table, row) == (3, "# filters × 1") else ()
    return Row(table, _DATASETS[table], row, model, 50, None, count, exact, roc_auc, pr_auc, notes=notes)


def _other(
    table: int, row: str, model: str, count: str | None, roc_auc: float, pr_auc: float | None, *notes: str
) -> Row:
    return Row(table, _DATASETS[table], row, model, 50, None, count, None, roc_auc, pr_auc, notes=notes)


# Table 1: averages of three runs at each training size; 5.9M and 5.5M parameters are stated in section 5.1.
# (model, training songs, ROC-AUC, PR-AUC, root of MSE)
_TABLE_1 = [
    ("waveform", 1_000_000, 92.5, 61.2, 0.1465),
    ("spectrogram", 1_000_000, 92.17, 59.92, 0.1473),
    ("waveform", 500_000, 91.16, 56.42, 0.1504),
    ("spectrogram", 500_000, 91.61, 58.18, 0.1493),
    ("waveform", 100_000, 90.27, 52.76, 0.1554),
    ("spectrogram", 100_000, 90.14, 52.67, 0.1542),
]
# Tables 2 and 3: (row, model, parameters as printed, exact, ROC-AUC, PR-AUC)
_TABLE_2 = [
    ("# filters × 4", "waveform-x4", "11.8M", 11_824_058, 89.05, 34.92),
    ("# filters × 2 (selected)", "waveform-x2", "7M", 7_034_554, 88.96, 34.74),
    ("# filters × 1", "waveform-x1", "5.3M", 5_377_082, 88.9, 34.18),
    ("# filters × 1/2", "waveform-half", "4.7M", 4_732_666, 88.69, 33.97),
    ("# filters × 1/4", "waveform-quarter", "4.4M", 4_456_538, 88.47, 33.89),
    ("64 CNN filters - 500 units", "waveform-64f-500u", "1.3M", 1_366_010, 88.57, 33.99),
    ("64 CNN filters - 200 units", "waveform-64f-200u", "1.3M", 1_311_710, 88.94, 34.47),
    ("128 CNN filters - 500 units", "waveform-128f-500u", "1.8M", 1_831_738, 88.82, 34.62),
    ("128 CNN filters - 200 units", "waveform-128f-200u", "1.7M", 1_739_038, 88.81, 34.6),
    ("256 CNN filters - 500 units", "waveform-256f-500u", "3.1M", 3_107_258, 88.95, 34.27),
    ("256 CNN filters - 200 units", "waveform-256f-200u", "2.9M", 2_937_758, 88.59, 34.39),
    ("512 CNN filters - 500 units", "waveform-x2", "7M", 7_034_554, 88.96, 34.74),
    ("512 CNN filters - 200 units", "waveform-512f-200u", "6.7M", 6_711_454, 88.3, 34.05),
]
_TABLE_3 = [
    ("# filters × 1/8", "spectrogram-eighth", "4.4M", 4_425_258, 90.08, 37.18),
    ("# filters × 1/4", "spectrogram-quarter", "4.6M", 4_639_386, 90.12, 37.69),
    ("# filters × 1/2 (selected)", "spectrogram-half", "5M", 5_067_642, 90.4, 38.11),
    ("# filters × 1", "spectrogram-x1", "5.9M", 5_924_154, 90.31, 37.79),
    ("# filters × 2", "spectrogram-x2", "7.6M", 7_637_178, 90.07, 37.29),
    ("64 CNN filters - 500 units", "spectrogram-64f-500u", "277k", 277_178, 90.03, 36.98),
    ("64 CNN filters - 200 units", "spectrogram-64f-200u", "222k", 222_878, 90.28, 37.55),
    ("128 CNN filters - 500 units", "spectrogram-128f-500u", "617k", 617_466, 90.16, 37.61),
    ("128 CNN filters - 200 units", "spectrogram-128f-200u", "524k", 524_766, 90.28, 37.69),
    ("256 CNN filters - 500 units", "spectrogram-256f-500u", "1.6M", 1_642_106, 90.18, 37.98),
    ("256 CNN filters - 200 units", "spectrogram-256f-200u", "1.4M", 1_472_606, 90.06, 37.16),
    ("512 CNN filters - 500 units", "spectrogram-half", "5M", 5_067_642, 90.4, 38.11),
    ("512 CNN filters - 200 units", "spectrogram-512f-200u", "4.7M", 4_744_542, 89.98, 37.05),
]

ROWS: tuple[Row, ...] = (
    Row(1, "1.2M songs", "Baseline", BASELINE, 139, 1_200_000, None, None, 91.61, 54.27, 0.1569, (TREES,)),
    *(
        Row(
            table=1,
            dataset="1.2M songs",
            row=model.capitalize(),
            model=model,
            tags=139,
            train_size=songs,
            printed="5.5M" if model == "waveform" else "5.9M",
            exact=5_520_743 if model == "waveform" else 5_968_743,
            roc_auc=roc_auc,
            pr_auc=pr_auc,
            rmse=rmse,
            notes=(IN_THE_TEXT,),
        )
        for model, songs, roc_auc, pr_auc, rmse in _TABLE_1
    ),
    _other(2, "SampleCNN [14], cleaner data", "samplecnn", "2.4M", 90.55, None, CLEANER, ROUNDED, RATE),
    _other(2, "SampleCNN (reproduced)", "samplecnn", "2.4M", 88.56, 34.38, ROUNDED, RATE),
    _other(2, "Dieleman et al. [9]", "dieleman", None, 84.87, None, QUOTED, UNCOUNTED, GUESSED, TEN_SECONDS),
    _other(2, "Dieleman et al. (reproduced)", "dieleman", "194k", 85.58, 29.59, GUESSED, TEN_SECONDS),
    *(_own(2, *row) for row in _TABLE_2),
    _other(3, "VGG - Choi et al. [5]", "vgg-published", "22M", 89.40, None, FCN_4),
    _other(3, "VGG (reproduced)", "vgg", "450k", 89.99, 37.56, GUESSED),
    _other(3, "Timbre CNN [21]", "timbre_cnn-published", "191k", 89.30, None, QUOTED),
    _other(3, "Timbre CNN (reproduced)", "timbre_cnn", "220k", 89.07, 34.92, GUESSED, FIFTEEN_SECONDS),
    *(_own(3, *row) for row in _TABLE_3),
    _own(4, "Waveform", "waveform", "5.3M", 5_377_082, 87.41, 28.53),
    _other(4, "SampleCNN [14]", "samplecnn", "2.4M", 88.12, None, QUOTED, ROUNDED, RATE),
    _other(
        4,
        "SampleCNN multi-level & multi-scale [15]",
        "samplecnn_multiscale",
        None,
        88.42,
        None,
        QUOTED,
        UNCOUNTED,
        TWO_STEPS,
    ),
    _own(4, "Spectrogram", "spectrogram", "5.9M", 5_924_154, 88.75, 31.24),
    _other(4, "VGG + RNN [6]", "crnn", "3M", 86.2, None, QUOTED),
    _other(4, "Multi-level & multi-scale [13]", "multiscale", None, 88.78, None, QUOTED, UNCOUNTED, TWO_STEPS),
)
TABLES = tuple(sorted({row.table for row in ROWS}))


def rows_of(table: int) -> list[Row]:
    """The rows of a table, in its order."""
    return [row for row in ROWS if row.table == table]


def data_of(table: int) -> Data:
    """The data of a table, the same for all of its rows."""
    return DATA[rows_of(table)[0].dataset]
