#include "tests/reference/recurrences.h"

#include <cmath>

namespace deltaserve::reference {
namespace {

Vec row(const Vec& x, int t, int width) {
  return Vec(x.begin() + t * width, x.begin() + (t + 1) * width);
}

Vec times(double factor, Vec x) {
  for (double& value : x) value *= factor;
  return x;
}

Vec times(const Vec& a, Vec x) {
  for (size_t i = 0; i < x.size(); ++i) x[i] *= a[i];
  return x;
}

Vec plus(const Vec& a, Vec x) {
  for (size_t i = 0; i < x.size(); ++i) x[i] += a[i];
  return x;
}

// S^T x
Vec seen_by(const Vec& s, const Vec& x) {
  const size_t columns = s.size() / x.size();
  Vec y(columns, 0.0);
  for (size_t i = 0; i < x.size(); ++i) {
    for (size_t j = 0; j < columns; ++j) y[j] += s[i * columns + j] * x[i];
  }
  return y;
}

// S += x y^T
void add_outer(Vec& s, const Vec& x, const Vec& y) {
  for (size_t i = 0; i < x.size(); ++i) {
    for (size_t j = 0; j < y.size(); ++j) s[i * y.size() + j] += x[i] * y[j];
  }
}

// S = (I - w e^T) S
void erase(Vec& s, const Vec& w, const Vec& e) {
  add_outer(s, w, times(-1, seen_by(s, e)));
}

// S = diag(e^g) S, where g is one number or one a row.
void decay(Vec& s, const Vec& g, int rows) {
  const size_t columns = s.size() / rows;
  for (size_t i = 0; i < s.size(); ++i) s[i] *= std::exp(g.size() == 1 ? g[0] : g[i / columns]);
}

// The vectors of token t.
struct At {
  At(const HeadInputs& inputs, int token) : in(inputs), t(token) {}

  Vec q() const { return row(in.q, t, in.key_dim); }
  Vec k() const { return row(in.k, t, in.key_dim); }
  Vec v() const { return row(in.v, t, in.value_dim); }
  Vec read() const { return times(in.scale, in.r.empty() ? q() : row(in.r, t, in.key_dim)); }
  Vec g() const { return row(in.g, t, static_cast<int>(in.g.size()) / in.tokens); }
  double beta() const { return in.beta[t]; }
  Vec x() const { return plus(k(), times(in.lambda[t], q())); }
  Vec multiplier() const { return row(in.multiplier, t, in.key_dim); }
  Vec erase_gate() const { return row(in.erase_gate, t, in.key_dim); }
  Vec write_gate() const { return row(in.write_gate, t, in.value_dim); }

