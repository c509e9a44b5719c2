// The parameters of a generation, as clients give them. JSON and protobuf fill the same struct, and
// everything after that (ranges, combinations, defaults) is done once, in rules.h.
#pragma once
#include <boost/json/value.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/numeric/int128.h"

namespace deltaserve {

// An interface of the server; it decides which parameters exist and their names.
enum class Interface : uint8_t { kCompletions, kChat, kEmbeddings, kGrpc, kGrpcChat, kGrpcEmbed };

// Returns whether answers of the interface are tokens.
constexpr bool answers_with_tokens(Interface interface) {
  return interface != Interface::kEmbeddings && interface != Interface::kGrpcEmbed;
}

// Holds every integer that JSON or protobuf can express, so that no reader checks a range.
using Integer = absl::int128;
using LogitBias = std::vector<std::pair<Integer, double>>;
using Metadata = std::vector<std::pair<std::string, std::string>>;

struct StreamOptions {
  std::optional<bool> include_usage;           // a last chunk has the usage
  std::optional<bool> continuous_usage_stats;  // every chunk has it

  bool operator==(const StreamOptions&) const = default;
};

struct ResponseFormat {
  enum class Type : uint8_t { kText, kJsonObject, kJsonSchema };
  Type type = Type::kText;
  boost::json::value schema = {};  // kJsonSchema

  bool operator==(const ResponseFormat&) const = default;
};

// A request may give one of them.
struct StructuredForms {
  std::optional<boost::json::value> json;  // a JSON schema
  std::optional<std::string> regex;
  std::optional<std::vector<std::string>> choice;
  std::optional<std::string> grammar;
  std::optional<bool> json_object;
  std::string_view name = {};  // of the parameter, if the form has one of its own (guided_json)

  bool operator==(const StructuredForms&) const = default;
};

// An absent member, null and an unset field are the same: nullopt. A reader checks only types.
struct Parameters {
  std::optional<std::string> model;

  std::optional<Integer> max_tokens;
  std::optional<Integer> max_completion_tokens;  // another name of max_tokens
  std::optional<Integer> min_tokens;
  std::optional<std::vector<std::string>> stop;
  std::optional<std::vector<Integer>> stop_token_ids;
  std::optional<bool> include_stop_str_in_output;
  std::optional<bool> no_stop_trim;  // another name of include_stop_str_in_output
  std::optional<bool> ignore_eos;

  std::optional<bool> add_special_tokens;  // to a text prompt: what the tokenizer wants there
  std::optional<Integer> truncate_prompt_tokens;  // to this many; -1: to the model's maximum, so
                                                  // not at all
  std::optional<std::string> truncation_side;     // the side that is cut off
  std::optional<Integer> dimensions;              // of an embedding

  std::optional<Integer> n;
  std::optional<double> temperature;
  std::optional<double> top_p;
  std::optional<Integer> top_k;
  std::optional<double> min_p;
  std::optional<Integer> seed;
  std::optional<double> presence_penalty;
  std::optional<double> frequency_penalty;
  std::optional<double> repetition_penalty;
  std::optional<LogitBias> logit_bias;
  std::optional<ResponseFormat> response_format;
  std::optional<StructuredForms> structured_outputs;

  std::optional<Integer> logprobs;      // how many of the most likely tokens to report
  std::optional<bool> report_logprobs;  // a chat requests logprobs with this, and ...
  std::optional<Integer> top_logprobs;  // ... the number of most likely tokens with this
  std::optional<Integer> prompt_logprobs;
  std::optional<bool> echo;
  std::optional<bool> split_special_tokens;        // special tokens in a text prompt are text
  std::optional<bool> skip_special_tokens;         // in the text of the answer
  std::optional<bool> return_tokens_as_token_ids;  // in logprobs
  std::optional<bool> return_token_ids;
  std::optional<bool> stream;
  std::optional<StreamOptions> stream_options;

  std::optional<Integer> priority;
  std::optional<Integer> deadline_ms;
  std::optional<std::string> cache_salt;
  std::optional<std::string> user;
  std::optional<Metadata> metadata;

  bool operator==(const Parameters&) const = default;
};

// The names of a parameter. An interface that does not have it has the empty name.
struct ParameterNames {
  std::string_view completions = {};
  std::string_view chat = {};
  std::string_view grpc = {};
  std::string_view embeddings = {};
  std::string_view grpc_embed = {};

