"""Models of PyTorch by convpp: ``accelerate``, its report, ``use``.  Next: test_torch.py."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest

torch = pytest.importorskip("torch")
import convpp.torch as ours  # noqa: E402
from convpp.torch import models  # noqa: E402

nn = torch.nn


def network() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3, padding="same", groups=4),
        nn.Sequential(nn.Dropout(0.5), nn.Conv2d(8, 16, 3, stride=2, padding=(1, 0), padding_mode="circular")),
        nn.ConvTranspose2d(16, 4, 4, stride=2, padding=1, output_padding=1),
    )


def near(a: Any, b: Any) -> None:
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("last", [False, True])
def test_a_model_computes_the_same(last: bool) -> None:
    model, x = network().eval(), torch.randn(2, 3, 9, 10)
    if last:
        model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    state = copy.deepcopy(model.state_dict())
    want = model(x)
    parameters = list(model.parameters())
    report = ours.accelerate(model)
    assert report.replaced == len(report.rows) == 4
    assert [row.name for row in report.rows] == ["0", "3", "4.1", "5"]
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    got = model(x)
    near(got, want)
    assert got.is_contiguous(memory_format=torch.channels_last) == want.is_contiguous(memory_format=torch.channels_last)
    assert list(model.state_dict()) == list(state)
    want.sum().backward()
    model.load_state_dict(state)
    network().load_state_dict(model.state_dict())
    grads = [p.grad.clone() for p in parameters]
    model.zero_grad()
    model(x).sum().backward()
    for parameter, grad in zip(parameters, grads, strict=True):
        near(parameter.grad, grad)
    assert ours.accelerate(model).rows == ()
    report.undo()
    assert [type(m) for m in model.modules()] == [type(m) for m in network().modules()]


def test_accelerated_models_are_copied_and_saved() -> None:
    model, x = network().eval(), torch.randn(2, 3, 9, 10)
    ours.accelerate(model)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for other in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        assert type(other[0]) is models.Conv2d
        near(other(x), model(x))
    assert repr(model[3]) == repr(network()[3])


def test_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not faster stays; measuring changes nothing of the model or of PyTorch's random numbers."""
    monkeypatch.setattr(models, "SECONDS", 0.001)
    times = iter([(2.0, 1.0), (1.0, 1.0), (1.0, 0.9), (1.0, 3.0)])
    real, seen = models._milliseconds, []

    def milliseconds(module: Any, ours: Any, given: Any) -> tuple[float, float]:
        seen.append((type(module), given[0].shape, all(ms > 0 for ms in real(module, ours, given))))
        return next(times)

    monkeypatch.setattr(models, "_milliseconds", milliseconds)
    model, x = network().train(), torch.randn(2, 3, 9, 10)
    state, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    report = ours.accelerate(model, x)
    assert [row.replaced for row in report.rows] == [True, False, True, False]
    assert seen == [
        (nn.Conv2d, (2, 3, 9, 10), True),
        (nn.Conv2d, (2, 8, 9, 10), True),
        (nn.Conv2d, (2, 8, 9, 10), True),
        (nn.ConvTranspose2d, (2, 16, 5, 4), True),
    ]
    assert type(model[0]) is models.Conv2d
    assert type(model[3]) is nn.Conv2d
    assert torch.equal(torch.get_rng_state(), random)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])
    assert all(p.grad is None for p in model.parameters())
    text = str(report)
    assert text.startswith("2 of 4 convolutions are computed by convpp")
    assert "2.00 times as fast" in text
    assert "left alone: no gain" in text


def test_what_is_left_alone() -> None:
    class Own(nn.Conv2d):
        pass

    model = nn.ModuleList(
        [Own(3, 4, 3), nn.Conv2d(3, 4, 3, dtype=torch.complex64), nn.Conv2d(3, 4, 3), nn.Linear(3, 4)]
    )
    model.add_module("meta", nn.Conv1d(1, 1, 1, device="meta"))
    report = ours.accelerate(model)
    assert [(row.name, row.replaced) for row in report.rows] == [("0", 0), ("1", 0), ("2", 1), ("meta", 0)]
    assert "a Own, which may do something else" in report.rows[0].reason
    assert "torch.complex64" in report.rows[1].reason


def test_a_module_that_is_called_by_name_is_left_alone() -> None:
    class ByName(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Any) -> Any:
            return self.conv(input=x)

    model = ByName()
    report = ours.accelerate(model, torch.randn(1, 3, 5, 5))
    assert report.replaced == 0
    assert type(model.conv) is nn.Conv2d


def test_use_lasts_as_long_as_its_block_and_passes_on_what_it_cannot() -> None:
    x, calls = torch.randn(2, 3, 9, 10), []
    before = nn.functional.conv2d
    model = network().eval()
    want = model(x)
    real = ours.functional.conv
    with pytest.MonkeyPatch.context() as patch, ours.use():
        patch.setattr(ours.functional, "conv", lambda *given: calls.append(1) or real(*given))
        near(model(x), want)
        z = torch.randn(1, 3, 9, 10, dtype=torch.complex64)
        assert nn.functional.conv2d(z, torch.randn(4, 3, 3, 3, dtype=torch.complex64)).dtype == torch.complex64
        near(nn.functional.conv2d(x, weight=model[0].weight), before(x, model[0].weight))
        with ours.use():
            pass
        assert nn.functional.conv2d is not before
    assert len(calls) >= 3
    assert nn.functional.conv2d is before
    with pytest.raises(ZeroDivisionError), ours.use():
        raise ZeroDivisionError
    assert nn.functional.conv2d is before


@pytest.mark.filterwarnings("ignore")
def test_an_accelerated_model_compiles() -> None:
    model, x = network().eval(), torch.randn(2, 3, 9, 10)
    want = model(x)
    ours.accelerate(model)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    near(compiled(x), want)
    compiled(x).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
