"""Training by gradient descent, from scratch or from another model; resumes bit for bit on one CPU type."""

from __future__ import annotations

import io
import json
import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shiftline.data.loader import TrainingBatches
from shiftline.data.views import open_view
from shiftline.declare.recipes import FineTune, FromScratch
from shiftline.errors import TrainingError
from shiftline.jobs.context import Context, Interrupted
from shiftline.jobs.initial import initial_classifier
from shiftline.jobs.optimisation import build_optimizer, learning_rate_factor
from shiftline.models.bank import WEIGHTS, checkpoint_file
from shiftline.models.classifier import Classifier
from shiftline.models.preprocessing import normalise
from shiftline.models.spec import ModelSpec, save_model
from shiftline.plan.jobs import Job
from shiftline.store.artifacts import Draft
from shiftline.store.files import temporary_beside, write_whole

PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
LOG_EVERY = 50
"""Steps between two lines of the log; every epoch ends with one."""


def train(job: Job, draft: Draft, context: Context) -> None:
    """Train, and write the weights of the last epoch and of every epoch that is asked for."""
    recipe = job.model
    assert isinstance(recipe, (FromScratch, FineTune))
    assert job.distribution is not None
    view = open_view(job.distribution, context.data, fingerprint=job.fingerprint)
    # The job's random numbers are its own: the process's generator is as it was afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        classifier, spec = initial_classifier(recipe, context, num_classes=len(view.classes))
        batches = TrainingBatches(
            view, batch_size=recipe.batch_size, size=int(spec.preprocessing["size"]),
            crop=float(spec.preprocessing["crop"]), augmentations=recipe.augment, seed=recipe.seed,
            workers=context.workers,
        )  # fmt: skip
        run = _Run(job, recipe, classifier, spec, batches, context)
        run.resume()
        run.train()
    save_model(draft.folder / WEIGHTS, classifier.state_dict(), spec)
    for epoch in recipe.save:
        # A copy: if publishing fails, the training still has it.
        shutil.copyfile(run.checkpoint(epoch), draft.folder / checkpoint_file(epoch))
    draft.summary.update(
        loss=run.last_loss, steps=recipe.epochs * batches.steps, examples=len(view), reader=batches.reader.name
    )


@dataclass
class _Position:
    """How far a training is: `step` of `epoch` comes next (both counted from 0)."""

    epoch: int = 0
    step: int = 0


