"""convpp.torch: PyTorch's own functions are the oracle, and its own checks of operators are passed.

Its sample inputs and error inputs are those that PyTorch tests its convolutions with.  Next: test_torch_models.py.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
theirs = torch.nn.functional
import convpp  # noqa: E402
import convpp.torch as ours  # noqa: E402
from convpp.torch import operators  # noqa: E402
from convpp.torch.tensors import as_array, is_last  # noqa: E402

TYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
NAMES = ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
#: In units of eps times the sum of the magnitudes: results of both are rounded, PyTorch's halves more than once.
BOUND = {torch.float64: 16, torch.float32: 16, torch.bfloat16: 4, torch.float16: 4}
LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def rank_of(name: str) -> int:
    return int(name[-2])


def draw(rng: np.random.Generator, name: str) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    """Shapes of input and weight, and arguments."""
    rank, groups = rank_of(name), int(rng.choice([1, 1, 2, 3]))
    c, k = (groups * int(n) for n in rng.integers(1, 5, 2))
    kernel = rng.integers(1, 4, rank)
    how: dict[str, Any] = {"groups": groups}
    for argument, low, high in (("stride", 1, 4), ("padding", 0, 3), ("dilation", 1, 3)):
        values = tuple(int(n) for n in rng.integers(low, high, rank))
        how[argument] = values if rng.random() < 0.5 else values[0]
    spatial = rng.integers(5, 9, rank)
    n = int(rng.integers(1, 4))
    if "transpose" in name:
        room = [max(s, d) for s, d in zip(spread(how["stride"], rank), spread(how["dilation"], rank), strict=True)]
        how["output_padding"] = tuple(int(rng.integers(0, r)) for r in room)
        return (n, c, *spatial), (c, k // groups, *kernel), how
    if rng.random() < 0.3:
        how |= {"padding": "same", "stride": 1}
    return (n, c, *spatial), (k, c // groups, *kernel), how


def spread(value: Any, rank: int) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,) * rank


def tensors(rng: np.random.Generator, dtype: Any, *shapes: tuple[int, ...]) -> list[Any]:
    return [torch.from_numpy(rng.standard_normal(shape)).to(dtype).requires_grad_() for shape in shapes]


def geometries(name: str, count: int) -> Iterator[tuple[np.random.Generator, Any, Any, dict[str, Any]]]:
    """Those that PyTorch takes."""
    rng = np.random.default_rng(NAMES.index(name))
    while count:
        x_shape, w_shape, how = draw(rng, name)
        try:
            with warnings.catch_warnings(action="ignore"):  # that "same" may take a copy
                getattr(theirs, name)(torch.zeros(x_shape), torch.zeros(w_shape), **how)
        except RuntimeError:  # the kernel is longer than the input, or the output is empty
            continue
        count -= 1
        yield rng, x_shape, w_shape, how


def channels_of(name: str, w_shape: tuple[int, ...], how: dict[str, Any]) -> int:
    return w_shape[1] * how["groups"] if "transpose" in name else w_shape[0]


def assert_near(got: Any, want: Any, scale: Any) -> None:
    """Within some roundings of sums whose terms have magnitudes that add up to ``scale``."""
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    bound = BOUND[got.dtype] * torch.finfo(got.dtype).eps * scale.double()
    assert ((got.double() - want.double()).abs() <= bound).all()


def magnitudes(function: Callable[..., Any], x: Any, w: Any, b: Any, dy: Any, how: dict[str, Any]) -> tuple[Any, ...]:
    """Of y, dx, dw and db: the same of absolute values."""
    x, w, b = (None if t is None else t.detach().double().abs().requires_grad_() for t in (x, w, b))
    y = function(x, w, b, **how)
    return (y.detach(), *torch.autograd.grad(y, [t for t in (x, w, b) if t is not None], dy.double().abs()))


def compare(name: str, x: Any, w: Any, b: Any, how: dict[str, Any], rng: np.random.Generator) -> None:
    """Result, memory format and gradients."""
    mine, other = getattr(ours, name), getattr(theirs, name)
    got, want = mine(x, w, b, **how), other(x, w, b, **how)
    # (PyTorch's own differs between its back ends; the rule is theirs: channels last if one operand is.)
    assert got.is_contiguous() or is_last(x, w) == got.is_contiguous(memory_format=LAST[x.dim() - 2])
    dy = torch.from_numpy(rng.standard_normal(want.shape)).to(want.dtype)
    dy = torch.empty_like(want).copy_(dy)
    inputs = [t for t in (x, w, b) if t is not None]
    scales = magnitudes(other, x, w, b, dy, how)
    results = [(got, want)]
    if want.requires_grad:
        results += zip(torch.autograd.grad(got, inputs, dy), torch.autograd.grad(want, inputs, dy), strict=True)
    for (g, t), scale in zip(results, scales, strict=False):
        assert_near(g, t, scale)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", NAMES)
def test_random_geometries(name: str, dtype: Any) -> None:
    for number, (rng, x_shape, w_shape, how) in enumerate(geometries(name, 12)):
        x, w, b = tensors(rng, dtype, x_shape, w_shape, (channels_of(name, w_shape, how),))
        memory_format = LAST.get(rank_of(name)) if number % 2 else None
        if memory_format is not None:
            x = x.detach().to(memory_format=memory_format).requires_grad_()
        compare(name, x, w, b if number % 3 else None, how, rng)


@pytest.mark.parametrize("name", NAMES)
def test_whole_numbers_are_exact(name: str) -> None:
    with convpp.algorithm("direct"):
        for rng, x_shape, w_shape, how in geometries(name, 8):
            x, w = (torch.from_numpy(rng.integers(-4, 5, shape).astype(np.float64)) for shape in (x_shape, w_shape))
            x.requires_grad_(), w.requires_grad_()
            y, z = getattr(ours, name)(x, w, **how), getattr(theirs, name)(x, w, **how)
            assert torch.equal(y, z)
            dy = torch.from_numpy(rng.integers(-4, 5, z.shape).astype(np.float64))
            for a, b in zip(torch.autograd.grad(y, (x, w), dy), torch.autograd.grad(z, (x, w), dy), strict=True):
                assert torch.equal(a, b)


@pytest.mark.filterwarnings("ignore")  # PyTorch's own: gradcheck scripts something
@pytest.mark.parametrize("name", NAMES)
def test_derivatives_of_first_and_second_order(name: str) -> None:
    for rng, x_shape, w_shape, how in geometries(name, 3):
        inputs = tensors(rng, torch.float64, x_shape, w_shape, (channels_of(name, w_shape, how),))

        def function(*given: Any, how: dict[str, Any] = how) -> Any:
            return getattr(ours, name)(*given, **how)

        every = {"fast_mode": True, "check_batched_grad": True}
        assert torch.autograd.gradcheck(function, inputs, check_forward_ad=True, **every)
        assert torch.autograd.gradgradcheck(function, inputs, check_fwd_over_rev=True, check_rev_over_rev=True, **every)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d"])
def test_jacobians_and_hessians(name: str) -> None:
    x, w = (t.detach() for t in tensors(np.random.default_rng(2), torch.float64, (2, 3, 4, 5), (3, 3, 2, 3)))
    for transform in (torch.func.jacfwd, torch.func.jacrev):
        mine, other = (transform(lambda w, m=m: getattr(m, name)(x, w, padding=1))(w) for m in (ours, theirs))
        torch.testing.assert_close(mine, other)
    hessians = [torch.func.hessian(lambda w, m=m: getattr(m, name)(x, w).pow(3).sum())(w) for m in (ours, theirs)]
    torch.testing.assert_close(*hessians)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("operator", ["CONV", "INPUT_GRAD", "WEIGHT_GRAD"])
def test_opcheck(operator: str, last: bool) -> None:
    rng = np.random.default_rng(3)
    geometry = ([2, 1], [1, 1, 0, 2], [1, 2], 2, "zeros")
    x, w, b = tensors(rng, torch.float64, (2, 4, 7, 8), (6, 2, 3, 3), (6,))
    dy, c = tensors(rng, torch.float64, (2, 6, 4, 6), (4,))
    if last:
        x, dy = (t.detach().to(memory_format=torch.channels_last).requires_grad_() for t in (x, dy))
    for arguments in {
        "CONV": [(x, w, b), (x, w, None)],
        "INPUT_GRAD": [(dy, w, None, [2, 4, 7, 8]), (dy, w, c, [2, 4, 7, 8])],
        "WEIGHT_GRAD": [(dy, x, [6, 2, 3, 3])],
    }[operator]:
        torch.library.opcheck(getattr(operators, operator), (*arguments, *geometry))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d"])
def test_vmap(name: str, groups: int) -> None:
    rng = np.random.default_rng(4)
    how: dict[str, Any] = {"stride": 2, "padding": 1, "groups": groups}
    x, w, b = tensors(rng, torch.float64, (5, 2, 4, 6, 7), (5, 4, 4 // groups, 3, 3), (5, 4))
    if name == "conv2d":
        w = w.detach().reshape(5, 4, 4 // groups, 3, 3).requires_grad_()
    for dims in ((0, None, None), (None, 0, None), (0, 0, 0), (None, None, 0), (1, 2, None), (0, None, 0)):
        given = [t if d is not None else t[0] for t, d in zip((x, w, b), dims, strict=True)]
        given = [t if not d else t.movedim(0, d) for t, d in zip(given, dims, strict=True)]
        results = []
        for module in (ours, theirs):

            def loss(x: Any, w: Any, b: Any, module: Any = module) -> Any:
                return getattr(module, name)(x, w, b, **how).square().sum()

            def function(x: Any, w: Any, b: Any, module: Any = module) -> Any:
                return getattr(module, name)(x, w, b, **how)

            y = torch.vmap(function, dims)(*given)
            results.append([y, *torch.vmap(torch.func.grad(loss, argnums=(0, 1, 2)), dims)(*given)])
        for got, want in zip(*results, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-11)


def test_the_gradient_of_each_sample_by_vmap_is_that_of_numpy() -> None:
    rng = np.random.default_rng(5)
    x, w = tensors(rng, torch.float64, (6, 3, 8, 9), (4, 3, 3, 3))
    dy = torch.from_numpy(rng.standard_normal((6, 4, 8, 9)))

    def loss(w: Any, x: Any, dy: Any) -> Any:
        return (ours.conv2d(x, w, padding=1) * dy).sum()

    each = torch.vmap(torch.func.grad(loss), (None, 0, 0))(w, x, dy)
    arrays = (t.detach().numpy() for t in (dy, x))
    want = convpp.conv_weight_grad(*arrays, w.shape, padding=1, per_sample=True)
    torch.testing.assert_close(each, torch.from_numpy(want), rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled(backend: str) -> None:
    rng = np.random.default_rng(6)
    w, v, b = tensors(rng, torch.float32, (8, 3, 3, 3), (8, 4, 3, 3), (8,))

    def function(x: Any, w: Any, v: Any, b: Any) -> Any:
        y = torch.relu(ours.conv2d(x * 2, w, b, padding="same"))
        return ours.conv_transpose2d(y, v, stride=2, padding=1).sin()

    compiled = torch.compile(function, backend=backend, fullgraph=True, dynamic=None)
    for n, last in ((2, False), (2, True), (5, False), (7, False)):  # the second batch makes the shapes symbols
        z = torch.randn(n, 3, 12, 13, generator=torch.manual_seed(n))
        z = (z.to(memory_format=torch.channels_last) if last else z).requires_grad_()
        got, want = compiled(z, w, v, b), function(z, w, v, b)
        assert got.stride() == want.stride()
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
        dy = torch.ones_like(want)
        grads = [torch.autograd.grad(y, (z, w, v, b), dy) for y in (got, want)]
        for g, t in zip(*grads, strict=True):
            torch.testing.assert_close(g, t, rtol=1e-3, atol=1e-3)


# ---------------------------------------------------------------- PyTorch's own inputs


def infos() -> dict[str, Any]:
    from torch.testing._internal.common_methods_invocations import op_db

    found = {op.name.removeprefix("nn.functional."): op for op in op_db}
    return {name: found[name] for name in NAMES}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", NAMES)
def test_sample_inputs_of_pytorch(name: str, dtype: Any) -> None:
    pytest.importorskip("expecttest")
    op, seen, rng = infos()[name], 0, np.random.default_rng(7)
    for sample in op.sample_inputs("cpu", dtype, requires_grad=True):
        w, *rest = sample.args
        names = ("bias", "stride", "padding", "dilation", "groups")
        if "transpose" in name:
            names = ("bias", "stride", "padding", "output_padding", "groups", "dilation")
        how = dict(zip(names, rest, strict=False)) | sample.kwargs
        compare(name, sample.input, w, how.pop("bias", None), how, rng)
        seen += 1
    assert seen >= 4


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_error_inputs_of_pytorch(name: str) -> None:
    pytest.importorskip("expecttest")
    op = infos()[name]
    for error in op.error_inputs("cpu") if op.error_inputs_func is not None else ():
        sample = error.sample_input
        with pytest.raises((ValueError, TypeError, RuntimeError)):
            getattr(ours, name)(sample.input, *sample.args, **sample.kwargs)


# ---------------------------------------------------------------- memory, threads, types, errors


def test_channels_last_results_are_real_ones_and_nothing_is_copied() -> None:
    x = torch.randn(2, 8, 9, 10).to(memory_format=torch.channels_last)
    y = ours.conv2d(x, torch.randn(16, 8, 3, 3))
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert torch.relu_(y) is y
    for tensor, last in ((x, True), (torch.randn(2, 8, 9, 10), False), (torch.randn(2, 3, 4).bfloat16(), False)):
        assert as_array(tensor, last).ctypes.data == tensor.data_ptr()
    weight_last = torch.randn(16, 8, 3, 3).to(memory_format=torch.channels_last)
    z = ours.conv2d(x.contiguous(), weight_last)  # as PyTorch: one of them is enough
    assert z.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", TYPES)
def test_results_may_be_changed_in_place(dtype: Any, last: bool) -> None:
    x, w = torch.randn(2, 4, 8, 9).to(dtype).requires_grad_(), torch.randn(6, 4, 3, 3).to(dtype).requires_grad_()
    given = x.to(memory_format=torch.channels_last) if last else x
    grads = []
    for module in (ours, theirs):
        y = module.conv2d(given, w)
        assert y._base is None
        torch.relu_(y).sum().backward()
        grads.append((x.grad.clone(), w.grad.clone()))
        x.grad = w.grad = None
    for got, want in zip(*grads, strict=True):
        torch.testing.assert_close(got, want, rtol=0.1, atol=0.1)
    dx = torch.autograd.grad(ours.conv2d(given, w).sum(), given)[0]
    dx.add_(1)


def test_any_strides() -> None:
    x, w = torch.randn(9, 2, 4, 20).permute(1, 2, 0, 3)[..., ::2], torch.randn(3, 3, 4, 5).permute(3, 2, 0, 1)
    torch.testing.assert_close(ours.conv2d(x, w), theirs.conv2d(x, w), rtol=1e-4, atol=1e-4)
    expanded = torch.randn(1, 4, 1, 1).expand(2, 4, 6, 7)
    torch.testing.assert_close(ours.conv2d(expanded, w), theirs.conv2d(expanded, w), rtol=1e-4, atol=1e-4)


def test_one_sample_and_no_samples() -> None:
    w = torch.randn(6, 4, 3, 3)
    x = torch.randn(4, 8, 9)
    torch.testing.assert_close(ours.conv2d(x, w), theirs.conv2d(x, w), rtol=1e-4, atol=1e-4)
    assert ours.conv2d(torch.randn(0, 4, 8, 9), w).shape == (0, 6, 6, 7)
    assert ours.conv_transpose2d(torch.randn(6, 8, 9), w).shape == (4, 10, 11)


def test_threads_of_pytorch_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = operators.run
    monkeypatch.setattr(operators, "run", lambda *given: seen.append(given[-1]) or real(*given))
    x, w = torch.randn(1, 4, 8, 9), torch.randn(6, 4, 3, 3)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            ours.conv2d(x, w)
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 2]


def test_autocast() -> None:
    x, w, b = torch.randn(1, 4, 8, 9), torch.randn(6, 4, 3, 3, requires_grad=True), torch.randn(6)
    with torch.autocast("cpu", torch.bfloat16):
        y = ours.conv2d(x, w, b)
        assert y.dtype == theirs.conv2d(x, w, b).dtype == torch.bfloat16
    y.float().sum().backward()
    assert w.grad.dtype == torch.float32


def test_gradients_that_are_not_needed_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []
    real = operators._computed
    monkeypatch.setattr(operators, "_computed", lambda *given: passes.append(given[0]) or real(*given))
    x, w = torch.randn(1, 4, 8, 9), torch.randn(6, 4, 3, 3, requires_grad=True)
    ours.conv2d(x, w).sum().backward()
    assert passes == ["forward", "weight_grad"]


def test_errors() -> None:
    x, w = torch.randn(1, 4, 8, 9), torch.randn(6, 4, 3, 3)
    for given, error, message in (
        ((x.numpy(), w), convpp.DTypeError, "input is a ndarray, expected a tensor: convpp.conv is for NumPy arrays"),
        ((x.to(torch.complex64), w), convpp.DTypeError, r"input has dtype torch.complex64.*torch.nn.functional"),
        ((x, w.double()), convpp.DTypeError, "weight has dtype torch.float64, expected torch.float32"),
        ((x, w, torch.zeros(6, dtype=torch.float64)), convpp.DTypeError, "bias has dtype torch.float64"),
        ((x, w, torch.zeros(5)), convpp.ShapeError, r"bias has shape \(5,\)"),
        ((x[0, 0], w), convpp.ShapeError, r"input has shape \(8, 9\)"),
        ((x, w[0]), convpp.ShapeError, "weight has shape"),
        ((x[:, :3], w), convpp.ShapeError, "must have 4 channels"),
        ((x[..., :2], w), convpp.ShapeError, "the kernel is longer"),
        ((x, w, None, 1, "full"), ValueError, "padding is 'full'"),
        ((x, w, None, 2, "same"), ValueError, "expected stride 1"),
        ((x, w, None, (1, 1, 1)), ValueError, "stride is"),
        ((x, w, None, 0), ValueError, "stride is"),
    ):
        with pytest.raises(error, match=message):
            ours.conv2d(*given)
    with pytest.raises(ValueError, match="output_padding is 2, expected 0 or more and less than stride"):
        ours.conv_transpose2d(x, torch.randn(4, 2, 3, 3), output_padding=2)
    assert ours.conv2d(x.to("meta"), w.to("meta")).shape == (1, 6, 6, 7)


# ---------------------------------------------------------------- tensors as arrays


@pytest.mark.parametrize("dtype", TYPES)
def test_tensors_are_arrays_for_all_functions(dtype: Any) -> None:
    x, w = torch.randn(1, 4, 8, 9).to(dtype), torch.randn(6, 4, 3, 3).to(dtype)
    y = convpp.conv(x, w)
    want = ours.conv2d(x, w)
    assert np.array_equal(y, as_array(want))
    assert np.shares_memory(convpp._call.validation.as_array(x, "x").view(np.uint8), as_array(x).view(np.uint8))


@pytest.mark.parametrize("dtype", TYPES)
def test_tensors_with_gradients_are_sent_to_convpp_torch(dtype: Any) -> None:
    x, w = torch.randn(1, 4, 8, 9).to(dtype), torch.randn(6, 4, 3, 3).to(dtype).requires_grad_()
    with pytest.raises(convpp.DTypeError, match=r"w is not an array: .*convpp\.torch has functions with gradients"):
        convpp.conv(x, w)
