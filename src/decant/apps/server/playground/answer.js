// One answer on the page: its tokens as they come, and what they tell of speed and acceptance.

const PROMISES = {
  tokens: "the same tokens as plain decoding",
  distribution: "the same distribution as plain decoding",
};

export class Answer {
  constructor(place, title) {
    this.text = "";
    this.statistics = null;
    this.reason = null;
    this.tokens = 0;
    this.drafted = 0;
    this.begun = null;
    this.title = title;
    this.box = element("article", "answer");
    this.heading = element("h2", "", title);
    this.said = element("p", "said");
    this.meters = element("dl", "meters");
    this.box.append(this.heading, this.said, this.meters);
    this.box.setAttribute("aria-busy", "true");
    place.append(this.box);
  }

  // A chunk of the stream.
  take(chunk) {
    const choice = chunk.choices?.[0];
    if (chunk.decant) this.statistics = chunk.decant;
    if (!choice) return;
    const told = choice.decant?.tokens;
    const text = choice.delta?.content ?? "";
    this.text += text;
    this.reason = choice.finish_reason ?? this.reason;
    if (told?.length) for (const token of told) this.add(token);
    else if (text && !told) this.add({ text, drafted: false });
    this.tell();
  }

  add({ text, drafted }) {
    this.begun ??= performance.now();
    this.tokens += 1;
    this.drafted += drafted ? 1 : 0;
    if (text) this.said.append(element("span", `token ${drafted ? "drafted" : "own"}`, text));
  }

  // How it ended: nothing, "stopped", or an error.
  end(note = "") {
    this.box.setAttribute("aria-busy", "false");
    this.tell();
    const short = note || (this.reason === "length" ? "cut off at the most tokens" : "");
    const method = this.statistics?.method;
    const promise = method === "plain" ? "" : PROMISES[this.statistics?.promise];
    this.heading.textContent = [method ?? this.title, promise, short].filter(Boolean).join(" · ");
  }

  get speed() {
    if (this.statistics) return this.statistics.tokens_per_second;
    const seconds = (performance.now() - this.begun) / 1000;
    return this.tokens > 1 && seconds > 0 ? (this.tokens - 1) / seconds : 0;
  }

  // While it runs, from the tokens: every call of the model gives one token of its own.
  get perCall() {
    return this.statistics?.acceptance_length ?? this.tokens / Math.max(1, this.tokens - this.drafted);
  }

  tell() {
    const { statistics } = this;
    const tokens = statistics?.tokens ?? this.tokens;
    if (!tokens) return;
    const drafted = statistics?.drafted ?? this.drafted;
    const shown = [
      [this.speed.toFixed(1), "tokens/s"],
      [this.perCall.toFixed(2), "tokens a call"],
      [`${Math.round((100 * drafted) / tokens)} %`, "drafted"],
      [tokens, tokens === 1 ? "token" : "tokens"],
    ];
    if (statistics?.ttft_seconds != null) shown.push([`${Math.round(1000 * statistics.ttft_seconds)} ms`, "to the first"]);
    if (statistics?.seed != null) shown.push([statistics.seed, "seed"]);
    this.meters.replaceChildren(
      ...shown.map(([value, name]) => {
        const pair = element("div");
        pair.append(element("dt", "", name), element("dd", "", value));
        return pair;
      }),
    );
  }
}

// What two answers to one message say of each other.
export function compared(drafted, plain) {
  const times = drafted.speed / plain.speed;
  const same = drafted.text === plain.text;
  const said = same ? "The texts are the same." : "The texts differ.";
  const wrong = !same && drafted.statistics?.promise === "tokens" ? " The server promised the same tokens, up to rounding." : "";
  return Number.isFinite(times) ? `${times.toFixed(2)} times as fast as plain decoding. ${said}${wrong}` : said;
}

export function element(name, kind = "", text = "") {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  made.textContent = text;
  return made;
}
