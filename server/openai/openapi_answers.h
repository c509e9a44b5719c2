// JSON schemas of answers, by their names in the description of the API.
#pragma once
#include <string_view>

namespace deltaserve {

inline constexpr std::string_view kAnswerSchemas = R"json({
"Any": {"type": "object"},
"CacheControl": {"type": ["object", "null"], "properties": {"type": {"const": "ephemeral"}, "ttl": true},
  "required": ["type"], "additionalProperties": false},
"Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "object",
  "required": ["message", "type", "param", "code"], "properties": {
    "message": {"type": "string"}, "type": {"type": "string"},
    "param": {"type": ["string", "null"]}, "code": {"type": ["string", "null"]}}}}},
"Usage": {"type": "object",
  "required": ["prompt_tokens", "completion_tokens", "total_tokens"], "properties": {
    "prompt_tokens": {"type": "integer"}, "completion_tokens": {"type": "integer"},
    "total_tokens": {"type": "integer"},
    "prompt_tokens_details": {"type": "object", "properties": {
      "cached_tokens": {"type": "integer"}}},
    "completion_tokens_details": {"type": "object", "properties": {
      "reasoning_tokens": {"type": "integer"}}}}},
"Timings": {"type": "object", "properties": {
  "time_to_first_token_ms": {"type": ["number", "null"]},
  "decode_ms": {"type": ["number", "null"]}}},
"TokenIds": {"type": "array", "items": {"type": "integer"}},
"PromptLogprobs": {"type": "array", "items": {"type": ["object", "null"],
  "additionalProperties": {"type": "object", "properties": {
    "logprob": {"type": "number"}, "rank": {"type": ["integer", "null"]},
    "decoded_token": {"type": "string"}}}}},
"Completion": {"type": "object",
  "required": ["id", "object", "created", "model", "system_fingerprint", "choices", "usage"],
  "properties": {
    "id": {"type": "string"}, "object": {"const": "text_completion"},
    "created": {"type": "integer"}, "model": {"type": "string"},
    "system_fingerprint": {"type": ["string", "null"]},
    "choices": {"type": "array", "items": {"$ref": "#/components/schemas/CompletionChoice"}},
    "usage": {"$ref": "#/components/schemas/Usage"},
    "timings": {"$ref": "#/components/schemas/Timings"}}},
"CompletionChoice": {"type": "object",
  "required": ["index", "text", "logprobs", "finish_reason"], "properties": {
    "index": {"type": "integer"}, "text": {"type": "string"},
    "logprobs": {"type": ["object", "null"]},
    "finish_reason": {"enum": ["stop", "length"]},
    "stop_reason": {"type": ["string", "integer", "null"]},
    "token_ids": {"$ref": "#/components/schemas/TokenIds"},
    "prompt_token_ids": {"$ref": "#/components/schemas/TokenIds"},
    "prompt_logprobs": {"$ref": "#/components/schemas/PromptLogprobs"}}},
"ChatCompletion": {"type": "object",
  "required": ["id", "object", "created", "model", "system_fingerprint", "choices", "usage"],
  "properties": {
    "id": {"type": "string"}, "object": {"const": "chat.completion"},
    "created": {"type": "integer"}, "model": {"type": "string"},
    "system_fingerprint": {"type": ["string", "null"]},
    "choices": {"type": "array", "items": {"$ref": "#/components/schemas/ChatChoice"}},
    "usage": {"$ref": "#/components/schemas/Usage"},
    "timings": {"$ref": "#/components/schemas/Timings"},
    "prompt_token_ids": {"$ref": "#/components/schemas/TokenIds"},
    "prompt_logprobs": {"$ref": "#/components/schemas/PromptLogprobs"}}},
