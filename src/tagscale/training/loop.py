"""The training loop: steps and validations of one network, until its budget ends or it stops getting better."""

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import TorchElasticEnvironment
from lightning_fabric.plugins.precision import MixedPrecision
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor

from tagscale import SAMPLE_RATE
from tagscale.audio.augmentation import augmented, spectrogram_masks
from tagscale.audio.loading import TrainingLoader
from tagscale.audio.patches import Batch, to_wave
from tagscale.params.blocks import TrainParams
from tagscale.runtime.memory import peak_memory, reset_peak_memory
from tagscale.runtime.signals import Interrupted
from tagscale.training.averaging import WeightAverage
from tagscale.training.batch_norm import RunningStatistics, freeze_norms, synchronised
from tagscale.training.budget import Budget, learning_rate
from tagscale.training.compilation import compiled
from tagscale.training.display import Display
from tagscale.training.distributed import World, agreed, summed
from tagscale.training.failures import interruption_explained, memory_explained, refuse_nonfinite, sigterm_noted
from tagscale.training.recipe import annotated, entry_losses, masked_loss, optimizer_of, smoothed
from tagscale.training.resume import States
from tagscale.training.running_loss import OnPoint, RunningLoss
from tagscale.training.state import State
from tagscale.training.steps import Step

SAVE_SECONDS = 180.0  # between two states that are not of a validation
CHECK_EVERY = 25  # steps between two looks at the loss, and of several processes at the clock: they make a GPU wait

OnRow = Callable[[dict[str, float]], None]  # takes the row of a validation
Loaders = Callable[[], tuple[TrainingLoader, Iterable[Batch]]]


