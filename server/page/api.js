// The server's HTTP API. Paths are relative, so the page also works behind a proxy that adds a prefix.

const NO_ANSWER = 'The server does not answer.';
const BROKEN = 'The connection to the server broke before the answer was complete.';
const LONGEST_BUSY_MS = 30;  // After this time the page handles other work, because a fast server would keep it busy.

export class ApiError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

function headers(key) {
  const all = {'Content-Type': 'application/json'};
  if (key) all.Authorization = 'Bearer ' + key;
  return all;
}

async function request(path, options) {
  let reply;
  try {
    reply = await fetch(path, options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(NO_ANSWER);
  }
  if (reply.ok) return reply;
  const body = await reply.json().catch(() => null);
  throw new ApiError(body?.error?.message || 'The server answers with status ' + reply.status + '.', reply.status);
}

// Returns the server's description of its model.
export async function fetchModel(key) {
  const reply = await request('v1/models', {headers: headers(key)});
  const body = await reply.json().catch(() => null);
  if (!body?.data?.[0]) throw new ApiError('The server names no model.', reply.status);
  return body.data[0];
}

// Yields the objects of the server-sent events of an answer. Throws an AbortError once `signal` is aborted, and an
// ApiError for everything that goes wrong; an answer without its end is an error.
export async function* streamEvents(path, body, key, signal) {
  const reply = await request(path, {method: 'POST', headers: headers(key), body: JSON.stringify(body), signal});
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  const aborted = new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), {once: true});
  });
  aborted.catch(() => {});  // It may reject when nothing waits for it.
  try {
    yield* eventsOf(reader, aborted, signal);
  } finally {
    reader.cancel().catch(() => {});  // The server need not continue after any failure.
  }
}

async function* eventsOf(reader, aborted, signal) {
  let rest = '';
  let rested = performance.now();
  for (;;) {
    const {value, done} = await read(reader, aborted);
    signal.throwIfAborted();
    if (done) throw new ApiError(BROKEN);
    rest += value;
    let end;
    while ((end = rest.indexOf('\n\n')) >= 0) {
      const data = dataOf(rest.slice(0, end));
      rest = rest.slice(end + 2);
      if (data === null) continue;
      if (data === '[DONE]') return;
      yield parsed(data);
    }
    if (performance.now() - rested > LONGEST_BUSY_MS) {
      await new Promise((resume) => setTimeout(resume));
      signal.throwIfAborted();
      rested = performance.now();
    }
  }
}

// Data after the abort is dropped, even if the connection does not notice the abort.
async function read(reader, aborted) {
  try {
    return await Promise.race([reader.read(), aborted]);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(BROKEN);
  }
}

// Returns null for a comment, which the server sends to keep a quiet connection open.
function dataOf(event) {
  return event.startsWith('data: ') ? event.slice(6) : null;
}

function parsed(data) {
  let object;
  try {
    object = JSON.parse(data);
  } catch {
    throw new ApiError('The server sent an event that is not JSON.');
  }
  if (object.error) throw new ApiError(object.error.message);
  return object;
}
