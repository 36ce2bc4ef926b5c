/** One question to the server, streamed: what is sent, and what comes back in pieces with their probabilities. */

export type TokenInfo = {
  readonly text: string;
  readonly logprob: number | null;
  /** The likeliest tokens at this place, the likeliest first. */
  readonly alternatives: readonly { readonly text: string; readonly logprob: number }[];
};

/** Text that came at once. It has several tokens where they make no sense apart, such as halves of a character. */
export type Piece = { readonly text: string; readonly tokens: readonly TokenInfo[] };

export type Cost = {
  readonly joules: number;
  readonly source: string;
  readonly price?: { readonly currency: string; readonly total: number };
};

export type Usage = {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly prompt_tokens_details?: { readonly cached_tokens?: number };
  readonly nibble_cost?: Cost;
};

export type AskEvent =
  | { readonly kind: 'piece'; readonly piece: Piece }
  | { readonly kind: 'finish'; readonly reason: string }
  | { readonly kind: 'usage'; readonly usage: Usage };

export type Message = { readonly role: 'system' | 'user' | 'assistant'; readonly content: string };

export type Sampling = {
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  readonly minP: number;
  readonly maxTokens: number;
  /** null: another one every time. */
  readonly seed: number | null;
};

export type Question = {
  readonly model: string;
  readonly content: { readonly prompt: string } | { readonly messages: readonly Message[] };
  readonly sampling: Sampling;
  readonly showsProbabilities: boolean;
  /** Where something measures energy; elsewhere the server refuses to say a cost. */
  readonly asksCost: boolean;
};

/** Refusals and failures of the server, with the HTTP status; 200 if it failed within the stream. */
export class AskError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** Alternatives asked for: five is what completions allow. */
const alternativesShown = 5;

/** The path and the body of a question. */
export function requestOf(question: Question): { readonly path: string; readonly body: object } {
  const { model, content, sampling, showsProbabilities, asksCost } = question;
  const isChat = 'messages' in content;
  const probabilities = isChat ? { logprobs: true, top_logprobs: alternativesShown } : { logprobs: alternativesShown };
  const body = {
    model,
    ...content,
    max_tokens: sampling.maxTokens,
    temperature: sampling.temperature,
    top_p: sampling.topP,
    top_k: sampling.topK,
    min_p: sampling.minP,
    ...(sampling.seed === null ? {} : { seed: sampling.seed }),
    ...(showsProbabilities ? probabilities : {}),
    ...(asksCost ? { cost: true } : {}),
    stream: true,
    stream_options: { include_usage: true },
  };
  return { path: isChat ? '/v1/chat/completions' : '/v1/completions', body };
}

type ChatLogprobs = {
  readonly content: readonly {
    readonly token: string;
    readonly logprob: number;
    readonly top_logprobs: readonly { readonly token: string; readonly logprob: number }[];
  }[];
};
type CompletionLogprobs = {
  readonly tokens: readonly string[];
  readonly token_logprobs: readonly (number | null)[];
  readonly top_logprobs: readonly (Readonly<Record<string, number>> | null)[];
};
type Chunk = {
  readonly error?: { readonly message: string };
  readonly usage?: Usage | null;
  readonly choices?: readonly {
    readonly text?: string;
    readonly delta?: { readonly content?: string };
    readonly logprobs?: ChatLogprobs | CompletionLogprobs | null;
    readonly finish_reason?: string | null;
  }[];
};

function tokensOf(logprobs: ChatLogprobs | CompletionLogprobs): readonly TokenInfo[] {
  if ('content' in logprobs) {
    return logprobs.content.map(({ token, logprob, top_logprobs }) => {
      const alternatives = top_logprobs.map((other) => ({ text: other.token, logprob: other.logprob }));
      return { text: token, logprob, alternatives };
    });
  }
  return logprobs.tokens.map((text, i) => {
    const others = Object.entries(logprobs.top_logprobs[i] ?? {}).map(([other, logprob]) => ({ text: other, logprob }));
    others.sort((a, b) => b.logprob - a.logprob);
    return { text, logprob: logprobs.token_logprobs[i] ?? null, alternatives: others };
  });
}

/** A chunk's text in pieces of one token each, where its tokens are its text. */
function piecesOf(text: string, tokens: readonly TokenInfo[]): readonly Piece[] {
  if (tokens.length > 1 && tokens.map((token) => token.text).join('') === text) {
    return tokens.map((token) => ({ text: token.text, tokens: [token] }));
  }
  return text === '' && tokens.length === 0 ? [] : [{ text, tokens }];
}

/** What one `data:` line says. Throws `AskError` if it says that the request failed. */
export function* eventsOf(data: string): Generator<AskEvent> {
  const chunk = JSON.parse(data) as Chunk;
  if (chunk.error !== undefined) throw new AskError(200, chunk.error.message);
  const [choice] = chunk.choices ?? [];
  if (choice !== undefined) {
    const text = choice.text ?? choice.delta?.content ?? '';
    const tokens = choice.logprobs ? tokensOf(choice.logprobs) : [];
    for (const piece of piecesOf(text, tokens)) yield { kind: 'piece', piece };
    if (choice.finish_reason) yield { kind: 'finish', reason: choice.finish_reason };
  }
  if (chunk.usage) yield { kind: 'usage', usage: chunk.usage };
}

/** The `data:` payloads of an event stream, without the final `[DONE]`. */
export async function* dataLines(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      rest += done ? '\n' : decoder.decode(value, { stream: true });
      const lines = rest.split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const data = line.startsWith('data: ') ? line.slice('data: '.length).trimEnd() : '';
        if (data !== '' && data !== '[DONE]') yield data;
      }
      if (done) return;
    }
  } finally {
    // A reader that stops early ends the request, and with it the work.
    await reader.cancel().catch(() => undefined);
  }
}

const headersOf = (key: string): Record<string, string> => (key === '' ? {} : { authorization: `Bearer ${key}` });

/** GETs JSON. Throws `AskError`. */
export async function getJson(path: string, key: string): Promise<unknown> {
  return (await checked(await fetch(path, { headers: headersOf(key) }))).json();
}

async function checked(response: Response): Promise<Response> {
  if (response.ok) return response;
  const text = await response.text();
  let message = `The server answered ${response.status}.`;
  try {
    message = (JSON.parse(text) as { error?: { message?: string } }).error?.message ?? message;
  } catch {
    // A proxy's answer, perhaps: its status says enough.
  }
  throw new AskError(response.status, message);
}

/** Asks, and yields what comes. Ends early when `signal` aborts; throws `AskError`. */
export async function* ask(question: Question, key: string, signal: AbortSignal): AsyncGenerator<AskEvent> {
  const { path, body } = requestOf(question);
  const headers = { 'content-type': 'application/json', ...headersOf(key) };
  const response = await checked(await fetch(path, { method: 'POST', headers, body: JSON.stringify(body), signal }));
  if (response.body === null) throw new AskError(response.status, 'The answer is empty.');
  for await (const data of dataLines(response.body)) yield* eventsOf(data);
}
