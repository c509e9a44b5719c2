// The parameters of a generation from JSON.
#pragma once
#include <span>
#include <string_view>
#include <vector>

#include "server/field_reader.h"
#include "server/request_json.h"
#include "server/service/parameters.h"

namespace deltaserve {

// A parameter of the OpenAI API that is not served: it is refused unless it has its neutral value.
struct UnservedParameter {
  std::string_view name;
  std::string_view neutral = "null";  // JSON
  ParameterSize size = ParameterSize::kSmall;
};

// Lists what a body may have: the parameters of `interface`, and those that are not served.
std::vector<ParameterRule> parameter_rules(Interface interface,
                                           std::span<const UnservedParameter> unserved);

// Reads them. Types are judged; ranges are not.
void read_parameters(FieldReader& fields, Interface interface,
                     std::span<const UnservedParameter> unserved, Parameters* out);

}  // namespace deltaserve
