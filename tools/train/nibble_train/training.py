"""The training loop: weights, levels and norm gains together, by AdamW with a warm-up and a cosine to zero."""

import contextlib
import dataclasses
import math
import time

import torch

from .distillation import confidence, distillation_loss, divergences, perplexity
from .llama import Llama
from .recorded import Recorded

WARM_UP = 0.03
LOG_STEPS = 50
CONFIDENCE_STEPS = 10
RECORDED_ROUNDS = 2  # before gradients are recorded: the first compiles


@dataclasses.dataclass(frozen=True)
class Plan:
    steps: int
    batch: int  # sequences of one step
    parts: int  # pieces of a batch that are in memory at once
    rate: float
    seed: int
    is_low: bool  # every second part with activations and KV in four bits


def learning_rate(plan: Plan, step: int) -> float:
    warm_up = max(1, round(plan.steps * WARM_UP))
    if step < warm_up:
        return plan.rate * (step + 1) / warm_up
    return plan.rate * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, plan.steps - warm_up)))


class Batches:
    """Sequences in a new order each time through; a step's batch depends on seed and step alone."""

    def __init__(self, tokens: torch.Tensor, plan: Plan):
        if len(tokens) < plan.batch:
            raise ValueError(f"{len(tokens)} sequences of text, but a batch has {plan.batch}")
        self.tokens, self.plan = tokens, plan
        self.rounds: "dict[int, torch.Tensor]" = {}

    def __call__(self, step: int) -> torch.Tensor:
        per_round = len(self.tokens) // self.plan.batch
        turn, place = divmod(step, per_round)
        if turn not in self.rounds:
            generator = torch.Generator().manual_seed(self.plan.seed * 1_000_003 + turn)
            self.rounds = {turn: torch.randperm(len(self.tokens), generator=generator).to(self.tokens.device)}
        return self.tokens[self.rounds[turn][place * self.plan.batch : (place + 1) * self.plan.batch]]


class Training:
    """`watched`: token ids [n] of a text that isn't trained on, whose perplexity is printed now and then."""

    def __init__(self, student: Llama, teacher: Llama, tokens: torch.Tensor, plan: Plan, watched=None):
        self.student, self.teacher, self.plan, self.watched = student, teacher, plan, watched
        self.device = student.embedding.device
        self.batches = Batches(tokens.to(self.device), plan)
        trained = [parameter for parameter in student.parameters() if parameter.requires_grad]
        fused = {"fused": True} if self.device.type == "cuda" else {}
        self.optimizer = torch.optim.AdamW(trained, lr=plan.rate, betas=(0.9, 0.95), weight_decay=0.0, **fused)
        self.step = 0
        first = [self.batches(step) for step in range(CONFIDENCE_STEPS)]
        self.beta = confidence(teacher, [batch[: max(1, plan.batch // plan.parts)] for batch in first])
        self.sequences = self.batches(0)  # of the step
        self.of_piece = divergences
        self.is_compiled = False

    def compile(self) -> None:
        """One layer is compiled, and serves all; a GPU repeats the gradients of a step. Needs PyTorch 2.5."""
        for model in (self.student, self.teacher):
            for block in model.blocks:
                block.compile(dynamic=False)
        self.of_piece = torch.compile(divergences, dynamic=False)
        self.is_compiled = True
        if self.device.type == "cuda":
            self.gradients = Recorded(self.gradients, RECORDED_ROUNDS)

    def state(self) -> dict:
        return {"step": self.step, "beta": self.beta, "plan": dataclasses.asdict(self.plan),
                "student": self.student.state_dict(), "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict) -> None:
        same = ("steps", "batch", "seed", "rate", "is_low")
        if any(state["plan"][key] != getattr(self.plan, key) for key in same):
            raise ValueError(f"the checkpoint was made with other settings: {state['plan']}")
        self.step, self.beta = state["step"], state["beta"]
        self.student.load_state_dict(state["student"])
        self.optimizer.load_state_dict(state["optimizer"])

    def gradients(self) -> torch.Tensor:
        """Of the parameters, by `sequences`; returns the mean loss."""
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        parts = self.sequences.chunk(self.plan.parts)
        for index, tokens in enumerate(parts):
            is_low = self.plan.is_low and index % 2 == 1
            loss = distillation_loss(self.student, self.teacher, tokens, self.beta, is_low, self.of_piece) / len(parts)
            loss.backward()
            total += loss.detach()
        return total

    def one_step(self) -> torch.Tensor:
        """Returns the mean loss of the step, on the device."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.plan, self.step)
        self.sequences.copy_(self.batches(self.step))
        loss = self.gradients().clone()
        torch.nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        return loss

    def report(self, losses: "list[torch.Tensor]", seconds: float) -> None:
        tokens = len(losses) * self.plan.batch * self.batches.tokens.shape[1]
        line = f"step {self.step}/{self.plan.steps}  loss {torch.stack(losses).mean().item():.4f}"
        line += f"  {seconds / len(losses):.3f} s a step, {tokens / seconds:,.0f} tokens/s"
        if self.watched is not None and (self.step % (4 * LOG_STEPS) == 0 or self.step == self.plan.steps):
            line += f"  perplexity {self.watch(is_low=False):.3f}"
            line += f", in four bits {self.watch(is_low=True):.3f}" if self.plan.is_low else ""
        print(line, flush=True)

    def watch(self, is_low: bool) -> float:
        # Other shapes, and no gradients: not worth compiling for.
        with torch.compiler.set_stance("force_eager") if self.is_compiled else contextlib.nullcontext():
            return perplexity(self.student, self.watched.to(self.device), self.batches.tokens.shape[1], is_low)

    def run(self, minutes: float = math.inf) -> bool:
        """Until the end of the plan (True) or of some minutes (False)."""
        start = since = time.monotonic()
        losses: "list[torch.Tensor]" = []
        while self.step < self.plan.steps:
            losses.append(self.one_step())
            if self.step % LOG_STEPS == 0 or self.step == self.plan.steps:
                self.report(losses, time.monotonic() - since)
                losses, since = [], time.monotonic()
            if time.monotonic() - start > minutes * 60:
                return False
        return True
