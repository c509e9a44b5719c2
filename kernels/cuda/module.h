// The boundary between the server and the CUDA module, a shared library that is loaded when it is
// there. One C function gives a table of functions; only plain structs and pointers cross, no
// exception, no virtual call, no type of the standard library. Both sides may so be built by
// different compilers, and the server starts on machines without CUDA.
#pragma once
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/backend.h"
#include "kernels/cuda/module_options.h"

namespace deltaserve::cuda {

// Goes up with every change of the table, of a struct below or of an enumeration in one.
inline constexpr uint32_t kModuleVersion = 4;
inline constexpr const char* kModuleSymbol = "deltaserve_cuda_module";
inline constexpr const char* kModuleFile = "libdeltaserve_cuda.so";

// StateLayout, its vector as an array.
struct StateLayoutView {
  const LayerStateLayout* layers = nullptr;
  int64_t num_layers = 0;
  int64_t floats = 0;
  Dtype state_dtype = Dtype::kF32;
};

// A struct that crosses, and its size: both sides must have been built with the same.
struct CrossingStruct {
  const char* name;
  uint32_t bytes;
};

#define DELTASERVE_CROSSING_STRUCTS(X) \
  X(MatrixHandle)                      \
  X(VectorHandle)                      \
  X(BufferHandle)                      \
  X(BufferColumns)                     \
  X(HostMatrix)                        \
  X(Segment)                           \
  X(StepView)                          \
  X(ProjectionLayout)                  \
  X(MixerShape)                        \
  X(MixerLayer)                        \
  X(LogitAdjustment)                   \
  X(Draw)                           \
  X(DrawResult)                        \
  X(LayerStateLayout)                  \
  X(StateLayoutView)                   \
  X(Ticket)                            \
  X(ModuleOptions)

// Not inline: the loader may unify inline variables of program and module.
constexpr CrossingStruct kCrossingStructs[] = {
#define X(type) {#type, static_cast<uint32_t>(sizeof(type))},
    DELTASERVE_CROSSING_STRUCTS(X)
#undef X
};
#define X(type) \
  static_assert(std::is_standard_layout_v<type> && std::is_trivially_copyable_v<type>);
DELTASERVE_CROSSING_STRUCTS(X)
#undef X

// Of the mixers' names in order (FNV-1a): MixerKind crosses as its number.
constexpr uint32_t mixers_fingerprint() {
  uint32_t hash = 2166136261u;
  for (const MixerKind kind : kAllMixers) {
    for (const char* at = mixer_name(kind);; ++at) {
      hash = (hash ^ static_cast<unsigned char>(*at)) * 16777619u;
      if (*at == 0) break;
    }
  }
  return hash;
}

// The methods of Backend, `self` from create(). Texts are cut to `bytes`, their end included.
struct ModuleTable {
  // ---- Never changes its place, so that any two versions can compare it.
  uint32_t version;
  uint32_t mixers;  // mixers_fingerprint()
  uint32_t num_structs;
  const CrossingStruct* structs;

  // ---- Only between equals of what is above. create: null, with the reason, if there is no usable
  // device.
  void* (*create)(const ModuleOptions* options, char* reason, size_t bytes);
  void (*destroy)(void* self);
  void (*description)(const void* self, char* text, size_t bytes);

  MatrixHandle (*load_matrix)(void* self, const HostMatrix* blocks, int num_blocks,
                              WeightFormat format);
  VectorHandle (*load_vector)(void* self, const HostMatrix* values);
  BufferHandle (*allocate)(void* self, int64_t rows, int64_t columns);
  bool (*reserve)(void* self, const MixerShape* mixer, int64_t max_rows, int64_t max_segments,
                  int64_t max_head_rows, int64_t hidden, int64_t vocab);
  bool (*allocate_states)(void* self, const StateLayoutView* layout, int num_slots);
  size_t (*weight_bytes)(const void* self);
  size_t (*matrix_bytes)(const void* self, MatrixHandle matrix);

  void (*copy_state)(void* self, int from_slot, int to_slot);
  void (*export_state)(void* self, int slot, void* host);
  void (*import_state)(void* self, int slot, const void* host);

  void (*begin_step)(void* self, const StepView* step);
  void (*embed)(void* self, MatrixHandle table, BufferHandle out);
  void (*rms_norm)(void* self, BufferHandle x, VectorHandle weight, float eps, BufferHandle out);
  void (*matmul)(void* self, BufferColumns x, MatrixHandle w, BufferColumns out);
  void (*matmul_add)(void* self, BufferColumns x, MatrixHandle w, BufferColumns out);
  void (*add_bias)(void* self, VectorHandle bias, BufferColumns out);
  void (*mixer_layer)(void* self, const MixerLayer* layer, BufferHandle projected,
                      BufferHandle out);
  void (*swiglu)(void* self, BufferHandle x, BufferHandle out);
  void (*head)(void* self, BufferHandle x, VectorHandle norm, float eps, MatrixHandle output,
               const Draw* rows, int num_rows);
  Ticket (*end_step)(void* self);
  void (*wait)(void* self, Ticket ticket, DrawResult* results);
  void (*read_buffer)(void* self, BufferHandle buffer, int64_t num_rows, float* host);
};

// What the symbol kModuleSymbol is. The table lives as long as the module.
using ModuleFactory = const ModuleTable* (*)();

}  // namespace deltaserve::cuda