  const HeadInputs& in;
  int t;
};

// S_t = update(S_{t-1}, token), o_t = S_t^T (scale r_t)
template <class Update>
HeadOutputs for_each_token(const HeadInputs& in, Vec s, const Update& update) {
  HeadOutputs out;
  for (int t = 0; t < in.tokens; ++t) {
    const At now(in, t);
    update(s, now);
    for (double o : seen_by(s, now.read())) out.o.push_back(o);
  }
  out.s = std::move(s);
  return out;
}

Vec l2_normalised(const Vec& x) {
  double squares = 0;
  for (double value : x) squares += value * value;
  return times(1 / std::sqrt(squares + 1e-6), x);
}

}  // namespace

// S = S + k v^T
HeadOutputs linear_attention(const HeadInputs& in, Vec state) {
  return for_each_token(in, std::move(state),
                        [](Vec& s, const At& now) { add_outer(s, now.k(), now.v()); });
}

// S = diag(e^g) S + k v^T
HeadOutputs gated_linear_attention(const HeadInputs& in, Vec state) {
  return for_each_token(in, std::move(state), [&](Vec& s, const At& now) {
    decay(s, now.g(), in.key_dim);
    add_outer(s, now.k(), now.v());
  });
}

// S = e^{dt A} S + B (dt x)^T
HeadOutputs mamba2(const HeadInputs& in, Vec state) {
  return for_each_token(in, std::move(state), [&](Vec& s, const At& now) {
    decay(s, now.g(), in.key_dim);
    add_outer(s, now.k(), times(now.beta(), now.v()));
  });
}

// S = (I - beta k k^T) S + beta k v^T
HeadOutputs delta_net(const HeadInputs& in, Vec state) {
  return for_each_token(in, std::move(state), [](Vec& s, const At& now) {
    erase(s, times(now.beta(), now.k()), now.k());
    add_outer(s, times(now.beta(), now.k()), now.v());
  });
}

// S = e^g (I - beta k k^T) S + beta k v^T
HeadOutputs gated_delta_net(const HeadInputs& in, Vec state) {
  return for_each_token(in, std::move(state), [&](Vec& s, const At& now) {
    erase(s, times(now.beta(), now.k()), now.k());
    decay(s, now.g(), in.key_dim);
    add_outer(s, times(now.beta(), now.k()), now.v());
  });
}

// S = (I - beta k k^T) diag(e^g) S + beta k v^T
HeadOutputs kimi_delta(const HeadInputs& in, Vec state) {
  return for_each_token(in, std::move(state), [&](Vec& s, const At& now) {
    decay(s, now.g(), in.key_dim);
    erase(s, times(now.beta(), now.k()), now.k());
    add_outer(s, times(now.beta(), now.k()), now.v());
  });
}

// S = (I - k (b * k)^T) diag(e^g) S + k (w * v)^T
HeadOutputs gated_delta_net2(const HeadInputs& in, Vec state) {
  return for_each_token(in, std::move(state), [&](Vec& s, const At& now) {
    decay(s, now.g(), in.key_dim);
    erase(s, now.k(), times(now.erase_gate(), now.k()));
    add_outer(s, now.k(), times(now.write_gate(), now.v()));
  });
}

// S = e^g (I - beta k x^T) S + beta k v^T,  x = k + lambda q
HeadOutputs q_delta(const HeadInputs& in, Vec state) {
  return for_each_token(in, std::move(state), [&](Vec& s, const At& now) {
    erase(s, times(now.beta(), now.k()), now.x());
    decay(s, now.g(), in.key_dim);
    add_outer(s, times(now.beta(), now.k()), now.v());
  });
}

HeadOutputs q_delta_released(const HeadInputs& in, Vec s) {
  HeadOutputs out;
  Vec b = std::move(s);
  Vec n(b.size(), 0.0);
  Vec xs(b.size(), 0.0);
  for (int t = 0; t < in.tokens; ++t) {
    if (t % 64 == 0) {
      b = plus(b, n);
      n = times(0, n);
      xs = times(0, xs);
    }
    const At now(in, t);
    for (Vec* m : {&b, &n, &xs}) decay(*m, now.g(), in.key_dim);
    const Vec seen = plus(seen_by(b, now.x()), seen_by(xs, now.k()));
    const Vec u = times(now.beta(), plus(now.v(), times(-1, seen)));
    add_outer(n, now.k(), u);
    add_outer(xs, now.x(), u);
    for (double o : seen_by(plus(b, n), now.read())) out.o.push_back(o);
  }
  out.s = plus(b, n);
  return out;
}

HeadOutputs preconditioned_delta(const HeadInputs& in, Vec state) {
  return for_each_token(in, std::move(state), [&](Vec& s, const At& now) {
    if (!in.g.empty()) decay(s, now.g(), in.key_dim);
    const Vec written = times(now.multiplier(), now.k());
    erase(s, times(now.beta(), written), now.k());
    add_outer(s, times(now.beta(), written), now.v());
  });
}

HeadOutputs recurrence(MixerKind kind, const HeadInputs& in, Vec s) {
  switch (kind) {
    case MixerKind::kLinearAttention: return linear_attention(in, std::move(s));
    case MixerKind::kGatedLinearAttention: return gated_linear_attention(in, std::move(s));
    case MixerKind::kMamba2: return mamba2(in, std::move(s));
    case MixerKind::kDeltaNet: return delta_net(in, std::move(s));
    case MixerKind::kGatedDeltaNet: return gated_delta_net(in, std::move(s));
    case MixerKind::kKimiDelta: return kimi_delta(in, std::move(s));
    case MixerKind::kGatedDeltaNet2: return gated_delta_net2(in, std::move(s));
    case MixerKind::kQDelta: return q_delta(in, std::move(s));
    case MixerKind::kQDeltaReleased: return q_delta_released(in, std::move(s));
    case MixerKind::kPrecondDeltaNet:
    case MixerKind::kPrecondGatedDeltaNet:
    case MixerKind::kPrecondKimiDelta: return preconditioned_delta(in, std::move(s));
  }
  return {};
}

void normalise_by_key_sum(const HeadInputs& in, Vec& z, Vec& o) {
  for (int t = 0; t < in.tokens; ++t) {
    z = plus(z, row(in.k, t, in.key_dim));
    double weight = 1e-10;
    for (int i = 0; i < in.key_dim; ++i) weight += in.scale * in.q[t * in.key_dim + i] * z[i];
    for (int j = 0; j < in.value_dim; ++j) o[t * in.value_dim + j] /= weight;
  }
}

Vec multipliers(const Preconditioner& preconditioner, const HeadInputs& in, Vec& a) {
  Vec m;
  for (int t = 0; t < in.tokens; ++t) {
    for (int i = 0; i < in.key_dim; ++i) {
      const double k = in.k[t * in.key_dim + i];
      a[i] = std::exp(preconditioner.ga[t]) * a[i] + preconditioner.ba[t] * k * k;
      const double rho = std::log(a[i] + preconditioner.eps) - preconditioner.center;
      m.push_back(std::pow(preconditioner.x, -rho / (1 + std::abs(rho))));
    }
  }
  return m;
}

Vec conditioned_queries(const QueryConditioning& how, const HeadInputs& in, const Vec& lambda,
                        Covariance& covariance) {
  using Normaliser = QueryConditioning::Normaliser;
  const int K = in.key_dim;
  const bool forgets = how.backbone_decay && !in.g.empty();
  auto& [p, z, m] = covariance;
  p.resize(static_cast<size_t>(K * K));
  z.resize(forgets ? in.g.size() / in.tokens : 1);
  m.resize(static_cast<size_t>(K));
  Vec queries;
  for (int t = 0; t < in.tokens; ++t) {
    const At now(in, t);
    const Vec g = forgets ? now.g() : Vec{0.0};
    const auto log_decay = [&](size_t i) { return g.size() == 1 ? g[0] : g[i]; };
    const Vec k = how.l2_keys ? l2_normalised(now.k()) : now.k();

    Vec added = k;  // P = diag(a) P + k k^T, of the moving average diag(a) P + (1 - a) k k^T
    for (int i = 0; i < K; ++i) {
      if (how.normaliser == Normaliser::kEma) added[i] *= -std::expm1(log_decay(i));
      m[i] = std::exp(log_decay(i)) * m[i] + k[i];
    }
    decay(p, g, K);
    add_outer(p, added, k);
    for (size_t i = 0; i < z.size(); ++i) z[i] = std::exp(log_decay(i)) * z[i] + 1;

    Vec sigma = p;
    for (int i = 0; how.normaliser == Normaliser::kMean && i < K; ++i) {
      for (int j = 0; j < K; ++j) {
        const double zi = z[z.size() == 1 ? 0 : i];
        const double zj = z[z.size() == 1 ? 0 : j];
        sigma[i * K + j] /= zi;
        if (how.centered) sigma[i * K + j] -= (m[i] / zi) * (m[j] / zj);
      }
    }
    Vec q = plus(now.q(), times(-lambda[t], seen_by(sigma, now.q())));
    if (how.renormalise) q = l2_normalised(q);
    queries.insert(queries.end(), q.begin(), q.end());
  }
  return queries;
}

}  // namespace deltaserve::reference
