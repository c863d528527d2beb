// convpp: forward, input gradient and weight gradient of 1-, 2- and 3-D convolutions on the CPU; pooling.
//
//   convpp::Geometry g;
//   g.in_channels = 3; g.out_channels = 5; g.input = {1, 20, 20}; g.kernel = {1, 3, 3};
//   const convpp::ConvProblem problem(g);
//   const convpp::Convolution forward(problem, convpp::Pass::forward, convpp::DType::float32);
//   forward.execute({x, problem.x_elems()}, {w, problem.w_elems()}, {}, {y, problem.y_elems()});
//
// Start reading in problem.hpp, then convolution.hpp; pool.hpp.
#pragma once

#include "convpp/convolution.hpp"
#include "convpp/error.hpp"
#include "convpp/pool.hpp"
#include "convpp/problem.hpp"
#include "convpp/runtime.hpp"
