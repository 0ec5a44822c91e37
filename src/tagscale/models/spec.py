"""Every model in one entry: what it is called, what its capacity may be, how it looks, and which class computes it.

params.yaml's blocks, the factory, the study, the report and `tagscale models` read these entries. A new model takes
three steps: its file in this folder, its entry here, its key under `model` in params.yaml.

This module imports no torch, so that reading the settings stays fast. It therefore stands below `params`, and names
each class in words; `build` imports the class when it builds the model.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from tagscale.runtime.block import Block
from tagscale.runtime.identity import ENSEMBLE

Role = Literal["front-end", "pretrained", "published baseline", "descriptors", "ensemble"]
Group = Literal["models", "probes", "baselines", "ensembles"]
# The lists of `train` in params.yaml that together name a study's models, in the order of its tables. Each list has
# stages of its own, since its trainings read other inputs; the word ends their names, as in train_baseline. Ensembles
# have one stage, of this name.
GROUPS: dict[Group, str] = {"models": "", "probes": "probe", "baselines": "baseline", "ensembles": ENSEMBLE}
TRAINED = [group for group in GROUPS if group != "ensembles"]  # those whose models ensembles are made of
BASELINE = "descriptors"

Width = Annotated[float, Field(gt=0, le=16)]  # factor on the filters of every layer; 1 is the published design
Dropout = Annotated[float, Field(ge=0, lt=1)]
Encoder = Literal["msd_musicnn", "mtt_musicnn", "msd_vgg", "mtt_vgg"]  # the keys of pretrained.ENCODERS
Count = Annotated[int, Field(ge=1, le=16_384)]  # an edited description must not fill the memory


# --- capacities ----------------------------------------------------------------------------------------------------
# The keywords that a model's class takes. params.yaml states every key. A default stands only where a key
# is younger than the first checkpoints: it is the value that a checkpoint without the key was trained with.


class SharedBackend(Block):
    """The part of a capacity that all front-ends share: the block `model.backend`."""

    filters: Count  # of each of the three convolutions
    units: Count  # of the dense layer
    dropout: Dropout
    pooling: Literal["max_mean", "attention"] = "max_mean"  # over time


class WaveformCapacity(SharedBackend):
    layers: Literal[7, 9]
    width: Width


class SpectrogramCapacity(SharedBackend):
    width: Width


class PlainCapacity(Block):
    width: Width
    dropout: Dropout


class TransformerCapacity(Block):
    width: Width
    layers: int = Field(ge=1, le=48)
    dropout: Dropout


class DielemanCapacity(Block):
    width: Width
    frames: Count  # that the dense layer sees at once


class VGGCapacity(Block):
    width: Width
    filters: list[Count] = Field(min_length=4, max_length=4)  # of each layer at width 1
    time_pools: list[Count] = Field([4, 5, 3, 3], min_length=4, max_length=4)  # frames that become one
    dropout: Dropout


class TimbreCNNCapacity(Block):
    width: Width
    mels: Literal[96, 128]
    dropout: Dropout


class MultiscaleCapacity(Block):
    width: Width
    frames: list[int] = Field(min_length=1)  # length of each scale's patches
    units: Count
    dropout: Dropout


class SampleCNNMultiscaleCapacity(Block):
    width: Width
    samples: list[int] = Field(min_length=1)  # length of each scale's patches
    units: Count
    dropout: Dropout


class EncoderCapacity(Block):
    encoder: Encoder


class MusiCNNCapacity(Block):
    width: Width
    units: Count
    dropout: Dropout


class MusiCNNVGGCapacity(Block):
    width: Width
    pooling: Literal["overlapping", "separate"]
    dropout: Dropout


# --- entries -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One model.

    The paper's rows name the model that stands for them (`paper.ROWS`). The shortest and the natural input follow from
    the layers, so the class computes them (`Tagger.shortest`, `Tagger.natural`).
    """

    name: str  # its key under `model` in params.yaml, in file names, in MLflow
    label: str  # what readers call it
    about: str  # what it is, for the table in docs/models.md
    role: Role
    colour: str
    marker: str  # of matplotlib
    group: Group = "models"  # the list of `train` that may name it
    capacity: type[Block] = Block  # what its class takes as keywords; nothing where it is no network
    implementation: str | None = None  # MODULE:CLASS under tagscale.models; None where it is no network

    @property
    def shares_backend(self) -> bool:
        """Whether the model ends in the back-end that all front-ends share."""
        return issubclass(self.capacity, SharedBackend)

    @property
    def on_encoder(self) -> bool:
        """Whether the model is a published encoder under an output for other tags."""
        return issubclass(self.capacity, EncoderCapacity)

    @property
    def finetunes(self) -> bool:
        """Whether it is trained from the weights of a published encoder on; its block then says how, too."""
        return self.group == "models" and self.on_encoder

    @property
    def own_patches(self) -> bool:
        """Whether its block may state a patch length; front-ends take train.patch_seconds, others their encoder's."""
        return self.group == "models" and not (self.shares_backend or self.on_encoder)


