// How the work of a pass spreads over its tasks, from the plan alone.
//
// In:  a Plan.   Out: the operations of each task, in the order in which threads take them.  They are those of the direct
// sum, by whatever algorithm: of all tasks of a forward pass together, ConvProblem::flops().
// Read before: algorithms/product_task.hpp and algorithms/weight_grad.cpp, whose tasks these are.
#pragma once

#include <vector>

namespace convpp {

struct Plan;

std::vector<double> task_flops(const Plan& plan);

}  // namespace convpp
