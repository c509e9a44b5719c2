// The papers' recurrences, literally, in double. The truth that kernels are compared with: slow,
// and sharing no code with them.
#pragma once
#include <vector>

namespace deltaserve::reference {

// One value head over a run of tokens. q and k are l2-normalised, q unscaled.
struct HeadInputs {
  int tokens = 0;
  int key_dim = 0;
  int value_dim = 0;
  std::vector<double> q, k;             // [tokens, key_dim]
  std::vector<double> v;                // [tokens, value_dim]
  std::vector<double> g, beta, lambda;  // [tokens]; g is the log decay
};

struct HeadOutputs {
  std::vector<double> o;  // [tokens, value_dim]
  std::vector<double> s;  // [key_dim, value_dim] after the last token
};

// arXiv 2412.06464, eq. 10.
HeadOutputs gated_delta_net(const HeadInputs& in, std::vector<double> s);

// arXiv 2606.08804, eq. 17-20.
HeadOutputs q_delta(const HeadInputs& in, std::vector<double> s);

// What the authors' published chunk kernel computes in one call: 64-token blocks counted from the
// call's first token; inside a block the decayed start state B, writes N = sum k u^T and
// X = sum x u^T are kept apart, u = beta (v - B^T x - X^T k), and X is dropped at the block's end.
HeadOutputs q_delta_released(const HeadInputs& in, std::vector<double> s);

}  // namespace deltaserve::reference
