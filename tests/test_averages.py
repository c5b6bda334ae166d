"""Averages, soups, Fisher averages: against plain formulas, brute force and torch, with one member in memory at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn

from shiftline.engine.fisher import fisher_diagonal
from shiftline.errors import WeightsError
from shiftline.networks.classifier import Classifier
from shiftline.operations.batch_norm import reset_batch_norms
from shiftline.operations.ensemble import mean_outputs
from shiftline.weights import average, combine, fisher_average, greedy_soup, interpolate


def states(seed, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return {
        "a.weight": torch.randn(4, 3, generator=generator).to(dtype),
        "a.bias": torch.randn(4, generator=generator).to(dtype),
        "norm.running_var": torch.rand(4, generator=generator).to(dtype),
        "norm.num_batches_tracked": torch.tensor(seed),
    }


FLOATS = ("a.weight", "a.bias", "norm.running_var")
shares = st.lists(st.floats(-2, 2), min_size=2, max_size=6)


@given(shares)
def test_a_combination_is_the_formula(weights):
    members = [states(seed) for seed in range(len(weights))]
    found = combine(members, weights)
    for name in FLOATS:
        exact = sum(w * m[name].double() for w, m in zip(weights, members, strict=True))
        torch.testing.assert_close(found[name].double(), exact, rtol=1e-5, atol=1e-5)
    assert found["norm.num_batches_tracked"] == 0


@given(shares.filter(lambda weights: abs(sum(weights)) > 0.1))
def test_an_average_divides_by_the_sum(weights):
    members = [states(seed) for seed in range(len(weights))]
    found, total = average(members, weights), sum(weights)
    for name in FLOATS:
        exact = sum(w / total * m[name].double() for w, m in zip(weights, members, strict=True))
        torch.testing.assert_close(found[name].double(), exact, rtol=1e-4, atol=1e-4)


@given(st.permutations(range(5)))
def test_a_uniform_average_does_not_depend_on_the_order(order):
    members = [states(seed) for seed in range(5)]
    first, second = average(members, [1] * 5), average([members[row] for row in order], [1] * 5)
    for name in FLOATS:
        torch.testing.assert_close(first[name], second[name], rtol=1e-6, atol=1e-6)


@given(st.floats(0, 1))
def test_two_members_are_an_interpolation(alpha):
    first, second = states(1), states(2)
    mixed = interpolate(first, second, alpha)
    for name, tensor in combine([first, second], [1 - alpha, alpha]).items():
        torch.testing.assert_close(tensor, mixed[name], rtol=1e-5, atol=1e-6)


def test_a_weight_of_one_gives_the_member_bit_for_bit():
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        members = [states(seed, dtype) for seed in range(3)]
        found = combine(members, [0.0, 1.0, 0.0])
        assert all(torch.equal(found[name], members[1][name]) and found[name].dtype == dtype for name in FLOATS)


def test_half_precision_members_are_added_in_float32():
    members = [{"w": torch.full((1,), 1.0).half()}] + [{"w": torch.full((1,), 2e-4).half()} for _ in range(9)]
    found = combine(members, [1.0] * 10)["w"]
    exact = torch.tensor(1 + 9 * float(torch.tensor(2e-4).half())).half()
    assert found == exact != torch.tensor(1.0).half()  # In float16 every single addition would be lost.


def test_it_is_torchs_averaged_model():
    torch.manual_seed(0)
    models = [nn.Linear(3, 4) for _ in range(4)]
    swa = AveragedModel(models[0])
    for model in models:
        swa.update_parameters(model)
    found = average([model.state_dict() for model in models], [1] * 4)
    torch.testing.assert_close(found["weight"], swa.module.weight.detach())


def test_one_member_is_open_at_a_time():
    """A soup of twenty needs no more memory than a soup of two."""
    alive, most = 0, 0

    def members(n):
        nonlocal alive, most
        for seed in range(n):
            alive += 1
            most = max(most, alive)
            yield states(seed)
            alive -= 1

    combine(members(20), [0.05] * 20)
    assert most == 1


def test_tied_tensors_are_added_once_and_stay_tied():
    def tied(value):
        tensor = torch.full((2,), value)
        return {"a": tensor, "b": tensor, "c": tensor.clone()}

    found = combine([tied(1.0), tied(3.0)], [0.5, 0.5])
    assert found["a"].data_ptr() == found["b"].data_ptr() != found["c"].data_ptr()
    assert found["a"].tolist() == found["c"].tolist() == [2.0, 2.0]


class Lazy(Mapping):
    """Weights that are made again whenever they are asked for, as those that come from a file to a GPU are."""

    def __init__(self, state):
        self.state = state

    def __getitem__(self, name):
        return self.state[name].clone()

    def __iter__(self):
        return iter(self.state)

    def __len__(self):
        return len(self.state)


def test_tensors_at_one_address_one_after_the_other_are_not_tied():
    """The memory of a tensor that was let go is given to the next one of its shape."""
    members = [{f"layer{i}": torch.full((64, 64), float(i + 10 * row)) for i in range(20)} for row in range(2)]
    fishers = [{name: torch.ones_like(tensor) for name, tensor in member.items()} for member in members]
    for found in (combine(map(Lazy, members), [0.5, 0.5]), fisher_average(map(Lazy, members), map(Lazy, fishers), [1.0, 1.0])):
        assert [float(tensor[0, 0]) for tensor in found.values()] == [i + 5.0 for i in range(20)]


def test_writing_in_place_uses_the_modules_own_tensors():
    models = [nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)) for _ in range(4)]
    target = models.pop()
    pointers = {name: tensor.data_ptr() for name, tensor in target.state_dict().items()}
    combine((model.state_dict() for model in models), [0.2, 0.3, 0.5], out=target.state_dict())
    expected = combine([model.state_dict() for model in models], [0.2, 0.3, 0.5])
    assert {name: tensor.data_ptr() for name, tensor in target.state_dict().items()} == pointers
    assert all(torch.equal(tensor, expected[name]) for name, tensor in target.state_dict().items())


@pytest.mark.parametrize(
    ("members", "weights", "message"),
    [
        ([], [1.0], "0 members and 1 weights"),
        ([states(1)], [0.5, 0.5], "1 members and 2 weights"),
        ([states(1), states(2)], [1.0], "more members than the 1 weights"),
        ([states(1), states(2)], [1.0, math.nan], "expected finite numbers"),
        ([states(1), states(2)], [], "expected finite numbers"),
        ([states(1), {"x": torch.zeros(1)}], [1.0, 1.0], "'a.bias' is missing in member 1"),
        ([states(1), states(1) | {"x": torch.zeros(1)}], [1.0, 1.0], "'x' is only in member 1"),
        ([{"w": torch.zeros(2)}, {"w": torch.zeros(3)}], [1.0, 1.0], r"of shape \(3,\) in member 1"),
        ([{"w": torch.zeros(2)}, {"w": torch.zeros(2).half()}], [1.0, 1.0], "torch.float16 .* in member 1"),
        ([{"w": torch.zeros(1)}, {"w": torch.tensor([math.nan])}], [1.0, 1.0], "NaN or infinite values in member 1"),
        ([{"w": torch.tensor([math.inf])}, {"w": torch.zeros(1)}], [1.0, 0.0], "infinite values in member 0"),
    ],
)
def test_what_cannot_be_combined_is_refused(members, weights, message):
    with pytest.raises(WeightsError, match=message):
        combine(members, weights)


def test_weights_that_sum_to_zero_are_refused():
    with pytest.raises(WeightsError, match="sum to 0: no average has them"):
        average([states(1), states(2)], [1, -1])


# ---- greedy soups ------------------------------------------------------------------------------------------------------


def brute_force(members, scores, evaluate):
    """Algorithm 1 of Wortsman et al., with every average computed from scratch."""
    order = sorted(range(len(members)), key=lambda row: -scores[row])
    kept = [order[0]]
    for row in order[1:]:
        mean = sum(members[i] for i in [*kept, row]) / (len(kept) + 1)
        if evaluate(mean) >= evaluate(sum(members[i] for i in kept) / len(kept)):
            kept.append(row)
    return kept


@given(st.lists(st.integers(-4, 4), min_size=2, max_size=7), st.integers(-3, 3))
def test_greedy_soups_are_those_of_brute_force(values, target):
    members = [torch.tensor([float(value)]) for value in values]

    def evaluate(weights):
        return -round(abs(float(weights[0]) - target), 4)

    scores = [evaluate(member) for member in members]
    weights, kept = greedy_soup(lambda row: nullcontext({"w": members[row]}), scores, lambda state: evaluate(state["w"]))
    assert kept == brute_force(members, scores, evaluate)
    torch.testing.assert_close(weights["w"], sum(members[row] for row in kept) / len(kept))


def test_a_greedy_soup_opens_one_member_at_a_time():
    alive, most = 0, 0

    @contextmanager
    def member(row):
        nonlocal alive, most
        alive += 1
        most = max(most, alive)
        yield states(row)
        alive -= 1

    coin = itertools.cycle([1.0, 0.0])
    greedy_soup(member, [0.5] * 6, lambda state: next(coin))
    assert most == 1


def test_a_soup_of_one_is_refused():
    with pytest.raises(WeightsError, match="a soup of 1"):
        greedy_soup(lambda row: nullcontext(states(row)), [0.5], lambda state: 0.0)


# ---- Fisher ------------------------------------------------------------------------------------------------------------


class Encoder(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(12, 5), nn.BatchNorm1d(5), nn.Tanh())


def small_classifier(seed=0):
    torch.manual_seed(seed)
    model = Classifier(Encoder(), num_features=5, num_classes=3, normalise=False)
    model.encoder[2].running_mean.normal_()
    return model.eval()


def plain_fisher(model, images, labels, target):
    """One backward pass per example and class."""
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for image, label in zip(images, labels, strict=True):
        probabilities = model(image[None]).softmax(dim=1)[0].detach()
        classes = [(int(label), 1.0)] if target == "empirical" else list(enumerate(probabilities.tolist()))
        for row, weight in classes:
            model.zero_grad()
            model(image[None]).log_softmax(dim=1)[0, row].backward()
            for name, p in model.named_parameters():
                total[name] += weight * p.grad**2
    return {name: tensor / len(images) for name, tensor in total.items()}


@pytest.mark.parametrize("target", ["expected", "empirical"])
def test_the_fisher_is_that_of_a_plain_loop(target):
    model = small_classifier()
    images, labels = torch.randn(7, 3, 2, 2), torch.arange(7) % 3
    batches = iter([(images[:4], labels[:4], torch.arange(4)), (images[4:], labels[4:], torch.arange(4, 7))])
    found = fisher_diagonal(model, batches, target=target)
    for name, tensor in plain_fisher(model, images, labels, target).items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-8)


def test_a_sampled_fisher_is_the_expected_one_on_average():
    model = small_classifier()
    images = torch.randn(1, 3, 2, 2).expand(4000, 3, 2, 2)
    labels, ids = torch.zeros(4000, dtype=torch.long), torch.arange(4000)
    sampled = fisher_diagonal(model, iter([(images, labels, ids)]), target="sampled")
    expected = fisher_diagonal(model, iter([(images[:1], labels[:1], ids[:1])]), target="expected")
    torch.testing.assert_close(sampled["head.bias"], expected["head.bias"], rtol=0.1, atol=0.005)


def test_a_fisher_average_is_the_formula_and_has_a_floor():
    members = [
        {"w": torch.tensor([1.0, 1.0, 1.0]), "buffer": torch.tensor([2.0])},
        {"w": torch.tensor([3.0, 3.0, 3.0]), "buffer": torch.tensor([4.0])},
    ]
    fishers = [{"w": torch.tensor([1.0, 0.0, 4.0])}, {"w": torch.tensor([3.0, 0.0, 0.0])}]
    found = fisher_average(members, fishers, [1.0, 1.0], floor=1e-6)
    torch.testing.assert_close(found["w"], torch.tensor([2.5, 2.0, 1.0]))
    assert found["buffer"] == 3.0
    weighted = fisher_average(members, fishers, [3.0, 1.0])
    torch.testing.assert_close(weighted["w"][:2], torch.tensor([(3 * 1 + 3 * 3) / 6, (3 * 1 + 3) / 4]))


@given(st.permutations(range(3)))
def test_a_fisher_average_does_not_depend_on_the_order(order):
    members = [{"w": states(seed)["a.weight"].half(), "n": torch.tensor(7)} for seed in range(3)]
    fishers = [{"w": states(seed + 5)["a.weight"].square()} for seed in range(3)]
    first = fisher_average(members, fishers, [1.0] * 3)
    second = fisher_average([members[i] for i in order], [fishers[i] for i in order], [1.0] * 3)
    torch.testing.assert_close(first["w"], second["w"])
    assert first["w"].dtype == torch.float16
    assert first["n"] == 7


def test_tied_tensors_stay_tied_in_a_fisher_average():
    def tied(value):
        tensor = torch.full((2,), value)
        return {"a": tensor, "b": tensor}

    fishers = [{"a": torch.full((2,), 3.0)}, {"a": torch.full((2,), 1.0)}]
    found = fisher_average([tied(0.0), tied(1.0)], fishers, [1.0, 1.0])
    assert found["a"].data_ptr() == found["b"].data_ptr()
    assert found["a"].tolist() == [0.25, 0.25]


@pytest.mark.parametrize(
    ("fisher", "weights", "message"),
    [
        ({"other": torch.ones(2)}, [1.0, 1.0], "of another model: it has 'other'"),
        ({"w": torch.ones(3)}, [1.0, 1.0], r"in the shape \(3,\)"),
        ({"w": torch.tensor([1.0, -1.0])}, [1.0, 1.0], "negative or NaN"),
        ({"w": torch.tensor([1.0, math.nan])}, [1.0, 1.0], "negative or NaN"),
        ({"w": torch.ones(2)}, [1.0, 0.0], "the weight of member 1 is 0"),
    ],
)
def test_what_is_no_fisher_is_refused(fisher, weights, message):
    members = [{"w": torch.ones(2)}, {"w": torch.ones(2)}]
    with pytest.raises(WeightsError, match=message):
        fisher_average(members, [{"w": torch.ones(2)}, fisher], weights)


# ---- batch norm --------------------------------------------------------------------------------------------------------


def test_reestimated_statistics_are_torchs():
    model, other = small_classifier(), small_classifier()
    batches = [torch.randn(8, 3, 2, 2) for _ in range(5)]
    assert reset_batch_norms(model) == 1
    with torch.no_grad():
        for images in batches:
            model(images)
    update_bn(batches, other)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(model.encoder[2], name), getattr(other.encoder[2], name))
    parameters = zip(model.parameters(), small_classifier().parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in parameters)


# ---- output space ------------------------------------------------------------------------------------------------------


def test_ensembles_are_the_formula():
    logits = [torch.randn(6, 4) for _ in range(3)]
    weights = [0.2, 0.3, 0.5]
    torch.testing.assert_close(mean_outputs(logits, weights, "logits"), sum(w * x for w, x in zip(weights, logits, strict=True)))
    probabilities = sum(w * x.softmax(dim=1) for w, x in zip(weights, logits, strict=True))
    torch.testing.assert_close(mean_outputs(logits, weights, "probabilities").softmax(dim=1), probabilities)


def test_an_ensemble_that_is_one_member_has_its_bits():
    logits = [torch.randn(50, 4) * 10 for _ in range(2)]
    assert torch.equal(mean_outputs(logits, [0.0, 1.0], "logits"), logits[1])


def test_impossible_classes_stay_finite():
    found = mean_outputs([torch.tensor([[0.0, -1e9]]), torch.tensor([[0.0, -1e9]])], [0.5, 0.5], "probabilities")
    assert torch.isfinite(found).all()
    assert found.argmax() == 0


@given(st.floats(0, 1), st.integers(0, 100))
def test_weight_and_output_space_agree_where_the_model_is_linear_in_its_weights(alpha, seed):
    """Proposition 1 of Wortsman et al. 2022, for heads on one encoder: any alpha, any inputs."""
    encoder = small_classifier(seed).encoder
    heads = [nn.Linear(5, 3) for _ in range(2)]
    mixed = nn.Linear(5, 3)
    mixed.load_state_dict(interpolate(heads[0].state_dict(), heads[1].state_dict(), alpha))
    with torch.no_grad():
        features = encoder(torch.randn(9, 3, 2, 2))
        outputs = mean_outputs([head(features) for head in heads], [1 - alpha, alpha], "logits")
        np.testing.assert_allclose(mixed(features), outputs, atol=1e-5)


def test_weight_and_output_space_differ_where_it_is_not():
    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)) for _ in range(3)]
    nets[2].load_state_dict(interpolate(nets[0].state_dict(), nets[1].state_dict(), 0.5))
    with torch.no_grad():
        x = torch.randn(20, 3)
        difference = nets[2](x) - mean_outputs([nets[0](x), nets[1](x)], [0.5, 0.5], "logits")
    assert difference.abs().max() > 1e-3
