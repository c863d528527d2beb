// A pass of a convolution as XLA calls it, by its foreign function interface: typed, from compiled code to compiled
// code, on whichever thread XLA runs a program.  No Python here.
//
// In:  `problem`, whole numbers as lowering.py writes them, and `dtype`; contiguous buffers: two operands of the pass,
//      maybe a bias.
// Out: the result, in XLA's buffer; or an error with the core's message.
// Next: cpp/include/convpp/convolution.hpp.
//
// XLA's headers are those that jaxlib brings.  They need no library: the interface is a table of C functions that
// comes with each call, whose version XLA checks when a handler is registered.
#include "jax_handler.hpp"

#include <xla/ffi/api/ffi.h>

#include <cstdint>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "convpp/convpp.hpp"

namespace {

namespace ffi = xla::ffi;
using Numbers = ffi::Span<const int64_t>;

// Reads numbers one after the other.
class Reader {
public:
    explicit Reader(Numbers numbers) : at_(numbers.begin()), end_(numbers.end()) {}

    int64_t next() {
        if (at_ == end_) throw std::invalid_argument("problem has too few numbers");
        return *at_++;
    }
    convpp::Extents extents() { return {next(), next(), next()}; }
    template <class Enum>
    Enum of(Enum last) {
        const int64_t value = next();
        if (value < 0 || value > static_cast<int64_t>(last)) throw std::invalid_argument("problem has no such name");
        return static_cast<Enum>(value);
    }
    void ends() const {
        if (at_ != end_) throw std::invalid_argument("problem has too many numbers");
    }

private:
    const int64_t* at_;
    const int64_t* end_;
};

struct Request {
    convpp::Pass pass;
    convpp::Algorithm algorithm;
    convpp::Geometry geometry;
};

Request request_from(Numbers numbers) {
    Reader in(numbers);
    Request to{};
    to.pass = in.of(convpp::Pass::weight_grad);
    to.algorithm = in.of(convpp::Algorithm::stream);
    convpp::Geometry& g = to.geometry;
    g.rank = static_cast<int>(in.next());
    g.batch = in.next();
    g.in_channels = in.next();
    g.out_channels = in.next();
    g.groups = in.next();
    g.input = in.extents();
    g.kernel = in.extents();
    g.stride = in.extents();
    g.dilation = in.extents();
    g.pad_lo = in.extents();
    g.pad_hi = in.extents();
    g.flip = in.next() != 0;
    g.per_sample = in.next() != 0;
    g.layout = in.next() != 0 ? convpp::Layout::channels_last : convpp::Layout::channels_first;
    for (convpp::Boundary& boundary : g.boundary) boundary = in.of(convpp::Boundary::symmetric);
    in.ends();
    return to;
}

convpp::DType dtype_from(std::string_view text) {
    using convpp::DType;
    for (const DType dtype : {DType::float32, DType::float64, DType::bfloat16, DType::float16})
        if (text == convpp::name(dtype)) return dtype;
    throw convpp::DTypeError("dtype is " + std::string(text));
}

// Plans by what they were made of, as many as there is room for: those that were made first are forgotten first.
class Plans {
public:
    convpp::Convolution get(Numbers problem, std::string_view dtype_name) {
        const convpp::DType dtype = dtype_from(dtype_name);
        Key key(problem.begin(), problem.end());
        for (const int64_t setting : {int64_t(dtype), int64_t(convpp::num_threads()), int64_t(convpp::active_isa())})
            key.push_back(setting);
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            if (const auto found = plans_.find(key); found != plans_.end()) return found->second;
        }
        const Request request = request_from(problem);  // (meanwhile others may find theirs, or make the same)
        const convpp::Convolution plan(convpp::ConvProblem(request.geometry), request.pass, dtype, request.algorithm);
        keep(key, plan);
        return plan;
    }

private:
    using Key = std::vector<int64_t>;
    static constexpr size_t most = 1024;
    static constexpr int64_t most_bytes = int64_t(64) << 20;

