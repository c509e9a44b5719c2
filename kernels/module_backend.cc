#include "kernels/module_backend.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <iterator>

#include "kernels/cuda/module.h"

namespace deltaserve {
namespace {

constexpr size_t kTextBytes = 1024;

class ModuleBackend : public Backend {
 public:
  ModuleBackend(const cuda::ModuleTable& table, void* self) : table_(table), self_(self) {}
  ~ModuleBackend() override { table_.destroy(self_); }
  ModuleBackend(const ModuleBackend&) = delete;
  ModuleBackend& operator=(const ModuleBackend&) = delete;

  std::string description() const override {
    char text[kTextBytes] = "";
    table_.description(self_, text, sizeof text);
    return text;
  }

  MatrixHandle load_matrix(const HostMatrix* blocks, int num_blocks, WeightFormat format) override {
    return table_.load_matrix(self_, blocks, num_blocks, format);
  }
  VectorHandle load_vector(const HostMatrix& values) override {
    return table_.load_vector(self_, &values);
  }
  BufferHandle allocate(int64_t rows, int64_t columns) override {
    return table_.allocate(self_, rows, columns);
  }
  bool reserve(const MixerShape& mixer, int64_t max_rows, int64_t max_segments,
               int64_t max_head_rows, int64_t hidden, int64_t vocab) override {
    return table_.reserve(self_, &mixer, max_rows, max_segments, max_head_rows, hidden, vocab);
  }
  bool allocate_states(const StateLayout& layout, int num_slots) override {
    const cuda::StateLayoutView view = {layout.layers.data(),
                                        static_cast<int64_t>(layout.layers.size()), layout.floats,
                                        layout.state_dtype};
    return table_.allocate_states(self_, &view, num_slots);
  }
  size_t weight_bytes() const override { return table_.weight_bytes(self_); }
  size_t matrix_bytes(MatrixHandle matrix) const override {
    return table_.matrix_bytes(self_, matrix);
  }

  void copy_state(int from_slot, int to_slot) override {
    table_.copy_state(self_, from_slot, to_slot);
  }
  void export_state(int slot, void* host) override { table_.export_state(self_, slot, host); }
  void import_state(int slot, const void* host) override { table_.import_state(self_, slot, host); }

  void begin_step(const StepView& step) override { table_.begin_step(self_, &step); }
  void embed(MatrixHandle table, BufferHandle out) override { table_.embed(self_, table, out); }
  void rms_norm(BufferHandle x, VectorHandle weight, float eps, BufferHandle out) override {
    table_.rms_norm(self_, x, weight, eps, out);
  }
  void matmul(BufferColumns x, MatrixHandle w, BufferColumns out) override {
    table_.matmul(self_, x, w, out);
  }
  void matmul_add(BufferColumns x, MatrixHandle w, BufferColumns out) override {
    table_.matmul_add(self_, x, w, out);
  }
  void add_bias(VectorHandle bias, BufferColumns out) override {
    table_.add_bias(self_, bias, out);
  }
  void mixer_layer(const MixerLayer& layer, BufferHandle projected, BufferHandle out) override {
    table_.mixer_layer(self_, &layer, projected, out);
  }
  void swiglu(BufferHandle x, BufferHandle out) override { table_.swiglu(self_, x, out); }
  void head(BufferHandle x, VectorHandle norm, float eps, MatrixHandle output, const Draw* rows,
            int num_rows) override {
    table_.head(self_, x, norm, eps, output, rows, num_rows);
  }
  Ticket end_step() override { return table_.end_step(self_); }
  void wait(Ticket ticket, DrawResult* results) override { table_.wait(self_, ticket, results); }
  void read_buffer(BufferHandle buffer, int64_t num_rows, float* host) override {
    table_.read_buffer(self_, buffer, num_rows, host);
  }

 private:
  const cuda::ModuleTable& table_;
  void* const self_;
};

// Returns the reason why this process must not call the table; empty if it may.
std::string mismatch(const cuda::ModuleTable& table) {
  if (table.version != cuda::kModuleVersion) {
    return "its interface has version " + std::to_string(table.version) + ", this program's " +
           std::to_string(cuda::kModuleVersion);
  }
  if (table.num_structs != std::size(cuda::kCrossingStructs)) {
    return "its interface has " + std::to_string(table.num_structs) + " structs, this program's " +
           std::to_string(std::size(cuda::kCrossingStructs));
  }
  for (size_t i = 0; i < table.num_structs; ++i) {
    const cuda::CrossingStruct& own = cuda::kCrossingStructs[i];
    if (table.structs[i].bytes == own.bytes) continue;
    return std::string("its ") + own.name + " has " + std::to_string(table.structs[i].bytes) +
           " bytes, this program's " + std::to_string(own.bytes);
  }
  if (table.mixers != cuda::mixers_fingerprint()) return "it was built with other mixers";
  return "";
}

// Makes the backend of the module behind `library`; `name` appears in the reason of a failure.
CudaBackend backend_of(void* library, const std::string& name, const cuda::ModuleOptions& options) {
  CudaBackend made;
  made.found = true;
  const auto factory = reinterpret_cast<cuda::ModuleFactory>(dlsym(library, cuda::kModuleSymbol));
  if (factory == nullptr) {
    made.reason = name + " is no CUDA module of deltaserve";
    return made;
  }
  const cuda::ModuleTable& table = *factory();
  if (const std::string wrong = mismatch(table); !wrong.empty()) {
    made.reason = name + " does not fit: " + wrong;
    return made;
  }
  char reason[kTextBytes] = "";
  void* self = table.create(&options, reason, sizeof reason);
  if (self == nullptr) {
    made.reason = reason;
  } else {
    made.backend = std::make_unique<ModuleBackend>(table, self);
  }
  return made;
}

std::string last_error() {
  const char* text = dlerror();
  return text != nullptr ? text : "it cannot be loaded";
}

// Loads the module at `path`, which contains a slash, so that the library path is not searched.
CudaBackend from_file(const std::filesystem::path& path, const cuda::ModuleOptions& options) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library != nullptr) return backend_of(library, path.string(), options);
  CudaBackend failed;
  failed.found = true;
  failed.reason = last_error();  // names the library that is missing, or the module
  return failed;
}

}  // namespace

CudaBackend load_cuda_backend(const std::string& path, const CudaOptions& chosen) {
  cuda::ModuleOptions options;
  if (chosen.library_products) options.products = cuda::Products::kLibraryForRows;
  std::error_code ignored;
  const char* named = std::getenv("DELTASERVE_CUDA_MODULE");
  if (!path.empty() || (named != nullptr && *named != 0)) {
    return from_file(std::filesystem::absolute(path.empty() ? named : path, ignored), options);
  }
  const std::filesystem::path folder =
      std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path();
  if (std::filesystem::exists(folder / cuda::kModuleFile, ignored)) {
    return from_file(folder / cuda::kModuleFile, options);
  }
  void* library = dlopen(cuda::kModuleFile, RTLD_NOW | RTLD_LOCAL);
  if (library != nullptr) return backend_of(library, cuda::kModuleFile, options);
  CudaBackend failed;
  failed.reason = last_error();
  // If one of the module's libraries is missing, the error names that library instead of the
  // module.
  failed.found = !failed.reason.starts_with(cuda::kModuleFile);
  if (!failed.found) {
    failed.reason = std::string("there is no ") + cuda::kModuleFile + " in " + folder.string() +
                    " or on the library path";
  }
  return failed;
}

}  // namespace deltaserve
