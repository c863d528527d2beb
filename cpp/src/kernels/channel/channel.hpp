// Tiles whose vectors run along the channels of a pixel, where a result channel reads only the few source channels of
// its own group: depthwise layers, and grouped ones in channels_last.
//
// In:  rows of pixels, a vector of channels of each; weights[channel of the group][tap][lane].
// Out: pixels of the result, or sums[channel of the group][tap][lane].
// With `Group` channels a group, lane l needs source lane l/Group*Group + channel: a shuffle that the compiler knows.
#pragma once

// A vector that several products share: compilers would load it again for each of them, as an operand in memory.
// (Measured, a tile of 8 pixels, vectors across cache lines: 1.2 to 1.3 times as fast.)
template <class V>
inline __attribute__((always_inline)) V in_register(V v) {
#if defined(__AVX512F__)
    asm("" : "+v"(v));
#elif defined(__x86_64__) || defined(__i386__)
    asm("" : "+x"(v));
#elif defined(__aarch64__)
    asm("" : "+w"(v));
#endif
    return v;
}

template <class T, int Group, int Channel, int... J>
inline __attribute__((always_inline)) Vector<T> of_group(Vector<T> v, Lanes<J...>) {
    if constexpr (Group == 1) return v;
    else return __builtin_shufflevector(v, v, (J / Group * Group + Channel)...);
}

// `Taps` neighbouring taps of `Pixels` neighbouring pixels: pixel p reads at tap t what pixel p + 1 reads at tap t - 1,
// so each vector, loaded (and shuffled) once, is added to all pixels it is for.
template <class T, int Group, int Channel, int Taps, int Pixels>
inline __attribute__((always_inline)) void add_taps(Vector<T> (&acc)[1][Pixels], const T* source, int64_t step,
                                                    const T* weights) {
    constexpr int lanes = lanes_of<T>;
    Vector<T> w[Taps];
#pragma GCC unroll 3
    for (int t = 0; t < Taps; ++t) w[t] = load(weights + t * lanes);
#pragma GCC unroll 10
    for (int q = 0; q < Pixels + Taps - 1; ++q) {
        const Vector<T> x = in_register(of_group<T, Group, Channel>(load(source + q * step), LanesOf<lanes>{}));
#pragma GCC unroll 3
        for (int t = 0; t < Taps; ++t)
            if (q >= t && q - t < Pixels) acc[0][q - t] += x * w[t];
    }
}

// A run ends with a line of taps, or with a channel's.  `left_of_run`: pairs until then.
template <class T, int Group, int Pixels, int Channel = 0>
inline __attribute__((always_inline)) void add_channels(Vector<T> (&acc)[1][Pixels], RunSums<T, 1, Pixels>& runs,
                                                        const ChannelDepth& depth, int64_t left_of_run,
                                                        const int64_t* offsets, const T* source, int64_t step,
                                                        const T* weights) {
    constexpr int lanes = lanes_of<T>;
    for (int64_t t = 0; t < depth.taps;) {
        if (left_of_run == 0) {
            runs.next(acc);
            left_of_run = depth.run;
        }
        int64_t left = depth.taps - t < depth.line ? depth.taps - t : depth.line;
        left_of_run -= left;
        for (; left >= 3; left -= 3, t += 3)
            add_taps<T, Group, Channel, 3>(acc, source + offsets[t], step, weights + t * lanes);
        if (left == 2) add_taps<T, Group, Channel, 2>(acc, source + offsets[t], step, weights + t * lanes);
        else if (left == 1) add_taps<T, Group, Channel, 1>(acc, source + offsets[t], step, weights + t * lanes);
        t += left;
    }
    if constexpr (Channel + 1 < Group)
        add_channels<T, Group, Pixels, Channel + 1>(acc, runs, depth, left_of_run, offsets, source, step,
                                                    weights + depth.taps * lanes);
}

template <class T, int Group, int Pixels>
void channel_tile(const ChannelDepth& depth, const int64_t* offsets, const T* source, int64_t source_step,
                  const T* weights, T* c, int64_t result_step, Onto onto, const T* bias) {
    const auto at = [=](int, int p) { return c + p * result_step; };
    Vector<T> acc[1][Pixels] = {};
    alignas(64) T memory[RunSums<T, 1, Pixels>::elems];
    RunSums<T, 1, Pixels> runs{memory};
    add_channels<T, Group, Pixels>(acc, runs, depth, depth.run, offsets, source, source_step, weights);
    runs.end(acc);
    if (onto == Onto::column_bias) {  // the same for all pixels
#pragma GCC unroll 8
        for (int p = 0; p < Pixels; ++p) acc[0][p] += load(bias);
    } else {
        add_onto<T>(acc, onto, bias, at);
    }
    store_sums<T>(acc, at);
}

