// Implements simt.h for nvcc. Only simt.h includes it.
#pragma once
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdio>
#include <functional>

#include "kernels/base/check.h"

#define DS_DEVICE __device__ __forceinline__
#define DS_KERNEL __global__
// It stands before a const parameter that is passed on by reference, which needs no copy then.
#define DS_CONSTANT __grid_constant__
// A kernel has at most `threads` a block, and `blocks` of them fit on a multiprocessor.
#define DS_BOUNDS(threads, blocks) __launch_bounds__(threads, blocks)
// It stands before a loop that must become straight code, so that its arrays live in registers.
#define DS_UNROLL _Pragma("unroll")

namespace deltaserve::simt {

struct Stream {
  cudaStream_t handle = nullptr;
  // Is true if a launch may start before the one in front of it has ended (capability 9.0).
  bool overlaps = false;
};

// Tests set it, because they look at the results of launches on the default stream at once.
inline bool synchronous_launches = false;
// Benchmarks set it. Every launch calls it, one of cuBLASLt's with a null `kernel`.
inline std::function<void(const Stream& stream, const void* kernel)> launch_observer;

namespace host {

// The order of threads is the emulation's to choose (simt_host.h); a GPU has its own.
enum class Order { kForward, kBackward };
inline void set_order(Order) {}

}  // namespace host

DS_DEVICE int thread_index() {
  return static_cast<int>(threadIdx.x);
}
DS_DEVICE int block_threads() {
  return static_cast<int>(blockDim.x);
}
DS_DEVICE Grid block_index() {
  return {static_cast<int>(blockIdx.x), static_cast<int>(blockIdx.y), static_cast<int>(blockIdx.z)};
}

// Waits until all earlier launches have ended and are seen. Then the next launch may start.
DS_DEVICE void await_launches_before() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;\ngriddepcontrol.launch_dependents;" ::: "memory");
#endif
}

DS_DEVICE void sync_block() {
  __syncthreads();
}
// Returns the dynamic shared memory of the block.
DS_DEVICE void* shared_memory() {
  extern __shared__ Float4 deltaserve_shared[];
  return deltaserve_shared;
}

// Clusters need compute capability 9.0; a kernel that uses them is launched there only.
//
// Waits for all threads of the cluster's blocks; what they wrote before is seen after it. Not the
// .aligned forms, which a warp must reach converged.
DS_DEVICE void sync_cluster() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
#endif
}
// Reads the same place of another block's shared memory.
DS_DEVICE float load_of_cluster(const float* shared, int rank) {
  float value = 0;
#if __CUDA_ARCH__ >= 900
  const auto own = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  uint32_t other = 0;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(other) : "r"(own), "r"(rank));
  asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(value) : "r"(other) : "memory");
#endif
  return value;
}

// Returns the value of lane (own lane ^ mask).
DS_DEVICE float exchange(float value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}

// Returns the first value where `which` is not 0. The compiler would make an indexed load from the
// stack of a choice between values of one array.
DS_DEVICE float selected(int which, float first, float second) {
  float value = 0;
  asm("{\n.reg .pred p;\nsetp.ne.s32 p, %3, 0;\nselp.f32 %0, %1, %2, p;\n}"
      : "=f"(value)
      : "f"(first), "f"(second), "r"(which));
  return value;
}

// Sums over the warp by a butterfly, the same bits in every lane.
DS_DEVICE float warp_sum(float value) {
  DS_UNROLL
  for (int mask = 16; mask > 0; mask /= 2) value += exchange(value, mask);
  return value;
}
// Does the same over `Width` neighbouring lanes, for Count values at once.
template <int Width, int Count>
DS_DEVICE void lanes_sum(float (&values)[Count]) {
  DS_UNROLL
  for (int mask = Width / 2; mask > 0; mask /= 2) {
    DS_UNROLL
    for (int i = 0; i < Count; ++i) values[i] += exchange(values[i], mask);
  }
}

