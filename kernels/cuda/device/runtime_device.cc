#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/cuda/device/runtime.h"

namespace deltaserve::cuda {
namespace {

constexpr int kMinCapability = 8;  // bf16 on tensor cores, cp.async

constexpr size_t kSpareBytes = size_t{256} << 20;

// A device that this module has no code for cannot load this kernel.
__global__ void probe() {}

// Checks calls that fail only after a kernel has failed, or by an internal error.
void require(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  std::fprintf(stderr, "CUDA: %s: %s\n", what, cudaGetErrorString(status));
  std::abort();
}

class DeviceRuntime final : public Runtime {
 public:
  // `code` is of any kernel.
  DeviceRuntime(const cudaDeviceProp& properties, const cudaFuncAttributes& code,
                cudaStream_t stream, const cudaEvent_t (&events)[kEvents])
      : properties_(properties),
        has_hopper_code_(properties.major >= 9 && code.ptxVersion >= 90),
        stream_(stream) {
    std::copy_n(events, kEvents, events_);
  }
  ~DeviceRuntime() override {
    cudaStreamSynchronize(stream_);
    for (cudaGraphExec_t graph : graphs_) cudaGraphExecDestroy(graph);
    for (cudaEvent_t event : events_) cudaEventDestroy(event);
    cudaStreamDestroy(stream_);
  }

  std::string description() const override {
    return std::string(properties_.name) + " (sm_" + std::to_string(properties_.major) +
           std::to_string(properties_.minor) + ", " +
           std::to_string(properties_.totalGlobalMem / 1'000'000'000) + " GB)";
  }
  simt::Stream stream() const override { return {stream_, overlaps_}; }
  bool has_clusters() const override { return has_hopper_code_; }
  bool can_overlap() const override { return has_hopper_code_; }
  void set_overlap(bool overlaps) override { overlaps_ = overlaps; }

  void* allocate(size_t bytes) override {
    void* memory = nullptr;
    size_t left = 0;
    size_t total = 0;
    if (!given(cudaMemGetInfo(&left, &total)) || left < kSpareBytes) return nullptr;
    if (bytes > left - kSpareBytes) return nullptr;
    return given(cudaMalloc(&memory, bytes)) ? memory : nullptr;
  }
  void release(void* memory) override { require(cudaFree(memory), "cudaFree"); }
  void* allocate_host(size_t bytes) override {
    void* memory = nullptr;
    return given(cudaMallocHost(&memory, bytes)) ? memory : nullptr;
  }
  void release_host(void* memory) override { require(cudaFreeHost(memory), "cudaFreeHost"); }

  void copy_in(void* device, const void* host, size_t bytes) override {
    copy(device, host, bytes, cudaMemcpyHostToDevice);
  }
  void copy_out(void* host, const void* device, size_t bytes) override {
    copy(host, device, bytes, cudaMemcpyDeviceToHost);
  }
  void copy(void* to, const void* from, size_t bytes) override {
    copy(to, from, bytes, cudaMemcpyDeviceToDevice);
  }
  void fill_zero(void* device, size_t bytes) override {
    require(cudaMemsetAsync(device, 0, bytes, stream_), "cudaMemsetAsync");
  }

  bool launches_succeeded() override { return given(cudaGetLastError()); }
  void synchronize() override {
    require(cudaGetLastError(), "a kernel could not be launched");
    require(cudaStreamSynchronize(stream_), "a kernel failed");
  }
  void record_event(int event) override {
    require(cudaEventRecord(events_[event], stream_), "cudaEventRecord");
  }
  void wait_for_event(int event) override {
    require(cudaGetLastError(), "a kernel could not be launched");
    require(cudaEventSynchronize(events_[event]), "a kernel failed");
  }

  bool has_graphs() const override { return true; }
  void begin_graph() override {
    require(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal),
            "cudaStreamBeginCapture");
  }
  uint64_t end_graph() override {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    if (!given(cudaStreamEndCapture(stream_, &graph))) return 0;
    const bool made = given(cudaGraphInstantiate(&executable, graph, 0));
    cudaGraphDestroy(graph);
    if (!made) return 0;
    if (!given(cudaGraphUpload(executable, stream_))) {
      cudaGraphExecDestroy(executable);
      return 0;
    }
    graphs_.push_back(executable);
    return graphs_.size();
  }
  void launch_graph(uint64_t graph) override {
    require(cudaGraphLaunch(graphs_[graph - 1], stream_), "cudaGraphLaunch");
  }

 private:
  // Returns whether a call that may fail succeeded, and clears its error so that nobody meets it.
  static bool given(cudaError_t status) {
    if (status == cudaSuccess) return true;
    cudaGetLastError();
    return false;
  }
  void copy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
    require(cudaMemcpyAsync(to, from, bytes, kind, stream_), "cudaMemcpyAsync");
  }

  cudaDeviceProp properties_;
  bool has_hopper_code_;  // what was compiled for 8.0 knows no clusters, wherever it runs
  cudaStream_t stream_;
  cudaEvent_t events_[kEvents];
  std::vector<cudaGraphExec_t> graphs_;
  bool overlaps_ = false;
};

}  // namespace

std::unique_ptr<Runtime> Runtime::create(std::string* error) {
  int count = 0;
  cudaError_t status = cudaGetDeviceCount(&count);
  cudaDeviceProp properties;
  cudaStream_t stream = nullptr;
  cudaEvent_t events[Runtime::kEvents] = {};
  if (status == cudaSuccess && count == 0) status = cudaErrorNoDevice;
  if (status == cudaSuccess) status = cudaSetDevice(0);
  if (status == cudaSuccess) status = cudaGetDeviceProperties(&properties, 0);
  if (status == cudaSuccess && properties.major < kMinCapability) {
    *error = std::string(properties.name) + " is older than compute capability 8.0";
    return nullptr;
  }
  cudaFuncAttributes attributes;
  if (status == cudaSuccess) status = cudaFuncGetAttributes(&attributes, probe);
  if (status == cudaSuccess) status = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  for (cudaEvent_t& event : events) {
    if (status == cudaSuccess) status = cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
  }
  if (status != cudaSuccess) {
    cudaGetLastError();
    *error = cudaGetErrorString(status);
    return nullptr;
  }
  return std::make_unique<DeviceRuntime>(properties, attributes, stream, events);
}

}  // namespace deltaserve::cuda
