import torch

from nibble_train import text
from nibble_train.llama import Llama


def test_logits_behind_the_cache_are_those_of_the_whole_text(toy):
    model = Llama.of(toy).freeze()
    tokens = torch.randint(0, toy.config.vocab, (3, 70))  # more than a span
    sampler = text.Sampler(model, 3, 70, torch.Generator())
    whole = model(tokens)
    sampler.texts.copy_(tokens)
    for position in range(70):
        sampler.position.fill_(position)
        logits = sampler.logits(position // text.SPAN + 1)
        assert torch.allclose(logits, whole[:, position], atol=1e-3), position


def test_samples_follow_the_probabilities(toy):
    model = Llama.of(toy).freeze()
    generator = torch.Generator().manual_seed(11)
    drawn = text.sample(model, text.Openings(toy), 20_000, 2, 5_000, generator)
    assert drawn.shape == (20_000, 2) and drawn.min() >= 0 and drawn.max() < toy.config.vocab
    # First tokens are even; the expected count of a second token is the sum of its probabilities behind them.
    probabilities = (model(drawn[:, :1])[:, 0] / torch.linspace(0.8, 1, 5_000).repeat(4)[:, None]).softmax(-1)
    probabilities[drawn[:, 0] == toy.config.eos] = 1 / 96  # a new text
    for counts, expected, variance in (
        (drawn[:, 0], torch.full((96,), 20_000 / 96), torch.full((96,), 20_000 / 96)),
        (drawn[:, 1], probabilities.sum(0), (probabilities * (1 - probabilities)).sum(0)),
    ):
        deviation = (torch.bincount(counts, minlength=96) - expected) / (variance + 1).sqrt()
        assert deviation.abs().max() < 5
        assert deviation.square().mean() < 2


class Words:
    """As much of a file as openings read."""

    def value(self, key):
        assert key == "tokenizer.ggml.tokens"
        return ["the", "ĠParis", "Ġis", "ĠNo", "Ġparis", "ĠRome", "Ġwas", "ĠUSA", "Rome"]


def test_three_texts_of_four_begin_with_a_name():
    texts = text.Openings(Words())(400, 5, torch.Generator().manual_seed(1)).reshape(100, 4, 5)
    named, other = texts[:, :3], texts[:, 3]
    assert set(named[..., 0].flatten().tolist()) == {1, 5} and set(named[..., 1].flatten().tolist()) == {2, 6}
    assert set((-1 - named[..., 2:]).flatten().tolist()) == {1, 5}, "so do those behind an end"
    assert set(other[:, 0].tolist()) == set((-1 - other[:, 1:]).flatten().tolist()) == set(range(9))


def test_what_is_given_stays_and_a_new_text_begins_behind_an_end(toy):
    sampler = text.Sampler(Llama.of(toy).freeze(), 4, 7, torch.Generator().manual_seed(1))
    end = toy.config.eos
    given = torch.tensor([5, -1, 7, -1, end, -4, -9]).repeat(4, 1)
    written = sampler.write(given)
    assert torch.equal(written[:, [0, 2, 4]], given[:, [0, 2, 4]])
    assert written.min() >= 0 and (written[:, 5] == 3).all()
    assert len(set(written[:, [1, 3, 6]].flatten().tolist())) > 2


def test_whole_sequences_only(tmp_path):
    tokens = text.sequences(torch.arange(23), 5)
    assert tokens.shape == (4, 5) and tokens[-1, -1] == 19
    path = str(tmp_path / "tokens.npy")
    text.save(path, tokens)
    assert torch.equal(text.load(path), tokens)
