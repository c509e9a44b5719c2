#include "tests/reference/recurrences.h"

#include <cmath>

namespace deltaserve::reference {
namespace {

using Vec = std::vector<double>;

// m^T x for m [rows, columns].
Vec transpose_times(const Vec& m, const double* x, int rows, int columns) {
  Vec y(static_cast<size_t>(columns), 0.0);
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < columns; ++j) y[j] += m[i * columns + j] * x[i];
  }
  return y;
}

// m += x y^T
void add_outer(Vec& m, const double* x, const Vec& y, int rows, int columns) {
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < columns; ++j) m[i * columns + j] += x[i] * y[j];
  }
}

void scale(Vec& m, double factor) {
  for (double& x : m) x *= factor;
}

Vec mixed_key(const HeadInputs& in, int t) {
  Vec x(static_cast<size_t>(in.key_dim));
  for (int i = 0; i < in.key_dim; ++i) {
    x[i] = in.k[t * in.key_dim + i] + in.lambda[t] * in.q[t * in.key_dim + i];
  }
  return x;
}

// S_t = e^g (S - k beta (S^T x)^T) + k beta v^T with x = k or k + lambda q, o = S^T q / sqrt(K).
HeadOutputs delta_recurrence(const HeadInputs& in, Vec s, bool with_query) {
  const int K = in.key_dim;
  const int V = in.value_dim;
  HeadOutputs out;
  for (int t = 0; t < in.tokens; ++t) {
    const double* k = &in.k[t * K];
    const Vec x = with_query ? mixed_key(in, t) : Vec(k, k + K);
    scale(s, std::exp(in.g[t]));
    const Vec seen = transpose_times(s, x.data(), K, V);
    Vec u(static_cast<size_t>(V));
    for (int j = 0; j < V; ++j) u[j] = in.beta[t] * (in.v[t * V + j] - seen[j]);
    add_outer(s, k, u, K, V);
    for (double o : transpose_times(s, &in.q[t * K], K, V)) out.o.push_back(o / std::sqrt(K));
  }
  out.s = s;
  return out;
}

}  // namespace

HeadOutputs gated_delta_net(const HeadInputs& in, Vec s) {
  return delta_recurrence(in, std::move(s), false);
}

HeadOutputs q_delta(const HeadInputs& in, Vec s) {
  return delta_recurrence(in, std::move(s), true);
}

HeadOutputs q_delta_released(const HeadInputs& in, Vec s) {
  const int K = in.key_dim;
  const int V = in.value_dim;
  HeadOutputs out;
  Vec b = std::move(s);
  Vec n(b.size(), 0.0);
  Vec xs(b.size(), 0.0);
  for (int t = 0; t < in.tokens; ++t) {
    if (t % 64 == 0) {
      for (size_t i = 0; i < b.size(); ++i) b[i] += n[i];
      scale(n, 0.0);
      scale(xs, 0.0);
    }
    const double* k = &in.k[t * K];
    const Vec x = mixed_key(in, t);
    for (Vec* m : {&b, &n, &xs}) scale(*m, std::exp(in.g[t]));
    const Vec seen = transpose_times(b, x.data(), K, V);
    const Vec crossed = transpose_times(xs, k, K, V);
    Vec u(static_cast<size_t>(V));
    for (int j = 0; j < V; ++j) u[j] = in.beta[t] * (in.v[t * V + j] - seen[j] - crossed[j]);
    add_outer(n, k, u, K, V);
    add_outer(xs, x.data(), u, K, V);
    const Vec from_b = transpose_times(b, &in.q[t * K], K, V);
    const Vec from_n = transpose_times(n, &in.q[t * K], K, V);
    for (int j = 0; j < V; ++j) out.o.push_back((from_b[j] + from_n[j]) / std::sqrt(K));
  }
  for (size_t i = 0; i < b.size(); ++i) b[i] += n[i];
  out.s = b;
  return out;
}

}  // namespace deltaserve::reference
