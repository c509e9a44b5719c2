#include "engine/sequence/pooling.h"

#include <cmath>

#include "kernels/base/check.h"

namespace deltaserve {

void Pooler::add(std::span<const float> row, const FinalNorm& norm) {
  DS_CHECK(row.size() == norm.weight.size());
  double squares = 0;
  for (const float x : row) squares += double{x} * x;
  const double scale = 1 / std::sqrt(squares / static_cast<double>(row.size()) + norm.eps);
  sum_.resize(row.size());
  for (size_t i = 0; i < row.size(); ++i) sum_[i] += row[i] * scale * norm.weight[i];
}

std::vector<float> Pooler::result() const {
  double squares = 0;
  for (const double x : sum_) squares += x * x;
  const double length = squares == 0 ? 1 : std::sqrt(squares);
  std::vector<float> out;
  out.reserve(sum_.size());
  for (const double x : sum_) out.push_back(static_cast<float>(x / length));
  return out;
}

}  // namespace deltaserve
