#include "server/openai/openapi.h"

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
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

// `answer` names a schema of openapi_answers.h; empty: the status is 204.
struct PostDescription {
  std::string_view path;
  std::string_view summary;
  json::object (*request)(const ServedModel& model, const ServerLimits& limits);
  std::string_view answer;
  bool streams = false;
  bool body_is_optional = false;
};

constexpr PostDescription kPosts[] = {
    {"/v1/completions", "Continues a text or token ids", completion_schema, "Completion", true},
    {"/v1/chat/completions", "Answers messages", chat_schema, "ChatCompletion", true},
    {"/v1/embeddings", "Returns a vector for each text", embeddings_schema, "Embeddings"},
    {"/v1/responses", "Answers items, without keeping anything", responses_schema, "Response",
     true},
    {"/v1/messages", "Answers messages in Anthropic's form", messages_schema, "Message", true},
    {"/v1/messages/count_tokens", "Counts the tokens of such messages", messages_schema,
     "TokenCount"},
    {"/tokenize", "Returns the token ids of a text or of messages", tokenize_schema, "Tokens"},
    {"/detokenize", "Returns the text of token ids", detokenize_schema, "Text"},
    {"/cache/clear", "Drops what is kept of the prompts of the key's owner", empty_schema, "",
     false, true},
};

// `type`: the answer's; JSON is described by the schema `answer`.
struct GetDescription {
  std::string_view path;
  std::string_view summary;
  std::string_view type;
  std::string_view answer;
  bool is_public = false;
};

constexpr std::string_view kJson = "application/json";

constexpr GetDescription kGets[] = {
    {"/v1/models", "Lists the model that is served", kJson, "ModelList"},
    {"/v1/models/{model}", "Describes a model", kJson, "Model"},
    {"/version", "Returns the server's version", kJson, "Version"},
    {"/tokenizer_info", "Describes the tokenizer", kJson, "TokenizerInfo"},
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

void add_error(json::object* responses, std::string_view status, std::string_view description) {
  (*responses)[status] = {{"description", description},
                          {"content", content(kJson, reference("Error"))}};
}

void add_common_errors(json::object* responses, bool needs_key) {
  if (needs_key) add_error(responses, "401", "The request has no valid key");
  add_error(responses, "400", "The request is invalid");
  add_error(responses, "404", "There is no such model or endpoint");
  add_error(responses, "431", "The head of the request is too large");
}

json::object describe(const PostDescription& post, const ServedModel& model,
                      const ServerLimits& limits, bool needs_key) {
  json::object responses;
  if (post.answer.empty()) {
    responses["204"] = {{"description", "It is done"}};
  } else {
    json::object answers = content(kJson, reference(post.answer));
    if (post.streams) answers["text/event-stream"] = {{"schema", {{"type", "string"}}}};
    responses["200"] = {{"description", "The answer"}, {"content", std::move(answers)}};
  }
  add_common_errors(&responses, needs_key);
  add_error(&responses, "408", "The body came too slowly");
  add_error(&responses, "413", "The body is too large");
  add_error(&responses, "415", "The body is compressed");
  add_error(&responses, "417", "The expectation is not supported");
  add_error(&responses, "429", "The queue is full");
  add_error(&responses, "500", "There was an internal error");
  add_error(&responses, "503", "The server drains or is overloaded");
  add_error(&responses, "504", "The deadline passed");
  json::object body = {{"content", content(kJson, post.request(model, limits))},
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
  add_common_errors(&responses, needs_key && !get.is_public);
  if (get.answer == "Ready") {
    responses["503"] = {{"description", "The server drains"},
                        {"content", content(kJson, reference("Ready"))}};
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