// Tiles of 8 pixels; of 7, if rows are a multiple of that (the planes of many networks are); then smaller ones.
template <class T, int Group>
void channel_tiles(const ChannelDepth& depth, const int64_t* offsets, const PixelRows& rows, const T* source,
                   const T* weights, T* c, Onto onto, const T* bias) {
    const bool sevens = rows.count % 8 != 0 && rows.count % 7 == 0;
    for (int64_t r = 0; r < rows.rows; ++r) {
        const T* from = source + rows.at[r].source;
        T* to = c + rows.at[r].result;
        int64_t left = rows.count;
        const auto tile = [&](auto tile_of, int64_t pixels) __attribute__((always_inline)) {
            tile_of(depth, offsets, from, rows.source_step, weights, to, rows.result_step, onto, bias);
            from += pixels * rows.source_step;
            to += pixels * rows.result_step;
            left -= pixels;
        };
        while (sevens && left > 0) tile(&channel_tile<T, Group, 7>, 7);
        while (left >= 8) tile(&channel_tile<T, Group, 8>, 8);
        if (left >= 4) tile(&channel_tile<T, Group, 4>, 4);
        if (left >= 2) tile(&channel_tile<T, Group, 2>, 2);
        if (left >= 1) tile(&channel_tile<T, Group, 1>, 1);
    }
}

// sums[t][lane] += over the pixels: dy[lane] * x[lane's group, Channel], for `Taps` taps.
template <class T, int Group, int Channel, int Taps>
void channel_sum(const PixelRows& rows, int64_t run, const T* x, const int64_t* offsets, const T* dy, T* sums) {
    constexpr int lanes = lanes_of<T>;
    Vector<T> acc[Taps] = {};
    int64_t left_of_run = run;
    for (int64_t r = 0; r < rows.rows; ++r) {
        const T* at = x + rows.at[r].source;
        const T* d_at = dy + rows.at[r].result;
        for (int64_t left = rows.count; left > 0;) {
            const int64_t count = left < left_of_run ? left : left_of_run;
            for (int64_t p = 0; p < count; ++p, at += rows.source_step, d_at += rows.result_step) {
                __builtin_prefetch(d_at + 16 * rows.result_step);
                const Vector<T> d = load(d_at);
#pragma GCC unroll 12
                for (int t = 0; t < Taps; ++t)
                    acc[t] += of_group<T, Group, Channel>(load(at + offsets[t]), LanesOf<lanes>{}) * d;
            }
            left -= count;
            left_of_run -= count;
            if (left_of_run > 0) continue;
            left_of_run = run;
            add_vectors<T>(acc, sums);
        }
    }
    add_vectors<T>(acc, sums);
}

template <class T, int Group, int Channel, int Taps>
void channel_sums_of(int64_t taps, const PixelRows& rows, int64_t run, const T* x, const int64_t* offsets, const T* dy,
                     T* sums) {
    for (; taps >= Taps; taps -= Taps, offsets += Taps, sums += Taps * lanes_of<T>)
        channel_sum<T, Group, Channel, Taps>(rows, run, x, offsets, dy, sums);
    if constexpr (Taps > 1)
        if (taps > 0) channel_sums_of<T, Group, Channel, Taps / 2>(taps, rows, run, x, offsets, dy, sums);
}

template <class T, int Group, int Channel = 0>
void channel_sums(int64_t taps, const int64_t* offsets, const PixelRows& rows, int64_t run, const T* x, const T* dy,
                  T* sums) {
    channel_sums_of<T, Group, Channel, 9>(taps, rows, run, x, offsets, dy, sums);
    if constexpr (Channel + 1 < Group)
        channel_sums<T, Group, Channel + 1>(taps, offsets, rows, run, x, dy, sums + taps * lanes_of<T>);
}

template <class S>
void split_channels(const void* from_src, int64_t src_pitch, int64_t pixels, int64_t channels, Computed<S>* dst,
                    int64_t dst_pitch, const void* from_end) {
    const S *src = static_cast<const S*>(from_src), *const src_end = static_cast<const S*>(from_end);
    constexpr int lanes = lanes_of<Computed<S>>;
    for (int64_t p = 0; p < pixels; ++p, src += src_pitch, dst += lanes) {
        Computed<S>* to = dst;
        int64_t c = 0;
        for (; c + lanes <= channels; c += lanes, to += dst_pitch) {
            __builtin_prefetch(src + c + 4 * src_pitch);
            store(to, read(src + c));
        }
        if (c < channels) store(to, read_before(src + c, src_end));
    }
}

// Groups of 1, 2, 4, 8 channels, as far as a vector holds them.
template <class T, int Index = 0>
void fill_channel_tiles(KernelTable<T>& table) {
    if constexpr (Index < channel_groups && (1 << Index) <= lanes_of<T>) {
        table.channel_tiles[Index] = &channel_tiles<T, (1 << Index)>;
        table.channel_sums[Index] = &channel_sums<T, (1 << Index)>;
        fill_channel_tiles<T, Index + 1>(table);
    }
}