class _Run:
    """One training: everything that a resumption has to restore is an attribute of this object."""

    def __init__(
        self,
        job: Job,
        recipe: FromScratch | FineTune,
        classifier: Classifier,
        spec: ModelSpec,
        batches: TrainingBatches,
        context: Context,
    ) -> None:
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.environments import LightningEnvironment

        self.job, self.recipe, self.spec, self.batches, self.context = job, recipe, spec, batches, context
        self.position = _Position()
        self.folder = context.attempts.state(job.key)
        self.log_path = context.attempts.log(job.key)
        # Decoded images have their channels last: convolutions take them as they are.
        self.classifier = classifier.to(memory_format=torch.channels_last)
        if isinstance(recipe, FineTune) and recipe.trainable == "head":
            classifier.encoder.requires_grad_(False)
        # The environment is given: Fabric must not adopt variables of a SLURM allocation it was not started in.
        self.fabric = Fabric(
            accelerator="cuda" if context.device == "cuda" else "cpu", devices=1,
            precision=PRECISIONS[recipe.precision], plugins=[LightningEnvironment()],
        )  # fmt: skip
        optimizer = build_optimizer(classifier.parameters(), recipe.optimizer, fused=context.device == "cuda")
        self.base_rates = [group["lr"] for group in optimizer.param_groups]
        self.model, self.optimizer = self.fabric.setup(classifier, optimizer)
        self.last_loss = math.nan
        self.losses: list[Tensor] = []  # Since the last line of the log.
        self._saved = time.monotonic()

    # ---- the loop --------------------------------------------------------------------------------------------------

    def train(self) -> None:
        recipe, position = self.recipe, self.position
        self.context.progress.begin(self.job.label, recipe.epochs * self.batches.steps)
        self.context.progress.advance(position.epoch * self.batches.steps + position.step)
        self.model.train()
        if isinstance(recipe, FineTune) and recipe.trainable == "head":
            # A frozen encoder keeps its batch-norm statistics too.
            self.classifier.encoder.eval()
        while position.epoch < recipe.epochs:
            self._epoch()
            position.epoch, position.step = position.epoch + 1, 0
            if position.epoch in recipe.save:
                self._write_checkpoint(position.epoch)
            if time.monotonic() - self._saved > self.context.save_seconds / 3:
                self.save()
        self.model.eval()

    def _epoch(self) -> None:
        position = self.position
        started, seen = time.monotonic(), 0
        for batch in self.batches.epoch(position.epoch, first=position.step):
            if self.context.stop_requested():
                self._check(self.losses)
                self.save()
                raise Interrupted(
                    f"{self.job.label}: stopped at epoch {position.epoch + 1}, step {position.step}; the next run goes on "
                    "from there."
                )
            images, labels = self.fabric.to_device((batch.images, batch.labels))
            self.losses.append(self._step(images, labels))
            position.step += 1
            seen += len(batch)
            self.context.progress.advance()
            if len(self.losses) == LOG_EVERY or position.step == self.batches.steps:
                self._log(seen / max(time.monotonic() - started, 1e-9))
                if time.monotonic() - self._saved > self.context.save_seconds:
                    self.save()

    def _step(self, images: Tensor, labels: Tensor) -> Tensor:
        recipe = self.recipe
        step = self.position.epoch * self.batches.steps + self.position.step
        factor = learning_rate_factor(
            recipe.schedule, step=step, steps_per_epoch=self.batches.steps, epochs=recipe.epochs
        )
        for group, rate in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = rate * factor
        self.optimizer.zero_grad()
        logits = self.model(normalise(images, self.spec.preprocessing))
        loss = nn.functional.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        self.fabric.backward(loss)
        if recipe.clip_norm is not None:
            self.fabric.clip_gradients(self.model, self.optimizer, max_norm=recipe.clip_norm, error_if_nonfinite=False)
        self.optimizer.step()
        return loss.detach()

    def _check(self, losses: list[Tensor]) -> float:
        """Return the mean of some losses; stop where it is no longer a number, before a state of it can be saved."""
        if not losses:
            return self.last_loss
        mean = float(torch.stack([loss.cpu() for loss in losses]).mean())
        position = self.position
        if not math.isfinite(mean):
            good = self._last_good()
            raise TrainingError(
                f"{self.job.label}: the loss became {mean} in epoch {position.epoch + 1}, within the {len(losses)} steps "
                f"before step {position.step} of {self.batches.steps}. {good} Lower the learning rate "
                f"({self.base_rates[0]:g}), clip the gradients (clip_norm=1.0), or lengthen the warm-up."
            )
        return mean

    def _log(self, images_per_second: float) -> None:
        """Write a line of the log."""
        self.last_loss = mean = self._check(self.losses)
        self.losses = []
        position = self.position
        line = {
            "epoch": position.epoch + 1, "step": position.step, "loss": mean,
            "lr": self.optimizer.param_groups[0]["lr"], "images_per_second": round(images_per_second, 1),
        }  # fmt: skip
        with self.log_path.open("a") as stream:
            stream.write(json.dumps(line) + "\n")

    def _last_good(self) -> str:
        path = self.folder / "state.pt"
        if not path.is_file():
            return "No state had been saved: it failed within the first seconds."
        return f"The last good state is kept in {path}."

    # ---- state -----------------------------------------------------------------------------------------------------

    def checkpoint(self, epoch: int) -> Path:
        """Return the weights of a finished epoch."""
        return self.folder / checkpoint_file(epoch)

    def _write_checkpoint(self, epoch: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = temporary_beside(self.checkpoint(epoch))
        try:
            save_model(temporary, self.classifier.state_dict(), self.spec)
            temporary.replace(self.checkpoint(epoch))
        finally:
            temporary.unlink(missing_ok=True)

    def save(self) -> None:
        """Save everything that the rest of the training depends on."""
        self.folder.mkdir(parents=True, exist_ok=True)
        position = self.position
        state: dict[str, Any] = {
            "key": self.job.key,
            "model": self.classifier.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if self.context.device == "cuda" else [],
            "position": [position.epoch, position.step],
            "last_loss": self.last_loss,
            "losses": [float(loss) for loss in self.losses],
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_whole(self.folder / "state.pt", buffer.getvalue())
        self._saved = time.monotonic()

    def resume(self) -> None:
        """Go on from a saved state, where there is one."""
        path = self.folder / "state.pt"
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            self.log_path.unlink(missing_ok=True)
            return
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise TrainingError(
                f"{self.job.label}: its saved state {path} cannot be read ({error}). Delete it to start this training anew."
            ) from error
        if state["key"] != self.job.key:
            raise TrainingError(f"{path} belongs to another job ({state['key'][:12]}): delete it to start anew.")
        epoch, step = state["position"]
        missing = [e for e in self.recipe.save if e <= epoch and not self.checkpoint(e).is_file()]
        if missing:
            # An epoch that has to be stored was lost with its file: only the beginning is certain.
            self.log_path.unlink(missing_ok=True)
            return
        self.classifier.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        torch.set_rng_state(state["torch"])
        if state["cuda"] and self.context.device == "cuda":
            torch.cuda.set_rng_state_all(state["cuda"])
        self.position = _Position(epoch, step)
        self.last_loss = state["last_loss"]
        self.losses = [torch.tensor(loss) for loss in state["losses"]]
