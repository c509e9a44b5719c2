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

// A device for which this module has no code cannot load this kernel.
__global__ void probe() {}

// Checks calls that fail only after a kernel has failed, or because of an internal error.
void require(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  std::fprintf(stderr, "CUDA: %s: %s\n", what, cudaGetErrorString(status));
  std::abort();
}

// The streams of a device, and the events that order them.
struct Streams {
  cudaStream_t first = nullptr;
  cudaStream_t transfers = nullptr;
  cudaEvent_t events[Runtime::kEvents] = {};                   // in the first one
  cudaEvent_t transfer_events[Runtime::kTransferEvents] = {};  // in that of transfers
  cudaEvent_t before_transfer = nullptr;  // in the first one, at the place where a transfer was
                                          // queued

  cudaError_t create() {
    cudaError_t status = cudaStreamCreateWithFlags(&first, cudaStreamNonBlocking);
    if (status == cudaSuccess) {
      status = cudaStreamCreateWithFlags(&transfers, cudaStreamNonBlocking);
    }
    const auto create = [&status](cudaEvent_t& event) {
      if (status == cudaSuccess) status = cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
    };
    for (cudaEvent_t& event : events) create(event);
    for (cudaEvent_t& event : transfer_events) create(event);
    create(before_transfer);
    return status;
  }
};

class DeviceRuntime final : public Runtime {
 public:
  // `code` is of any kernel.
  DeviceRuntime(const cudaDeviceProp& properties, const cudaFuncAttributes& code,
                const Streams& streams)
      : properties_(properties),
        has_hopper_code_(properties.major >= 9 && code.ptxVersion >= 90),
        streams_(streams) {}
  ~DeviceRuntime() override {
    cudaStreamSynchronize(stream_);
    cudaStreamSynchronize(streams_.transfers);
    for (cudaGraphExec_t graph : graphs_) cudaGraphExecDestroy(graph);
    for (cudaEvent_t event : streams_.events) cudaEventDestroy(event);
    for (cudaEvent_t event : streams_.transfer_events) cudaEventDestroy(event);
    cudaEventDestroy(streams_.before_transfer);
    cudaStreamDestroy(streams_.transfers);
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

  size_t free_bytes() const override {
    size_t left = 0;
    size_t total = 0;
    if (!given(cudaMemGetInfo(&left, &total))) return 0;
    return left < kSpareBytes ? 0 : left - kSpareBytes;
  }
  void* allocate(size_t bytes) override {
    void* memory = nullptr;
    if (bytes > free_bytes()) return nullptr;
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
    require(cudaStreamSynchronize(streams_.transfers), "a transfer failed");
  }
  void record_event(int event) override {
    require(cudaEventRecord(streams_.events[event], stream_), "cudaEventRecord");
  }
  void wait_for_event(int event) override {
    require(cudaGetLastError(), "a kernel could not be launched");
    require(cudaEventSynchronize(streams_.events[event]), "a kernel failed");
  }

  void transfer_in(void* device, const void* host, size_t bytes) override {
    transfer(device, host, bytes, cudaMemcpyHostToDevice);
  }
  void transfer_out(void* host, const void* device, size_t bytes) override {
    transfer(host, device, bytes, cudaMemcpyDeviceToHost);
  }
  void record_transfer_event(int event) override {
    require(cudaEventRecord(streams_.transfer_events[event], streams_.transfers),
            "cudaEventRecord");
  }
  void run_after_transfers(int event) override {
    require(cudaStreamWaitEvent(stream_, streams_.transfer_events[event]), "cudaStreamWaitEvent");
  }
  bool transfers_are_done(int event) override {
    const cudaError_t status = cudaEventQuery(streams_.transfer_events[event]);
    if (status == cudaErrorNotReady) return given(status);
    require(status, "a transfer failed");
    return true;
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
  // Returns whether a call that may fail succeeded, and clears its error, so that later checks do
  // not see it.
  static bool given(cudaError_t status) {
    if (status == cudaSuccess) return true;
    cudaGetLastError();
    return false;
  }
  void copy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
    require(cudaMemcpyAsync(to, from, bytes, kind, stream_), "cudaMemcpyAsync");
  }
  void transfer(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
    require(cudaEventRecord(streams_.before_transfer, stream_), "cudaEventRecord");
    require(cudaStreamWaitEvent(streams_.transfers, streams_.before_transfer),
            "cudaStreamWaitEvent");
    require(cudaMemcpyAsync(to, from, bytes, kind, streams_.transfers), "cudaMemcpyAsync");
  }

  cudaDeviceProp properties_;
  bool has_hopper_code_;  // code compiled for 8.0 has no clusters on any device
  const Streams streams_;
  const cudaStream_t stream_ = streams_.first;
  std::vector<cudaGraphExec_t> graphs_;
  bool overlaps_ = false;
};

}  // namespace

std::unique_ptr<Runtime> Runtime::create(std::string* error) {
  int count = 0;
  cudaError_t status = cudaGetDeviceCount(&count);
  cudaDeviceProp properties;
  if (status == cudaSuccess && count == 0) status = cudaErrorNoDevice;
  if (status == cudaSuccess) status = cudaSetDevice(0);
  if (status == cudaSuccess) status = cudaGetDeviceProperties(&properties, 0);
  if (status == cudaSuccess && properties.major < kMinCapability) {
    *error = std::string(properties.name) + " is older than compute capability 8.0";
    return nullptr;
  }
  cudaFuncAttributes attributes;
  if (status == cudaSuccess) status = cudaFuncGetAttributes(&attributes, probe);
  Streams streams;
  if (status == cudaSuccess) status = streams.create();
  if (status != cudaSuccess) {
    cudaGetLastError();
    *error = cudaGetErrorString(status);
    return nullptr;
  }
  return std::make_unique<DeviceRuntime>(properties, attributes, streams);
}

}  // namespace deltaserve::cuda
