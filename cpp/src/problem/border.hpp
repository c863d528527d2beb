// The pixels of an index map by what they read: those whose taps read the same part of the kernel inside the source.
//
// In:  an IndexMap.   Out: its classes of pixels, one after the other: each a box of pixels and the box of their taps.
// Next: plan/cut_maps.hpp, and repair/products.hpp and repair/sums.hpp, which leave out what lies outside.
//
// The offsets of an axis' taps are equally far apart, so the taps that read inside follow each other, and are found by
// two divisions.  Beyond other boundaries than zeros lie terms like others: all taps read inside.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "problem/boxes.hpp"
#include "problem/checked.hpp"
#include "problem/index_map.hpp"

namespace convpp {

// Those of [first, last] whose first + i*step, i in [0, count), lie in [0, extent).
inline Span inside_of(int64_t first, int64_t step, int64_t count, int64_t extent) {
    if (step < 0) {
        const Span turned = inside_of(first + (count - 1) * step, -step, count, extent);
        return {count - turned.hi, count - turned.lo};
    }
    const int64_t lo = std::clamp<int64_t>(ceil_div(-first, step), 0, count);
    return {lo, std::clamp<int64_t>(floor_div(extent - 1 - first, step) + 1, lo, count)};
}

// An axis of a map, as its taps and pixels meet.
class BorderAxis {
public:
    BorderAxis() = default;
    explicit BorderAxis(const AxisMap& axis)
        : axis_(&axis), taps_(static_cast<int64_t>(axis.taps.size())), first_(axis.taps.front().offset) {
        step_ = taps_ > 1 ? axis.taps[1].offset - first_ : 1;
        inside_ = axis.has_border() ? Span{0, axis.count} : axis.pixels_inside();
        const auto keep = [&](Span pixels, Span taps) {
            if (class_count_ < most_classes) classes_[class_count_] = {pixels, taps};
            ++class_count_;
        };
        if (!find_classes(keep, most_looked_at)) class_count_ = most_classes + 1;
    }

    int64_t taps() const { return taps_; }
    Span inside() const { return inside_; }  // pixels whose taps all read inside
    Span taps_of(int64_t pixel) const {
        if (axis_->has_border()) return {0, taps_};
        return inside_of(first_ + pixel * axis_->source_step, step_, taps_, axis_->source_extent);
    }
    Span pixels_of(int64_t tap) const {
        if (axis_->has_border()) return {0, axis_->count};
        return inside_of(first_ + tap * step_, axis_->source_step, axis_->count, axis_->source_extent);
    }
    // The source element that a pixel reads at a tap inside.
    int64_t element(int64_t pixel, int64_t tap) const {
        return border_element(axis_->boundary, pixel * axis_->source_step + first_ + tap * step_, axis_->source_extent);
    }
    // body(pixels, taps) for all classes in order.
    template <class Body>
    void for_each_class(const Body& body) const {
        if (class_count_ > most_classes) return void(find_classes(body, axis_->count));
        for (size_t i = 0; i < class_count_; ++i) body(classes_[i].pixels, classes_[i].taps);
    }

private:
    struct AxisClass {
        Span pixels, taps;
    };
    static constexpr size_t most_classes = 16;  // that are kept: divisions take longer than what few pixels are for
    static constexpr int64_t most_looked_at = 512;  // pixels, for that: plans are made of axes of any length

    // False: there are more than so many pixels to look at.
    template <class Body>
    bool find_classes(const Body& body, int64_t most) const {
        for (int64_t lo = 0, hi = 0; lo < axis_->count; lo = hi) {
            const Span taps = taps_of(lo);
            hi = lo >= inside_.lo && lo < inside_.hi ? inside_.hi : lo + 1;
            for (; hi < axis_->count; ++hi) {
                if (--most < 0) return false;
                const Span next = taps_of(hi);
                if (next.lo != taps.lo || next.hi != taps.hi) break;
            }
            body(Span{lo, hi}, taps);
        }
        return true;
    }

    const AxisMap* axis_ = nullptr;
    int64_t taps_ = 0, first_ = 0, step_ = 1;
    Span inside_;
    std::array<AxisClass, most_classes> classes_;
    size_t class_count_ = 0;
};

// Pixels that read the same taps inside.
struct PixelClass {
    std::array<Span, 3> pixels, taps;
    int64_t pixel_count() const { return pixels[0].length() * pixels[1].length() * pixels[2].length(); }
    int64_t tap_count() const { return taps[0].length() * taps[1].length() * taps[2].length(); }
    bool has(const Extents& tap) const { return taps[0].has(tap[0]) && taps[1].has(tap[1]) && taps[2].has(tap[2]); }
};

// Taps of each axis.
inline Extents tap_extents(const IndexMap& map) {
    return {map.axis[0].taps.size(), map.axis[1].taps.size(), map.axis[2].taps.size()};
}

struct Border {
    std::array<BorderAxis, 3> axis;

    explicit Border(const IndexMap& map)
        : axis{BorderAxis(map.axis[0]), BorderAxis(map.axis[1]), BorderAxis(map.axis[2])} {}

    int64_t taps() const { return axis[0].taps() * axis[1].taps() * axis[2].taps(); }
    Extents tap_extents() const { return {axis[0].taps(), axis[1].taps(), axis[2].taps()}; }
    int64_t tap_index(const Extents& tap) const { return (tap[0] * axis[1].taps() + tap[1]) * axis[2].taps() + tap[2]; }
    Extents tap_of(int64_t index) const {
        const int64_t rows = axis[1].taps(), columns = axis[2].taps();
        return {index / columns / rows, index / columns % rows, index % columns};
    }
    bool is_inside(const PixelClass& of) const { return of.tap_count() == taps(); }

    template <class Body>
    void for_each_class(const Body& body) const {
        axis[0].for_each_class([&](Span d, Span depth_taps) {
            axis[1].for_each_class([&](Span h, Span height_taps) {
                axis[2].for_each_class([&](Span w, Span width_taps) {
                    body(PixelClass{{d, h, w}, {depth_taps, height_taps, width_taps}});
                });
            });
        });
    }
};

}  // namespace convpp
