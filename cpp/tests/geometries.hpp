// Convolutions by their extents, and the lists of them that several tests go through: layers of real networks, and
// small problems that are cut for threads in every way.  (Random ones: random_geometry in support.hpp.)
#pragma once

#include <vector>

#include "support.hpp"

namespace convpp::test {

inline Geometry conv(int rank, int64_t batch, int64_t in, int64_t out, const Extents& input, const Extents& kernel,
                     const Extents& pad = {0, 0, 0}) {
    Geometry g;
    g.rank = rank;
    g.batch = batch;
    g.in_channels = in;
    g.out_channels = out;
    g.input = input;
    g.kernel = kernel;
    g.pad_lo = g.pad_hi = pad;
    return g;
}

inline Geometry padded(Geometry g, const Extents& lo, const Extents& hi) {
    g.pad_lo = lo;
    g.pad_hi = hi;
    return g;
}

inline Geometry conv2d(int64_t batch, int64_t in, int64_t out, int64_t height, int64_t width, int64_t kernel,
                       int64_t stride, int64_t padding, int64_t dilation = 1, int64_t groups = 1) {
    Geometry g = conv(2, batch, in, out, {1, height, width}, {1, kernel, kernel}, {0, padding, padding});
    g.groups = groups;
    g.stride = {1, stride, stride};
    g.dilation = {1, dilation, dilation};
    return g;
}

inline Geometry conv1d(int64_t batch, int64_t in, int64_t out, int64_t length, int64_t kernel, int64_t stride,
                       int64_t padding, int64_t dilation = 1) {
    Geometry g = conv(1, batch, in, out, {1, 1, length}, {1, 1, kernel}, {0, 0, padding});
    g.stride[2] = stride;
    g.dilation[2] = dilation;
    return g;
}

// One pixel, but for one of the axes.
inline Geometry along(int rank, size_t axis, int64_t input, int64_t kernel, int64_t stride, int64_t dilation,
                      int64_t lo, int64_t hi) {
    Geometry g;
    g.rank = rank;
    g.input[axis] = input;
    g.kernel[axis] = kernel;
    g.stride[axis] = stride;
    g.dilation[axis] = dilation;
    g.pad_lo[axis] = lo;
    g.pad_hi[axis] = hi;
    return g;
}

// The geometries in channels first, then the same in channels last.
inline std::vector<Geometry> in_both_layouts(std::vector<Geometry> geometries) {
    const size_t count = geometries.size();
    for (size_t i = 0; i < count; ++i) {
        geometries.push_back(geometries[i]);
        geometries.back().layout = Layout::channels_last;
    }
    return geometries;
}

// Layers of real networks, and the largest of each kind.
inline std::vector<Geometry> real_layers() {
    std::vector<Geometry> layers{
        conv2d(8, 3, 64, 224, 224, 7, 2, 3),
        conv2d(8, 64, 256, 56, 56, 1, 1, 0),
        conv2d(8, 64, 64, 56, 56, 3, 1, 1),
        conv2d(8, 256, 512, 56, 56, 1, 2, 0),
        conv2d(8, 512, 512, 14, 14, 3, 2, 1),
        conv2d(8, 1024, 2048, 14, 14, 1, 2, 0),
        conv2d(8, 512, 512, 7, 7, 3, 1, 1),
        conv2d(8, 2048, 512, 7, 7, 1, 1, 0),
        conv2d(4, 3, 64, 224, 224, 3, 1, 1),
        conv2d(4, 64, 64, 224, 224, 3, 1, 1),
        conv2d(4, 512, 512, 28, 28, 3, 1, 1),
        conv2d(8, 32, 32, 112, 112, 3, 1, 1, 1, 32),
        conv2d(8, 1024, 1024, 7, 7, 3, 1, 1, 1, 1024),
        conv2d(8, 128, 128, 56, 56, 3, 1, 1, 1, 32),
        conv2d(4, 192, 32, 28, 28, 5, 1, 2),
        conv2d(4, 64, 128, 80, 350, 5, 2, 2),
        conv2d(4, 256, 256, 28, 28, 3, 1, 2, 2),
        conv2d(1, 512, 512, 38, 57, 3, 1, 3, 3),
        conv2d(64, 1, 6, 28, 28, 5, 1, 0),
        conv2d(1, 3, 5, 20, 20, 3, 1, 0),
        conv2d(4, 17, 19, 61, 61, 5, 3, 2),
        conv2d(4, 64, 64, 56, 56, 31, 1, 15, 1, 64),
        conv2d(4, 16, 16, 128, 128, 15, 1, 7),
        conv2d(1, 1, 1, 1024, 1024, 11, 1, 5),
        conv1d(16, 64, 64, 4096, 9, 1, 4),
        conv1d(8, 64, 64, 8192, 2, 1, 0, 64),
        conv1d(1, 1, 1, 441000, 1024, 1, 0),
        conv1d(4, 1, 512, 16000, 10, 5, 0),
        conv1d(4, 512, 512, 3199, 3, 2, 0),
    };
    Geometry video = conv2d(2, 3, 64, 112, 112, 3, 1, 1);
    video.rank = 3;
    video.input[0] = 16;
    video.kernel[0] = 3;
    video.pad_lo[0] = video.pad_hi[0] = 1;
    layers.push_back(video);
    return in_both_layouts(layers);
}

// Enough work to be spread over threads: cut along pixels, channels, groups, samples, chunks.
inline std::vector<Geometry> parallel_geometries() {
    std::vector<Geometry> geometries;
    geometries.push_back(padded(conv(2, 4, 16, 20, {1, 14, 14}, {1, 3, 3}), {0, 1, 1}, {0, 1, 1}));
    geometries.push_back(conv(2, 2, 24, 130, {1, 15, 17}, {1, 1, 1}));  // read in place
    geometries.push_back(conv(2, 2, 96, 21, {1, 40, 37}, {1, 1, 1}));  // the same, in several chunks of vectors
    geometries.push_back(conv(2, 1, 40, 13, {1, 26, 60}, {1, 3, 3}));  // with taps and two blocks of pairs
    geometries.push_back(padded(conv(2, 3, 18, 27, {1, 19, 16}, {1, 3, 5}), {0, 2, 0}, {0, -1, 3}));
    geometries.back().groups = 3;
    geometries.back().stride = {1, 2, 3};
    geometries.back().dilation = {1, 1, 2};
    geometries.push_back(padded(conv(1, 3, 17, 33, {1, 1, 700}, {1, 1, 4}), {0, 0, 5}, {0, 0, 2}));
    geometries.back().stride[2] = 2;
    geometries.push_back(padded(conv(3, 2, 5, 9, {9, 10, 11}, {3, 3, 3}), {1, 1, 1}, {1, 0, 1}));
    geometries.push_back(padded(conv(2, 3, 8, 12, {1, 16, 16}, {1, 3, 3}), {0, 1, 1}, {0, 1, 1}));
    geometries.back().per_sample = true;
    geometries.back().groups = 2;
    for (const int64_t width : {14, 45}) {  // depthwise: rows shorter and longer than a vector
        geometries.push_back(padded(conv(2, 3, 19, 19, {1, 37, width}, {1, 3, 3}), {0, 1, 1}, {0, 1, 1}));
        geometries.back().groups = 19;
    }
    geometries.push_back(conv(2, 2, 8, 12, {1, 100, 101}, {1, 1, 1}));  // most of dx is filled in, in several tasks
    geometries.back().stride = {1, 5, 4};
    // Several chunks, whose sums are added in parts: rows of pairs, and of filters.
    geometries.push_back(padded(conv(2, 4, 40, 72, {1, 17, 19}, {1, 3, 3}), {0, 1, 1}, {0, 1, 1}));
    geometries.push_back(conv(2, 6, 64, 256, {1, 17, 19}, {1, 1, 1}));
    return in_both_layouts(geometries);
}

}  // namespace convpp::test
