#include "server/openai/openapi.h"

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cstdint>
#include <utility>

#include "models/base/text.h"
#include "server/openai/openapi_answers.h"
#include "server/openai/request_schemas.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

json::object completion_schema(const ServedModel& model, const ServerLimits& limits) {
  return generation_schema(Interface::kCompletions, model, limits);
}

json::object chat_schema(const ServedModel& model, const ServerLimits& limits) {
  return generation_schema(Interface::kChat, model, limits);
}

// `answer` names a schema of openapi_answers.h; empty: the status is 204. `work`: whether the
// engine does it, for which requests wait in its queue, and whether its answer can be streamed;
// each event of a stream has as its data a text of JSON with the schema of `answer` + "Event".
struct PostDescription {
  std::string_view path;
  std::string_view summary;
  json::object (*request)(const ServedModel& model, const ServerLimits& limits);
  std::string_view answer;
  enum class Work : uint8_t { kAtOnce, kQueues, kStreams } work = Work::kAtOnce;
  bool body_is_optional = false;

  bool streams() const { return work == Work::kStreams; }
  bool queues() const { return work != Work::kAtOnce; }
};
using Work = PostDescription::Work;

constexpr PostDescription kPosts[] = {
    {"/v1/completions", "Continues a text or token ids", completion_schema, "Completion",
     Work::kStreams},
    {"/v1/chat/completions", "Answers messages", chat_schema, "ChatCompletion", Work::kStreams},
    {"/v1/embeddings", "Returns a vector for each text", embeddings_schema, "Embeddings",
     Work::kQueues},
    {"/v1/responses", "Answers items, without keeping anything", responses_schema, "Response",
     Work::kStreams},
    {"/v1/messages", "Answers messages in Anthropic's form", messages_schema, "Message",
     Work::kStreams},
    {"/v1/messages/count_tokens", "Counts the tokens of such messages", messages_schema,
     "TokenCount"},
    {"/tokenize", "Returns the token ids of a text or of messages", tokenize_schema, "Tokens"},
    {"/detokenize", "Returns the text of token ids", detokenize_schema, "Text"},
    {"/cache/clear", "Drops what is kept of the prompts of the key's owner", empty_schema, "",
     Work::kAtOnce, true},
};

// `type`: the answer's; JSON is described by the schema `answer`. `missing` says when there is
// nothing to answer with; empty: there always is.
struct GetDescription {
  std::string_view path;
  std::string_view summary;
  std::string_view type;
  std::string_view answer;
  bool is_public = false;
  std::string_view missing = {};
};

constexpr std::string_view kJson = "application/json";

constexpr GetDescription kGets[] = {
    {"/v1/models", "Lists the model that is served", kJson, "ModelList"},
    {"/v1/models/{model}", "Describes a model", kJson, "Model", false, "There is no such model"},
    {"/version", "Returns the server's version", kJson, "Version"},
    {"/tokenizer_info", "Describes the tokenizer", kJson, "TokenizerInfo", false,
     "The model has no tokenizer"},
    {"/openapi.json", "Returns this description", kJson, "Any"},
    {"/metrics", "Returns counters for Prometheus", "text/plain", ""},
    {"/health", "Says that the process lives", kJson, "Health", true},
    {"/ready", "Says whether requests are taken", kJson, "Ready", true},
    {"/", "Returns a page to chat with", "text/html", "", true},
};

json::object reference(std::string_view name) {
  return {{"$ref", str_cat("#/components/schemas/", name)}};
}

json::object content(std::string_view type, json::object schema) {
  json::object out;
  out[type] = {{"schema", std::move(schema)}};
  return out;
}

// Returns the schema of one event of a stream, not of the whole stream.
json::object event_schema(std::string_view answer) {
  json::array either = {reference(str_cat(answer, "Event")), reference("Error")};
  json::object data = {{"type", "string"},
                       {"contentMediaType", kJson},
                       {"contentSchema", {{"anyOf", std::move(either)}}}};
  json::object end = {{"const", "[DONE]"}};
  json::object properties = {{"event", {{"type", "string"}}},
                             {"data", {{"anyOf", json::array{std::move(end), std::move(data)}}}}};
  return {
      {"type", "object"}, {"required", json::array{"data"}}, {"properties", std::move(properties)}};
}

// A header that the replies with a status have.
struct HeaderDescription {
  std::string_view name;
  std::string_view description;
};

constexpr HeaderDescription kAllow = {"Allow", "The methods that the endpoint takes"};
constexpr HeaderDescription kChallenge = {"WWW-Authenticate", "The scheme of keys"};
constexpr HeaderDescription kRetryAfter = {"Retry-After", "Seconds after which to try again"};

void add_error(json::object* responses, std::string_view status, std::string_view description,
               HeaderDescription header = {}) {
  json::object response = {{"description", description},
                           {"content", content(kJson, reference("Error"))}};
  if (!header.name.empty()) {
    json::object headers;
    headers[header.name] = {
        {"description", header.description}, {"required", true}, {"schema", {{"type", "string"}}}};
    response["headers"] = std::move(headers);
  }
  (*responses)[status] = std::move(response);
}

