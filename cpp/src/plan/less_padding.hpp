// Passes whose products would mostly be with padding, planned without most of those.
//
// In:  a draft of a plan.   Out: one with cut maps, in pieces, or of products that are folded; where that pays.
// Next: cut_maps.hpp and fold.hpp, which say what each is; select.cpp, which asks for them.
#pragma once

#include "plan/plan.hpp"

namespace convpp {

// Of the direct products' cost, that remains: by one sample (dw: by the batch), so that it may decide bits.
double share_with_less_padding(const Plan& draft, const Setting& setting);

// y and dx: zeros that are left out of a run change no bit.  So where the runs are of whole channels, and remain what
// they are, maps are cut as it is best for the batch; else as it is for one sample.
void cut_maps(Plan& plan, const Setting& setting);

// A weight gradient in pieces of dw: each of some taps, from the pixels that read inside there.  Returns whether that
// pays; so does the next one.
bool plan_pieces(Plan& plan, const Setting& setting);

// An input gradient by products that are folded onto dx.
bool plan_fold(Plan& plan, const Setting& setting);

}  // namespace convpp
