// A device that runs nothing, for modules of tests. With DELTASERVE_TEST_NO_DEVICE there is none.
#include <cstdlib>

#include "kernels/base/check.h"
#include "kernels/cuda/device/runtime.h"

namespace deltaserve::cuda {
namespace {

class PretendedRuntime : public Runtime {
 public:
  std::string description() const override { return "no device"; }
  simt::Stream stream() const override { return {}; }
  size_t free_bytes() const override { return 0; }
  void* allocate(size_t) override { return nullptr; }
  void release(void*) override {}
  void* allocate_host(size_t) override { return nullptr; }
  void release_host(void*) override {}
  void copy_in(void*, const void*, size_t) override { DS_CHECK(false); }
  void copy_out(void*, const void*, size_t) override { DS_CHECK(false); }
  void copy(void*, const void*, size_t) override { DS_CHECK(false); }
  void fill_zero(void*, size_t) override { DS_CHECK(false); }
  bool launches_succeeded() override { return true; }
  void synchronize() override {}
  void transfer_in(void*, const void*, size_t) override {}
  void transfer_out(void*, const void*, size_t) override {}
  void record_transfer_event(int) override {}
  void run_after_transfers(int) override {}
  bool transfers_are_done(int) override { return true; }
  void record_event(int) override { DS_CHECK(false); }
  void wait_for_event(int) override { DS_CHECK(false); }
  bool has_clusters() const override { return false; }
  bool can_overlap() const override { return false; }
  void set_overlap(bool) override { DS_CHECK(false); }
  bool has_graphs() const override { return false; }
  void begin_graph() override { DS_CHECK(false); }
  uint64_t end_graph() override { return 0; }
  void launch_graph(uint64_t) override { DS_CHECK(false); }
};

}  // namespace

std::unique_ptr<Runtime> Runtime::create(std::string* error) {
  if (std::getenv("DELTASERVE_TEST_NO_DEVICE") == nullptr) {
    return std::make_unique<PretendedRuntime>();
  }
  *error = "no CUDA device is pretended";
  return nullptr;
}

}  // namespace deltaserve::cuda
