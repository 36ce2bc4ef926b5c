import pytest
import torch

from nibble_train.llama import Llama, Rotation
from nibble_train.rotation import hadamard, sylvester
from nibble_train.student import rotated_tensors


@pytest.mark.parametrize("order", [16, 64, 192, 320, 576, 1536])
def test_entries_are_equal_in_size_and_rows_orthogonal(order):
    matrix = hadamard(order)
    assert torch.allclose(matrix.abs(), torch.full_like(matrix, order**-0.5), atol=1e-12)
    assert torch.allclose(matrix @ matrix.T, torch.eye(order, dtype=torch.float64), atol=1e-9)


def test_sylvester_by_its_formula():
    expected = [[1.0 if bin(i & j).count("1") % 2 == 0 else -1.0 for j in range(16)] for i in range(16)]
    assert sylvester(16).tolist() == expected


def test_no_matrix_where_there_is_no_power_of_16():
    with pytest.raises(ValueError, match="order 24"):
        hadamard(24)


@pytest.mark.parametrize("order", [16, 192, 576])
def test_a_rotation_is_the_matrix_and_its_inverse(order):
    x = torch.randn(3, 5, order)
    rotation = Rotation(order, torch.float32)
    assert torch.allclose(rotation(x), x @ hadamard(order).T.float(), atol=1e-5)
    assert torch.allclose(rotation(rotation(x), is_inverse=True), x, atol=1e-5)


def test_logits_of_the_rotated_model_are_those_of_the_model(toy):
    tokens = torch.randint(0, toy.config.vocab, (2, 24))
    model = Llama.of(toy)
    tensors = rotated_tensors(toy)
    rotated = Llama(toy.config, tensors, torch.float32)
    rotated.rotate_stream()
    without_r4 = rotated(tokens)
    for block in rotated.blocks:
        block.rotate_down_input()
    expected, logits = model(tokens), rotated(tokens)
    assert (logits - expected).abs().max() < 1e-4 * expected.abs().max()
    assert (without_r4 - expected).abs().max() > 0.1, "the weights want R4"
    for name in ("attn_v", "attn_output", "attn_q", "ffn_up", "ffn_down"):
        assert not torch.allclose(tensors[f"blk.0.{name}.weight"], toy.layer_tensor(0, name), atol=0.05)


def test_rotation_takes_outliers_out_of_what_matrices_read(toy):
    tokens = torch.randint(0, toy.config.vocab, (2, 24))

    def peak(model):
        """Largest value of the input of the first matrices, in units of its root mean square."""
        block = model.blocks[0]
        gain_folded = block.attention_norm(model.embed(tokens))
        return (gain_folded.abs().amax() / gain_folded.square().mean().sqrt()).item()

    rotated = Llama(toy.config, rotated_tensors(toy), torch.float32)
    rotated.rotate_stream()
    assert peak(rotated) < 0.5 * peak(Llama.of(toy))