// Adds what may happen to every request, whatever its path: most of it is decided by its head.
void add_common_errors(json::object* responses) {
  add_error(responses, "400", "The request is invalid");
  add_error(responses, "403", "The host or the origin may not be used with this server");
  add_error(responses, "405", "The endpoint does not take the method", kAllow);
  add_error(responses, "408", "The body came too slowly, or the reply was not read");
  add_error(responses, "413", "The body is too large");
  add_error(responses, "415", "The body is compressed");
  add_error(responses, "417", "The expectation is not supported");
  add_error(responses, "431", "The head of the request is too large");
  add_error(responses, "501", "The transfer coding is not supported");
  add_error(responses, "503", "The server drains or is overloaded", kRetryAfter);
  add_error(responses, "505", "The version of HTTP is not supported");
}

// Adds what happens where a key is needed and where a queue may be full.
void add_refusals(json::object* responses, bool needs_key, bool queues) {
  constexpr std::string_view kFull = "The queue is full";
  constexpr std::string_view kFlood = "too many requests without a valid key came from the address";
  if (needs_key) add_error(responses, "401", "The request has no valid key", kChallenge);
  if (needs_key && queues) {
    add_error(responses, "429", str_cat(kFull, ", or ", kFlood), kRetryAfter);
  } else if (needs_key) {
    add_error(responses, "429", str_cat("There were ", kFlood), kRetryAfter);
  } else if (queues) {
    add_error(responses, "429", kFull, kRetryAfter);
  }
}

bool names_model(const json::object& request) {
  const json::value* properties = request.if_contains("properties");
  return properties != nullptr && properties->get_object().contains("model");
}

json::object describe(const PostDescription& post, const ServedModel& model,
                      const ServerLimits& limits, bool needs_key) {
  json::object responses;
  if (post.answer.empty()) {
    responses["204"] = {{"description", "It is done"}};
  } else {
    json::object answers = content(kJson, reference(post.answer));
    if (post.streams()) answers["text/event-stream"] = {{"schema", event_schema(post.answer)}};
    responses["200"] = {{"description", "The answer"}, {"content", std::move(answers)}};
  }
  add_common_errors(&responses);
  add_refusals(&responses, needs_key, post.queues());
  json::object request = post.request(model, limits);
  if (names_model(request)) add_error(&responses, "404", "There is no such model");
  add_error(&responses, "500", "There was an internal error");
  add_error(&responses, "504", "The deadline passed");
  json::object body = {{"content", content(kJson, std::move(request))},
                       {"required", !post.body_is_optional}};
  return {{"summary", post.summary},
          {"requestBody", std::move(body)},
          {"responses", std::move(responses)}};
}

json::object describe(const GetDescription& get, bool needs_key) {
  json::object schema =
      get.answer.empty() ? json::object{{"type", "string"}} : reference(get.answer);
  json::object responses;
  responses["200"] = {{"description", "The answer"},
                      {"content", content(get.type, std::move(schema))}};
  add_common_errors(&responses);
  add_refusals(&responses, needs_key && !get.is_public, /*queues=*/false);
  if (!get.missing.empty()) add_error(&responses, "404", get.missing);
  if (get.answer == "Ready") {
    json::object either = {{"anyOf", json::array{reference("Ready"), reference("Error")}}};
    responses["503"] = {{"description", "The server drains or is overloaded"},
                        {"content", content(kJson, std::move(either))}};
  }
  json::object out = {{"summary", get.summary}, {"responses", std::move(responses)}};
  if (get.is_public) out["security"] = json::array();
  return out;
}

json::object model_parameter() {
  return {{"name", "model"},
          {"in", "path"},
          {"required", true},
          {"schema", {{"type", "string"}, {"minLength", 1}}}};
}

}  // namespace

std::string openapi_json(const ServedModel& model, const ServerLimits& limits,
                         const ApiFacts& facts) {
  json::object paths;
  for (const PostDescription& post : kPosts) {
    paths[post.path] = {{"post", describe(post, model, limits, facts.needs_key)}};
  }
  for (const GetDescription& get : kGets) {
    json::object path = {{"get", describe(get, facts.needs_key)}};
    if (get.answer == "Model") path["parameters"] = json::array{model_parameter()};
    paths[get.path] = std::move(path);
  }
  json::object components = {{"schemas", json::parse(kAnswerSchemas)}};
  json::object out = {{"openapi", "3.1.0"},
                      {"info", {{"title", "deltaserve"}, {"version", facts.version}}},
                      {"paths", std::move(paths)}};
  if (facts.needs_key) {
    components["securitySchemes"] = {{"key", {{"type", "http"}, {"scheme", "bearer"}}}};
    out["security"] = json::array{{{"key", json::array()}}};
  }
  out["components"] = std::move(components);
  return json::serialize(out);
}

}  // namespace deltaserve
