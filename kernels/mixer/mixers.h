// The one list of mixers: kernels, loaders and tests iterate over it or dispatch on it.
#pragma once
#include <cstdint>
#include <type_traits>

#include "kernels/mixer/gated_delta_net.h"
#include "kernels/mixer/kimi_delta.h"
#include "kernels/mixer/preconditioned.h"
#include "kernels/mixer/q_delta.h"

namespace deltaserve {

// X(enumerator, struct, name, rule in one line). S is [V, K] in the rules, as in the papers.
#define DELTASERVE_MIXERS(X)                                                                    \
  X(kLinearAttention, LinearAttention, "linear attention", "S = S + v k',  o = S q")            \
  X(kGatedLinearAttention, GatedLinearAttention, "GLA", "S = S diag(a) + v k',  o = S q")       \
  X(kMamba2, Mamba2, "Mamba-2", "S = a S + dt x B',  o = S C + D x")                            \
  X(kDeltaNet, DeltaNet, "DeltaNet", "S = S (I - b k k') + b v k',  o = S q")                   \
  X(kGatedDeltaNet, GatedDeltaNet, "Gated DeltaNet", "S = a S (I - b k k') + b v k',  o = S q") \
  X(kKimiDelta, KimiDelta, "KDA", "S = S diag(a) (I - b k k') + b v k',  o = S q")              \
  X(kGatedDeltaNet2, GatedDeltaNet2, "Gated DeltaNet-2",                                        \
    "S = S diag(a) (I - (b*k) k') + (w*v) k',  o = S q")                                        \
  X(kQDelta, QDelta, "Q-Delta (canonical)", "S = a S (I - b (k + l q) k') + b v k',  o = S q")  \
  X(kQDeltaReleased, QDeltaReleased, "Q-Delta (released)",                                      \
    "S = a S (I - b (k + l q) k') + b v k',  o = S q")                                          \
  X(kPrecondDeltaNet, Preconditioned<DeltaNet>, "PDN",                                          \
    "S = S (I - b k (M*k)') + b v (M*k)',  o = S q")                                            \
  X(kPrecondGatedDeltaNet, Preconditioned<GatedDeltaNet>, "PGDN",                               \
    "S = a S (I - b k (M*k)') + b v (M*k)',  o = S q")                                          \
  X(kPrecondKimiDelta, Preconditioned<KimiDelta>, "PKDA",                                       \
    "S = S diag(a) (I - b k (M*k)') + b v (M*k)',  o = S q")

enum class MixerKind : uint8_t {
#define X(kind, mixer, name, rule) kind,
  DELTASERVE_MIXERS(X)
#undef X
};

inline constexpr MixerKind kAllMixers[] = {
#define X(kind, mixer, name, rule) MixerKind::kind,
    DELTASERVE_MIXERS(X)
#undef X
};

constexpr const char* mixer_name(MixerKind kind) {
  switch (kind) {
#define X(kind, mixer, name, rule) \
  case MixerKind::kind: return name;
    DELTASERVE_MIXERS(X)
#undef X
  }
  return "?";
}

// Returns the rule as one line of text, for `inspect`.
constexpr const char* mixer_rule(MixerKind kind) {
  switch (kind) {
#define X(kind, mixer, name, rule) \
  case MixerKind::kind: return rule;
    DELTASERVE_MIXERS(X)
#undef X
  }
  return "?";
}

// Calls visit(Mixer{}) with the struct that `kind` names and returns its result.
template <class Visitor>
constexpr decltype(auto) dispatch_mixer(MixerKind kind, Visitor&& visit) {
  switch (kind) {
#define X(kind, mixer, name, rule) \
  case MixerKind::kind: return visit(mixer{});
    DELTASERVE_MIXERS(X)
#undef X
  }
  __builtin_unreachable();
}

// Is true if two functions of mixers are one function, which one of them may inherit.
template <float (*)(const Token&, int)>
struct FunctionType;
template <float (*a)(const Token&, int), float (*b)(const Token&, int)>
inline constexpr bool kSameFunction = std::is_same_v<FunctionType<a>, FunctionType<b>>;

// Returns true if two mixers write into the state in the same way: they have the same value() and
// both correct it or both do not.
template <class Mixer, class Other>
constexpr bool has_same_values() {
  return Mixer::kErases == Other::kErases && kSameFunction<&Mixer::value, &Other::value>;
}
template <class Mixer, class First, class... Rest>
constexpr auto first_with_values() {
  if constexpr (has_same_values<Mixer, First>()) {
    return First{};
  } else {
    return first_with_values<Mixer, Rest...>();
  }
}
// The first mixer of the list that writes like Mixer. Code that depends only on a mixer's value()
// and kErases is compiled once for all mixers that share them.
template <class Mixer>
using FirstWithValuesOf = decltype(first_with_values<Mixer
#define X(kind, mixer, name, rule) , mixer
                                                         DELTASERVE_MIXERS(X)
#undef X
                                                     >());

// Is true if a mixer's write is k, its erase vector beta (k + lambda q), lambda maybe 0, its read
// scale q, its value beta v, and its decay none or one a head.
template <class Mixer>
constexpr bool is_delta_of_keys() {
  using Erasing = std::conditional_t<Mixer::kErasesQuery, QDelta, DeltaNet>;
  return Mixer::kErases && Mixer::kDecay != Decay::kPerChannel && !Mixer::kOwnChunkOperands &&
         kSameFunction<&Mixer::erase, &Erasing::erase> &&
         kSameFunction<&Mixer::write, &DeltaNet::write> &&
         kSameFunction<&Mixer::value, &DeltaNet::value> &&
         kSameFunction<&Mixer::read, &DeltaNet::read>;
}

// Returns the mixer that adds v k' to a state with this decay and does nothing else.
constexpr MixerKind sum_with_decay(Decay decay) {
  switch (decay) {
    case Decay::kNone: break;
    case Decay::kPerHead: return MixerKind::kMamba2;
    case Decay::kPerChannel: return MixerKind::kGatedLinearAttention;
  }
  return MixerKind::kLinearAttention;
}

// Return the traits of the struct that `kind` names.
constexpr bool is_delta_of_keys(MixerKind kind) {
  return dispatch_mixer(kind, [](auto mixer) { return is_delta_of_keys<decltype(mixer)>(); });
}
constexpr Decay decay_of(MixerKind kind) {
  return dispatch_mixer(kind, [](auto mixer) { return decltype(mixer)::kDecay; });
}
constexpr bool erases_query(MixerKind kind) {
  return dispatch_mixer(kind, [](auto mixer) { return decltype(mixer)::kErasesQuery; });
}
constexpr bool has_channel_gates(MixerKind kind) {
  return dispatch_mixer(kind, [](auto mixer) { return decltype(mixer)::kChannelGates; });
}
constexpr bool is_preconditioned(MixerKind kind) {
  return dispatch_mixer(kind, [](auto mixer) { return decltype(mixer)::kPreconditioned; });
}

}  // namespace deltaserve
