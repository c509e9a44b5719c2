// deltaserve random-model: a checkpoint of any shape, for benchmarks and tests.
#include <cstdint>
#include <memory>
#include <string>

#include "models/random_model.h"
#include "server/command_line/parse.h"
#include "server/command_line/values.h"
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
  CLI::App* command =
      add_command(app, "random-model", "Write a model folder with random weights (no tokenizer)");
  auto options = std::make_shared<RandomModelOptions>();
  command
      ->add_option("PRESET", options->preset,
                   "Path of a config.json, or one of: " + random_model_presets())
      ->required()
      ->type_name("FILE|NAME");
  command->add_option("--seed", options->seed, "The same seed gives the same bytes on any machine")
      ->transform(any_number<uint64_t>())
      ->required()
      ->type_name("N");
  add_choice<Dtype>(command, "--dtype", &options->dtype, "Stored format of the matrices",
                    {{"bf16", Dtype::kBf16}, {"f32", Dtype::kF32}});
  command->add_option("--out", options->out, "Folder to write; it is made if it does not exist")
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
