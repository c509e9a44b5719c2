// Conversations: their data, their form in requests, and how this browser keeps them.
//
// A conversation is a list of turns, each a prompt and its answer. It is {id, kind, title, updated, tokens, lengths,
// turns: [{prompt, results, answer, replaced}]}: `kind` is 'chat' or 'text'; `tokens` is its length in tokens, and
// `lengths` the lengths before, for the sparkline. A turn that follows tool calls has `results`, one text for each
// call, and no prompt. `replaced` is the answer that the turn's answer replaces.

const PREFIX = 'deltaserve.conversation.';
const LONGEST_TITLE = 60;
const MOST_LENGTHS = 96;

export function newConversation(kind) {
  const id = Date.now().toString(36) + Math.random().toString(36).slice(2, 8);
  return {id, kind, title: '', updated: Date.now(), tokens: 0, lengths: [], turns: []};
}

export function titleOf(prompt) {
  const line = prompt.trim().replace(/\s+/g, ' ');
  return line.length > LONGEST_TITLE ? line.slice(0, LONGEST_TITLE - 1).trimEnd() + '…' : line;
}

// Adds the length to those for the sparkline. If there are too many, every second one is dropped.
export function noteLength(conversation, tokens) {
  conversation.tokens = tokens;
  if (conversation.lengths.at(-1) === tokens) return;
  conversation.lengths.push(tokens);
  if (conversation.lengths.length > MOST_LENGTHS) {
    conversation.lengths = conversation.lengths.filter((_, i, all) => i % 2 === 0 || i === all.length - 1);
  }
}

// Sets the length to that of the last answer.
export function takeLengthOfLast(conversation) {
  const usage = conversation.turns.at(-1)?.answer.usage;
  noteLength(conversation, usage ? usage.prompt + usage.completion : 0);
}

// Returns the messages up to `last`, which is the turn to be answered.
export function messagesUntil(conversation, last, system) {
  const messages = system ? [{role: 'system', content: system}] : [];
  let calls = [];
  for (const turn of conversation.turns) {
    if (turn.results) {
      turn.results.forEach((content, i) => {
        messages.push({role: 'tool', tool_call_id: calls[i]?.id || '', content});
      });
    } else {
      messages.push({role: 'user', content: turn.prompt});
    }
    if (turn === last) break;
    messages.push(assistantMessage(turn.answer));
    calls = turn.answer.toolCalls;
  }
  return messages;
}

function assistantMessage(answer) {
  const message = {role: 'assistant', content: answer.content};
  if (answer.reasoning) message.reasoning_content = answer.reasoning;
  if (answer.toolCalls.length > 0) {
    message.tool_calls = answer.toolCalls.map(
      (call) => ({id: call.id, type: 'function', function: {name: call.name, arguments: call.arguments}}));
  }
  return message;
}

function isConversation(value) {
  return Boolean(value) && typeof value.id === 'string' && ['chat', 'text'].includes(value.kind) &&
         typeof value.title === 'string' && Number.isFinite(value.updated) && Number.isFinite(value.tokens) &&
         Array.isArray(value.lengths) && Array.isArray(value.turns) && value.turns.every(isTurn);
}

function isTurn(turn) {
  return Boolean(turn) && (typeof turn.prompt === 'string' || Array.isArray(turn.results)) &&
         typeof turn.answer?.content === 'string' && typeof turn.answer.reasoning === 'string' &&
         Array.isArray(turn.answer.toolCalls);
}

// The conversations of this browser, in localStorage: one entry each, so that tabs do not overwrite each other's.
export class Conversations {
  // `onProblem` takes a sentence when something cannot be kept.
  constructor(onProblem) {
    this.all = new Map();
    this.unsaved = new Set();  // ids of conversations that were reported to onProblem
    this.onProblem = onProblem;
    this.load();
  }

  load() {
    this.all.clear();
    try {
      for (const key of Object.keys(localStorage)) {
        if (key.startsWith(PREFIX)) this.take(localStorage.getItem(key));
      }
    } catch {
      this.onProblem('This browser keeps nothing for this page, so conversations are lost when it is closed.');
    }
  }

  take(text) {
    let conversation = null;
    try {
      conversation = JSON.parse(text);
    } catch {
      return;  // An entry of another program or version is left as it is.
    }
    if (isConversation(conversation)) this.all.set(conversation.id, conversation);
  }

  // Returns the conversations, the newest first.
  list() {
    return [...this.all.values()].sort((a, b) => b.updated - a.updated);
  }

  get(id) {
    return this.all.get(id) || null;
  }

  save(conversation) {
    this.all.set(conversation.id, conversation);
    try {
      localStorage.setItem(PREFIX + conversation.id, JSON.stringify(conversation));
      this.unsaved.delete(conversation.id);
    } catch {
      if (this.unsaved.has(conversation.id)) return;
      this.unsaved.add(conversation.id);
      this.onProblem('This browser has no room left for this conversation, so it is lost when the page is closed. ' +
                     'Delete older conversations to make room.');
    }
  }

  remove(id) {
    this.all.delete(id);
    try {
      localStorage.removeItem(PREFIX + id);
    } catch {
      // Without storage there is nothing to remove.
    }
  }

  // Calls `onChange` with the id after another tab has changed a conversation.
  watch(onChange) {
    window.addEventListener('storage', (event) => {
      if (!event.key?.startsWith(PREFIX)) return;
      const id = event.key.slice(PREFIX.length);
      if (event.newValue === null) this.all.delete(id);
      else this.take(event.newValue);
      onChange(id);
    });
  }
}
