#include <cinttypes>
#include <cstdarg>
#include <cstdio>
#include <new>

#include "tests/kernels/module/recorded_module.h"

namespace deltaserve {
namespace {

class RecordingBackend : public Backend {
 public:
  explicit RecordingBackend(std::string* calls) : calls_(*calls) {}
  ~RecordingBackend() override { record("destroyed"); }

  int64_t free_memory() const override {
    record("free_memory");
    return int64_t{1} << 40;
  }
  std::string refusal(const Program& program, const Limits& limits) const override {
    record("refusal %p %p", at(&program), at(&limits));
    if (limits.rows < 0) throw std::bad_alloc();
    return "a refusal";
  }
  std::string load(const Program& program, const Limits& limits) override {
    record("load %p %p", at(&program), at(&limits));
    if (limits.rows < 0) throw std::bad_alloc();
    return "a failure " + std::to_string(limits.rows);
  }
  Ticket forward(const Step& step) override {
    record("forward %p", at(&step));
    return {11, 12};
  }
  void draw(Ticket ticket, Array<Draw> draws) override {
    record("draw %" PRIu64 " %" PRIu64 " %p %" PRId64, ticket.step, ticket.transfer, at(draws.data),
           draws.count);
    num_results_ = draws.count;
  }
  void wait(Ticket ticket, DrawResult* results) override {
    record("wait %" PRIu64 " %" PRIu64 " %p", ticket.step, ticket.transfer, at(results));
    for (int64_t i = 0; i < num_results_; ++i) {
      results[i] = {};
      results[i].token = kRecordedToken;
    }
  }
  int steps_ahead() const override {
    record("steps_ahead");
    return 13;
  }
  void copy_slot(int from, int to) override { record("copy_slot %d %d", from, to); }
  Ticket export_slot(int from, void* host) override {
    record("export_slot %d %p", from, at(host));
    return {14, 15};
  }
  Ticket import_slot(int to, const void* host) override {
    record("import_slot %d %p", to, at(host));
    return {16, 17};
  }
  void store_slot(int from, int to) override { record("store_slot %d %d", from, to); }
  void load_slot(int from, int to) override { record("load_slot %d %d", from, to); }
  bool slot_is_loaded(int slot) override {
    record("slot_is_loaded %d", slot);
    return slot == 27;
  }
  std::string description() const override {
    record("description");
    return std::string(2000, 'x');
  }
  Memory memory() const override {
    record("memory");
    return {18, 19, 20, 21, 22};
  }

 private:
  static const void* at(const void* pointer) { return pointer; }

  __attribute__((format(printf, 2, 3))) void record(const char* format, ...) const {
    char line[256];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    calls_ += line;
    calls_ += '\n';
  }

  std::string& calls_;
  int64_t num_results_ = 0;
};

}  // namespace

std::unique_ptr<Backend> make_recording_backend(std::string* calls) {
  return std::make_unique<RecordingBackend>(calls);
}

}  // namespace deltaserve
