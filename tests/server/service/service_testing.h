// The services of a server over a FakeRunner.
#pragma once
#include <unistd.h>

#include "server/service/services.h"
#include "tests/engine/loop/engine_testing.h"

namespace deltaserve {

struct TestServices {
  // `slots` sequences run at once, `max_queue` more may wait.
  explicit TestServices(int slots = 4, int max_queue = 8, KeyRing the_keys = KeyRing(),
                        const ServerLimits& limits = {})
      : runner(/*steps_ahead=*/0, 256, slots), engine(&runner, &vocabulary(), [&] {
          EngineOptions made = options();
          made.max_queued_requests = max_queue;
          return made;
        }()) {
    model.name = "m";
    model.vocab_size = kTestVocabSize;
    model.slots = slots;
    model.eos_token_ids = {kTestEos};
    ServiceOptions service_options;
    service_options.limits = limits;
    service_options.max_queue = max_queue;
    services.emplace(service_options, &model, &engine, &metrics, &log, std::move(the_keys));
  }
  ~TestServices() {
    runner.release();
    services->stop();
  }

  FakeRunner runner;
  ServedModel model;
  Metrics metrics;
  Logger log{LogFormat::kText, LogLevel::kError, STDERR_FILENO};
  Engine engine;
  std::optional<Services> services;
};

}  // namespace deltaserve