// Sums Count values over `Width` neighbouring lanes, each to the bits of lanes_sum: lane l of them
// gets that of value l * Count / Width. Lanes exchange halves of what they hold, so that this takes
// a fraction of the exchanges. Count <= Width, both powers of two.
template <int Width, int Count>
DS_DEVICE float scattered_sum(const float (&values)[Count]) {
  static_assert(Count <= Width);
  constexpr int kMask = Width / 2;
  if constexpr (Count == 1) {
    float sum[1] = {values[0]};
    lanes_sum<Width>(sum);
    return sum[0];
  } else {
    const int upper = static_cast<int>(threadIdx.x) & kMask;
    float half[Count / 2];
    DS_UNROLL
    for (int i = 0; i < Count / 2; ++i) {
      const float given = selected(upper, values[i], values[i + Count / 2]);
      half[i] = selected(upper, values[i + Count / 2], values[i]) + exchange(given, kMask);
    }
    return scattered_sum<kMask>(half);
  }
}

// Does the same for doubles.
template <int Count>
DS_DEVICE void warp_sum(double (&values)[Count]) {
  DS_UNROLL
  for (int mask = 16; mask > 0; mask /= 2) {
    DS_UNROLL
    for (int i = 0; i < Count; ++i) values[i] += __shfl_xor_sync(0xffffffffu, values[i], mask);
  }
}
DS_DEVICE uint64_t warp_min(uint64_t value) {
  DS_UNROLL
  for (int mask = 16; mask > 0; mask /= 2) {
    const uint64_t other = __shfl_xor_sync(0xffffffffu, value, mask);
    value = other < value ? other : value;
  }
  return value;
}

// Returns the value of another lane of the warp.
DS_DEVICE double from_lane(double value, int lane) {
  return __shfl_sync(0xffffffffu, value, lane);
}

// to[i] = the value of lane first + i * Step
template <int Step, int Count>
DS_DEVICE void from_lanes(float value, int first, float (&to)[Count]) {
  DS_UNROLL
  for (int i = 0; i < Count; ++i) to[i] = __shfl_sync(0xffffffffu, value, first + i * Step);
}

// Adds to a counter in shared memory that others of the block add to at the same time; returns what
// it was before.
DS_DEVICE int count_shared(int* counter, int value) {
  return atomicAdd(counter, value);
}

// Multiplies two floats and rounds before anything is added to the result.
DS_DEVICE float rounded_product(float a, float b) {
  return __fmul_rn(a, b);
}

// Subtracts and rounds by itself, whatever the operands come from.
DS_DEVICE float rounded_difference(float a, float b) {
  return __fsub_rn(a, b);
}

DS_DEVICE Bf16Pair pack_bf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return {*reinterpret_cast<const uint32_t*>(&pair)};
}

// These move data that is used once past the first-level cache.
DS_DEVICE Words4 load_once(const Words4* at) {
  const uint4 v = __ldcs(reinterpret_cast<const uint4*>(at));
  return {{v.x, v.y, v.z, v.w}};
}
DS_DEVICE void store_once(Words4* at, const Words4& value) {
  __stcs(reinterpret_cast<uint4*>(at),
         make_uint4(value.word[0], value.word[1], value.word[2], value.word[3]));
}

// Returns the pointer in a way that the compiler does not see through: it computes no such pointer
// ahead.
template <class T>
DS_DEVICE T* opaque(T* pointer) {
  asm volatile("" : "+l"(pointer));
  return pointer;
}

// Keeps the loads above in front of the arithmetic below, behind which the compiler would put them.
// Reached by all lanes.
DS_DEVICE void keep_loads_in_front() {
  __syncwarp();
}

// Loads from shared memory, 16-byte aligned, at this place of the program and not into registers
// that would hold it over a loop.
DS_DEVICE Float4 load_shared(const float* from) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(from));
  Float4 v;
  asm volatile("ld.shared.v4.f32 {%0,%1,%2,%3}, [%4];"
               : "=f"(v.x[0]), "=f"(v.x[1]), "=f"(v.x[2]), "=f"(v.x[3])
               : "r"(address)
               : "memory");
  return v;
}

// Asks the second-level cache for memory that somebody reads soon: 16-byte aligned, a multiple of
// 16 bytes. It is a hint, which devices before capability 9.0 do not know.
DS_DEVICE void prefetch(const void* at, uint32_t bytes) {
#if __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(__cvta_generic_to_global(at)),
               "r"(bytes)
               : "memory");
#endif
}
// The emulation counts values that a kernel reads, for tests.
DS_DEVICE void note_reads(int) {}

