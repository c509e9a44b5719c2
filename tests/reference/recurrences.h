// The papers' recurrences, literally, in double. Kernels are compared with them, so they are slow
// and share no code with the kernels. Each computes one head over a run of tokens; matrices are
// row-major.
#pragma once
#include <vector>

#include "kernels/mixer_shape.h"

namespace deltaserve::reference {

using Vec = std::vector<double>;

// The operands of a rule, after feature maps and gates; unused operands are empty.
struct HeadInputs {
  int tokens = 0;
  int key_dim = 0;
  int value_dim = 0;
  double scale = 1;  // factor of the query in the read
  Vec q, k;          // [tokens, key_dim]
  Vec v;             // [tokens, value_dim]
  Vec r;             // [tokens, key_dim]  query of the read; empty = q
  Vec g;             // [tokens] or [tokens, key_dim]  log decay
  Vec beta, lambda;  // [tokens]
  Vec multiplier;    // [tokens, key_dim]  M of the preconditioned rules
  Vec erase_gate;    // [tokens, key_dim]
  Vec write_gate;    // [tokens, value_dim]
};

struct HeadOutputs {
  Vec o;  // [tokens, value_dim]
  Vec s;  // [key_dim, value_dim] after the last token
};

// Each function takes the state S [key_dim, value_dim] before the first token.

HeadOutputs linear_attention(const HeadInputs& in, Vec s);

// arXiv 2312.06635, eq. 3. g per channel.
HeadOutputs gated_linear_attention(const HeadInputs& in, Vec s);

// arXiv 2405.21060: q, k, v are C, B, x; beta is the time step and g its product with A. Without
// the skip D x.
HeadOutputs mamba2(const HeadInputs& in, Vec s);

// arXiv 2406.06484, eq. 3.
HeadOutputs delta_net(const HeadInputs& in, Vec s);

// arXiv 2412.06464, eq. 10.
HeadOutputs gated_delta_net(const HeadInputs& in, Vec s);

// arXiv 2510.26692, eq. 1. g per channel.
HeadOutputs kimi_delta(const HeadInputs& in, Vec s);

// Kimi Delta Attention with a gate per key channel on the erase and one per value channel on the
// write, instead of beta.
HeadOutputs gated_delta_net2(const HeadInputs& in, Vec s);

// arXiv 2606.08804, eq. 17-20.
HeadOutputs q_delta(const HeadInputs& in, Vec s);

// Computes what the authors' published chunk kernel computes in one call: 64-token blocks counted
// from the call's first token. Inside a block the decayed start state B, writes N = sum k u^T and X
// = sum x u^T are kept apart, u = beta (v - B^T x - X^T k), and X is dropped at the block's end.
HeadOutputs q_delta_released(const HeadInputs& in, Vec s);

// The preconditioned delta rules: the decay is none, per head or per channel as g's size says.
//   S~ = decay S,  S = S~ + (M * k) beta (v - S~^T k)^T
HeadOutputs preconditioned_delta(const HeadInputs& in, Vec s);

// Computes the recurrence that `kind` names.
HeadOutputs recurrence(MixerKind kind, const HeadInputs& in, Vec s);

// Divides o row by row by scale q . z + 1e-10, where z [key_dim] sums the keys; updates z.
void normalise_by_key_sum(const HeadInputs& in, Vec& z, Vec& o);

// A_t = e^{ga} A_{t-1} + ba k * k (A [key_dim], updated),  rho = ln(A_t + eps) - center,
// M_t = x^{-rho / (1 + |rho|)}. Returns M [tokens, key_dim].
struct Preconditioner {
  Vec ga, ba;  // [tokens]
  double center = 0;
  double x = 1.5;
  double eps = 1e-6;
};
Vec multipliers(const Preconditioner& preconditioner, const HeadInputs& in, Vec& a);

// The covariance of the keys so far and its normalisers.
struct Covariance {
  Vec p;  // [key_dim, key_dim], the decayed axis first
  Vec z;  // decayed count of tokens: [1], or [key_dim] if the covariance decays by channel
  Vec m;  // [key_dim] decayed sum of keys
};

// Returns q - lambda Sigma^T q for every token (arXiv 2606.01294), lambda [tokens], and updates
// `covariance`. Empty vectors in it count as zeros.
Vec conditioned_queries(const QueryConditioning& how, const HeadInputs& in, const Vec& lambda,
                        Covariance& covariance);

}  // namespace deltaserve::reference
