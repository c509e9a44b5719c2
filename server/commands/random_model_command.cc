// deltaserve random-model: a checkpoint of any shape, for benchmarks and tests.
#include <cstdint>
#include <memory>
#include <string>

#include "models/random_model.h"
#include "server/commands/choice_option.h"
#include "server/commands/commands.h"
#include "server/commands/model_options.h"

namespace deltaserve {
namespace {

struct RandomModelOptions {
  std::string preset;
  uint64_t seed = 0;
  Dtype dtype = Dtype::kBf16;
  std::string out;
};

}  // namespace

void add_random_model_command(CLI::App* app, Run* run) {
  CLI::App* command = app->add_subcommand(
      "random-model", "Write a model folder with random weights (no tokenizer)");
  auto options = std::make_shared<RandomModelOptions>();
  command
      ->add_option("PRESET", options->preset,
                   "Path of a config.json, or one of: " + random_model_presets())
      ->required();
  command->add_option("--seed", options->seed, "The same seed gives the same bytes anywhere")
      ->required()
      ->type_name("N");
  take_one_of<Dtype>(
      command->add_option("--dtype", options->dtype, "Stored format of matrices (default: bf16)"),
      {{"bf16", Dtype::kBf16}, {"f32", Dtype::kF32}});
  command->add_option("--out", options->out, "Folder to write; made if absent")
      ->required()
      ->type_name("DIR");
  command->callback([run, options] {
    *run = [options] {
      const absl::Status status =
          write_random_model(options->preset, options->seed, options->dtype, options->out);
      return status.ok() ? 0 : report(status);
    };
  });
}

}  // namespace deltaserve