# Colours follow Okabe & Ito 2008 and Paul Tol's schemes. The closest two of them lie as far apart as can be under
# normal, deuteranope and protanope sight; markers tell apart what colours cannot.
ENTRIES = (
    Entry(
        name="waveform",
        label="waveform",
        about="the paper's front-end without assumptions, 7 or 9 layers, and the shared back-end",
        role="front-end",
        colour="#0072B2",
        marker="o",
        capacity=WaveformCapacity,
        implementation="waveform:WaveformTagger",
    ),
    Entry(
        name="spectrogram",
        label="spectrogram",
        about="the paper's front-end of musical knowledge, and the shared back-end",
        role="front-end",
        colour="#D55E00",
        marker="s",
        capacity=SpectrogramCapacity,
        implementation="spectrogram:SpectrogramTagger",
    ),
    Entry(
        name="short_chunk",
        label="short-chunk CNN",
        about="short-chunk residual CNN (Won et al. 2020)",
        role="front-end",
        colour="#44AA99",
        marker="^",
        capacity=PlainCapacity,
        implementation="short_chunk:ShortChunkTagger",
    ),
    Entry(
        name="transformer",
        label="transformer",
        about="Music Tagging Transformer (Won et al. 2021)",
        role="front-end",
        colour="#B66DFF",
        marker="P",
        capacity=TransformerCapacity,
        implementation="transformer:TransformerTagger",
    ),
    Entry(
        name="samplecnn",
        label="SampleCNN",
        about="SampleCNN [14]",
        role="published baseline",
        colour="#332288",
        marker="v",
        capacity=PlainCapacity,
        implementation="samplecnn:SampleCNN",
    ),
    Entry(
        name="dieleman",
        label="Dieleman & Schrauwen",
        about="Dieleman & Schrauwen [9]",
        role="published baseline",
        colour="#CCBB44",
        marker="<",
        capacity=DielemanCapacity,
        implementation="dieleman:Dieleman",
    ),
    Entry(
        name="vgg",
        label="VGG",
        about="VGG of Choi et al. [5]",
        role="published baseline",
        colour="#661100",
        marker=">",
        capacity=VGGCapacity,
        implementation="vgg:VGG",
    ),
    Entry(
        name="timbre_cnn",
        label="Timbre CNN",
        about="Timbre CNN [21]",
        role="published baseline",
        colour="#924900",
        marker="p",
        capacity=TimbreCNNCapacity,
        implementation="timbre_cnn:TimbreCNN",
    ),
    Entry(
        name="crnn",
        label="CRNN",
        about="CRNN, VGG + RNN [6]",
        role="published baseline",
        colour="#882255",
        marker="X",
        capacity=PlainCapacity,
        implementation="crnn:CRNN",
    ),
    Entry(
        name="multiscale",
        label="multi-level & multi-scale",
        about="multi-level and multi-scale aggregation [13]",
        role="published baseline",
        colour="#CAB2D6",
        marker="h",
        capacity=MultiscaleCapacity,
        implementation="multiscale:Multiscale",
    ),
    Entry(
        name="samplecnn_multiscale",
        label="multi-scale SampleCNN",
        about="the same of SampleCNNs [15]",
        role="published baseline",
        colour="#000000",
        marker="*",
        capacity=SampleCNNMultiscaleCapacity,
        implementation="multiscale:SampleCNNMultiscale",
    ),
    Entry(
        name="probe",
        label="probe",
        about="a published encoder that stays as it is, and a linear layer on what it hears",
        role="pretrained",
        group="probes",
        colour="#117733",
        marker="H",
        capacity=EncoderCapacity,
        implementation="pretrained.probe:Probe",
    ),
    Entry(
        name="finetune",
        label="fine-tuning",
        about="a published encoder whose weights are all trained further, and a linear layer on what it hears",
        role="pretrained",
        colour="#E69F00",
        marker="8",
        capacity=EncoderCapacity,
        implementation="pretrained.finetune:Finetune",
    ),
    Entry(
        name=BASELINE,
        label="descriptors",
        about="gradient-boosted trees on timbre, rhythm and harmony [22]",
        role="descriptors",
        group="baselines",
        colour="#777777",
        marker="D",
    ),
    Entry(
        name=ENSEMBLE,
        label="ensemble",
        about="the weighted mean of other models of the study, chosen on the validation part (Caruana et al. 2004)",
        role="ensemble",
        group="ensembles",
        colour="#4B00E1",
        marker="d",
    ),
)
MODELS = {entry.name: entry for entry in ENTRIES}
NETWORKS = {name: entry for name, entry in MODELS.items() if entry.implementation}