  constexpr std::string_view of(Interface interface) const {
    switch (interface) {
      case Interface::kCompletions: return completions;
      case Interface::kChat: return chat;
      case Interface::kEmbeddings: return embeddings;
      case Interface::kGrpcEmbed: return grpc_embed;
      case Interface::kGrpc:
      case Interface::kGrpcChat: break;
    }
    return grpc;
  }
};

// Calls visit(names, member) for each parameter. The readers, the names in errors and the tests are
// made from this list.
template <class AnyParameters, class Visit>
void for_each_parameter(AnyParameters& given, Visit&& visit) {
  const auto everywhere = [&](std::string_view name, auto& member) {
    visit(ParameterNames{.completions = name, .chat = name, .grpc = name}, member);
  };
  const auto over_http = [&](std::string_view name, auto& member) {
    visit(ParameterNames{.completions = name, .chat = name}, member);
  };
  // These parameters belong to the prompts and to the request as a whole. A call over gRPC has a
  // deadline and metadata of its own.
  const auto of_requests = [&](std::string_view name, auto& member) {
    visit(ParameterNames{.completions = name, .chat = name, .embeddings = name}, member);
  };
  const auto of_inputs = [&](std::string_view name, auto& member) {
    visit(ParameterNames{.completions = name, .chat = name, .embeddings = name, .grpc_embed = name},
          member);
  };
  const auto of_all_inputs = [&](std::string_view name, auto& member) {
    visit(ParameterNames{.completions = name,
                         .chat = name,
                         .grpc = name,
                         .embeddings = name,
                         .grpc_embed = name},
          member);
  };
  of_all_inputs("model", given.model);
  everywhere("max_tokens", given.max_tokens);
  visit(ParameterNames{.chat = "max_completion_tokens"}, given.max_completion_tokens);
  everywhere("min_tokens", given.min_tokens);
  everywhere("stop", given.stop);
  everywhere("stop_token_ids", given.stop_token_ids);
  everywhere("include_stop_str_in_output", given.include_stop_str_in_output);
  over_http("no_stop_trim", given.no_stop_trim);
  everywhere("ignore_eos", given.ignore_eos);
  visit(ParameterNames{.completions = "add_special_tokens",
                       .embeddings = "add_special_tokens",
                       .grpc_embed = "add_special_tokens"},
        given.add_special_tokens);
  of_inputs("truncate_prompt_tokens", given.truncate_prompt_tokens);
  of_inputs("truncation_side", given.truncation_side);
  visit(ParameterNames{.embeddings = "dimensions", .grpc_embed = "dimensions"}, given.dimensions);
  everywhere("n", given.n);
  everywhere("temperature", given.temperature);
  everywhere("top_p", given.top_p);
  everywhere("top_k", given.top_k);
  everywhere("min_p", given.min_p);
  everywhere("seed", given.seed);
  everywhere("presence_penalty", given.presence_penalty);
  everywhere("frequency_penalty", given.frequency_penalty);
  everywhere("repetition_penalty", given.repetition_penalty);
  everywhere("logit_bias", given.logit_bias);
  over_http("response_format", given.response_format);
  everywhere("structured_outputs", given.structured_outputs);
  visit(ParameterNames{.completions = "logprobs", .grpc = "logprobs"}, given.logprobs);
  visit(ParameterNames{.chat = "logprobs"}, given.report_logprobs);
  visit(ParameterNames{.chat = "top_logprobs"}, given.top_logprobs);
  everywhere("prompt_logprobs", given.prompt_logprobs);
  visit(ParameterNames{.completions = "echo"}, given.echo);
  visit(ParameterNames{.completions = "split_special_tokens",
                       .grpc = "split_special_tokens",
                       .embeddings = "split_special_tokens",
                       .grpc_embed = "split_special_tokens"},
        given.split_special_tokens);
  over_http("skip_special_tokens", given.skip_special_tokens);
  over_http("return_tokens_as_token_ids", given.return_tokens_as_token_ids);
  over_http("return_token_ids", given.return_token_ids);
  over_http("stream", given.stream);
  over_http("stream_options", given.stream_options);
  of_all_inputs("priority", given.priority);
  of_requests("deadline_ms", given.deadline_ms);
  of_all_inputs("cache_salt", given.cache_salt);
  of_all_inputs("user", given.user);
  of_requests("metadata", given.metadata);
}

}  // namespace deltaserve
