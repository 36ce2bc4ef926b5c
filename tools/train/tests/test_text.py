import torch

from nibble_train import text
from nibble_train.llama import Llama


def test_logits_behind_the_cache_are_those_of_the_whole_text(toy):
    model = Llama.of(toy).freeze()
    tokens = torch.randint(0, toy.config.vocab, (3, 12))
    cache = text._Cache(model, 3, 12)
    whole = model(tokens)
    for position in range(12):
        logits = text._next_logits(model, tokens[:, position], position, cache)
        assert torch.allclose(logits, whole[:, position], atol=1e-3), position


def test_samples_follow_the_probabilities(toy):
    model = Llama.of(toy).freeze()
    generator = torch.Generator().manual_seed(11)
    drawn = text.sample(model, 20_000, 2, 5_000, generator)
    assert drawn.shape == (20_000, 2) and drawn.min() >= 0 and drawn.max() < toy.config.vocab
    # First tokens are even; the expected count of a second token is the sum of its probabilities behind them.
    probabilities = model(drawn[:, :1])[:, 0].softmax(-1)
    for counts, expected, variance in (
        (drawn[:, 0], torch.full((96,), 20_000 / 96), torch.full((96,), 20_000 / 96)),
        (drawn[:, 1], probabilities.sum(0), (probabilities * (1 - probabilities)).sum(0)),
    ):
        deviation = (torch.bincount(counts, minlength=96) - expected) / (variance + 1).sqrt()
        assert deviation.abs().max() < 5
        assert deviation.square().mean() < 2


def test_whole_sequences_only(tmp_path):
    tokens = text.sequences(torch.arange(23), 5)
    assert tokens.shape == (4, 5) and tokens[-1, -1] == 19
    path = str(tmp_path / "tokens.npy")
    text.save(path, tokens)
    assert torch.equal(text.load(path), tokens)
