"""What the machine does during a training, by MLflow's own monitors, for the page of system metrics of a run.

MLflow's thread that logs them would work past the outbox and the record of a training. So the training asks for a
sample when it logs something else.
"""

import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor

PREFIX = "system/"  # of the metrics' names: MLflow gives them a page of their own
SECONDS = 10.0  # between two samples
OF_MACHINE = ("seconds", "data_wait", "peak_memory_mb")  # of a validation's row


class Machine:
    """Samples of the machine's load: CPU, memory, disk and network; GPUs where nvidia-ml-py is installed."""

    def __init__(self) -> None:
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor  # here: these need psutil, which a served
        from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor  # model does without
        from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
        from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

        self.monitors: list[BaseMetricsMonitor] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
        with suppress(ImportError, RuntimeError):
            self.monitors.append(GPUMonitor())
        self.sample()  # the load is that since the sample before

    def sample_if_due(self) -> dict[str, float]:
        """A sample where the last one is SECONDS old, else nothing."""
        return self.sample() if time.monotonic() >= self.due else {}

    def sample(self) -> dict[str, float]:
        """The load since the sample before: {"system/cpu_utilization_percentage": 93.0, ...}."""
        self.due = time.monotonic() + SECONDS
        numbers: dict[str, float] = {}
        for monitor in self.monitors:
            monitor.collect_metrics()
            numbers |= {f"{PREFIX}{name}": value for name, value in monitor.aggregate_metrics().items()}
            monitor.clear_metrics()
        return numbers


def metric_name(column: str, prefix: str = "") -> str:
    """The metric of a column of a training's history; `prefix` names its fold or its step.

    >>> metric_name("valid_loss"), metric_name("data_wait", "fold-1/")
    ('valid_loss', 'system/fold-1/data_wait')
    """
    return f"{PREFIX if column in OF_MACHINE else ''}{prefix}{column}"
