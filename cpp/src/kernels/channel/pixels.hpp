// Tiles of a depthwise layer in channels_last, whose pixels are read where they lie: vectors run along the channels.
//
// In:  a pointer for each pixel of the source's rows (contract.hpp: ChannelPixels).   Out: a row of results.
//
// All channels of some pixels pass by before the next pixels: so lines of memory are read and written as a whole, in
// the order in which they lie.  Pixels of padding are pointers to zeros.
#pragma once

// `Taps` neighbouring taps of `Pixels` neighbouring pixels: a vector, loaded once, is added to all pixels it is for.  (As
// add_taps in channel.hpp, whose pixels are a step apart; one function of both, which is told how to load, was measured at
// 0.7 to 0.9 of the rate.)
template <class S, int Stride, int Taps, int Pixels, class T = Computed<S>>
inline __attribute__((always_inline)) void add_pixels(Vector<T> (&acc)[Pixels], const S* const* at, int64_t channel,
                                                      const T* weights) {
    constexpr int lanes = lanes_of<T>;
    Vector<T> w[Taps];
#pragma GCC unroll 3
    for (int t = 0; t < Taps; ++t) w[t] = load(weights + t * lanes);
#pragma GCC unroll 20
    for (int q = 0; q < (Pixels - 1) * Stride + Taps; ++q) {
        if (q % Stride >= Taps) continue;  // between the pixels
        const Vector<T> x = in_register(read(at[q] + channel));
#pragma GCC unroll 3
        for (int t = 0; t < Taps; ++t) {
            const int p = (q - t) / Stride;
            if (q >= t && (q - t) % Stride == 0 && p < Pixels) acc[p] += x * w[t];
        }
    }
}

template <class S, int Stride, int Pixels, class T = Computed<S>>
inline __attribute__((always_inline)) void pixel_tile(const ChannelPixels<T, S>& of, int64_t first, S* result,
                                                      Onto onto) {
    constexpr int lanes = lanes_of<T>;
    const int64_t vectors = (of.channels + lanes - 1) / lanes, last = of.channels - (vectors - 1) * lanes;
    for (int64_t i = 0; i < vectors; ++i) {
        // A vector that is partly filled comes first: what it spills, the others overwrite.
        const int64_t v = i == 0 ? vectors - 1 : i - 1, channel = v * lanes;
        const T* w = of.weights + v * of.weights_vector;
        Vector<T> acc[Pixels] = {};
        for (int64_t line = 0; line < of.line_count; ++line) {
            const S* const* const at = of.lines[line] + first * Stride;
            int64_t s = 0;
            for (; s + 3 <= of.columns; s += 3, w += 3 * lanes) add_pixels<S, Stride, 3>(acc, at + s, channel, w);
            if (s + 2 <= of.columns) add_pixels<S, Stride, 2>(acc, at + s, channel, w), s += 2, w += 2 * lanes;
            if (s < of.columns) add_pixels<S, Stride, 1>(acc, at + s, channel, w), w += lanes;
        }
        S* to = result + channel;
        const bool whole = v + 1 < vectors || last == lanes;
#pragma GCC unroll 8
        for (int p = 0; p < Pixels; ++p, to += of.result_step) {
            __builtin_prefetch(to + 4 * lanes, 1);
            if (of.ahead != nullptr) __builtin_prefetch(of.ahead[first + p] + channel, 0, 2);
            if (onto == Onto::column_bias) {
                acc[p] += load(of.bias + channel);
            } else if (sizeof(S) == sizeof(T) && onto == Onto::c) {
                S before[lanes] = {};
                for (int64_t j = 0; !whole && j < last; ++j) before[j] = to[j];
                acc[p] += read(whole ? to : before);
            }
            if (whole || to <= of.spill_end) write(to, acc[p]);
            else store_first_as<S, CONVPP_VECTOR_BYTES>(to, acc[p], last);
        }
    }
}

template <int Pixels>
struct PixelCount {
    static constexpr int value = Pixels;
};

// Tiles of 8 pixels; of 7, if rows are a multiple of that; then smaller ones.
template <class S, int Stride>
void channel_pixels(const ChannelPixels<Computed<S>, S>& of, Onto onto) {
    S* to = of.result;
    int64_t first = 0;
    const bool sevens = of.count % 8 != 0 && of.count % 7 == 0;
    const auto tiles = [&](auto pixels) __attribute__((always_inline)) {
        constexpr int size = decltype(pixels)::value;
        for (; of.count - first >= size; first += size, to += size * of.result_step)
            pixel_tile<S, Stride, size>(of, first, to, onto);
    };
    if (sevens) tiles(PixelCount<7>{});
    tiles(PixelCount<8>{});
    tiles(PixelCount<4>{});
    tiles(PixelCount<2>{});
    tiles(PixelCount<1>{});
}

template <class S>
void fill_channel_pixels(ChannelPixelTiles<Computed<S>, S>& tiles) {
    tiles.of[0] = &channel_pixels<S, 1>;
    tiles.of[1] = &channel_pixels<S, 2>;
}
