// The generalised delta rule: one state matrix S [K, V] per value head, one token at a time.
//
//   S~ = diag(decay) S        forget    decay = e^g, g <= 0: none, one per head, one per channel
//   u  = value - S~^T erase   correct   erase = 0 is plain gated linear attention
//   S  = S~ + write u^T       write
//   o  = S^T read             read
//
// C tokens at once, from state S0, with G_i the inclusive sum of g over the chunk:
//
//   A_ij = e^{G_i - G_j} row_i . col_j   (j < i)     (I + A) U = value - (e^G erase) S0
//   Q_ij = e^{G_i - G_j} read_i . write_j (j <= i)   O  = (e^G read) S0 + Q U
//                                                    S' = e^{G_n} S0 + (e^{G_n - G} write)^T U
//
// For every mixer row = erase and col = write; a mixer may name other operands for A only (the
// released Q-Delta kernel does). A mixer is a choice of these vectors: a struct of a few lines over
// its parent (mixers.h). Headers in this folder include nothing but the standard library, so that
// CPU and CUDA kernels share them.
#pragma once

#ifdef __CUDACC__
#define DS_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define DS_HOST_DEVICE __attribute__((always_inline)) inline
#endif

namespace deltaserve {

// Tokens of one chunk. The grid of chunks is anchored at the first token of a sequence.
inline constexpr int kChunkTokens = 64;

enum class Decay { kNone, kPerHead, kPerChannel };

// One value head's operands for one token, after convolution, norms and gates. An operand that the
// mixer does not use is null or 0.
struct Token {
  const float* q;           // [K]
  const float* k;           // [K]
  const float* v;           // [V]
  const float* r;           // [K] query of the read: q, or what a curvature-conditioned query made
  const float* g;           // log decay, [1] per head or [K] per channel
  const float* multiplier;  // [K] multiplier of a preconditioner
  const float* erase_gate;  // [K]
  const float* write_gate;  // [V]
  float beta;               // write strength
  float lambda;             // weight of the query in Q-Delta's erase vector
  float scale;              // factor of the query in the read
};

// S_t = S_{t-1} + k_t v_t^T, o_t = S_t^T (scale q_t). The root of the family.
struct LinearAttention {
  static constexpr Decay kDecay = Decay::kNone;
  static constexpr bool kErases = false;
  // Is true if A's rows and columns are chunk_row and chunk_col instead of erase and write.
  static constexpr bool kOwnChunkOperands = false;
  // Is true if the erase vector contains the query, weighted by lambda.
  static constexpr bool kErasesQuery = false;
  // Is true if erase and write have a gate for every channel instead of beta.
  static constexpr bool kChannelGates = false;
  // Is true if the key is written times the multiplier of a preconditioner.
  static constexpr bool kPreconditioned = false;

  static DS_HOST_DEVICE float erase(const Token&, int) { return 0.0f; }
  static DS_HOST_DEVICE float write(const Token& t, int i) { return t.k[i]; }
  static DS_HOST_DEVICE float value(const Token& t, int j) { return t.v[j]; }
  static DS_HOST_DEVICE float read(const Token& t, int i) { return t.scale * t.r[i]; }
};

// Gated linear attention (Yang et al., arXiv 2312.06635, eq. 3):
//   S_t = diag(e^{g_t}) S_{t-1} + k_t v_t^T
struct GatedLinearAttention : LinearAttention {
  static constexpr Decay kDecay = Decay::kPerChannel;
};

// Mamba-2 (Dao and Gu, arXiv 2405.21060, section 6): q, k, v are C, B, x; beta is the time step.
//   S_t = e^{g_t} S_{t-1} + k_t (beta_t v_t)^T
struct Mamba2 : LinearAttention {
  static constexpr Decay kDecay = Decay::kPerHead;

  static DS_HOST_DEVICE float value(const Token& t, int j) { return t.beta * t.v[j]; }
};

// S_t = (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T  (Yang et al., arXiv 2406.06484, eq. 3).
struct DeltaNet : LinearAttention {
  static constexpr bool kErases = true;

  static DS_HOST_DEVICE float erase(const Token& t, int i) { return t.beta * t.k[i]; }
  static DS_HOST_DEVICE float value(const Token& t, int j) { return t.beta * t.v[j]; }
};

}  // namespace deltaserve
