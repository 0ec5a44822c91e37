"""What Prometheus reads of the server, at GET /metrics."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from tagscale.serving.server.lineup import State

LATENCIES = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)  # seconds
MODEL = ("name", "role", "model", "version", "sha256")
BATCHES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one process that speaks HTTP."""

    def __init__(self, state: State) -> None:
        self.state, own = state, CollectorRegistry()
        self.registry = own
        self.requests = Counter("tagscale_requests", "Answers.", ["path", "status"], registry=own)
        self.seconds = Histogram(
            "tagscale_request_seconds", "From a request to its answer.", ["path"], buckets=LATENCIES, registry=own
        )
        self.in_work = Gauge("tagscale_requests_in_work", "Requests that have a place.", registry=own)
        self.items = Counter("tagscale_recordings", "Recordings, by what became of them.", ["outcome"], registry=own)
        self.waiting = Gauge("tagscale_recordings_in_work", "Recordings without an answer as yet.", registry=own)
        self.audio = Counter("tagscale_audio_seconds", "Seconds of audio that were tagged.", registry=own)
        self.batches = Histogram(
            "tagscale_batch_size", "Recordings scored in one batch.", buckets=BATCHES, registry=own
        )
        self.decided = Counter("tagscale_decided", "Recordings for which a tag was decided.", ["tag"], registry=own)
        self.shadow = Counter("tagscale_shadow", "Recordings that a shadow may hear.", ["outcome"], registry=own)
        self.shadow_waiting = Gauge("tagscale_shadow_waiting", "Recordings that a shadow has not heard.", registry=own)
        self.model = Gauge("tagscale_model_info", "1 for each version that is loaded.", MODEL, registry=own)

    def answered(self, answer: dict[str, Any]) -> None:
        """Count what became of one recording."""
        self.items.labels("error" if "error" in answer else "tagged").inc()
        if "error" not in answer:
            self.audio.inc(answer["facts"]["source_seconds"])
            for tag, decision in answer["decisions"].items():
                self.decided.labels(tag).inc(decision["decided"])

    def text(self) -> bytes:
        self.model.clear()
        for model in self.state.loaded():
            self.model.labels(*(model[label] for label in MODEL)).set(1)
        return generate_latest(self.registry)