"ChatChoice": {"type": "object",
  "required": ["index", "message", "logprobs", "finish_reason"], "properties": {
    "index": {"type": "integer"},
    "message": {"type": "object", "required": ["role", "content"], "properties": {
      "role": {"const": "assistant"}, "content": {"type": ["string", "null"]},
      "reasoning_content": {"type": "string"}, "reasoning": {"type": "string"},
      "tool_calls": {"type": "array", "items": {"type": "object",
        "required": ["id", "type", "function"], "properties": {
          "id": {"type": "string"}, "type": {"const": "function"},
          "function": {"type": "object", "required": ["name", "arguments"], "properties": {
            "name": {"type": "string"}, "arguments": {"type": "string"}}}}}}}},
    "logprobs": {"type": ["object", "null"]},
    "finish_reason": {"enum": ["stop", "length", "tool_calls"]},
    "stop_reason": {"type": ["string", "integer", "null"]},
    "token_ids": {"$ref": "#/components/schemas/TokenIds"}}},
"CompletionEvent": {"type": "object",
  "required": ["id", "object", "created", "model", "system_fingerprint", "choices"], "properties": {
    "id": {"type": "string"}, "object": {"const": "text_completion"},
    "created": {"type": "integer"}, "model": {"type": "string"},
    "system_fingerprint": {"type": ["string", "null"]},
    "choices": {"type": "array", "items": {"type": "object",
      "required": ["index", "text", "logprobs", "finish_reason"], "properties": {
        "index": {"type": "integer"}, "text": {"type": "string"},
        "logprobs": {"type": ["object", "null"]},
        "finish_reason": {"enum": ["stop", "length", null]},
        "stop_reason": {"type": ["string", "integer", "null"]},
        "token_ids": {"$ref": "#/components/schemas/TokenIds"},
        "prompt_token_ids": {"$ref": "#/components/schemas/TokenIds"},
        "prompt_logprobs": {"$ref": "#/components/schemas/PromptLogprobs"}}}},
    "usage": {"anyOf": [{"$ref": "#/components/schemas/Usage"}, {"type": "null"}]},
    "timings": {"$ref": "#/components/schemas/Timings"}}},
"ChatCompletionEvent": {"type": "object",
  "required": ["id", "object", "created", "model", "system_fingerprint", "choices"], "properties": {
    "id": {"type": "string"}, "object": {"const": "chat.completion.chunk"},
    "created": {"type": "integer"}, "model": {"type": "string"},
    "system_fingerprint": {"type": ["string", "null"]},
    "choices": {"type": "array", "items": {"type": "object",
      "required": ["index", "delta", "logprobs", "finish_reason"], "properties": {
        "index": {"type": "integer"},
        "delta": {"type": "object", "properties": {
          "role": {"const": "assistant"}, "content": {"type": ["string", "null"]},
          "reasoning_content": {"type": "string"}, "reasoning": {"type": "string"},
          "tool_calls": {"type": "array", "items": {"type": "object",
            "required": ["index", "function"], "properties": {
              "index": {"type": "integer"}, "id": {"type": "string"}, "type": {"const": "function"},
              "function": {"type": "object", "properties": {
                "name": {"type": "string"}, "arguments": {"type": "string"}}}}}}}},
        "logprobs": {"type": ["object", "null"]},
        "finish_reason": {"enum": ["stop", "length", "tool_calls", null]},
        "stop_reason": {"type": ["string", "integer", "null"]},
        "token_ids": {"$ref": "#/components/schemas/TokenIds"}}}},
    "usage": {"anyOf": [{"$ref": "#/components/schemas/Usage"}, {"type": "null"}]},
    "timings": {"$ref": "#/components/schemas/Timings"},
    "prompt_token_ids": {"$ref": "#/components/schemas/TokenIds"},
    "prompt_logprobs": {"$ref": "#/components/schemas/PromptLogprobs"}}},
"ResponseEvent": {"type": "object", "required": ["type", "sequence_number"], "properties": {
  "type": {"type": "string", "pattern": "^response\\."}, "sequence_number": {"type": "integer"}}},
"MessageEvent": {"type": "object", "required": ["type"], "properties": {
  "type": {"enum": ["message_start", "ping", "content_block_start", "content_block_delta",
    "content_block_stop", "message_delta", "message_stop", "error"]}}},
