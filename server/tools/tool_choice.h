// A ToolChoice says which tools an answer may or must call.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace deltaserve {

struct ToolChoice {
  enum class Mode : uint8_t {
    kAuto,      // the model decides
    kNone,      // it calls none: all it writes is content
    kRequired,  // it calls at least one
    kNamed,     // it calls the one in `names`
  };
  Mode mode = Mode::kAuto;
  std::vector<std::string> names = {};  // those that may be called; empty: all of the request

  bool operator==(const ToolChoice&) const = default;
};

}  // namespace deltaserve
