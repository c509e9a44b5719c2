// Which programs the CUDA backend takes.
#pragma once
#include <string>

#include "kernels/program/program.h"

namespace deltaserve::cuda {

// Says in a sentence what the program asks for that CUDA's kernels cannot do; empty if nothing.
std::string refusal_of(const Program& program, const Limits& limits);

}  // namespace deltaserve::cuda
