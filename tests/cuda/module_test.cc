// The CUDA module's boundary and its loader, with modules that need no CUDA.
#include "kernels/cuda/module.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "kernels/base/thread_pool.h"
#include "kernels/module_backend.h"
#include "models/model.h"
#include "tests/cuda/recorded_module.h"

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

// What methods are given: the same for two backends.
struct Arguments {
  HostMatrix matrices[2];
  MixerShape mixer;
  MixerLayer layer;
  StateLayout states;
  StepView step;
  Draw rows[3];
  std::array<DrawResult, 3> results;
  char state[8];
  float floats[4];
};

// Calls every method of Backend, each argument with a value of its own. Returns what they returned.
std::string call_everything(Backend* backend, Arguments* with) {
  std::ostringstream returned;
  returned << backend->description() << "\n";
  returned << backend->load_matrix(with->matrices, 2, WeightFormat::kBf16).id << "\n"
           << backend->load_vector(with->matrices[1]).id << "\n"
           << backend->allocate(10, 11).id << "\n"
           << backend->reserve(with->mixer, 12, 13, 14, 15, 16) << "\n"
           << backend->allocate_states(with->states, 17) << "\n"
           << backend->weight_bytes() << " " << backend->matrix_bytes({18}) << "\n";
  backend->copy_state(19, 20);
  backend->export_state(21, with->state);
  backend->import_state(22, with->state);
  backend->begin_step(with->step);
  backend->embed({23}, {24});
  backend->rms_norm({25}, {26}, 0.5f, {27});
  backend->matmul({{28}, 29}, {30}, {{31}, 32});
  backend->matmul_add({{33}, 34}, {35}, {{36}, 37});
  backend->add_bias({38}, {{39}, 40});
  backend->mixer_layer(with->layer, {41}, {42});
  backend->swiglu({43}, {44});
  backend->head({45}, {46}, 0.25f, {47}, with->rows, 3);
  const Ticket ticket = backend->end_step();
  returned << ticket.step << "\n";
  backend->wait(ticket, with->results.data());
  returned << with->results[2].token << "\n";
  backend->read_buffer({48}, 49, with->floats);
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
  with.mixer.heads = with.mixer.q_heads = with.mixer.k_heads = with.mixer.v_heads = 2;
  with.mixer.beta_heads = with.mixer.decay_heads = 2;
  with.mixer.key_dim = 24;
  with.mixer.value_dim = 20;
  with.mixer.conv_width = 4;
  with.states = StateLayout::of(with.mixer, 3, Dtype::kBf16);

  std::string expected_calls = "products 3\n";
  std::string expected;
  {
    const std::unique_ptr<Backend> direct = make_recording_backend(&expected_calls);
    expected = call_everything(direct.get(), &with);
  }
  const std::string before = recorded_calls();
  with.results = {};
  {
    CudaBackend loaded =
        load_cuda_backend(module_path("recorded_module"), {.library_products = true});
    ASSERT_NE(loaded.backend, nullptr) << loaded.reason;
    EXPECT_EQ(call_everything(loaded.backend.get(), &with), expected);
  }
  EXPECT_EQ(recorded_calls().substr(before.size()), expected_calls);
  EXPECT_NE(expected_calls.find("\ndestroyed\n"), std::string::npos);
}

TEST(Module, AnExceptionAtLoadIsAFailure) {
  CudaBackend loaded = load_cuda_backend(module_path("recorded_module"));
  ASSERT_NE(loaded.backend, nullptr) << loaded.reason;
  Backend& backend = *loaded.backend;
  const HostMatrix none = {nullptr, Dtype::kF32, 1, -1};
  EXPECT_LT(backend.load_matrix(&none, -1, WeightFormat::kAuto).id, 0);
  EXPECT_LT(backend.load_vector(none).id, 0);
  EXPECT_LT(backend.allocate(-1, 1).id, 0);
  EXPECT_FALSE(backend.reserve(MixerShape(), -1, 1, 1, 1, 1));
  EXPECT_FALSE(backend.allocate_states(StateLayout(), -1));
}

TEST(Module, SaysWhyThereIsNoDevice) {
  const Setting setting("DELTASERVE_TEST_NO_DEVICE", "1");
  const CudaBackend loaded = load_cuda_backend(module_path("recorded_module"));
  EXPECT_EQ(loaded.backend, nullptr);
  EXPECT_TRUE(loaded.found);
  EXPECT_EQ(loaded.reason, "no CUDA device is pretended");
}

TEST(Module, RefusesAnotherInterface) {
  const std::string own_version = std::to_string(cuda::kModuleVersion);
  const std::string own_structs = std::to_string(std::size(cuda::kCrossingStructs));
  const std::string own_shape = std::to_string(sizeof(MixerShape));
  const std::pair<const char*, std::string> misfits[] = {
      {"misfit_version", "its interface has version 1000, this program's " + own_version},
      {"misfit_size", "its MixerShape has 1 bytes, this program's " + own_shape},
      {"misfit_count", "its interface has 1 structs, this program's " + own_structs},
      {"misfit_mixers", "it was built with other mixers"}};
  for (const auto& [name, reason] : misfits) {
    const CudaBackend loaded = load_cuda_backend(module_path(name));
    EXPECT_EQ(loaded.backend, nullptr);
    EXPECT_TRUE(loaded.found);
    EXPECT_EQ(loaded.reason, module_path(name) + " does not fit: " + reason);
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
  loaded = load_cuda_backend(module_path("misfit_version"));
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
  std::vector<DrawResult> results;
  const auto step = [&](int32_t num_rows, int64_t position, int num_decode) {
    std::vector<int32_t> tokens;
    for (int32_t i = 0; i < num_rows; ++i) {
      tokens.push_back(static_cast<int32_t>((position + i) * 7 % folder.config.vocab_size));
    }
    const size_t before = logits.size();
    logits.resize(before + static_cast<size_t>(num_rows) * vocab);
    std::vector<Draw> rows(tokens.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      rows[i].row = static_cast<int32_t>(i);
      rows[i].logits = logits.data() + before + i * vocab;
    }
    const Segment segment = {1, 1, 0, num_rows, position};
    (*model)->wait((*model)->submit({tokens.data(), num_rows, &segment, 1, num_decode}, rows),
                   &results);
  };
  step(70, 0, 0);
  for (int64_t position = 70; position < 73; ++position) step(1, position, 1);
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