    void keep(const Key& key, const convpp::Convolution& plan) {
        if (plan.plan_bytes() > most_bytes) return;
        const std::lock_guard<std::mutex> lock(mutex_);
        const auto [place, is_new] = plans_.emplace(key, plan);
        if (!is_new) return;
        order_.push_back(place);
        bytes_ += plan.plan_bytes();
        while (order_.size() > most || bytes_ > most_bytes) {
            bytes_ -= order_.front()->second.plan_bytes();
            plans_.erase(order_.front());
            order_.pop_front();
        }
    }

    std::mutex mutex_;
    std::map<Key, convpp::Convolution> plans_;
    std::deque<std::map<Key, convpp::Convolution>::const_iterator> order_;
    int64_t bytes_ = 0;
};

// Never destroyed: XLA's threads may compute until the process ends.
Plans& plans() {
    static auto* const all = new Plans;
    return *all;
}

template <class T>
constexpr ffi::DataType type_of = ffi::F32;
template <>
constexpr ffi::DataType type_of<double> = ffi::F64;
template <>
constexpr ffi::DataType type_of<convpp::bfloat16> = ffi::BF16;
template <>
constexpr ffi::DataType type_of<convpp::float16> = ffi::F16;

template <class T, class Element = std::remove_const_t<T>>
convpp::View<T> view(const ffi::AnyBuffer& buffer) {
    if (buffer.element_type() != type_of<Element>) throw convpp::DTypeError("a buffer is not of the plan's type");
    return {static_cast<Element*>(buffer.untyped_data()), static_cast<int64_t>(buffer.element_count())};
}

ffi::AnyBuffer operand(const ffi::RemainingArgs& operands, size_t i) {
    const ffi::ErrorOr<ffi::AnyBuffer> buffer = operands.get<ffi::AnyBuffer>(i);
    if (!buffer.has_value()) throw std::invalid_argument("an operand is not an array");
    return *buffer;
}

template <class S>
void execute(const convpp::Convolution& plan, const ffi::RemainingArgs& operands, const ffi::AnyBuffer& result) {
    if (operands.size() != 2 && operands.size() != 3) throw std::invalid_argument("expected two operands, or three");
    const auto first = view<const S>(operand(operands, 0)), second = view<const S>(operand(operands, 1));
    const auto bias = operands.size() == 3 ? view<const S>(operand(operands, 2)) : convpp::View<const S>();
    if constexpr (sizeof(S) < sizeof(float)) {
        if (result.element_type() == ffi::F32) return plan.execute<S, float>(first, second, bias, view<float>(result));
    }
    plan.execute<S>(first, second, bias, view<S>(result));
}

ffi::Error run(Numbers problem, std::string_view dtype, ffi::RemainingArgs operands,
               ffi::Result<ffi::AnyBuffer> result) {
    using ffi::ErrorCode;
    try {
        const convpp::Convolution plan = plans().get(problem, dtype);
        switch (plan.dtype()) {
            case convpp::DType::float32: execute<float>(plan, operands, *result); break;
            case convpp::DType::float64: execute<double>(plan, operands, *result); break;
            case convpp::DType::bfloat16: execute<convpp::bfloat16>(plan, operands, *result); break;
            case convpp::DType::float16: execute<convpp::float16>(plan, operands, *result); break;
        }
        return ffi::Error::Success();
    } catch (const std::bad_alloc&) {
        return {ErrorCode::kResourceExhausted, "convpp: no memory for the workspace"};
    } catch (const std::invalid_argument& error) {
        return {ErrorCode::kInvalidArgument, std::string("convpp: ") + error.what()};
    } catch (const std::exception& error) {
        return {ErrorCode::kInternal, std::string("convpp: ") + error.what()};
    }
}

XLA_FFI_Error* handle(XLA_FFI_CallFrame* frame) {
    static const auto* const handler = ffi::Ffi::Bind()
                                           .Attr<Numbers>("problem")
                                           .Attr<std::string_view>("dtype")
                                           .RemainingArgs()
                                           .Ret<ffi::AnyBuffer>()
                                           .To(run)
                                           .release();
    return handler->Call(frame);
}

}  // namespace

void* jax_handler() { return reinterpret_cast<void*>(&handle); }