def train(
    step: Step,
    settings: TrainParams,
    budget: Budget,
    seed: Sequence[int],
    objective: dict[str, Any],
    loaders: Loaders,
    states: States | None = None,
    saved: dict[str, Any] | None = None,
    on_row: OnRow | None = None,
    on_point: OnPoint | None = None,
) -> State:
    """Train one network, from a saved state on where there is one, and give it the weights that `train.keep` names.

    A row of the state: step (how many there were before the validation), train_loss (with dropout, over the changing
    weights since the validation before), valid_loss, learning_rate (of the next step), patches_per_second (of training
    alone, over all processes), seconds (of training and validation), data_wait (share of the training's time spent
    waiting for the next batch), peak_memory_mb (see `peak_memory`). In a row that was interrupted, the times are those
    since the training was resumed.

    Args:
        budget: how many steps, and when the network is validated
        seed: numbers that no other training of the same study has; augmentation is drawn from them and the step,
            dropout from the process, too, so that a resumed training draws what it would have drawn
        objective: loss, regression and weights of `recipe.entry_losses`
        loaders: gives the batches of training and validation; called only where there is something to train
        states, saved: where states are kept, and the newest of them
        on_row: gets every row, also those of before the training was resumed
        on_point: gets points of the loss between two validations, as training has time for them (`RunningLoss`)
    Raises:
        TagscaleError: the loss is not a number, not enough memory, a full disk.
    """
    # --- set up: device, precision, processes, and the state to start from
    begin, world = time.perf_counter(), World.current()
    fabric = set_up(settings.precision or "32-true", world)
    network = fabric.to_device(step.network)
    if step.frozen_norms:
        freeze_norms(network)
    optimizer = optimizer_of(network, settings, step.body_rate)
    average = WeightAverage(network, settings.ema) if settings.ema else None
    loss_sum = torch.zeros((), device=fabric.device)
    state = State(network, optimizer, fabric.strategy.precision, loss_sum, settings.keep, average)
    if saved is not None:
        state.load(saved)
    begin -= state.seconds
    report, kept = on_row or (lambda row: None), states.describe if states else str
    running_loss = RunningLoss(on_point, world.size)
    for row in state.rows:  # the last one may not have been reported before the interruption
        report(row)
    if budget.is_over(state.history):
        state.restore_kept()
        return state

    def save() -> None:
        for value in (state.loss_sum, *(parameter.detach().sum() for parameter in network.parameters())):
            refuse_nonfinite(value, state.step, settings, kept)  # it must not replace a good state
        state.seconds = time.perf_counter() - begin
        content = state.as_dict()
        if states and world.first:
            states.save(content)

    def end_if(terminated: threading.Event) -> None:
        if terminated.is_set():
            save()
            raise Interrupted(signal.SIGTERM)

    def save_is_due() -> bool:
        if states is None or (world.size > 1 and state.step % CHECK_EVERY):
            return False
        return agreed(states.age >= SAVE_SECONDS)

    share = world.share_of(settings.batch)
    with (
        interruption_explained(world, kept),
        memory_explained(share, step.patch_samples / SAMPLE_RATE, kept),
        synchronised(network),
        spectrogram_masks(network, settings.augment),
    ):
        training, validation = loaders()
        runnable = network.train()
        if settings.compile:
            if step.frozen_norms:
                freeze_norms(network)
            example = torch.zeros(-(-share // parts_of(share, settings.accumulate)), step.inputs, device=fabric.device)
            runnable = compiled(network, example, fabric.autocast)
        model, stepper = fabric.setup(runnable, optimizer)
        objective = fabric.to_device(objective)
        batches = training.steps_from(state.step)
        with (
            RunningStatistics(network, compiled=runnable is not network) as statistics,
            Display(step.name, budget.max_steps, shown=world.first) as display,
            sigterm_noted(world) as terminated,
        ):
            while not budget.is_over(state.history):
                # --- the steps before the next validation, from where they were interrupted
                started, waited, patches = time.perf_counter(), training.waited, 0
                until = budget.next_validation(state.history)
                reset_peak_memory()
                display.start(state.validated, until, state.step)
                running_loss.restart(state)
                model.train()
                if step.frozen_norms:
                    freeze_norms(network)
                for batch in islice(batches, until - state.step):
                    torch.manual_seed(step_seed(seed, state.step))
                    rate = learning_rate(settings, budget, state.step, state.history)
                    for group in optimizer.param_groups:
                        group["lr"] = group["share"] * rate
                    inputs, labels = prepared(step, fabric.to_device(batch), objective["regression"], settings, world)
                    if not world.first:
                        torch.manual_seed(step_seed(seed, state.step, world.rank))
                    known, losses = summed(annotated(labels)), []
                    optimizer.zero_grad()
                    for micro_batch, last in micro_batches(inputs, labels, settings.accumulate):
                        statistics.before(state.step)
                        with fabric.no_backward_sync(model, enabled=not last):
                            loss = step_loss(state, model, micro_batch, objective, known)
                            fabric.backward(loss)
                        statistics.after(state.step)
                        losses.append(loss.detach())
                    step_sum = torch.stack(losses).sum()
                    if state.step % CHECK_EVERY == 0:
                        refuse_nonfinite(step_sum, state.step, settings, kept)
                    if settings.clip_norm:
                        fabric.clip_gradients(model, stepper, max_norm=settings.clip_norm, error_if_nonfinite=False)
                    stepper.step()
                    if average:
                        average.update(state.step)
                    state.loss_sum += step_sum / world.size
                    state.step += 1
                    patches += len(batch[0])
                    display.advance()
                    if state.step < until:  # the row of the validation has the last point
                        running_loss.after_step(state, rate)
                    end_if(terminated)
                    if state.step < until and save_is_due():
                        save()
                train_loss = summed(state.loss_sum.clone()) / (until - state.validated)
                refuse_nonfinite(train_loss, state.step, settings, kept)
                seconds, waited = time.perf_counter() - started, training.waited - waited

                # --- validation
                model.eval()
                with state.validated_weights():
                    valid_loss = validate(model, validation, fabric, objective, terminated)
                end_if(terminated)
                refuse_nonfinite(valid_loss, state.step, settings, kept)

                # --- note the row, keep the weights, save the state, and only then report
                history = [*state.history, (state.step, float(valid_loss))]
                row = {
                    "step": state.step,
                    "train_loss": float(train_loss),
                    "valid_loss": float(valid_loss),
                    "learning_rate": learning_rate(settings, budget, state.step, history),
                    "patches_per_second": patches * world.size / seconds,
                    "seconds": time.perf_counter() - started,
                    "data_wait": waited / seconds,
                    "peak_memory_mb": peak_memory(),
                }
                state.end_validation(row)
                display.print(state.rows)
                save()
                report(row)
    state.restore_kept()
    return state


def set_up(precision: str, world: World) -> Fabric:
    """The device, the precision and the other processes, as Lightning Fabric knows them."""
    accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if accelerator == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32, as convolutions have it anyway
        torch.backends.cudnn.benchmark = True  # the patches of all steps have one shape
    plugins: list[Any] = [] if precision == "32-true" else [UnroundedInputs(precision, accelerator)]
    if world.size == 1:
        return Fabric(accelerator=accelerator, devices=1, plugins=plugins)
    fabric = Fabric(
        accelerator=accelerator,
        devices=world.local_size,
        num_nodes=world.size // world.local_size,
        # Buffers are equal everywhere: batch norm has the whole batch's statistics (training.batch_norm)
        strategy=DDPStrategy(broadcast_buffers=False, gradient_as_bucket_view=True),
        plugins=[*plugins, TorchElasticEnvironment()],
    )
    fabric.launch()
    return fabric


class UnroundedInputs(MixedPrecision):
    """Mixed precision whose inputs stay float32: the spectrogram of a waveform in bf16 would be mostly noise."""

    def convert_input(self, data: Any) -> Any:
        return data


def prepared(
    step: Step, batch: Batch, regression: Tensor, settings: TrainParams, world: World
) -> tuple[Tensor, Tensor]:
    """The inputs and labels of a training step, augmented and smoothed. Features of patches are taken as they are."""
    patches, labels = batch
    inputs = network_input(patches)
    if step.encoder is None:
        inputs, labels = augmented(inputs, labels, step.patch_samples, settings.augment, world.rank, world.size)
    return inputs, smoothed(labels, regression, settings.label_smoothing)


def micro_batches(inputs: Tensor, labels: Tensor, count: int) -> Iterator[tuple[Batch, bool]]:
    """The parts of a batch that are computed one after another, and whether each is the last. All have two patches.

    The gradients are those of the whole batch, but for batch norm, which sees a part at a time.
    """
    count = parts_of(len(inputs), count)
    for number, part in enumerate(zip(inputs.tensor_split(count), labels.tensor_split(count), strict=True), start=1):
        yield part, number == count


def parts_of(patches: int, count: int) -> int:
    """The number of `micro_batches` where so many are wanted."""
    return max(1, min(count, patches // 2))


def step_loss(state: State, model: Any, batch: Batch, objective: dict[str, Any], known: Tensor) -> Tensor:
    """The share of these patches in the loss of a step: the mean over the annotated labels of the whole batch.

    Gradients are averaged over the processes, so the share is multiplied by their number.

    Args:
        known: number of annotated labels in the whole batch
    """
    inputs, labels = batch
    return World.current().size * masked_loss(model(inputs), labels, **objective, known=known)


@torch.inference_mode()
def validate(
    model: Any, batches: Iterable[Batch], fabric: Fabric, objective: dict[str, Any], ended: threading.Event
) -> Tensor:
    """Mean loss over the annotated labels of all batches of all processes, or of those before `ended`."""
    total = torch.zeros(2, device=fabric.device)
    for batch in batches:
        patches, labels = fabric.to_device(batch)
        losses = entry_losses(model(network_input(patches)), labels, **objective)
        total += torch.stack([losses.sum(), annotated(labels).to(losses)])
        if ended.is_set():
            break
    loss, count = summed(total)
    return loss / count.clamp(min=1)


def network_input(patches: Tensor) -> Tensor:
    """The waveforms of int16 patches; features, which are float32, as they are."""
    return to_wave(patches) if patches.dtype == torch.int16 else patches


def step_seed(seed: Sequence[int], step: int, rank: int = 0) -> int:
    """Seed of the random draws of one step, or of those in one process.

    >>> step_seed([0], 0, 0) == step_seed([0], 0, 0) != step_seed([0], 1, 0)
    True
    """
    return int(np.random.SeedSequence([*seed, step, rank]).generate_state(1, np.uint64)[0])
