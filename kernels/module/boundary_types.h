// This fingerprints all that crosses the boundary of boundary.h by value: of a struct its
// size and where each member stands, of an enumeration the names and numbers of its enumerators.
//
// Both lists are held by the compiler: a member that is left out leaves a hole, for which there is
// a static_assert, and an enumerator that is left out is missing in a switch.
#pragma once
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/module/module_options.h"
#include "kernels/program/backend.h"

namespace deltaserve::cuda {

// A type, or the list of calls, and its fingerprint: both sides must have been built with the same.
struct CrossingType {
  const char* name;
  uint64_t fingerprint;
};

// FNV-1a of bytes and texts.
class TypeHash {
 public:
  constexpr TypeHash& add(uint64_t number) {
    for (int i = 0; i < 8; ++i) byte(static_cast<unsigned char>(number >> 8 * i));
    return *this;
  }
  constexpr TypeHash& add(const char* text) {
    for (; *text != 0; ++text) byte(static_cast<unsigned char>(*text));
    byte(0);
    return *this;
  }
  constexpr uint64_t value() const { return hash_; }

 private:
  constexpr void byte(unsigned char b) { hash_ = (hash_ ^ b) * 1099511628211u; }

  uint64_t hash_ = 14695981039346656037u;
};

struct CrossingMember {
  const char* name;
  size_t offset;
  size_t bytes;
  size_t alignment;
};

// Returns true if no member can be missing between those that are named, in order. It cannot see
// one that fits into padding.
template <size_t kCount>
constexpr bool has_no_hole(const CrossingMember (&members)[kCount], size_t bytes,
                           size_t alignment) {
  size_t end = 0;
  const auto aligned = [&](size_t to) { return (end + to - 1) / to * to; };
  for (const CrossingMember& member : members) {
    if (member.offset != aligned(member.alignment)) return false;
    end = member.offset + member.bytes;
  }
  return aligned(alignment) == bytes;
}

template <size_t kCount>
constexpr uint64_t struct_fingerprint(const CrossingMember (&members)[kCount], size_t bytes) {
  TypeHash hash;
  hash.add(bytes);
  for (const CrossingMember& member : members) {
    hash.add(member.name).add(member.offset).add(member.bytes);
  }
  return hash.value();
}

// Returns a hash of the enumerators. `name_of(value)` must return null for all other values.
template <class Enum, class NameOf>
constexpr uint64_t enum_fingerprint(const NameOf& name_of) {
  static_assert(sizeof(Enum) == 1);
  TypeHash hash;
  for (unsigned value = 0; value < 256; ++value) {
    const char* name = name_of(static_cast<Enum>(value));
    if (name != nullptr) hash.add(value).add(name);
  }
  return hash.value();
}

// DS_EACH(macro, context, a, b, ...): macro(context, a) macro(context, b) ...
#define DS_EXPAND(...) DS_EXPAND4(DS_EXPAND4(DS_EXPAND4(DS_EXPAND4(__VA_ARGS__))))
#define DS_EXPAND4(...) DS_EXPAND3(DS_EXPAND3(DS_EXPAND3(DS_EXPAND3(__VA_ARGS__))))
#define DS_EXPAND3(...) DS_EXPAND2(DS_EXPAND2(DS_EXPAND2(DS_EXPAND2(__VA_ARGS__))))
#define DS_EXPAND2(...) __VA_ARGS__
#define DS_PARENS ()
#define DS_EACH(macro, context, ...) \
  __VA_OPT__(DS_EXPAND(DS_EACH_STEP(macro, context, __VA_ARGS__)))
#define DS_EACH_STEP(macro, context, first, ...) \
  macro(context, first) __VA_OPT__(DS_EACH_AGAIN DS_PARENS(macro, context, __VA_ARGS__))
#define DS_EACH_AGAIN() DS_EACH_STEP

#define DS_MEMBER(type, member) \
  {#member, offsetof(type, member), sizeof(type::member), alignof(decltype(type::member))},
// Lists of other macros are expanded before they are taken apart.
#define DS_CROSSING_STRUCT(...) DS_CROSSING_STRUCT_OF(__VA_ARGS__)
#define DS_CROSSING_ENUM(...) DS_CROSSING_ENUM_OF(__VA_ARGS__)
#define DS_CROSSING_STRUCT_OF(type, ...)                                                 \
  static_assert(std::is_standard_layout_v<type> && std::is_trivially_copyable_v<type>);  \
  constexpr CrossingMember kMembersOf##type[] = {DS_EACH(DS_MEMBER, type, __VA_ARGS__)}; \
  static_assert(has_no_hole(kMembersOf##type, sizeof(type), alignof(type)),              \
                "a member of " #type " is missing here");                                \
  constexpr CrossingType kType##type = {#type, struct_fingerprint(kMembersOf##type, sizeof(type))};

#define DS_ENUMERATOR(type, enumerator) \
  case type::enumerator:                \
    return #enumerator;
#define DS_CROSSING_ENUM_OF(type, ...)                                      \
  constexpr CrossingType kType##type = {                                    \
      #type, enum_fingerprint<type>([](type value) constexpr->const char* { \
        switch (value) { DS_EACH(DS_ENUMERATOR, type, __VA_ARGS__) }        \
        return nullptr;                                                     \
      })};

using Normaliser = QueryConditioning::Normaliser;
using GateInput = QueryConditioning::GateInput;
using AnyArray = Array<unsigned char>;
using MixerVectorIndices = MixerVectors<int32_t>;
using BackendMemory = deltaserve::Memory;

#define X(kind, mixer, name, rule) , kind
DS_CROSSING_ENUM(MixerKind DELTASERVE_MIXERS(X))
#undef X
DS_CROSSING_ENUM(OpKind, kEmbed, kNorm, kMatmul, kGate, kMixer)
DS_CROSSING_ENUM(RowKind, kDecode, kPrefill)
DS_CROSSING_ENUM(RowsOf, kStep, kDraws)
DS_CROSSING_ENUM(WeightKind, kMatrix, kVector)
DS_CROSSING_ENUM(WeightFormat, kAuto, kF32, kBf16, kInt8, kInt4)
DS_CROSSING_ENUM(Dtype, kF32, kBf16, kF16)
#define X(format, type) , format
DS_CROSSING_ENUM(StateFormat DELTASERVE_STATE_FORMATS(X))
#undef X
DS_CROSSING_ENUM(Per, kSequence, kToken)
DS_CROSSING_ENUM(Activation, kNone, kSilu, kRelu, kEluPlusOne, kSigmoid)
DS_CROSSING_ENUM(FeatureNorm, kNone, kL2, kSum, kSumPlusEps)
DS_CROSSING_ENUM(DecayGate, kNone, kSoftplus, kBoundedSigmoid, kLogSigmoid, kTimeStep)
DS_CROSSING_ENUM(OutputNorm, kHead, kGateThenGroups, kGroupsThenGate, kGateOnly)
DS_CROSSING_ENUM(Normaliser, kNone, kMean, kEma)
DS_CROSSING_ENUM(GateInput, kShared, kPerHead, kFull)

#define X(vector) , vector
DS_CROSSING_STRUCT(MixerVectorIndices DELTASERVE_MIXER_VECTORS(X))
#undef X
DS_CROSSING_STRUCT(AnyArray, data, count)
DS_CROSSING_STRUCT(QueryConditioning, on, normaliser, centered, backbone_decay, l2_keys,
                   renormalise, gate_input)
DS_CROSSING_STRUCT(MixerShape, kind, heads, q_heads, k_heads, v_heads, decay_heads, beta_heads,
                   precond_heads, key_dim, value_dim, conv_width, qk_activation, v_activation,
                   feature_map, product_features, q_norm, k_norm, scale, decay_gate, decay_bound,
                   time_step_min, time_step_max, gate_factor, lambda_bias, squash, squash_eps,
                   conditioning, normalised, output_norm, norm_groups, gate_activation, norm_eps)
DS_CROSSING_STRUCT(ProjectionLayout, q, k, v, gate, decay, beta, lambda, write_gate, precond_decay,
                   precond_beta, q_left, q_right, k_left, k_right, columns)
DS_CROSSING_STRUCT(StateSpan, offset, floats)
DS_CROSSING_STRUCT(LayerStateLayout, state, conv_rows, squares, key_sum, covariance, key_count,
                   key_mean, format)
DS_CROSSING_STRUCT(MixerLayer, shape, projection, state, vectors)
DS_CROSSING_STRUCT(Buffer, name, rows, columns)
DS_CROSSING_STRUCT(HostMatrix, data, dtype, rows, columns)
DS_CROSSING_STRUCT(Weight, role, kind, format, blocks)
DS_CROSSING_STRUCT(Op, kind, layer, in, in_column, out, out_column, weight, bias, mixer, accumulate,
                   activation, eps)
DS_CROSSING_STRUCT(StatePart, name, layer, per, format, heads, rows, columns, stride, offset)
DS_CROSSING_STRUCT(Program, buffers, weights, ops, mixers, parts, last_hidden, drawn_hidden, logits,
                   final_norm, output, final_eps, hidden, vocab, slot_bytes)
DS_CROSSING_STRUCT(Limits, rows, segments, draws, slots, snapshots, host_slots)
DS_CROSSING_STRUCT(Segment, kind, read_slot, write_slot, first_row, num_rows, position, keep_slot)
DS_CROSSING_STRUCT(Step, tokens, segments)
DS_CROSSING_STRUCT(LogitAdjustment, token, factor, add)
// The size of the pointer itself is meant. NOLINTNEXTLINE(bugprone-sizeof-expression)
DS_CROSSING_STRUCT(Draw, row, slot, target, num_top, sample, adjustments, num_adjustments, allowed,
                   temperature, top_k, top_p, min_p, seed, choice, position, logits, hidden)
DS_CROSSING_STRUCT(DrawResult, token, logprob, target_logprob, num_top, top_tokens, top_logprobs)
DS_CROSSING_STRUCT(Ticket, step, transfer)
DS_CROSSING_STRUCT(BackendMemory, weights, step_weights, slots, scratch, host_slots)
DS_CROSSING_STRUCT(ModuleOptions, library, mixer, ends, graphs, overlap)

}  // namespace deltaserve::cuda
