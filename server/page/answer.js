// An answer as it comes in: its text, reasoning, tool calls, and the figures under it.

import {count} from './dom.js';

const SHORTEST_MEASURED_MS = 300;  // The page's own clock is too coarse for shorter spans.

export function newAnswer() {
  return {content: '', reasoning: '', toolCalls: [], finish: null, usage: null,
          timeToFirstTokenMs: null, decodeMs: null};
}

// Returns true if the answer has nothing that is worth keeping.
export function isEmpty(answer) {
  return !answer.content && !answer.reasoning && answer.toolCalls.length === 0;
}

// Takes an event of a chat's or a completion's stream.
export function addEvent(answer, event) {
  const choice = event.choices?.[0];
  if (choice) {
    const delta = choice.delta || {content: choice.text};
    answer.content += delta.content || '';
    answer.reasoning += delta.reasoning_content || '';
    for (const call of delta.tool_calls || []) addCall(answer.toolCalls, call);
    if (choice.finish_reason) answer.finish = choice.finish_reason;
  }
  if (event.usage) {
    answer.usage = {prompt: event.usage.prompt_tokens, completion: event.usage.completion_tokens,
                    reused: event.usage.prompt_tokens_details?.cached_tokens || 0};
  }
  if (event.timings) {
    answer.timeToFirstTokenMs = event.timings.time_to_first_token_ms;
    answer.decodeMs = event.timings.decode_ms;
  }
}

// A call comes in pieces: first its id and name, then its arguments.
function addCall(calls, piece) {
  const call = (calls[piece.index] ||= {id: '', name: '', arguments: ''});
  if (piece.id) call.id = piece.id;
  if (piece.function?.name) call.name += piece.function.name;
  call.arguments += piece.function?.arguments || '';
}

// Measures with the page's clock the times that the server has not sent yet or, for a stopped answer, never sends.
export class Clock {
  constructor() {
    this.start = performance.now();
    this.first = null;
    this.last = null;
  }

  tick() {
    this.last = performance.now();
    this.first ??= this.last;
  }

  fillIn(answer) {
    if (this.first === null) return;
    answer.timeToFirstTokenMs ??= this.first - this.start;
    if (this.last - this.first >= SHORTEST_MEASURED_MS) answer.decodeMs ??= this.last - this.first;
  }

  // Returns the tokens per second up to now; null if too little time has passed.
  speed(answer) {
    if (this.first === null || this.last - this.first < SHORTEST_MEASURED_MS || !answer.usage) return null;
    return 1e3 * (answer.usage.completion - 1) / (this.last - this.first);
  }
}

// The first token comes at the end of prefill, so only those after it tell the speed of decoding.
function speedOf(answer) {
  const after = (answer.usage?.completion || 0) - 1;
  return after > 0 && answer.decodeMs > 0 ? 1e3 * after / answer.decodeMs : null;
}

export function speedText(speed) {
  return speed.toLocaleString('en-US', {maximumFractionDigits: speed < 100 ? 1 : 0}) + ' tokens/s';
}

export function milliseconds(ms) {
  return ms < 10 ? ms.toFixed(1) + ' ms' : ms < 1e4 ? Math.round(ms) + ' ms' : (ms / 1e3).toFixed(1) + ' s';
}

const FINISH = {
  stop: 'Finished',
  length: 'Cut at Max tokens',
  tool_calls: 'Waits for a tool',
  stopped: 'Stopped by you',
  interrupted: 'Interrupted',
};

export function finishText(answer) {
  // An unfinished answer has no reason, for instance because the page was closed.
  return FINISH[answer.finish || 'interrupted'] || 'Finished (' + answer.finish + ')';
}

// Returns the figures of decoding, each a short text.
export function decodeFigures(answer) {
  const all = [];
  if (answer.usage) all.push(count(answer.usage.completion, 'token'));
  const speed = speedOf(answer);
  if (speed !== null) all.push(speedText(speed));
  return all;
}

// Returns the figures of reading the prompt, each a short text.
export function promptFigures(answer) {
  const all = [];
  if (answer.timeToFirstTokenMs !== null) all.push('first token after ' + milliseconds(answer.timeToFirstTokenMs));
  if (answer.usage) {
    all.push(answer.usage.reused.toLocaleString('en-US') + ' of ' + count(answer.usage.prompt, 'prompt token') +
             ' reused');
  }
  return all;
}

// Returns a sentence about the reading that reuse saved for a regenerated answer; `before` is the answer that it
// replaces.
export function savingText(answer, before) {
  if (!answer.usage || answer.timeToFirstTokenMs === null) return '';
  const first = 'first token after ' + milliseconds(answer.timeToFirstTokenMs);
  const earlier = before?.timeToFirstTokenMs;
  const compared = earlier > answer.timeToFirstTokenMs ? first + ' instead of ' + milliseconds(earlier) : first;
  if (answer.usage.reused === 0) return 'Nothing of the prompt was reused: ' + compared;
  return 'Reuse saved reading ' + answer.usage.reused.toLocaleString('en-US') + ' of ' +
         count(answer.usage.prompt, 'prompt token') + ': ' + compared;
}
