// One request of the API, answered as server-sent events.

// What the server refused, or could not do. status: of HTTP, 0 without an answer; wait: seconds until another try.
export class Refusal extends Error {
  constructor(status, message, wait = null) {
    super(message);
    this.status = status;
    this.wait = wait;
  }
}

// The id of the one model that the server has.
export async function model(key, signal) {
  const { data } = await (await ask("v1/models", key, { signal })).json();
  return data[0].id;
}

// Chunks of an answer as they come. Throws Refusal; an abort throws AbortError.
export async function* chat(body, key, signal) {
  const headers = { "Content-Type": "application/json" };
  const answer = await ask("v1/chat/completions", key, { method: "POST", headers, body: JSON.stringify(body), signal });
  for await (const event of events(answer.body)) {
    if (event === "[DONE]") return;
    const chunk = JSON.parse(event);
    if (chunk.error) throw new Refusal(200, chunk.error.message);
    yield chunk;
  }
  throw new Refusal(0, "the answer broke off");
}

async function ask(path, key, options) {
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "the server cannot be reached");
  }
  if (!answer.ok) throw await refusal(answer);
  return answer;
}

async function refusal(answer) {
  const told = await answer.json().catch(() => null);
  const wait = answer.headers.get("Retry-After");
  return new Refusal(answer.status, told?.error?.message ?? `the server answered ${answer.status}`, wait && Number(wait));
}

// The data of each event: lines of one event are joined, comments and other fields left out.
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let kept = "";
  let lines = [];
  try {
    for (;;) {
      const { value, done } = await read(reader);
      if (done) return;
      const parts = (kept + value).split(/\r?\n/);
      kept = parts.pop();
      for (const line of parts) {
        if (line.startsWith("data:")) lines.push(line.slice(line[5] === " " ? 6 : 5));
        else if (line === "" && lines.length) {
          yield lines.join("\n");
          lines = [];
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function read(reader) {
  try {
    return await reader.read();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "the connection to the server broke");
  }
}
