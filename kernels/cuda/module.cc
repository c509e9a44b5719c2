#include "kernels/cuda/module.h"

#include <cstdio>
#include <exception>
#include <iterator>
#include <memory>
#include <string>

#include "kernels/cuda/backend.h"
#include "kernels/cuda/runtime.h"

namespace deltaserve::cuda {
namespace {

Backend& backend(void* self) {
  return *static_cast<Backend*>(self);
}
const Backend& backend(const void* self) {
  return *static_cast<const Backend*>(self);
}

void copy_text(const char* from, char* to, size_t bytes) {
  std::snprintf(to, bytes, "%s", from);
}

// What may fail for want of memory. Everything else is noexcept: no caller could go on after an
// exception in the middle of a step.
template <class Result, class Body>
Result or_failure(Result failure, const Body& body) noexcept {
  try {
    return body();
  } catch (...) {
    return failure;
  }
}

void* create(const ModuleOptions* options, char* reason, size_t bytes) noexcept {
  try {
    std::string error;
    std::unique_ptr<Runtime> runtime = Runtime::create(&error);
    if (runtime == nullptr) {
      copy_text(error.c_str(), reason, bytes);
      return nullptr;
    }
    BackendOptions chosen;
    chosen.products = options->products;
    std::unique_ptr<Backend> made = make_cuda_backend(std::move(runtime), chosen);
    if (made == nullptr) copy_text("the device has no memory left", reason, bytes);
    return made.release();
  } catch (const std::exception& error) {
    copy_text(error.what(), reason, bytes);
  } catch (...) {
    copy_text("an exception of unknown type", reason, bytes);
  }
  return nullptr;
}

void destroy(void* self) noexcept {
  delete static_cast<Backend*>(self);
}

void description(const void* self, char* text, size_t bytes) noexcept {
  copy_text(backend(self).description().c_str(), text, bytes);
}

MatrixHandle load_matrix(void* self, const HostMatrix* blocks, int num_blocks,
                         WeightFormat format) noexcept {
  return or_failure(MatrixHandle(),
                    [&] { return backend(self).load_matrix(blocks, num_blocks, format); });
}

VectorHandle load_vector(void* self, const HostMatrix* values) noexcept {
  return or_failure(VectorHandle(), [&] { return backend(self).load_vector(*values); });
}

BufferHandle allocate(void* self, int64_t rows, int64_t columns) noexcept {
  return or_failure(BufferHandle(), [&] { return backend(self).allocate(rows, columns); });
}

bool reserve(void* self, const MixerShape* mixer, int64_t max_rows, int64_t max_segments,
             int64_t max_head_rows, int64_t hidden, int64_t vocab) noexcept {
  return or_failure(false, [&] {
    return backend(self).reserve(*mixer, max_rows, max_segments, max_head_rows, hidden, vocab);
  });
}

bool allocate_states(void* self, const StateLayoutView* layout, int num_slots) noexcept {
  return or_failure(false, [&] {
    StateLayout own;
    own.layers.assign(layout->layers, layout->layers + layout->num_layers);
    own.floats = layout->floats;
    own.state_dtype = layout->state_dtype;
    return backend(self).allocate_states(own, num_slots);
  });
}

size_t weight_bytes(const void* self) noexcept {
  return backend(self).weight_bytes();
}

size_t matrix_bytes(const void* self, MatrixHandle matrix) noexcept {
  return backend(self).matrix_bytes(matrix);
}

void copy_state(void* self, int from_slot, int to_slot) noexcept {
  backend(self).copy_state(from_slot, to_slot);
}

void export_state(void* self, int slot, void* host) noexcept {
  backend(self).export_state(slot, host);
}

void import_state(void* self, int slot, const void* host) noexcept {
  backend(self).import_state(slot, host);
}

void begin_step(void* self, const StepView* step) noexcept {
  backend(self).begin_step(*step);
}

void embed(void* self, MatrixHandle table, BufferHandle out) noexcept {
  backend(self).embed(table, out);
}

void rms_norm(void* self, BufferHandle x, VectorHandle weight, float eps,
              BufferHandle out) noexcept {
  backend(self).rms_norm(x, weight, eps, out);
}

void matmul(void* self, BufferColumns x, MatrixHandle w, BufferColumns out) noexcept {
  backend(self).matmul(x, w, out);
}

void matmul_add(void* self, BufferColumns x, MatrixHandle w, BufferColumns out) noexcept {
  backend(self).matmul_add(x, w, out);
}

void add_bias(void* self, VectorHandle bias, BufferColumns out) noexcept {
  backend(self).add_bias(bias, out);
}

void mixer_layer(void* self, const MixerLayer* layer, BufferHandle projected,
                 BufferHandle out) noexcept {
  backend(self).mixer_layer(*layer, projected, out);
}

void swiglu(void* self, BufferHandle x, BufferHandle out) noexcept {
  backend(self).swiglu(x, out);
}

void head(void* self, BufferHandle x, VectorHandle norm, float eps, MatrixHandle output,
          const Draw* rows, int num_rows) noexcept {
  backend(self).head(x, norm, eps, output, rows, num_rows);
}

Ticket end_step(void* self) noexcept {
  return backend(self).end_step();
}

void wait(void* self, Ticket ticket, DrawResult* results) noexcept {
  backend(self).wait(ticket, results);
}

void read_buffer(void* self, BufferHandle buffer, int64_t num_rows, float* host) noexcept {
  backend(self).read_buffer(buffer, num_rows, host);
}

constexpr ModuleTable kTable = {
    .version = kModuleVersion,
    .mixers = mixers_fingerprint(),
    .num_structs = std::size(kCrossingStructs),
    .structs = kCrossingStructs,
    .create = create,
    .destroy = destroy,
    .description = description,
    .load_matrix = load_matrix,
    .load_vector = load_vector,
    .allocate = allocate,
    .reserve = reserve,
    .allocate_states = allocate_states,
    .weight_bytes = weight_bytes,
    .matrix_bytes = matrix_bytes,
    .copy_state = copy_state,
    .export_state = export_state,
    .import_state = import_state,
    .begin_step = begin_step,
    .embed = embed,
    .rms_norm = rms_norm,
    .matmul = matmul,
    .matmul_add = matmul_add,
    .add_bias = add_bias,
    .mixer_layer = mixer_layer,
    .swiglu = swiglu,
    .head = head,
    .end_step = end_step,
    .wait = wait,
    .read_buffer = read_buffer,
};

}  // namespace
}  // namespace deltaserve::cuda

extern "C" __attribute__((visibility("default"))) const deltaserve::cuda::ModuleTable*
deltaserve_cuda_module() {
  return &deltaserve::cuda::kTable;
}
