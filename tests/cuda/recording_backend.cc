#include <cinttypes>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <new>
#include <vector>

#include "tests/cuda/recorded_module.h"

namespace deltaserve {
namespace {

class RecordingBackend : public Backend {
 public:
  explicit RecordingBackend(std::string* calls) : calls_(*calls) {}
  ~RecordingBackend() override { record("destroyed"); }

  std::string description() const override { return "a backend that writes down its calls"; }

  MatrixHandle load_matrix(const HostMatrix* blocks, int num_blocks, WeightFormat format) override {
    check(num_blocks);
    record("load_matrix %p %d %d", at(blocks), num_blocks, static_cast<int>(format));
    return {next_id_++};
  }
  VectorHandle load_vector(const HostMatrix& values) override {
    check(values.columns);
    record("load_vector %p", at(&values));
    return {next_id_++};
  }
  BufferHandle allocate(int64_t rows, int64_t columns) override {
    check(rows);
    record("allocate %" PRId64 " %" PRId64, rows, columns);
    return {next_id_++};
  }
  bool reserve(const MixerShape& mixer, int64_t max_rows, int64_t max_segments,
               int64_t max_head_rows, int64_t hidden, int64_t vocab) override {
    check(max_rows);
    record("reserve %p %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64, at(&mixer),
           max_rows, max_segments, max_head_rows, hidden, vocab);
    return true;
  }
  bool allocate_states(const StateLayout& layout, int num_slots) override {
    check(num_slots);
    record("allocate_states %" PRId64 " floats %d, %d slots", layout.floats,
           static_cast<int>(layout.state_dtype), num_slots);
    for (const LayerStateLayout& layer : layout.layers) {
      for (const StateSpan& part : {layer.state, layer.conv_tail, layer.squares, layer.key_sum,
                                    layer.covariance, layer.key_count, layer.key_mean}) {
        record("  %" PRId64 " %" PRId64, part.offset, part.floats);
      }
    }
    return true;
  }
  size_t weight_bytes() const override { return 1000; }
  size_t matrix_bytes(MatrixHandle matrix) const override {
    return 100 + static_cast<size_t>(matrix.id);
  }

  void copy_state(int from_slot, int to_slot) override {
    record("copy_state %d %d", from_slot, to_slot);
  }
  void export_state(int slot, void* host) override { record("export_state %d %p", slot, host); }
  void import_state(int slot, const void* host) override {
    record("import_state %d %p", slot, host);
  }

  void begin_step(const StepView& step) override { record("begin_step %p", at(&step)); }
  void embed(MatrixHandle table, BufferHandle out) override {
    record("embed %d %d", table.id, out.id);
  }
  void rms_norm(BufferHandle x, VectorHandle weight, float eps, BufferHandle out) override {
    record("rms_norm %d %d %a %d", x.id, weight.id, double{eps}, out.id);
  }
  void matmul(BufferColumns x, MatrixHandle w, BufferColumns out) override {
    record("matmul %d.%d %d %d.%d", x.buffer.id, x.column, w.id, out.buffer.id, out.column);
  }
  void matmul_add(BufferColumns x, MatrixHandle w, BufferColumns out) override {
    record("matmul_add %d.%d %d %d.%d", x.buffer.id, x.column, w.id, out.buffer.id, out.column);
  }
  void add_bias(VectorHandle bias, BufferColumns out) override {
    record("add_bias %d %d.%d", bias.id, out.buffer.id, out.column);
  }
  void mixer_layer(const MixerLayer& layer, BufferHandle projected, BufferHandle out) override {
    record("mixer_layer %p %d %d", at(&layer), projected.id, out.id);
  }
  void swiglu(BufferHandle x, BufferHandle out) override { record("swiglu %d %d", x.id, out.id); }
  void head(BufferHandle x, VectorHandle norm, float eps, MatrixHandle output, const Draw* rows,
            int num_rows) override {
    record("head %d %d %a %d %p %d", x.id, norm.id, double{eps}, output.id, at(rows), num_rows);
    num_results_ = num_rows;
  }
  Ticket end_step() override {
    record("end_step");
    return {++steps_};
  }
  void wait(Ticket ticket, DrawResult* results) override {
    record("wait %" PRIu64 " %p", ticket.step, at(results));
    for (int i = 0; i < num_results_; ++i) {
      results[i] = {};
      results[i].token = kRecordedToken;
    }
  }
  void read_buffer(BufferHandle buffer, int64_t num_rows, float* host) override {
    record("read_buffer %d %" PRId64 " %p", buffer.id, num_rows, at(host));
  }

 private:
  static const void* at(const void* pointer) { return pointer; }
  static void check(int64_t count) {
    if (count < 0) throw std::bad_alloc();
  }

  __attribute__((format(printf, 2, 3))) void record(const char* format, ...) {
    char line[256];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    calls_ += line;
    calls_ += '\n';
  }

  std::string& calls_;
  int32_t next_id_ = 0;
  int num_results_ = 0;
  uint64_t steps_ = 0;
};

}  // namespace

std::unique_ptr<Backend> make_recording_backend(std::string* calls) {
  return std::make_unique<RecordingBackend>(calls);
}

}  // namespace deltaserve
