"""The training loop: steps, log, saved state; resumes bit for bit on one CPU type."""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from shiftline.contracts.files import checkpoint_file
from shiftline.data.loader import Batch, Batches
from shiftline.data.randomness import bits
from shiftline.engine.context import Context, Interrupted
from shiftline.errors import DeviceError, TrainingError
from shiftline.networks.classifier import Classifier
from shiftline.networks.preprocessing import normalise
from shiftline.networks.spec import ModelSpec, save_model
from shiftline.plan.jobs import Job
from shiftline.store.files import temporary_beside, write_whole

if TYPE_CHECKING:
    from shiftline.operations.training import Trained

PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
LOG_EVERY = 50
"""Steps between two lines of the log; every epoch ends with one."""
AGREE_EVERY = 10
"""Steps between two questions to the other processes whether to stop."""


class TrainingRun:
    """One training: everything that a resumption has to restore is an attribute of this object."""

    def __init__(
        self, job: Job, recipe: Trained, classifier: Classifier, spec: ModelSpec, batches: Batches, context: Context
    ) -> None:
        self.job, self.recipe, self.spec, self.batches, self.context = job, recipe, spec, batches, context
        self.total = recipe.duration if recipe.epoch_or_step == "step" else recipe.duration * batches.steps
        self.done = 0  # Steps.
        self.folder = context.attempts.state(job.key)
        self.log_path = context.attempts.log(job.key)
        self.on_features = "features" in job.document
        trainable = getattr(recipe, "trainable", "all")
        if trainable == "head":
            classifier.encoder.requires_grad_(False)
        elif trainable == "encoder":
            classifier.head.requires_grad_(False)
        # Decoded images have their channels last: convolutions take them as they are.
        self.classifier = classifier.to(memory_format=torch.channels_last)
        self.frozen = classifier.encoder if trainable == "head" else None
        self.heads = [self._head(task.head) for task in getattr(recipe, "tasks", ())]
        self._set_up(classifier.head if self.on_features else classifier)
        self.last_loss = math.nan
        self.losses: list[Tensor] = []  # Since the last line of the log.
        self._saved = time.monotonic()

    def _set_up(self, module: nn.Module) -> None:
        recipe, context = self.recipe, self.context
        if context.ranks.world > 1:
            module = _synchronised(module, context.device, self.job.label)
        precision, plugins = _precision(recipe.precision, context.device)
        self.fabric = context.ranks.fabric(context.device, precision=precision, plugins=plugins)
        self.fabric.launch()
        fused = context.device.startswith("cuda")
        trained = [p for p in module.parameters() if p.requires_grad]
        optimizer = recipe.optimizer.build(trained, fused=fused)
        self.base_rates = [group["lr"] for group in optimizer.param_groups]
        made = torch.compile(module) if context.compiled else module
        self.model, self.optimizer = self.fabric.setup(made, optimizer)
        self.board = _tensorboard(context, self.job.key) if context.tensorboard and context.ranks.first else None

    def _head(self, model: Any) -> tuple[Tensor, Tensor]:
        state, _ = self.context.weights.state(model)
        return state["head.weight"].to(self.context.device), state["head.bias"].to(self.context.device)

    # ---- the loop --------------------------------------------------------------------------------------------------

    def train(self) -> None:
        self.context.progress.begin(self.job.label, self.total)
        self.context.progress.advance(self.done)
        self.model.train()
        if self.frozen is not None:
            # A frozen encoder keeps its batch-norm statistics too.
            self.frozen.eval()
        while self.done < self.total:
            self._epoch(self.done // self.batches.steps)
            if time.monotonic() - self._saved > self.context.save_seconds / 3:
                self.save()
        self.model.eval()
        if self.board is not None:
            self.board.finalize("success")

    def _epoch(self, epoch: int) -> None:
        steps, first = self.batches.steps, self.done % self.batches.steps
        started, seen = time.monotonic(), 0
        # What is drawn inside the network (dropout) is a function of seed, step and rank: no generator has to be saved.
        numbers = torch.arange(epoch * steps, (epoch + 1) * steps)
        seeds = bits("step", self.recipe.seed, numbers, epoch=self.context.ranks.rank)[:, 0].tolist()
        for batch in self.batches.epoch(epoch, first=first):
            if self.done == self.total:
                break
            self._stop_if_asked(epoch)
            _seed(seeds[self.done % steps], self.context.device)
            try:
                self.losses.append(self._step(batch))
            except torch.OutOfMemoryError as error:
                raise self._out_of_memory(batch, error) from error
            self.done += 1
            seen += batch.count
            self.context.progress.advance()
            self._keep_checkpoint(end_of_epoch=self.done % steps == 0)
            if len(self.losses) == LOG_EVERY or self.done % steps == 0 or self.done == self.total:
                self._log(epoch, seen / max(time.monotonic() - started, 1e-9))
                if time.monotonic() - self._saved > self.context.save_seconds:
                    self.save()

    def _stop_if_asked(self, epoch: int) -> None:
        ranks = self.context.ranks
        if ranks.world > 1 and self.done % AGREE_EVERY:
            return
        if ranks.any(self.context.stop_requested()):
            self._check(self.losses)
            self.save()
            raise Interrupted(
                f"{self.job.label}: stopped at epoch {epoch + 1}, step {self.done % self.batches.steps}; the next run goes on "
                "from there."
            )

    def _out_of_memory(self, batch: Batch, error: torch.OutOfMemoryError) -> Exception:
        # Other processes do not meet it, and wait in the middle of the step: no error that all of them raise.
        kind = DeviceError if self.context.ranks.world == 1 else RuntimeError
        return kind(
            f"{self.job.label}: a step of {batch.count} images does not fit the memory of {self.context.device!r} ({error}). Take "
            f"a step in parts (accumulate={2 * self.recipe.accumulate}: the same step, in less memory), or lower batch_size."
        )

    def _step(self, batch: Batch) -> Tensor:
        recipe, accumulate = self.recipe, min(self.recipe.accumulate, len(batch))
        factor = recipe.schedule.multiplier(step=self.done, total=self.total, steps_per_epoch=self.batches.steps)
        for group, rate in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = rate * factor
        self.optimizer.zero_grad()
        total = None
        shares = torch.arange(len(batch)).tensor_split(accumulate)
        for number, rows in enumerate(shares, start=1):
            waits = self.context.ranks.world > 1 and number < len(shares)
            with self.fabric.no_backward_sync(self.model, enabled=waits):
                # The mean over the step's examples, wherever they are: processes average their gradients.
                share = batch.weight * len(rows) * self.context.ranks.world / batch.count
                loss = self._loss(batch, None if accumulate == 1 else rows) * share
                self.fabric.backward(loss)
            total = loss.detach() if total is None else total + loss.detach()
        if recipe.clip_norm is not None:
            self.fabric.clip_gradients(self.model, self.optimizer, max_norm=recipe.clip_norm, error_if_nonfinite=False)
        self.optimizer.step()
        assert total is not None
        return total

    def _loss(self, batch: Batch, rows: Tensor | None) -> Tensor:
        """Return the mean loss of a batch, or of some of its rows."""
        images, labels, ids = _rows(batch, rows)
        images, labels = self.fabric.to_device((images, labels))
        inputs = images if self.on_features else normalise(images, self.spec.preprocessing)
        settings = {"label_smoothing": self.recipe.label_smoothing}
        if batch.partners is None or self.recipe.mix is None:
            return nn.functional.cross_entropy(self._forward(inputs, batch.task), labels, **settings)  # type: ignore[arg-type]
        others, other_labels = self.fabric.to_device(_rows(batch.partners, rows)[:2])
        partners = normalise(others, self.spec.preprocessing)
        mixed, shares = self.recipe.mix.pairs(inputs, partners, ids, seed=self.recipe.seed, epoch=batch.epoch)
        logits = self._forward(mixed, batch.task)
        first = nn.functional.cross_entropy(logits, labels, reduction="none", **settings)  # type: ignore[arg-type]
        second = nn.functional.cross_entropy(logits, other_labels, reduction="none", **settings)  # type: ignore[arg-type]
        return (shares * first + (1 - shares) * second).mean()

    def _forward(self, inputs: Tensor, task: int) -> Tensor:
        if self.heads:
            return self.model(inputs, head=self.heads[task])  # type: ignore[no-any-return]
        return self.model(inputs)  # type: ignore[no-any-return]

    # ---- the log ---------------------------------------------------------------------------------------------------

    def _check(self, losses: Sequence[Tensor]) -> float:
        """Return the mean of some losses; stop where it is no longer a number, before a state of it can be saved."""
        if not losses:
            return self.last_loss
        mean = float(self.fabric.all_reduce(torch.stack([loss.to(losses[-1].device) for loss in losses]).mean()))
        if not math.isfinite(mean):
            raise TrainingError(
                f"{self.job.label}: the loss became {mean} in epoch {max(self.done - 1, 0) // self.batches.steps + 1}, within the "
                f"{len(losses)} steps before step {self.done} of {self.total}. {self._last_good()} Lower the learning rate "
                f"({self.base_rates[0]:g}), clip the gradients (clip_norm=1.0), or lengthen the warm-up."
            )
        return mean

    def _log(self, epoch: int, images_per_second: float) -> None:
        """Write a line of the log."""
        self.last_loss = mean = self._check(self.losses)
        self.losses = []
        if not self.context.ranks.first:
            return
        line = {
            "epoch": epoch + 1,
            "step": self.done - epoch * self.batches.steps,
            "loss": mean,
            "lr": self.optimizer.param_groups[0]["lr"],
            "images_per_second": round(images_per_second, 1),
        }
        with self.log_path.open("a") as stream:
            stream.write(json.dumps(line) + "\n")
        if self.board is not None:
            self.board.log_metrics({name: line[name] for name in ("loss", "lr", "images_per_second")}, step=self.done)

    def _last_good(self) -> str:
        path = self.folder / "state.pt"
        if not path.is_file():
            return "No state had been saved: it failed within the first seconds."
        return f"The last good state is kept in {path}."

    # ---- state -----------------------------------------------------------------------------------------------------

    def checkpoint(self, after: int) -> Path:
        """Return the weights after an epoch or a step."""
        return self.folder / checkpoint_file(self.recipe.epoch_or_step, after)

    def _keep_checkpoint(self, *, end_of_epoch: bool) -> None:
        by_step = self.recipe.epoch_or_step == "step"
        after = self.done if by_step else self.done // self.batches.steps
        if after not in self.recipe.save or not (by_step or end_of_epoch) or not self.context.ranks.first:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = temporary_beside(self.checkpoint(after))
        try:
            save_model(temporary, self.classifier.state_dict(), self.spec)
            temporary.replace(self.checkpoint(after))
        finally:
            temporary.unlink(missing_ok=True)

    def save(self) -> None:
        """Save everything that the rest of the training depends on."""
        self._saved = time.monotonic()
        if not self.context.ranks.first:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        state: dict[str, Any] = {
            "key": self.job.key,
            "model": self.classifier.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "done": self.done,
            "last_loss": self.last_loss,
            "losses": [float(loss) for loss in self.losses],
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_whole(self.folder / "state.pt", buffer.getvalue())

    def resume(self) -> None:
        """Go on from a saved state, where there is one."""
        path = self.folder / "state.pt"
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            self._begin_log()
            return
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise TrainingError(
                f"{self.job.label}: its saved state {path} cannot be read ({error}). Delete it to start this training again."
            ) from error
        if state["key"] != self.job.key:
            raise TrainingError(f"{path} belongs to another job ({state['key'][:12]}): delete it to start again.")
        reached = state["done"] if self.recipe.epoch_or_step == "step" else state["done"] // self.batches.steps
        if any(after <= reached and not self.checkpoint(after).is_file() for after in self.recipe.save):
            # Weights that have to be stored were lost with their file: only the beginning is certain.
            self._begin_log()
            return
        self.classifier.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.done, self.last_loss = state["done"], state["last_loss"]
        self.losses = [torch.tensor(loss) for loss in state["losses"]]

    def _begin_log(self) -> None:
        if self.context.ranks.first:
            self.log_path.unlink(missing_ok=True)


def _seed(seed: int, device: str) -> None:
    """Seed the generators that a network draws from.

    torch.manual_seed would also note, with its call stack, a seed for every kind of device that has not been used yet: half a
    millisecond, and a list that grows.
    """
    torch.default_generator.manual_seed(seed)
    if device.startswith("cuda"):
        torch.cuda.manual_seed(seed)


def _rows(batch: Batch, rows: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    if rows is None:
        return batch.images, batch.labels, batch.ids
    return batch.images[rows], batch.labels[rows], batch.ids[rows]


def _precision(name: str, device: str) -> tuple[str | None, list[Any]]:
    """Return Fabric's settings for a precision.

    Fabric replaces fp16 by bf16 on the CPU: there the plugin is given, so that what was declared is what is done.
    """
    if name != "fp16" or device.startswith("cuda"):
        return PRECISIONS[name], []
    from lightning_fabric.plugins import MixedPrecision

    return None, [MixedPrecision(precision="16-mixed", device="cpu", scaler=torch.amp.GradScaler("cpu"))]


def _synchronised(module: nn.Module, device: str, label: str) -> nn.Module:
    """Have batch norms see the batches of all processes.

    Raises
    ------
    DeviceError
        On the CPU, where torch has no such batch norm.
    """
    if not any(isinstance(layer, _BatchNorm) for layer in module.modules()):
        return module
    if not device.startswith("cuda"):
        raise DeviceError(
            f"{label}: the network has batch norm, which several processes can share on GPUs only. Train it in one process, or "
            "choose a network with another norm."
        )
    return nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-any-return, no-untyped-call]


def _tensorboard(context: Context, key: str) -> Any:
    try:
        from lightning_fabric.loggers import TensorBoardLogger

        return TensorBoardLogger(root_dir=context.store.root / "tensorboard", name=key[:12], version="")
    except ModuleNotFoundError as error:
        raise DeviceError(
            "TensorBoard logs were requested, and tensorboard is not installed: pip install 'shiftline[tensorboard]', or leave "
            "--tensorboard out (the log as JSON lines is always written)."
        ) from error
