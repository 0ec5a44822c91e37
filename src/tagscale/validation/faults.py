"""What may be wrong with a decoded file: one entry a fault, for a dataset's tracks and for every file that is tagged.

Validation makes its checks of tracks from these entries, and a tagger says the same of a file beside its scores. A
packaged model carries this module, so it imports neither Great Expectations nor pandas.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tagscale import SOURCE_RATES
from tagscale.params.blocks import AudioLimits

FULL_BAND = 16_000  # Hz; a source below has nothing in the models' upper mel bands
SHORTEST = 0.1  # s: six steps of the log-mel; a window that is filled by repeating less is a buzz
FAINTEST = -90.0  # dBFS: one step of 16 bits; below is digital silence, or silence with dither


@dataclass(frozen=True)
class Fault:
    """A fault of a decoded file, which one of its measurements shows.

    measure: name of the measurement, see `measured`.
    check: what is true of files without the fault.
    kind, amount: the fault in words; a template for the measurement.
    least, most: range of the files without the fault; None: no end.
    quarantined: whether validation quarantines a track for it; otherwise its report mentions the fault.
    sentence: a template of kind and amount.
    extreme: what the track is that the report names of many.
    """

    measure: str
    check: str
    kind: str
    amount: str
    least: float | None = None
    most: float | None = None
    quarantined: bool = True
    sentence: str = "{kind}: {amount}"
    extreme: str = "the worst"

    def applies(self, value: float) -> bool:
        """Whether a file of this measurement has the fault."""
        return (self.least is not None and value < self.least) or (self.most is not None and value > self.most)

    def explain(self, value: float) -> str:
        """The fault of a file of this measurement, in a sentence."""
        return self.sentence.format(kind=self.kind, amount=self.amount.format(value))


def faults(limits: AudioLimits) -> list[Fault]:
    """The faults that files may have under these limits."""
    short, silent, clipped, dc = limits.min_seconds, limits.silence_dbfs, limits.max_clipped, limits.max_dc
    return [
        Fault(
            measure="source_rate",
            check=f"sampled at {SOURCE_RATES[0]} to {SOURCE_RATES[1]} Hz",
            kind="implausible sample rate",
            amount="{:.0f} Hz",
            least=SOURCE_RATES[0],
            most=SOURCE_RATES[1],
        ),
        Fault(
            measure="seconds",
            check=f"at least {short:g} s long",
            kind=f"shorter than {short:g} s",
            amount="{:.2f} s long",
            least=short,
            sentence="{amount}, {kind}",
        ),
        Fault(
            measure="rms_dbfs",
            check=f"not silent: RMS of {silent:g} dBFS or more",
            kind="silent",
            amount=f"{{:.1f}} dBFS, below {silent:g}",
            least=silent,
        ),
        Fault(
            measure="clipped",
            check=f"at most {clipped:.1%} of the values at full scale",
            kind=f"clipped, more than {clipped:.1%} of the values at full scale",
            amount="{:.1%}",
            most=clipped,
            quarantined=False,
        ),
        Fault(
            measure="offset",
            check=f"mean (DC) of at most {dc:g} of full scale",
            kind=f"DC offset, a mean beyond {dc:g} of full scale",
            amount="{:.2f}",
            most=dc,
            quarantined=False,
        ),
        Fault(
            measure="source_rate",
            check=f"sampled at {FULL_BAND} Hz or more",
            kind=f"sampled below {FULL_BAND:,} Hz, so nothing above half the rate",
            amount="{:,.0f} Hz",
            least=FULL_BAND,
            quarantined=False,
            extreme="the lowest",
        ),
        Fault(
            measure="only_channel",
            check="channels do not cancel each other out",
            kind="channels that cancel each other out, so that one is heard alone",
            amount="channel {:.0f}",
            most=0,
            quarantined=False,
            extreme="for example",
        ),
    ]


INAUDIBLE = (
    Fault(
        measure="seconds",
        check=f"at least {SHORTEST:g} s long",
        kind="too short to be heard",
        amount="{:.3f} s long",
        least=SHORTEST,
        sentence="{amount}, {kind}",
    ),
    Fault(
        measure="rms_dbfs",
        check=f"RMS of {FAINTEST:g} dBFS or more",
        kind="silent",
        amount="{:.1f} dBFS, less than a step of 16 bits",
        least=FAINTEST,
    ),
)  # faults of files that hold nothing to hear: whatever a model says of them is its own


def measured(facts: Any) -> dict[str, Any]:
    """The measurements that show faults, from the facts of decoding.

    Args:
        facts: of one file (`Decoded.facts`), or a table of them with a row a file.
    """
    return {
        "source_rate": facts["source_rate"],
        "seconds": facts["source_seconds"],
        "rms_dbfs": facts["rms_dbfs"],
        "clipped": facts["clipped"],
        "offset": abs(facts["dc"]),
        "only_channel": facts["only_channel"],
    }


def judge(facts: Mapping[str, Any], limits: AudioLimits) -> list[str]:
    """All that validation would quarantine a file for, or mention, in sentences."""
    return _explained(faults(limits), facts)


def inaudible(facts: Mapping[str, Any]) -> str:
    """Why a file has no audible content; "" where it has."""
    return "; ".join(_explained(INAUDIBLE, facts))


def _explained(possible: Iterable[Fault], facts: Mapping[str, Any]) -> list[str]:
    values = measured(facts)
    return [fault.explain(values[fault.measure]) for fault in possible if fault.applies(values[fault.measure])]
