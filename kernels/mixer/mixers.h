// The one list of mixers: kernels, loaders and tests iterate over it or dispatch on it.
#pragma once
#include <cstdint>

#include "kernels/mixer/gated_delta_net.h"
#include "kernels/mixer/q_delta.h"

namespace deltaserve {

enum class MixerKind : uint8_t { kGatedDeltaNet, kQDelta, kQDeltaReleased };

inline constexpr MixerKind kAllMixers[] = {MixerKind::kGatedDeltaNet, MixerKind::kQDelta,
                                           MixerKind::kQDeltaReleased};

constexpr const char* mixer_name(MixerKind kind) {
  switch (kind) {
    case MixerKind::kGatedDeltaNet: return "gated_deltanet";
    case MixerKind::kQDelta: return "qdelta (canonical)";
    case MixerKind::kQDeltaReleased: return "qdelta (released)";
  }
  return "?";
}

// The rule in one line, for `inspect`.
constexpr const char* mixer_rule(MixerKind kind) {
  switch (kind) {
    case MixerKind::kGatedDeltaNet: return "S = a S (I - b k k') + b v k',  o = S q";
    case MixerKind::kQDelta:
    case MixerKind::kQDeltaReleased: return "S = a S (I - b (k + l q) k') + b v k',  o = S q";
  }
  return "?";
}

// Calls visit(Mixer{}) with the struct that `kind` names and returns what it returns.
template <class Visitor>
decltype(auto) dispatch_mixer(MixerKind kind, Visitor&& visit) {
  switch (kind) {
    case MixerKind::kGatedDeltaNet: return visit(GatedDeltaNet{});
    case MixerKind::kQDelta: return visit(QDelta{});
    case MixerKind::kQDeltaReleased: return visit(QDeltaReleased{});
  }
  __builtin_unreachable();
}

}  // namespace deltaserve
