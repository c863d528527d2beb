"""
Filter a recording in a stream
==============================

Filter a WAV file as a stream: chunk by chunk, in memory that does not grow with the recording.

::

    python examples/filter_a_recording.py                      # makes a recording of 10 s, and filters it
    python examples/filter_a_recording.py IN.wav OUT.wav

(The recording is made because no package ships one; give your own.)
A low-pass filter of 1,023 taps leaves what is below 1 kHz.  The state that one call returns is what the next one takes:
what the filter still reads of the chunks before.  So the result has the bits of the whole recording's.
"""

import sys
import tempfile
import wave
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import convpp

CHUNK, TAPS, CUTOFF = 4096, 1023, 1000.0
WHOLE = np.iinfo(np.int16)


def low_pass(cutoff: float, rate: int) -> np.ndarray:
    """A windowed sinc: linear phase, a delay of (TAPS - 1) / 2 samples."""
    at = np.arange(TAPS) - (TAPS - 1) / 2
    taps: np.ndarray = np.sinc(2 * cutoff / rate * at) * np.hamming(TAPS)
    return np.asarray(taps / taps.sum(), np.float32)


def make_recording(path: Path, rate: int = 44100, seconds: int = 10) -> None:
    """A tone of 440 Hz left, one of 330 Hz right, and a whistle of 6 kHz over both."""
    t = np.arange(rate * seconds) / rate
    tones = np.stack([np.sin(2 * np.pi * f * t) for f in (440, 330)], axis=1)
    both = 0.4 * tones + 0.4 * np.sin(2 * np.pi * 6000 * t)[:, None]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((both * WHOLE.max).astype("<i2").tobytes())


def progress(done: int, total: int) -> None:
    """A bar, written over itself."""
    if sys.stdout.isatty() or done == total:
        filled = 40 * done // max(total, 1)
        print(f"\r[{'#' * filled}{'.' * (40 - filled)}] {done}/{total} frames", end="", flush=True)


def filter_file(source: Path, target: Path) -> None:
    """Read, filter and write a chunk at a time."""
    with wave.open(str(source), "rb") as recording, wave.open(str(target), "wb") as filtered:
        if recording.getsampwidth() != 2:
            raise SystemExit(f"{source} has samples of {8 * recording.getsampwidth()} bits, expected 16")
        filtered.setparams(recording.getparams())
        channels, total = recording.getnchannels(), recording.getnframes()
        kernel, done = low_pass(CUTOFF, recording.getframerate()), 0
        state: str | np.ndarray = "zeros"
        while frames := recording.readframes(CHUNK):
            x = np.frombuffer(frames, "<i2").reshape(-1, channels).astype(np.float32)  # (frames, channels)
            y, state = convpp.convolve(x, kernel, axes=0, mode="causal", state=state)
            filtered.writeframes(np.rint(y).clip(WHOLE.min, WHOLE.max).astype("<i2").tobytes())
            done += len(x)
            progress(done, total)
    print()


def first_channel(path: Path) -> tuple[np.ndarray, int]:
    """Its samples, of 1, and their rate."""
    with wave.open(str(path), "rb") as file:
        frames = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
        return frames[:, 0] / WHOLE.max, file.getframerate()


def loudness(path: Path, frequency: float) -> float:
    """The amplitude of a frequency in the file's first channel, of 1."""
    x, rate = first_channel(path)
    return float(abs(np.mean(x * np.exp(-2j * np.pi * frequency * np.arange(len(x)) / rate))) * 2)


def plot(**recordings: Path) -> None:
    """Which frequencies there are, second by second."""
    _, axes = plt.subplots(1, len(recordings), figsize=(8, 3), sharey=True, layout="constrained")
    for axis, (name, path) in zip(axes, recordings.items(), strict=True):
        x, rate = first_channel(path)
        axis.specgram(x + 1e-6, NFFT=2048, Fs=rate, noverlap=0, vmin=-140, vmax=-40)
        axis.set(title=name, xlabel="seconds", ylim=(0, 8000))
    axes[0].set_ylabel("hertz")
    plt.show()


def main() -> None:
    """Filter the given file, or one that is made."""
    if len(sys.argv) == 3:
        filter_file(Path(sys.argv[1]), Path(sys.argv[2]))
        return
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "recording.wav"), Path(folder, "filtered.wav")
        make_recording(source)
        filter_file(source, target)
        for frequency in (440.0, 6000.0):
            before, after = loudness(source, frequency), loudness(target, frequency)
            print(f"{frequency:.0f} Hz: {before:.2f} before, {after:.2f} after")
        plot(before=source, after=target)


if __name__ == "__main__":
    main()
