import numpy as np
import torch

from nibble_train.quantizers import LearnedLevels, four_bit_activations, four_bit_kv, lloyd_max, to_f16


def test_lloyd_max_finds_four_clusters_and_beats_even_steps():
    centres = torch.tensor([-3.0, -0.5, 0.25, 4.0])
    groups = centres[torch.arange(64) % 4].repeat(5, 1) + 0.01 * torch.randn(5, 64)
    assert torch.allclose(lloyd_max(groups), centres.expand(5, 4), atol=0.02)
    normal = torch.randn(200, 64)
    levels = lloyd_max(normal)
    error = (normal[..., None] - levels[:, None]).abs().amin(dim=-1).square().mean().item()
    assert error < 0.125  # Max 1960: 0.1175 for four levels of a normal law; fitted to 64 values each it is less


def test_a_weight_takes_the_nearest_level_and_what_is_stored_is_what_is_computed():
    weight = torch.randn(6, 128) * 0.1
    module = LearnedLevels(weight, 64)
    with torch.no_grad():
        module.parameters_of_groups.add_(0.2 * torch.randn_like(module.parameters_of_groups))
    scale, whole = module.stored_levels()
    assert torch.equal(scale, scale.half().float())
    assert whole.abs().max() <= 32 and (whole.diff(dim=-1) >= 0).all() and torch.equal(whole, whole.round())
    levels = scale[..., None] * whole
    codes = module.codes(weight)
    kept = levels.gather(2, codes).reshape(weight.shape)
    assert torch.equal(module(weight), kept)
    nearest = (weight.reshape(6, 2, 64, 1) - levels[:, :, None]).abs().amin(dim=-1)
    assert torch.allclose((weight - kept).abs().reshape(6, 2, 64), nearest, atol=1e-7)
    exact = module.exact_levels()
    assert ((exact - levels).abs() <= 0.51 * scale[..., None]).all()


def test_levels_divide_the_range_by_sigmoids():
    weight = torch.linspace(-2, 1, 64)[None]
    module = LearnedLevels(weight, 64)
    with torch.no_grad():
        module.parameters_of_groups.copy_(torch.tensor([0.5, 0.25, 0.0, 0.0])[:, None, None])
    # gamma·max = 0.5, beta·min = -0.5: a range of 1, half of it, half of the rest.
    assert torch.allclose(module.exact_levels()[0, 0], torch.tensor([-0.5, 0.0, 0.25, 0.5]), atol=1e-6)


def test_gradients_go_straight_through_to_weights_and_are_summed_for_levels():
    weight = torch.randn(2, 64, requires_grad=True)
    module = LearnedLevels(weight, 64)
    factors = torch.randn(2, 64)
    (module(weight) * factors).sum().backward()
    assert torch.equal(weight.grad, factors)
    codes = module.codes(weight)
    parameters = module.parameters_of_groups.detach().clone().requires_grad_(True)
    gamma, beta, first, second = parameters[:, :, 0]
    low, high = beta * module.low[:, 0], gamma * module.high[:, 0]
    s1, s2 = first.sigmoid(), second.sigmoid()
    levels = [low, low + (high - low) * s1, low + (high - low) * (s1 + (1 - s1) * s2), high]
    chosen = sum(level[:, None] * (codes[:, 0] == code) for code, level in enumerate(levels))
    (chosen * factors).sum().backward()
    assert torch.allclose(module.parameters_of_groups.grad, parameters.grad, atol=1e-4)


def test_a_group_of_zeros_or_of_one_value_stays_finite():
    weight = torch.zeros(2, 64)
    weight[1] = 0.5
    module = LearnedLevels(weight, 64)
    out = module(weight)
    assert torch.allclose(out, weight, atol=0.02)


def test_four_bit_activations_by_their_definition():
    x = torch.randn(3, 128)
    x[1, :64] = 0
    out = four_bit_activations(x, 64).numpy()
    for row in range(3):
        for start in (0, 64):
            values = x[row, start : start + 64].numpy()
            step = np.float32(np.abs(values).max() / 7)
            codes = np.rint(values / step) if step > 0 else 0 * values
            assert np.abs(codes).max() <= 7
            np.testing.assert_allclose(out[row, start : start + 64], codes * step, rtol=1e-6)
    x.requires_grad_(True)
    four_bit_activations(x, 64).sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def test_four_bit_kv_by_its_definition():
    x = torch.randn(2, 3, 32)
    out = four_bit_kv(x)
    minimum = x.amin(dim=-1, keepdim=True).half().double()
    scale = ((x.amax(dim=-1, keepdim=True).double() - minimum) / 15).half().double()
    codes = ((x.double() - minimum) / scale).round().clamp(0, 15)
    assert torch.allclose(out.double(), minimum + scale * codes, atol=1e-5)
    assert torch.unique(((out.double() - minimum) / scale).round()).numel() <= 16


def test_f16_by_bits_is_f16():
    x = torch.randn(20_000) * 2.0 ** torch.randint(-26, 14, (20_000,))
    ties = torch.arange(2048, 4096).float() + 0.5  # halfway between neighbours of 11 bits
    for values in (x, ties, -ties, ties * 2.0**-20, torch.tensor([0.0, 2.0**-14, 2.0**-25, 65504.0])):
        assert torch.equal(to_f16(values), values.half().float())