@dataclass(frozen=True)
class EncoderNetwork:
    """A network of published encoders (`models/pretrained`): its weights come with it, so no study trains it alone."""

    name: str
    capacity: type[Block]
    implementation: str


ENCODER_NETWORKS = {
    network.name: network
    for network in (
        EncoderNetwork("musicnn", MusiCNNCapacity, "pretrained.musicnn:MusiCNN"),
        EncoderNetwork("musicnn_vgg", MusiCNNVGGCapacity, "pretrained.musicnn_vgg:MusiCNNVGG"),
    )
}


def base_model(name: str) -> str:
    """The model that a name in the grid means: the name itself, or what stands before a capacity's hyphen.

    >>> base_model("waveform"), base_model("waveform-x4")
    ('waveform', 'waveform')
    """
    return name.partition("-")[0]


def role_of(name: str) -> Role:
    """What a model is to a study. A model without an entry is held against the front-ends, as a published one is.

    >>> [role_of(name) for name in ("waveform-x4", "vgg", "descriptors", "my_own")]
    ['front-end', 'published baseline', 'descriptors', 'published baseline']
    """
    entry = MODELS.get(base_model(name))
    return entry.role if entry else "published baseline"


def group_of(name: str) -> Group:
    """The list of `train` in params.yaml that may name a model.

    >>> group_of("waveform-x4"), group_of("descriptors")
    ('models', 'baselines')
    """
    entry = MODELS.get(base_model(name))
    return entry.group if entry else "models"


def stage_of(stage: str, name: str) -> str:
    """The stage of dvc.yaml that trains or evaluates a model.

    >>> stage_of("train", "waveform-x4"), stage_of("evaluate", "descriptors"), stage_of("evaluate", "ensemble")
    ('train', 'evaluate_baseline', 'ensemble')
    """
    word = GROUPS[group_of(name)]
    return word if word == ENSEMBLE else "_".join(filter(None, (stage, word)))


def label_of(name: str) -> str:
    """What readers call a model; the word after a hyphen names a capacity of it.

    >>> label_of("vgg"), label_of("waveform-x4"), label_of("my_own")
    ('VGG', 'waveform x4', 'my own')
    """
    base, _, variant = name.partition("-")
    label = MODELS[base].label if base in MODELS else base.replace("_", " ")
    return f"{label} {variant}".rstrip()
