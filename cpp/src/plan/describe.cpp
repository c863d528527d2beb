// A plan in words, as explain prints it.
#include <string>

#include "plan/class_parts.hpp"
#include "plan/halo.hpp"
#include "plan/plan.hpp"
#include "strategies/strategy.hpp"

namespace convpp {
namespace {

std::string text(int64_t n) { return std::to_string(n); }

std::string describe_samples(const Plan& plan) {
    if (plan.samples.count == 1) return "";
    return "; " + text(plan.samples.count) +
           (plan.samples.shared_out ? " samples, shared out" : " samples, one after the other");
}

}  // namespace

std::string describe_direct(const Plan& plan, int64_t products) {
    const MapPlan& m = plan.maps.front();
    const bool sums = plan.pass == Pass::weight_grad, by_pixel = plan.tile.pixels_are_columns;
    const std::string pixels = sums ? " patch elements" : " pixels";
    return "tile " + text(plan.tile.rows) + (by_pixel ? " channels" : pixels) + " x " + text(plan.tile.columns) +
           (by_pixel ? pixels : " channels") + "; " + text(plan.tasks.count) + " tasks of up to " +
           text(plan.tasks.channel_block) + " channels x " + text(m.boxes.largest()) + " pixels; " +
           text(m.patches.count()) + " blocks of up to " + text(m.patches.largest()) + " (channel, tap) pairs; " +
           text(static_cast<int64_t>(plan.maps.size())) +
           (plan.maps.size() == 1 ? " index map"
            : plan.cut            ? " index maps, of pixels that read alike"
                                  : " residue classes") +
           (products == 0   ? "; "
            : products == 1 ? " as one product; "
                            : " as " + text(products) + " products; ") +
           plan.how->in_words + (plan.order == SumOrder::pairs ? ", two channels at once" : "") +
           (plan.kernels != plan.isa ? std::string(" by ") + name(plan.kernels) : "") +
           (m.in_place ? ", read in place" : "");
}

int64_t plan_bytes(const Plan& plan) {
    auto bytes = static_cast<int64_t>(sizeof(Plan) + plan.maps.capacity() * sizeof(MapPlan));
    if (plan.own != nullptr) bytes += plan.own->bytes();
    for (const Plan& piece : plan.pieces) bytes += plan_bytes(piece);
    if (plan.again != nullptr) bytes += plan_bytes(*plan.again);
    if (plan.halo != nullptr) {
        bytes += static_cast<int64_t>(sizeof(HaloPlan));
        for (const Slab& slab : plan.halo->slabs) bytes += static_cast<int64_t>(sizeof(Slab)) + plan_bytes(slab.plan);
    }
    if (plan.parts != nullptr) {
        bytes += static_cast<int64_t>(sizeof(ClassParts));
        for (const auto& stretches : plan.parts->stretches)
            bytes += static_cast<int64_t>(stretches.capacity() * sizeof(ClassStretch));
        for (const auto& kinds : plan.parts->kinds) bytes += static_cast<int64_t>(kinds.capacity() * sizeof(Span));
        for (const Plan& of_kind : plan.parts->plans) bytes += plan_bytes(of_kind);
    }
    return bytes;
}

std::string describe_blocking(const Plan& plan) {
    if (plan.empty()) return "nothing to sum";
    return (plan.how->describe != nullptr ? plan.how->describe(plan) : describe_direct(plan)) + describe_samples(plan);
}

}  // namespace convpp
