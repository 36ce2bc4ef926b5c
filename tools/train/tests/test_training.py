import copy
import dataclasses

import pytest
import torch

from nibble_train import text
from nibble_train.distillation import distillation_loss
from nibble_train.llama import Llama
from nibble_train.student import make_student
from nibble_train.training import Batches, Plan, Training, learning_rate

PLAN = Plan(steps=30, batch=8, parts=2, rate=1e-2, seed=7, is_low=False)


@pytest.fixture(scope="module")
def teacher(toy):
    return Llama.of(toy).freeze()


@pytest.fixture(scope="module")
def tokens(toy, teacher):
    return text.sample(teacher, text.Openings(toy), 128, 24, 128, torch.Generator().manual_seed(1))


def training_of(toy, teacher, tokens, plan=PLAN):
    return Training(make_student(toy, 64, torch.float32), teacher, tokens, plan)


def held_out_loss(toy, training, teacher, is_low=False):
    other = text.sample(teacher, text.Openings(toy), 16, 24, 16, torch.Generator().manual_seed(99))
    with torch.no_grad():
        return distillation_loss(training.student, teacher, other, 0.3, is_low).item()


def test_training_brings_the_student_nearer_to_the_teacher_on_other_text(toy, teacher, tokens):
    training = training_of(toy, teacher, tokens)
    before = held_out_loss(toy, training, teacher)
    levels = training.student.blocks[0].linears["down"].levels.parameters_of_groups
    first = levels.detach().clone()
    assert training.run()
    assert held_out_loss(toy, training, teacher) < 0.8 * before
    assert all((levels[i] != first[i]).any() for i in range(4)), "every kind of level parameter is learned"
    assert torch.equal(training.student.embedding, teacher.embedding)


def test_four_bits_are_learned_too(toy, teacher, tokens):
    training = training_of(toy, teacher, tokens, dataclasses.replace(PLAN, is_low=True))
    before = held_out_loss(toy, training, teacher, is_low=True)
    training.run()
    assert held_out_loss(toy, training, teacher, is_low=True) < 0.85 * before


def test_a_run_that_was_interrupted_ends_with_the_same_bits(toy, teacher, tokens):
    plan = dataclasses.replace(PLAN, steps=6)
    whole = training_of(toy, teacher, tokens, plan)
    whole.run()
    first = training_of(toy, teacher, tokens, plan)
    assert not first.run(minutes=0) and first.step == 1
    second = training_of(toy, teacher, tokens, plan)
    second.restore(copy.deepcopy(first.state()))
    assert second.run()
    for name, value in whole.student.state_dict().items():
        assert torch.equal(value, second.student.state_dict()[name]), name
    with pytest.raises(ValueError, match="other settings"):
        training_of(toy, teacher, tokens, PLAN).restore(first.state())


def test_every_sequence_is_seen_once_a_round():
    batches = Batches(torch.arange(20)[:, None], dataclasses.replace(PLAN, batch=5))
    for turn in range(2):
        seen = torch.cat([batches(4 * turn + step) for step in range(4)]).flatten()
        assert sorted(seen.tolist()) == list(range(20))
    assert not torch.equal(batches(0), batches(4))
    with pytest.raises(ValueError, match="20 sequences"):
        Batches(torch.arange(20)[:, None], dataclasses.replace(PLAN, batch=21))


def test_the_learning_rate_rises_and_falls_to_zero():
    plan = dataclasses.replace(PLAN, steps=1000, rate=1.0)
    assert learning_rate(plan, 0) == pytest.approx(1 / 30)
    assert learning_rate(plan, 29) == pytest.approx(1.0)
    assert learning_rate(plan, 515) == pytest.approx(0.5)
    assert learning_rate(plan, 999) < 1e-5
