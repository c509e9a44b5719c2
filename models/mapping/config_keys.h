// Decides which keys of config.json that no reader needs cannot change the model. Private to
// models/.
#pragma once
#include <boost/json/value.hpp>
#include <string_view>

#include "models/checkpoint/config_reader.h"

namespace deltaserve {

// Marks the keys that only training, initialisation, caches or other software use.
void accept_neutral_keys(ConfigReader& reader);

// Returns true if older revisions of a model type's own code wrote `value` by default, so that the
// key says nothing about the model.
bool is_default_of_older_code(std::string_view key, const boost::json::value& value);

}  // namespace deltaserve
