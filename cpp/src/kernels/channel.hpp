// Tiles whose vectors run along the channels of a pixel, where a result channel reads only the few source channels of its
// own group: depthwise layers, and grouped ones in channels_last.
//
// In:  pixels of the source, read where they lie, a vector of channels of each; weights[channel of the group][tap][lane].
// Out: pixels of the result, or sums[channel of the group][tap][lane].
// With `Group` channels a group, lane l needs source lane l/Group*Group + channel: a shuffle that the compiler knows.
#pragma once

template <class T, int Group, int Channel, int... J>
inline __attribute__((always_inline)) Vector<T> of_group(Vector<T> v, Lanes<J...>) {
    if constexpr (Group == 1) return v;
    else return __builtin_shufflevector(v, v, (J / Group * Group + Channel)...);
}

template <class T, int Group, int Pixels, int Channel = 0>
inline __attribute__((always_inline)) void add_channels(Vector<T> (&acc)[Pixels], int64_t taps, const T* const* pixels,
                                                        const int64_t* offsets, const T* weights) {
    constexpr int lanes = lanes_of<T>;
    const T* at[Pixels];
#pragma GCC unroll 8
    for (int p = 0; p < Pixels; ++p) at[p] = pixels[p];
    for (int64_t t = 0; t < taps; ++t) {
        const int64_t offset = offsets[t];
        const Vector<T> w = load(weights + t * lanes);
#pragma GCC unroll 8
        for (int p = 0; p < Pixels; ++p)
            acc[p] += of_group<T, Group, Channel>(load(at[p] + offset), LanesOf<lanes>{}) * w;
    }
    if constexpr (Channel + 1 < Group)
        add_channels<T, Group, Pixels, Channel + 1>(acc, taps, pixels, offsets, weights + taps * lanes);
}

template <class T, int Group, int Pixels>
void channel_tile(int64_t taps, const T* const* pixels, const int64_t* offsets, const T* weights, T* const* c,
                  Start start, const T* bias) {
    Vector<T> acc[1][Pixels] = {};
    if (start == Start::from_c) {
#pragma GCC unroll 8
        for (int p = 0; p < Pixels; ++p) acc[0][p] = load(c[p]);
    } else if (start == Start::column_bias) {
#pragma GCC unroll 8
        for (int p = 0; p < Pixels; ++p) acc[0][p] = load(bias);
    }
    add_channels<T, Group, Pixels>(acc[0], taps, pixels, offsets, weights);
#pragma GCC unroll 8
    for (int p = 0; p < Pixels; ++p) store(c[p], acc[0][p]);
}

template <class T, int Group, int Pixels = most_channel_pixels>
void channel_tiles(int64_t taps, const T* const* pixels, const int64_t* offsets, int64_t count, const T* weights,
                   T* const* c, Start start, const T* bias) {
    for (; count >= Pixels; count -= Pixels, pixels += Pixels, c += Pixels)
        channel_tile<T, Group, Pixels>(taps, pixels, offsets, weights, c, start, bias);
    if constexpr (Pixels > 1)
        if (count > 0) channel_tiles<T, Group, Pixels / 2>(taps, pixels, offsets, count, weights, c, start, bias);
}

// sums[t][lane] += over the pixels: dy[lane] * x[lane's group, Channel], for `Taps` taps.
template <class T, int Group, int Channel, int Taps>
void channel_sum(int64_t pixels, const T* x, const int64_t* x_at, const int64_t* offsets, const T* dy, T* sums) {
    constexpr int lanes = lanes_of<T>;
    Vector<T> acc[Taps];
#pragma GCC unroll 12
    for (int t = 0; t < Taps; ++t) acc[t] = load(sums + t * lanes);
    for (int64_t p = 0; p < pixels; ++p) {
        const Vector<T> d = load(dy + p * lanes);
        const T* const at = x + x_at[p];
#pragma GCC unroll 12
        for (int t = 0; t < Taps; ++t)
            acc[t] += of_group<T, Group, Channel>(load(at + offsets[t]), LanesOf<lanes>{}) * d;
    }
#pragma GCC unroll 12
    for (int t = 0; t < Taps; ++t) store(sums + t * lanes, acc[t]);
}

template <class T, int Group, int Channel, int Taps>
void channel_sums_of(int64_t taps, int64_t pixels, const T* x, const int64_t* x_at, const int64_t* offsets, const T* dy,
                     T* sums) {
    for (; taps >= Taps; taps -= Taps, offsets += Taps, sums += Taps * lanes_of<T>)
        channel_sum<T, Group, Channel, Taps>(pixels, x, x_at, offsets, dy, sums);
    if constexpr (Taps > 1)
        if (taps > 0) channel_sums_of<T, Group, Channel, Taps / 2>(taps, pixels, x, x_at, offsets, dy, sums);
}

template <class T, int Group, int Channel = 0>
void channel_sums(int64_t taps, int64_t pixels, const T* x, const int64_t* x_at, const int64_t* offsets, const T* dy,
                  T* sums) {
    channel_sums_of<T, Group, Channel, 9>(taps, pixels, x, x_at, offsets, dy, sums);
    if constexpr (Channel + 1 < Group)
        channel_sums<T, Group, Channel + 1>(taps, pixels, x, x_at, offsets, dy, sums + taps * lanes_of<T>);
}

template <class T>
void split_channels(const T* src, int64_t src_pitch, int64_t pixels, int64_t channels, T* dst, int64_t dst_pitch,
                    const T* src_end) {
    constexpr int lanes = lanes_of<T>;
    for (int64_t p = 0; p < pixels; ++p, src += src_pitch, dst += lanes) {
        T* to = dst;
        int64_t c = 0;
        for (; c + lanes <= channels; c += lanes, to += dst_pitch) store(to, load(src + c));
        if (c < channels) store(to, load_before(src + c, src_end));
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
