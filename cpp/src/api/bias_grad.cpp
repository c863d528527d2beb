// db[k] = sum of dy[n, k, *] over samples and pixels, in float64 whatever the type of dy.
//
// In:  dy, contiguous in either layout.   Out: db.
// The order of the sum is fixed by the shapes: a channel (channels_first) or a chunk of pixels (channels_last) a task.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "api/check_view.hpp"
#include "machine/parallel.hpp"
#include "machine/runtime_state.hpp"
#include "problem/checked.hpp"

namespace convpp {
namespace {

constexpr int64_t parallel_elems = 1 << 18;  // below, 1 MB or less is summed sooner than a thread wakes up
constexpr int64_t chunks_most = 64;

template <class T>
double as_double(T value) {
    if constexpr (std::is_floating_point_v<T>) return static_cast<double>(value);
    else return static_cast<double>(static_cast<float>(value));
}

// The nearest float32, but odd where the sum lies between two: so it is rounded once when it becomes a half.
float to_odd(double sum) {
    const auto nearest = static_cast<float>(sum);
    const auto value = static_cast<double>(nearest);
    if (value == sum || !std::isfinite(nearest) || (half::bits_of(nearest) & 1U) != 0) return nearest;
    return std::nextafter(
        nearest, value < sum ? std::numeric_limits<float>::infinity() : -std::numeric_limits<float>::infinity());
}

template <class R>
void store(R& to, double sum) {
    if constexpr (std::is_floating_point_v<R>) to = static_cast<R>(sum);
    else to = R::from(to_odd(sum));
}

// Eight sums side by side: a vector's width, so that the compiler need not reorder a sum to use vectors.
template <class T>
double sum_of(const T* values, int64_t count) {
    std::array<double, 8> lanes{};
    int64_t i = 0;
    for (; i + 8 <= count; i += 8)
        for (size_t lane = 0; lane < 8; ++lane) lanes[lane] += as_double(values[i + static_cast<int64_t>(lane)]);
    double sum = 0;
    for (; i < count; ++i) sum += as_double(values[i]);
    for (const double lane : lanes) sum += lane;
    return sum;
}

}  // namespace

template <class T, class R>
void bias_grad(View<const T> dy, int64_t batch, int64_t channels, int64_t pixels, Layout layout, View<R> db,
               const Execution& how) {
    if (batch < 0 || channels < 0 || pixels < 0) throw ShapeError("an extent of dy is negative, expected 0 or more");
    const int64_t elems = checked_mul(checked_mul(batch, channels, "dy"), pixels, "dy");
    check_view(dy, elems, "dy");
    check_view(db, channels, "db");
    if (elems == 0) batch = 0;  // nothing to sum, however many samples have it
    const int threads = elems >= parallel_elems ? usable_threads(how.threads) : 1;
    const auto put = [&](int64_t k, double sum) {
        store(db.data[k], how.accumulate ? as_double(db.data[k]) + sum : sum);
    };
    const AskBetweenTasks asking(how.interrupted);
    if (layout == Layout::channels_first) {
        parallel_for(channels, threads, [&](int64_t k, int) {
            double sum = 0;
            for (int64_t n = 0; n < batch; ++n) sum += sum_of(dy.data + (n * channels + k) * pixels, pixels);
            put(k, sum);
        });
        return;
    }
    const int64_t rows = batch * pixels, chunks = std::clamp<int64_t>(rows / 64, 1, chunks_most);
    std::vector<double> partial(static_cast<size_t>(chunks * channels));
    parallel_for(chunks, threads, [&](int64_t chunk, int) {
        double* const sums = partial.data() + chunk * channels;
        for (int64_t row = rows * chunk / chunks; row < rows * (chunk + 1) / chunks; ++row)
            for (int64_t k = 0; k < channels; ++k) sums[k] += as_double(dy.data[row * channels + k]);
    });
    for (int64_t k = 0; k < channels; ++k) {
        double sum = 0;
        for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += partial[static_cast<size_t>(chunk * channels + k)];
        put(k, sum);
    }
}

template void bias_grad(View<const float>, int64_t, int64_t, int64_t, Layout, View<float>, const Execution&);
template void bias_grad(View<const double>, int64_t, int64_t, int64_t, Layout, View<double>, const Execution&);
template void bias_grad(View<const bfloat16>, int64_t, int64_t, int64_t, Layout, View<bfloat16>, const Execution&);
template void bias_grad(View<const float16>, int64_t, int64_t, int64_t, Layout, View<float16>, const Execution&);
template void bias_grad(View<const bfloat16>, int64_t, int64_t, int64_t, Layout, View<float>, const Execution&);
template void bias_grad(View<const float16>, int64_t, int64_t, int64_t, Layout, View<float>, const Execution&);

}  // namespace convpp
