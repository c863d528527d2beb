"""The command line: ``python -m convpp`` and the console script ``convpp``.

In: words.  Out: text, or with ``--json`` one JSON object; and an exit code: 0 done, 1 a check or measure failed, 2 a
wrong call, 130 interrupted by Ctrl-C, 141 cut off by its reader (``| head``).  Each command's work is elsewhere and
imported only when the command runs.

Next: ``demo.py`` (demo), ``check.py`` (check), ``bench.py`` (bench); convpp's ``explain`` and ``show_config`` (info);
``report.py`` (``--json``).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

__all__ = ["main"]

#: What shells say of a program that Ctrl-C has ended: 128 and the number of the signal.
INTERRUPTED = 130
#: And of one whose reader has gone: 128 and the number of SIGPIPE.
CUT_OFF = 141
#: The kinds of pictures that are drawn, by the ends of their names.
PICTURES = (".png", ".pdf", ".svg")

EXPLAIN_EXAMPLE = """\
example: the second layer of ResNet-50, forward, on eight images

  python -m convpp explain --x 8,64,56,56 --w 64,64,3,3 --padding 1

shapes are those of convpp.conv; a gradient is --op input_grad or weight_grad
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; ``argv`` is by default that of the process."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help(sys.stderr)
        return 2
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()  # so that a reader that has gone is noticed here
    except arguments.expected as error:  # what a user can put right: a line, no traceback
        parser.exit(2, f"convpp {arguments.command}: {error}\n")
    except BrokenPipeError:  # whoever reads this has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is not written at the end, either
        return CUT_OFF
    except KeyboardInterrupt:  # which the user knows of
        print(file=sys.stderr)  # "^C" has a line of its own
        return INTERRUPTED
    return code


def _parser() -> argparse.ArgumentParser:
    import convpp

    parser = argparse.ArgumentParser(prog="convpp", description="Convolution and its gradients for NumPy.")
    parser.set_defaults(expected=())
    parser.add_argument("--version", action="version", version=f"convpp {convpp.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")

    demo = commands.add_parser("demo", help="train a small network on handwritten digits")
    demo.add_argument("--epochs", type=_positive, default=20, help="default: %(default)s")
    demo.add_argument("--batch-size", type=_positive, default=32, help="default: %(default)s")
    demo.add_argument("--seed", type=_natural, default=0, help="default: %(default)s")
    demo.add_argument(
        "--plot",
        type=_picture,
        metavar="FILE",
        help=f"draw filters, feature maps and the loss curve: {', '.join(PICTURES)}",
    )
    demo.set_defaults(run=_demo, expected=(ImportError, FileNotFoundError))

    info = commands.add_parser("info", help="print version, instruction sets, threads, compiler")
    info.add_argument("--peak", action="store_true", help="measure the peak arithmetic rate, some seconds")
    _add_json(info)
    info.set_defaults(run=_info)

    check = commands.add_parser("check", help="test every kernel and instruction set of this machine")
    check.add_argument("--seed", type=_natural, default=0, help="of the geometries; default: %(default)s")
    check.set_defaults(run=_check)

    explain = commands.add_parser(
        "explain",
        help="print how a convolution would be computed",
        epilog=EXPLAIN_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    explain.add_argument("--x", type=_ints, required=True, metavar="N,C,H,W", help="the shape of x")
    explain.add_argument("--w", type=_ints, required=True, metavar="K,C,R,S", help="the shape of w")
    explain.add_argument("--stride", type=_per_axis, default=1, metavar="INT[,INT]")
    explain.add_argument(
        "--padding",
        type=_padding,
        default=0,
        metavar="PAD",
        help="INT, INT,INT (one an axis), LO:HI,LO:HI (one pair an axis), or a name such as same",
    )
    explain.add_argument("--dilation", type=_per_axis, default=1, metavar="INT[,INT]")
    explain.add_argument("--groups", type=_positive, default=1)
    explain.add_argument(
        "--padding-mode",
        type=_names,
        default="zeros",
        metavar="NAME[,NAME]",
        help="zeros, reflect, symmetric, replicate or circular, or one an axis; default: %(default)s",
    )
    explain.add_argument("--flip", action="store_true", help="rotate the filters")
    explain.add_argument("--per-sample", action="store_true", help="filters for each sample: w is N,K,C,R,S")
    explain.add_argument("--op", choices=("forward", "input_grad", "weight_grad"), default="forward")
    explain.add_argument("--dtype", default="float32", help="default: %(default)s")
    explain.add_argument("--layout", choices=("channels_first", "channels_last"), default="channels_first")
    explain.add_argument(
        "--algorithm", default="auto", help="auto, direct, stream, winograd, fft or reference; default: %(default)s"
    )
    explain.add_argument("--threads", type=_positive)
    _add_json(explain)
    explain.set_defaults(run=_explain, expected=(ValueError, TypeError))

    bench = commands.add_parser("bench", help="measure the layers of a network against this machine's peak")
    bench.add_argument(
        "--network",
        default="resnet50",
        metavar="NAME",
        help="resnet50, vgg16, mobilenet_v1, or all; layers of other kinds: resnext, lenet, conv1d, conv3d, dilated, "
        "odd, largekernel, deepbench; default: %(default)s",
    )
    bench.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="default: %(default)s")
    bench.add_argument("--layout", choices=("channels_first", "channels_last"), default="channels_first")
    bench.add_argument("--threads", type=_positive)
    bench.add_argument("--seconds", type=_seconds, default=0.3, help="for each case; default: %(default)s")
    _add_json(bench)
    bench.set_defaults(run=_bench, expected=(ImportError, ValueError))
    return parser


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object: see docs/command_line.md")


