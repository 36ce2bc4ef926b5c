import torch

from nibble_train.distillation import confidence, distillation_loss, perplexity, token_log_likelihoods
from nibble_train.llama import Llama
from nibble_train.student import make_student


def plain_loss(student, teacher, tokens, beta):
    s, t = student(tokens).log_softmax(-1), teacher(tokens).log_softmax(-1)
    reverse = (s.exp() * (s - t)).sum(-1).mean()
    forward = (t.exp() * (t - s)).sum(-1).mean()
    return beta * reverse + (1 - beta) * forward


def test_the_loss_and_its_gradients_are_those_of_the_plain_formula(toy):
    teacher = Llama.of(toy).freeze()
    tokens = torch.randint(0, toy.config.vocab, (2, 16))
    results = []
    def in_pieces(student):
        return distillation_loss(student, teacher, tokens, 0.3, is_low=False)

    def plain(student):
        return plain_loss(student, teacher, tokens, 0.3)

    for loss_of in (in_pieces, plain):
        student = make_student(toy, 64, torch.float32)
        student.embedding.requires_grad_(True)  # the head's gradient is worked out as well
        loss = loss_of(student)
        loss.backward()
        results.append((loss.item(), {name: p.grad for name, p in student.named_parameters()}))
    assert abs(results[0][0] - results[1][0]) < 1e-5 and results[0][0] > 0.01
    for name, expected in results[1][1].items():
        assert torch.allclose(results[0][1][name], expected, atol=1e-6, rtol=1e-3), name


def test_a_student_that_is_the_teacher_has_no_loss(toy):
    teacher, same = Llama.of(toy).freeze(), Llama.of(toy)
    tokens = torch.randint(0, toy.config.vocab, (2, 16))
    assert abs(distillation_loss(same, teacher, tokens, 0.5, False).item()) < 1e-6


def test_confidence_and_perplexity_count_the_right_tokens(toy):
    teacher = Llama.of(toy).freeze()
    tokens = torch.randint(0, toy.config.vocab, (3, 16))
    likelihoods = torch.stack([
        teacher(tokens)[row, place].log_softmax(-1)[tokens[row, place + 1]] for row in range(3) for place in range(15)
    ]).reshape(3, 15)
    assert torch.allclose(token_log_likelihoods(teacher, tokens), likelihoods, atol=1e-5)
    assert abs(confidence(teacher, [tokens[:2], tokens[2:]]) - likelihoods.exp().mean().item()) < 1e-6
    expected = likelihoods[:, 8:].mean().neg().exp().item()  # targets 9 to 15 of 16
    assert abs(perplexity(teacher, torch.cat([tokens.flatten(), tokens[0, :5]]), 16) / expected - 1) < 1e-4


def test_four_bits_change_the_result_but_little_of_it(toy):
    student = make_student(toy, 64, torch.float32)
    tokens = torch.randint(0, toy.config.vocab, (2, 16))
    plain, low = student(tokens), student(tokens, is_low=True)
    relative = (plain - low).norm() / plain.norm()
    assert 0.01 < relative < 0.6
