// Decides which programs the CUDA backend supports.
#pragma once
#include <string>

#include "kernels/program/program.h"

namespace deltaserve::cuda {

// Returns a sentence about the first part of the program that CUDA's kernels do not support; empty
// if they support all of it.
std::string refusal_of(const Program& program, const Limits& limits);

}  // namespace deltaserve::cuda