def _demo(arguments: argparse.Namespace) -> int:
    from convpp._cli import demo

    demo.main(arguments.epochs, arguments.batch_size, arguments.seed, arguments.plot)
    return 0


def _info(arguments: argparse.Namespace) -> int:
    from convpp import runtime
    from convpp._cli import machine

    peaks = machine.measure_peaks(("float32", "float64"), runtime.get_num_threads()) if arguments.peak else []
    warnings = machine.warnings_of(peaks)
    if arguments.json:
        from convpp._cli import report

        report.show(report.info_report(peaks, warnings))
        return 0
    runtime.show_config()
    for peak in peaks:
        print(f"peak, {peak.name}: {peak.rate:.0f} GFLOP/s")
    machine.warn(warnings)
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from convpp._cli import check

    return 0 if check.main(arguments.seed) else 1


def _explain(arguments: argparse.Namespace) -> int:
    import convpp

    own = ("x", "w", "command", "run", "expected", "json")
    options: dict[str, Any] = {name: value for name, value in vars(arguments).items() if name not in own}
    explanation = convpp.explain(arguments.x, arguments.w, **options)
    if arguments.json:
        from convpp._cli import report

        report.show(report.explain_report(explanation, arguments.x, arguments.w))
    else:
        print(explanation)
    return 0


def _bench(arguments: argparse.Namespace) -> int:
    from convpp._cli import bench

    asked = (arguments.network, arguments.dtype, arguments.layout, arguments.threads, arguments.seconds)
    measured = bench.main(*asked, quiet=arguments.json)
    if arguments.json:
        from convpp._cli import report

        report.show(report.bench_report(measured))
    return 0


def _ints(text: str, least: int | None = None) -> tuple[int, ...]:
    try:
        values = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected integers with commas between, got {text!r}") from None
    if least is not None and min(values) < least:
        raise argparse.ArgumentTypeError(f"must be at least {least}, got {text}")
    return values


def _natural(text: str, least: int = 0) -> int:
    values = _ints(text, least)
    if len(values) != 1:
        raise argparse.ArgumentTypeError(f"expected one integer, got {text!r}")
    return values[0]


_positive = partial(_natural, least=1)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return value


def _picture(text: str) -> str:
    if not text.lower().endswith(PICTURES):
        raise argparse.ArgumentTypeError(f"expected a name that ends in {', '.join(PICTURES)}, got {text!r}")
    return text


def _per_axis(text: str) -> int | tuple[int, ...]:
    values = _ints(text)
    return values[0] if len(values) == 1 else values


def _names(text: str) -> str | tuple[str, ...]:
    names = tuple(text.split(","))
    return names[0] if len(names) == 1 else names


def _padding(text: str) -> Any:
    if text[:1].isalpha():
        return text
    if ":" not in text:
        return _per_axis(text)
    return tuple(_ints(pair.replace(":", ",")) for pair in text.split(","))
