// The boundary between the server and the CUDA module, a shared library that is loaded when it is
// there. One C function gives a table of functions; only plain structs and pointers cross, no
// exception, no virtual call, no type of the standard library. Both sides may so be built by
// different compilers, and the server starts on machines without CUDA.
//
// The table's functions are Backend's methods. DELTASERVE_BACKEND_CALLS is the one list of them;
// the types of the functions, both sides' forwarding and their fingerprint follow from it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

#include "kernels/module/boundary_types.h"
#include "kernels/program/backend.h"

namespace deltaserve::cuda {

inline constexpr const char* kModuleSymbol = "deltaserve_cuda_module";
inline constexpr const char* kModuleFile = "libdeltaserve_cuda.so";
// Texts that cross have at most this many bytes, the end included; longer ones are cut.
inline constexpr size_t kModuleTextBytes = 1024;

// X(result, name, parameters, qualifier, arguments)
#define DELTASERVE_BACKEND_CALLS(X)                                                         \
  X(int64_t, free_memory, (), const, ())                                                    \
  X(std::string, refusal, (const Program& program, const Limits& limits), const,            \
    (program, limits))                                                                      \
  X(std::string, load, (const Program& program, const Limits& limits), , (program, limits)) \
  X(Ticket, forward, (const Step& step), , (step))                                          \
  X(void, draw, (Ticket ticket, Array<Draw> draws), , (ticket, draws))                      \
  X(void, wait, (Ticket ticket, DrawResult * results), , (ticket, results))                 \
  X(int, steps_ahead, (), const, ())                                                        \
  X(void, copy_slot, (int from, int to), , (from, to))                                      \
  X(Ticket, export_slot, (int from, void* host), , (from, host))                            \
  X(Ticket, import_slot, (int to, const void* host), , (to, host))                          \
  X(void, store_slot, (int from, int to), , (from, to))                                     \
  X(void, load_slot, (int from, int to), , (from, to))                                      \
  X(bool, slot_is_loaded, (int slot), , (slot))                                             \
  X(std::string, description, (), const, ())                                                \
  X(deltaserve::Memory, memory, (), const, ())

// An argument crosses so: references as pointers, all else as it is.
template <class Argument>
struct Crossing {
  using Type = Argument;
  static Type out(Argument argument) { return argument; }
  static Argument in(Type crossed) { return crossed; }
};
template <class Argument>
struct Crossing<const Argument&> {
  using Type = const Argument*;
  static Type out(const Argument& argument) { return &argument; }
  static const Argument& in(Type crossed) { return *crossed; }
};

// The C function of a method: `self` from create(), then the arguments. A string crosses as a
// buffer of the caller's after them.
template <class Method>
struct CallOf;
template <class Result, class... Arguments>
struct CallOf<Result (Backend::*)(Arguments...)> {
  using Function = Result (*)(void* self, typename Crossing<Arguments>::Type...);
};
template <class... Arguments>
struct CallOf<std::string (Backend::*)(Arguments...)> {
  using Function = void (*)(void* self, typename Crossing<Arguments>::Type..., char* text,
                            size_t bytes);
};
template <class Result, class... Arguments>
struct CallOf<Result (Backend::*)(Arguments...) const> : CallOf<Result (Backend::*)(Arguments...)> {
};

// Returns a hash of the list's own text.
constexpr uint64_t calls_fingerprint() {
  TypeHash hash;
#define X(result, name, parameters, qualifier, arguments) \
  hash.add(#result).add(#name).add(#parameters).add(#qualifier);
  DELTASERVE_BACKEND_CALLS(X)
#undef X
  return hash.value();
}

// This is not inline: the loader may unify inline variables of program and module.
constexpr CrossingType kCrossingTypes[] = {
    {"list of calls", calls_fingerprint()},
    {"state layout", kStateLayoutVersion},
    kTypeMixerKind,
    kTypeOpKind,
    kTypeRowKind,
    kTypeRowsOf,
    kTypeWeightKind,
    kTypeWeightFormat,
    kTypeDtype,
    kTypeStateFormat,
    kTypePer,
    kTypeActivation,
    kTypeFeatureNorm,
    kTypeDecayGate,
    kTypeOutputNorm,
    kTypeNormaliser,
    kTypeGateInput,
    kTypeMixerVectorIndices,
    kTypeAnyArray,
    kTypeQueryConditioning,
    kTypeMixerShape,
    kTypeProjectionLayout,
    kTypeStateSpan,
    kTypeLayerStateLayout,
    kTypeMixerLayer,
    kTypeBuffer,
    kTypeHostMatrix,
    kTypeWeight,
    kTypeOp,
    kTypeStatePart,
    kTypeProgram,
    kTypeLimits,
    kTypeSegment,
    kTypeStep,
    kTypeLogitAdjustment,
    kTypeDraw,
    kTypeDrawResult,
    kTypeTicket,
    kTypeBackendMemory,
    kTypeModuleOptions,
};

struct ModuleTable {
  // ---- These members never change their places, so that any two builds can compare them.
  uint32_t num_types;
  const CrossingType* types;

  // ---- These are called only if both sides have equal members above. create() returns null and
  // copies the reason if no device is usable.
  void* (*create)(const ModuleOptions* options, char* reason, size_t bytes);
  void (*destroy)(void* self);
#define X(result, name, parameters, qualifier, arguments) \
  CallOf<decltype(&Backend::name)>::Function name;
  DELTASERVE_BACKEND_CALLS(X)
#undef X
};

// The symbol kModuleSymbol is such a function. The table lives as long as the module.
using ModuleFactory = const ModuleTable* (*)();

}  // namespace deltaserve::cuda
