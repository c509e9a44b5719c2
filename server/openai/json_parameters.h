// The parameters of a generation from JSON.
#pragma once
#include <span>
#include <string_view>
#include <vector>

#include "server/base/request_json.h"
#include "server/openai/field_reader.h"
#include "server/openai/unserved_parameters.h"
#include "server/service/parameters.h"

namespace deltaserve {

// Lists the members that a body may have: the parameters of `interface`, the other names of
// structured outputs ("guided_json") if its answers are tokens, and the parameters that are not
// supported.
std::vector<ParameterRule> parameter_rules(Interface interface,
                                           std::span<const UnservedParameter> unserved);

// A form of structured_outputs that has a name of its own, too: vLLM's before 0.12, or SGLang's.
struct FormName {
  std::string_view name;
  std::string_view form;
};
std::span<const FormName> form_names();

// Reads the parameters and checks their types, but not their ranges.
void read_parameters(FieldReader& fields, Interface interface,
                     std::span<const UnservedParameter> unserved, Parameters* out);

}  // namespace deltaserve
