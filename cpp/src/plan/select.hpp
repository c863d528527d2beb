// Steps of select.cpp that plans are also made of elsewhere.
//
// In:  a Setting, drafts of plans.   Out: plans.   Next: less_padding.cpp, which makes plans of plans.
#pragma once

#include "plan/plan.hpp"

namespace convpp {

// Of the maps' pixels and taps alone.
double read_flops(const Plan& plan);

// The blocks of all maps.
void find_blocks(Plan& plan);

// The rest of a draft that has its order and its blocks: the best strategy, its tasks, memory.
void complete_direct(Plan& plan, const Setting& setting);

// What a plan that is complete takes of a workspace.
void measure_memory(Plan& plan);

// All classes of a setting in one plan.
Plan plan_pass(const Setting& setting);

}  // namespace convpp
