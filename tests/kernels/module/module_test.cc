// The CUDA module's boundary and its loader, with modules that need no CUDA.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "kernels/base/thread_pool.h"
#include "kernels/module/boundary.h"
#include "kernels/module/module_backend.h"
#include "models/model.h"
#include "tests/kernels/module/recorded_module.h"

namespace deltaserve {
namespace {

std::string module_path(const std::string& name) {
  return std::string(DELTASERVE_TEST_MODULES) + "/lib" + name + ".so";
}

// A variable of the environment while the object lives.
class Setting {
 public:
  Setting(const char* name, const std::string& value) : name_(name) {
    setenv(name, value.c_str(), 1);
  }
  ~Setting() { unsetenv(name_); }
  Setting(const Setting&) = delete;
  Setting& operator=(const Setting&) = delete;

 private:
  const char* name_;
};

// The arguments of the methods, which are the same for two backends.
struct Arguments {
  Program program;
  Limits limits;
  Step step;
  Draw draws[3];
  std::array<DrawResult, 3> results;
  char state[8];
};

// Calls every method of Backend, each argument with a value of its own. Returns what they returned.
std::string call_everything(Backend* backend, Arguments* with) {
  std::ostringstream returned;
  const auto add = [&](Ticket ticket) {
    returned << ticket.step << " " << ticket.transfer << "\n";
  };
  returned << backend->free_memory() << "\n"
           << backend->refusal(with->program, with->limits) << "\n"
           << backend->load(with->program, with->limits) << "\n"
           << backend->description().substr(0, cuda::kModuleTextBytes - 1) << "\n"
           << backend->steps_ahead() << "\n";
  const Ticket ticket = backend->forward(with->step);
  add(ticket);
  backend->draw(ticket, {with->draws, 3});
  backend->wait(ticket, with->results.data());
  returned << with->results[2].token << "\n";
  backend->copy_slot(19, 20);
  add(backend->export_slot(21, with->state));
  add(backend->import_slot(22, with->state));
  backend->store_slot(23, 24);
  backend->load_slot(25, 26);
  returned << backend->slot_is_loaded(27) << backend->slot_is_loaded(28) << "\n";
  const Memory memory = backend->memory();
  returned << memory.weights << " " << memory.step_weights << " " << memory.slots << " "
           << memory.scratch << " " << memory.host_slots << "\n";
  return returned.str();
}

// The lines that the recorded module has written so far.
std::string recorded_calls() {
  void* library = dlopen(module_path("recorded_module").c_str(), RTLD_NOW | RTLD_NOLOAD);
  if (library == nullptr) return "";
  const auto calls =
      reinterpret_cast<const char* (*)()>(dlsym(library, "deltaserve_recorded_calls"));
  const std::string lines = calls();
  dlclose(library);
  return lines;
}

TEST(Module, ForwardsEveryCallAsItIs) {
  Arguments with = {};
  with.limits = {30, 31, 32, 33};

  std::string expected_calls = "with library mixer ends graphs overlap\n";
  std::string expected;
  {
    const std::unique_ptr<Backend> direct = make_recording_backend(&expected_calls);
    expected = call_everything(direct.get(), &with);
  }
  const std::string before = recorded_calls();
  with.results = {};
  {
    CudaBackend loaded = load_cuda_backend(module_path("recorded_module"));
    ASSERT_NE(loaded.backend, nullptr) << loaded.reason;
    EXPECT_EQ(call_everything(loaded.backend.get(), &with), expected);
  }
  EXPECT_EQ(recorded_calls().substr(before.size()), expected_calls);
  EXPECT_NE(expected_calls.find("\ndestroyed\n"), std::string::npos);
}

TEST(Module, IsMadeWithoutWhatTheEnvironmentNames) {
  const std::pair<const char*, std::string> cases[] = {
      {"", "with library mixer ends graphs overlap\n"},
      {"library", "with mixer ends graphs overlap\n"},
      {"mixer", "with library ends graphs overlap\n"},
      {"ends,graphs", "with library mixer overlap\n"},
      {"overlap,", "with library mixer ends graphs\n"},
      {"all", "with\n"}};
  for (const auto& [names, calls] : cases) {
    const Setting setting("DELTASERVE_CUDA_WITHOUT", names);
    const std::string before = recorded_calls();
    EXPECT_NE(load_cuda_backend(module_path("recorded_module")).backend, nullptr);
    EXPECT_EQ(recorded_calls().substr(before.size()), calls + "destroyed\n") << names;
  }
  for (const char* names : {"mixers", "ends, graphs", ",ends"}) {
    const Setting setting("DELTASERVE_CUDA_WITHOUT", names);
    const CudaBackend loaded = load_cuda_backend(module_path("recorded_module"));
    EXPECT_EQ(loaded.backend, nullptr);
    EXPECT_TRUE(loaded.found);
    EXPECT_TRUE(loaded.reason.starts_with("DELTASERVE_CUDA_WITHOUT knows no \"")) << loaded.reason;
  }
}

TEST(Module, AnExceptionAtLoadIsAFailure) {
  CudaBackend loaded = load_cuda_backend(module_path("recorded_module"));
  ASSERT_NE(loaded.backend, nullptr) << loaded.reason;
  const Limits impossible = {-1, 1, 1, 1};
  EXPECT_EQ(loaded.backend->load({}, impossible), "std::bad_alloc");
  EXPECT_EQ(loaded.backend->refusal({}, impossible), "std::bad_alloc");
}

TEST(Module, SaysWhyThereIsNoDevice) {
  const Setting setting("DELTASERVE_TEST_NO_DEVICE", "1");
  const CudaBackend loaded = load_cuda_backend(module_path("recorded_module"));
  EXPECT_EQ(loaded.backend, nullptr);
  EXPECT_TRUE(loaded.found);
  EXPECT_EQ(loaded.reason, "no CUDA device is pretended");
}

TEST(Module, RefusesAnotherInterface) {
  const std::string own_types = std::to_string(std::size(cuda::kCrossingTypes));
  const std::pair<const char*, std::string> misfits[] = {
      {"misfit_count", "its interface has 1 types, this program's " + own_types},
      {"misfit_struct", "its MixerShape is not this program's"},
      {"misfit_enum", "its OpKind is not this program's"},
      {"misfit_name", "its interface has Receipt where this program's has Ticket"},
      {"misfit_calls", "its list of calls is not this program's"}};
  for (const auto& [name, reason] : misfits) {
    const CudaBackend loaded = load_cuda_backend(module_path(name));
    EXPECT_EQ(loaded.backend, nullptr);
    EXPECT_TRUE(loaded.found);
    EXPECT_EQ(loaded.reason, module_path(name) + " does not fit: " + reason);
  }
}

// Structs and enumerations that differ in one thing only.
namespace fingerprints {

struct First {
  int32_t a, b;
  float c;
};
struct Swapped {
  int32_t b, a;
  float c;
};
struct Wider {
  int32_t a, b;
  double c;
};
enum class One : uint8_t { kA, kB };
enum class More : uint8_t { kA, kB, kC };
enum class Other : uint8_t { kB, kA };

using cuda::CrossingMember;
using cuda::CrossingType;
using cuda::enum_fingerprint;
using cuda::has_no_hole;
using cuda::struct_fingerprint;
DS_CROSSING_STRUCT(First, a, b, c)
DS_CROSSING_STRUCT(Swapped, b, a, c)
DS_CROSSING_STRUCT(Wider, a, b, c)
DS_CROSSING_ENUM(One, kA, kB)
DS_CROSSING_ENUM(More, kA, kB, kC)
DS_CROSSING_ENUM(Other, kA, kB)

constexpr CrossingMember kWithoutB[] = {DS_MEMBER(First, a) DS_MEMBER(First, c)};
static_assert(!has_no_hole(kWithoutB, sizeof(First), alignof(First)));
constexpr CrossingMember kWithoutC[] = {DS_MEMBER(First, a) DS_MEMBER(First, b)};
static_assert(!has_no_hole(kWithoutC, sizeof(First), alignof(First)));

}  // namespace fingerprints

TEST(Module, FingerprintsTellTypesApart) {
  using namespace fingerprints;
  EXPECT_NE(kTypeFirst.fingerprint, kTypeSwapped.fingerprint);
  EXPECT_NE(kTypeFirst.fingerprint, kTypeWider.fingerprint);
  EXPECT_NE(kTypeOne.fingerprint, kTypeMore.fingerprint);
  EXPECT_NE(kTypeOne.fingerprint, kTypeOther.fingerprint);
  // No type is listed twice, and no two have the same.
  std::set<std::string> names;
  std::set<uint64_t> all;
  for (const CrossingType& type : cuda::kCrossingTypes) {
    EXPECT_TRUE(names.insert(type.name).second) << type.name;
    EXPECT_TRUE(all.insert(type.fingerprint).second) << type.name;
  }
}

TEST(Module, NamesAFileThatIsNoModule) {
  const std::string missing = module_path("not_there");
  CudaBackend loaded = load_cuda_backend(missing);
  EXPECT_EQ(loaded.backend, nullptr);
  EXPECT_EQ(loaded.reason.find(missing), 0u) << loaded.reason;

  const std::string text = testing::TempDir() + "deltaserve_no_library.so";
  std::ofstream(text) << "this is text";
  loaded = load_cuda_backend(text);
  EXPECT_EQ(loaded.backend, nullptr);
  EXPECT_EQ(loaded.reason.find(text), 0u) << loaded.reason;
  std::filesystem::remove(text);

  const std::string other = module_path("not_a_module");
  loaded = load_cuda_backend(other);
  EXPECT_EQ(loaded.reason, other + " is no CUDA module of deltaserve");
}

TEST(Module, IsLookedForInOrder) {
  // Nothing is installed where the tests run.
  CudaBackend loaded = load_cuda_backend();
  EXPECT_EQ(loaded.backend, nullptr);
  EXPECT_FALSE(loaded.found);
  EXPECT_EQ(loaded.reason.find("there is no libdeltaserve_cuda.so in /"), 0u) << loaded.reason;

  const Setting setting("DELTASERVE_CUDA_MODULE", module_path("recorded_module"));
  loaded = load_cuda_backend();
  EXPECT_NE(loaded.backend, nullptr) << loaded.reason;
  // A path given beats the environment.
  loaded = load_cuda_backend(module_path("misfit_count"));
  EXPECT_EQ(loaded.backend, nullptr);
}

// A prompt of 70 tokens, then three tokens, on a model of `backend`: the logits of all rows.
std::vector<float> run_model(const ModelFolder& folder, Backend* backend) {
  ModelLimits limits;
  limits.max_sequences = 2;
  const absl::StatusOr<std::unique_ptr<Model>> model = Model::load(folder, backend, limits);
  EXPECT_TRUE(model.ok()) << model.status();
  const auto vocab = static_cast<size_t>(folder.config.vocab_size);
  std::vector<float> logits;
  const auto step = [&](RowKind kind, int32_t num_rows, int64_t position) {
    std::vector<int32_t> tokens;
    for (int32_t i = 0; i < num_rows; ++i) {
      tokens.push_back(static_cast<int32_t>((position + i) * 7 % folder.config.vocab_size));
    }
    const size_t before = logits.size();
    logits.resize(before + static_cast<size_t>(num_rows) * vocab);
    std::vector<Draw> draws(tokens.size());
    for (size_t i = 0; i < draws.size(); ++i) {
      draws[i].row = static_cast<int32_t>(i);
      draws[i].logits = logits.data() + before + i * vocab;
    }
    const std::vector<Segment> segments = {{kind, 1, 1, 0, num_rows, position}};
    const Ticket ticket = (*model)->forward({array_of(tokens), array_of(segments)});
    (*model)->draw(ticket, array_of(draws));
    std::vector<DrawResult> results(draws.size());
    (*model)->wait(ticket, results.data());
  };
  step(RowKind::kPrefill, 70, 0);
  for (int64_t position = 70; position < 73; ++position) step(RowKind::kDecode, 1, position);
  return logits;
}

TEST(Module, RunsAModel) {
  const absl::StatusOr<ModelFolder> folder = open_model_folder(DELTASERVE_GOLDEN "/qdelta");
  ASSERT_TRUE(folder.ok()) << folder.status();
  CudaBackend loaded = load_cuda_backend(module_path("computing_module"));
  ASSERT_NE(loaded.backend, nullptr) << loaded.reason;
  ThreadPool threads(1);
  const std::unique_ptr<Backend> cpu = make_cpu_backend(&threads);
  const std::vector<float> expected = run_model(*folder, cpu.get());
  const std::vector<float> found = run_model(*folder, loaded.backend.get());
  ASSERT_EQ(found.size(), expected.size());
  double difference = 0;
  double size = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    difference += (double{found[i]} - expected[i]) * (double{found[i]} - expected[i]);
    size += double{expected[i]} * expected[i];
  }
  EXPECT_GT(size, 0);
  EXPECT_LE(difference, 1e-8 * size);  // relative, squared
}

}  // namespace
}  // namespace deltaserve