"Embeddings": {"type": "object",
  "required": ["id", "object", "created", "model", "system_fingerprint", "data", "usage"],
  "properties": {
    "id": {"type": "string"}, "object": {"const": "list"}, "created": {"type": "integer"},
    "model": {"type": "string"}, "system_fingerprint": {"type": ["string", "null"]},
    "data": {"type": "array", "items": {"type": "object",
      "required": ["object", "index", "embedding"], "properties": {
        "object": {"const": "embedding"}, "index": {"type": "integer"},
        "embedding": {"type": ["array", "string"], "items": {"type": "number"}}}}},
    "usage": {"$ref": "#/components/schemas/Usage"}}},
"Response": {"type": "object",
  "required": ["id", "object", "created_at", "status", "model", "output", "usage"],
  "properties": {
    "id": {"type": "string"}, "object": {"const": "response"}, "created_at": {"type": "integer"},
    "status": {"enum": ["completed", "incomplete"]}, "model": {"type": "string"},
    "output": {"type": "array", "items": {"type": "object", "required": ["id", "type", "status"],
      "properties": {"type": {"enum": ["message", "reasoning", "function_call"]}}}},
    "usage": {"type": "object",
      "required": ["input_tokens", "output_tokens", "total_tokens"]}}},
"Message": {"type": "object",
  "required": ["id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"],
  "properties": {
    "id": {"type": "string"}, "type": {"const": "message"}, "role": {"const": "assistant"},
    "model": {"type": "string"},
    "content": {"type": "array", "items": {"type": "object", "required": ["type"],
      "properties": {"type": {"enum": ["text", "thinking", "tool_use"]}}}},
    "stop_reason": {"enum": ["end_turn", "max_tokens", "stop_sequence", "tool_use"]},
    "stop_sequence": {"type": ["string", "null"]},
    "usage": {"type": "object", "required": ["input_tokens", "output_tokens"]}}},
"TokenCount": {"type": "object", "required": ["input_tokens"], "properties": {
  "input_tokens": {"type": "integer"}}},
"Tokens": {"type": "object", "required": ["count", "max_model_len", "tokens", "token_strs"],
  "properties": {
    "count": {"type": "integer"}, "max_model_len": {"type": "null"},
    "tokens": {"$ref": "#/components/schemas/TokenIds"},
    "token_strs": {"type": ["array", "null"], "items": {"type": "string"}}}},
"Text": {"type": "object", "required": ["prompt"], "properties": {"prompt": {"type": "string"}}},
"Model": {"type": "object", "required": ["id", "object", "created", "owned_by"], "properties": {
  "id": {"type": "string"}, "object": {"const": "model"}, "created": {"type": "integer"},
  "owned_by": {"type": "string"}, "state_bytes": {"type": "integer"},
  "transformer_bytes_per_token": {"type": "integer"},
  "slots": {"type": "integer"}, "chat": {"type": "boolean"}}},
"ModelList": {"type": "object", "required": ["object", "data"], "properties": {
  "object": {"const": "list"},
  "data": {"type": "array", "items": {"$ref": "#/components/schemas/Model"}}}},
"Version": {"type": "object", "required": ["version"], "properties": {
  "version": {"type": "string"}}},
"TokenizerInfo": {"type": "object", "required": ["tokenizer_class"], "properties": {
  "tokenizer_class": {"type": "string"}, "chat_template": {"type": ["string", "null"]}}},
"Health": {"type": "object", "required": ["status"], "properties": {"status": {"const": "ok"}}},
"Ready": {"type": "object", "required": ["status", "slots", "running", "waiting"], "properties": {
  "status": {"enum": ["ready", "draining", "not_ready"]},
  "deaf_ports": {"type": "array", "items": {"type": "string"}}, "slots": {"type": "integer"},
  "running": {"type": "integer"}, "waiting": {"type": "integer"}}}
})json";

}  // namespace deltaserve