// Reads at[index] of shared memory in the order of the code, also among products: the compiler may
// not hold more of it in registers than the code does. A constant index costs no register.
DS_DEVICE Words4 load_in_order(const Words4* at, int index) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(at)) +
                       static_cast<uint32_t>(index) * static_cast<uint32_t>(sizeof(Words4));
  Words4 of;
  asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(of.word[0]), "=r"(of.word[1]), "=r"(of.word[2]), "=r"(of.word[3])
               : "r"(address)
               : "memory");
  return of;
}

DS_DEVICE void multiply_add(const MmaA& a, const MmaB& b, MmaD& d) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d.d[0]), "+f"(d.d[1]), "+f"(d.d[2]), "+f"(d.d[3])
      : "r"(a.a[0].bits), "r"(a.a[1].bits), "r"(a.a[2].bits), "r"(a.a[3].bits), "r"(b.b[0].bits),
        "r"(b.b[1].bits));
}

// Loads four 8 x 8 matrices of bf16 from shared memory. The whole warp must call it: lane l gives
// the place of row l % 8 of matrix l / 8, 16 bytes, and gets in word[m] of matrix m (group, 2 pair
// ..), in the second form of its transpose.
DS_DEVICE Words4 load_matrices(const void* row) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  Words4 of;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(of.word[0]), "=r"(of.word[1]), "=r"(of.word[2]), "=r"(of.word[3])
               : "r"(address));
  return of;
}
DS_DEVICE Words4 load_transposed_matrices(const void* row) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  Words4 of;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(of.word[0]), "=r"(of.word[1]), "=r"(of.word[2]), "=r"(of.word[3])
               : "r"(address));
  return of;
}

// Copies 16 bytes from device memory to shared memory while the kernel goes on; both are 16-byte
// aligned. wait_copies<N> waits until all but the last N groups of this thread's copies have
// arrived.
DS_DEVICE void copy_async(void* to, const void* from) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(from) : "memory");
}
DS_DEVICE void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int N>
DS_DEVICE void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// Returns how much shared memory a block may request on this device, in bytes.
inline int most_shared_bytes() {
  static const int bytes = [] {
    int device = 0;
    int value = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&value, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    return value;
  }();
  return bytes;
}

// Runs `kernel` in grid.x * grid.y * grid.z blocks of `threads` threads, each block with
// `shared_bytes` of shared memory, `cluster_blocks` neighbours in x as a cluster. Errors stay with
// the stream; the runtime asks for them.
template <class... Parameters, class... Arguments>
void launch_clusters(Stream stream, Grid grid, int cluster_blocks, int threads, int shared_bytes,
                     void (*kernel)(Parameters...), const Arguments&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  // More than this has to be asked for. It is always the same, because launches in a graph need
  // what was asked for last.
  constexpr int kUnasked = 48 * 1024;
  cudaError_t status = cudaSuccess;
  if (shared_bytes >= kUnasked) {
    status = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  most_shared_bytes());
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y),
                        static_cast<unsigned>(grid.z));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
  config.stream = stream.handle;
  cudaLaunchAttribute attributes[2] = {};
  config.attrs = attributes;
  if (stream.overlaps) {
    cudaLaunchAttribute& overlap = attributes[config.numAttrs++];
    overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    overlap.val.programmaticStreamSerializationAllowed = 1;
  }
  if (cluster_blocks > 1) {
    cudaLaunchAttribute& cluster = attributes[config.numAttrs++];
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim.x = static_cast<unsigned>(cluster_blocks);
    cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
  }
  const cudaError_t launched = cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...);
  if (launch_observer) launch_observer(stream, reinterpret_cast<const void*>(kernel));
  if (!synchronous_launches || stream.handle != nullptr) return;
  if (status == cudaSuccess) status = launched;
  if (status == cudaSuccess) status = cudaDeviceSynchronize();
  if (status != cudaSuccess) std::fprintf(stderr, "CUDA: %s\n", cudaGetErrorString(status));
  DS_CHECK(status == cudaSuccess);
}
template <class... Parameters, class... Arguments>
void launch(Stream stream, Grid grid, int threads, int shared_bytes, void (*kernel)(Parameters...),
            const Arguments&... arguments) {
  launch_clusters(stream, grid, 1, threads, shared_bytes, kernel, arguments...);
}

}  // namespace deltaserve::simt
