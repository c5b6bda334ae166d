"""Interpolation of weights: against the formula, exact at the ends, honest about what cannot be mixed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from shiftline.errors import WeightsError
from shiftline.weights import interpolate

alphas = st.floats(0, 1)
finite = st.floats(-1e3, 1e3, width=32)


def states(seed, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return {
        "a.weight": torch.randn(4, 3, generator=generator).to(dtype),
        "a.bias": torch.randn(4, generator=generator).to(dtype),
        "norm.running_var": torch.rand(4, generator=generator).to(dtype),
        "norm.num_batches_tracked": torch.tensor(seed),
    }


@given(alphas)
def test_it_is_the_formula(alpha):
    start, end = states(1), states(2)
    mixed = interpolate(start, end, alpha)
    for name in ("a.weight", "a.bias", "norm.running_var"):
        exact = (1 - alpha) * start[name].double() + alpha * end[name].double()
        torch.testing.assert_close(mixed[name].double(), exact, rtol=3e-7, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_the_ends_are_bit_exact(dtype):
    start, end = states(1, dtype), states(2, dtype)
    start["a.bias"][0], end["a.bias"][1] = -0.0, torch.finfo(dtype).max
    start["a.bias"][1] = -torch.finfo(dtype).max
    if dtype == torch.float64:
        start["a.bias"][2] = 1 / 3
    for alpha, expected in ((0, start), (0.0, start), (1, end)):
        for name, tensor in interpolate(start, end, alpha).items():
            if tensor.is_floating_point():
                assert torch.equal(tensor, expected[name])
                assert torch.equal(tensor.signbit(), expected[name].signbit())
                assert tensor.dtype == dtype


@given(st.lists(finite, min_size=1, max_size=20), st.data(), alphas)
def test_a_mix_lies_between_its_ends(values, data, alpha):
    start = torch.tensor(values, dtype=torch.float32)
    end = torch.tensor(data.draw(st.lists(finite, min_size=len(values), max_size=len(values))), dtype=torch.float32)
    mixed = interpolate({"w": start}, {"w": end}, alpha)["w"]
    low, high = torch.minimum(start, end), torch.maximum(start, end)
    slack = 1e-6 * (low.abs() + high.abs())
    assert ((mixed >= low - slack) & (mixed <= high + slack)).all()


@given(alphas)
def test_swapping_the_ends_mirrors_alpha(alpha):
    start, end = states(1), states(2)
    there, back = interpolate(start, end, alpha), interpolate(end, start, 1 - alpha)
    torch.testing.assert_close(there["a.weight"], back["a.weight"], rtol=1e-5, atol=1e-6)


def test_integer_buffers_are_those_of_the_start():
    mixed = interpolate(states(1), states(2), 1.0)
    assert mixed["norm.num_batches_tracked"].item() == 1


def test_half_precision_members_are_combined_in_float32():
    start, end = {"w": torch.tensor([2048.0], dtype=torch.float16)}, {"w": torch.tensor([2050.0], dtype=torch.float16)}
    # In float16 the difference of 2 times 0.5 is exact, but 2049 is not a float16: it is rounded once, at the end.
    assert interpolate(start, end, 0.5)["w"].item() == 2048.0
    big = {"w": torch.tensor([60000.0], dtype=torch.float16)}, {"w": torch.tensor([-60000.0], dtype=torch.float16)}
    assert interpolate(*big, 0.5)["w"].item() == 0.0


def test_inputs_are_not_changed():
    start, end = states(1), states(2)
    interpolate(start, end, 0.3)
    for name, tensor in states(1).items():
        assert torch.equal(tensor, start[name])


def test_tied_tensors_stay_tied():
    shared, other = torch.randn(3), torch.randn(3)
    mixed = interpolate({"a": shared, "b": shared}, {"a": other, "b": other}, 0.5)
    assert mixed["a"] is mixed["b"]


def test_writing_in_place_makes_no_second_copy():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(3, 4)
            self.norm = nn.BatchNorm1d(4)

    first, second, target = Model(), Model(), Model()
    pointers = {n: t.data_ptr() for n, t in target.state_dict().items()}
    interpolate(first.state_dict(), second.state_dict(), 0.25, out=target.state_dict())
    assert {n: t.data_ptr() for n, t in target.state_dict().items()} == pointers
    expected = interpolate(first.state_dict(), second.state_dict(), 0.25)
    assert all(torch.equal(t, expected[n]) for n, t in target.state_dict().items())


@pytest.mark.parametrize(
    ("start", "end", "alpha", "message"),
    [
        (states(1), states(2), 1.1, "alpha is 1.1"),
        ({"w": torch.zeros(2).half()}, {"w": torch.zeros(2)}, 0.5, "is torch.float16 at the start and torch.float32"),
        (states(1), states(2), float("nan"), "alpha is nan"),
        (states(1), {"x": torch.zeros(1)}, 0.5, "are missing in end, for example 'a.bias'"),
        ({"w": torch.zeros(2)}, {"w": torch.zeros(3)}, 0.5, r"'w' has the shape \(2,\) at the start and \(3,\)"),
        ({"w": torch.tensor([float("nan")])}, {"w": torch.zeros(1)}, 0.5, "'w' holds NaN or infinite values at the start"),
        ({"w": torch.zeros(1)}, {"w": torch.tensor([float("inf")])}, 0.5, "infinite values at the end"),
    ],
)
def test_what_cannot_be_mixed_is_refused(start, end, alpha, message):
    with pytest.raises(WeightsError, match=message):
        interpolate(start, end, alpha)


def test_an_out_with_other_names_is_refused():
    with pytest.raises(WeightsError, match="on one side only"):
        interpolate(states(1), states(2), 0.5, out={"a.weight": torch.zeros(4, 3)})
    with pytest.raises(WeightsError, match=r"out has 'w' in the shape \(2, 1\)"):
        interpolate({"w": torch.zeros(1)}, {"w": torch.ones(1)}, 0.5, out={"w": torch.zeros(2, 1)})


def test_a_model_linear_in_its_weights_has_equal_weight_and_output_space_ensembles():
    x = torch.randn(20, 3)
    first, second = nn.Linear(3, 4), nn.Linear(3, 4)
    mixed = nn.Linear(3, 4)
    mixed.load_state_dict(interpolate(first.state_dict(), second.state_dict(), 0.3))
    torch.testing.assert_close(mixed(x), 0.7 * first(x) + 0.3 * second(x))
