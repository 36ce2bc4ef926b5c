"""The loss: confidence-aware mix of both Kullback-Leibler divergences to the teacher (CAKLD of BitDistiller).

  loss = beta · KL(student ‖ teacher) + (1 − beta) · KL(teacher ‖ student), the mean over tokens
beta is the teacher's mean probability of the tokens of the text. Logits of a batch don't fit into memory beside their
gradients, so they are made in pieces and the gradient is worked out at once:
  d/ds KL(t ‖ s) = p_s − p_t          d/ds KL(s ‖ t) = p_s · (log p_s − log p_t − KL(s ‖ t))
"""

import torch
import torch.nn.functional as functional

PIECE_TOKENS = 4096


def divergences(student_logits: torch.Tensor, teacher_logits: torch.Tensor, beta: float, share: float):
    """Of logits [n, vocabulary]: `share` of the summed loss, and its gradient with respect to the student's logits.

    The gradient has the logits' own type, so that compiled code never writes them in float32.
    """
    log_student = student_logits.float().log_softmax(dim=-1)
    log_teacher = teacher_logits.float().log_softmax(dim=-1)
    student, teacher = log_student.exp(), log_teacher.exp()
    difference = log_student - log_teacher
    reverse = (student * difference).sum(dim=-1, keepdim=True)
    forward = -(teacher * difference).sum(dim=-1, keepdim=True)
    gradient = beta * student * (difference - reverse) + (1 - beta) * (student - teacher)
    return (beta * reverse + (1 - beta) * forward).sum() * share, (gradient * share).to(student_logits.dtype)


class _Distillation(torch.autograd.Function):
    @staticmethod
    def forward(context, hidden, head, teacher_hidden, teacher_head, beta, compute, of_piece):
        count = len(hidden)
        head_low, teacher_low = head.to(compute), teacher_head.to(compute)
        hidden_gradient = torch.empty_like(hidden)
        head_gradient = torch.zeros_like(head) if head.requires_grad else None
        total = hidden.new_zeros(())
        for start in range(0, count, PIECE_TOKENS):
            piece = slice(start, start + PIECE_TOKENS)
            mine, theirs = hidden[piece].to(compute), teacher_hidden[piece].to(compute)
            logits = functional.linear(mine, head_low), functional.linear(theirs, teacher_low)
            loss, gradient = of_piece(*logits, beta, 1 / count)
            total += loss
            hidden_gradient[piece] = gradient @ head_low
            if head_gradient is not None:
                head_gradient += gradient.T @ mine
        context.save_for_backward(hidden_gradient, head_gradient)
        return total

    @staticmethod
    def backward(context, outer):
        hidden_gradient, head_gradient = context.saved_tensors
        of_head = None if head_gradient is None else head_gradient * outer
        return hidden_gradient * outer, of_head, None, None, None, None, None


def distillation_loss(student, teacher, tokens: torch.Tensor, beta: float, is_low: bool, of_piece=divergences):
    """Mean loss of tokens [batch, tokens]; gradients reach the student. `of_piece`: `divergences`, perhaps compiled."""
    with torch.no_grad():
        theirs = teacher.hidden(tokens).flatten(0, 1)
    mine = student.hidden(tokens, is_low).flatten(0, 1)
    heads = student.head_weight(), teacher.head_weight()
    return _Distillation.apply(mine, heads[0], theirs, heads[1], beta, student.compute, of_piece)


@torch.no_grad()
def confidence(teacher, batches) -> float:
    """beta: the mean probability that the teacher gives to the next token of the text."""
    total, count = 0.0, 0
    for tokens in batches:
        for row in tokens.split(8):
            log_likelihoods = token_log_likelihoods(teacher, row)
            total += log_likelihoods.exp().sum().item()
            count += log_likelihoods.numel()
    return total / count


@torch.no_grad()
def token_log_likelihoods(model, tokens: torch.Tensor, is_low: bool = False) -> torch.Tensor:
    """Of tokens [batch, tokens]: the log-probability of each but the first, [batch, tokens - 1]."""
    logits = model(tokens[:, :-1], is_low)
    return logits.log_softmax(dim=-1).gather(-1, tokens[:, 1:, None])[..., 0]


def perplexity(model, tokens: torch.Tensor, window: int, is_low: bool = False) -> float:
    """As `nibble eval perplexity --protocol second-half`: whole windows, the targets of the second half of each."""
    windows = tokens[: len(tokens) // window * window].reshape(-1, window)
    scored = [token_log_likelihoods(model, part, is_low)[:, window // 2 :] for part in windows.split(8)]
    return torch.cat(scored).mean().neg().exp().item()
