/** What the official npm client reads from answers of the server, in the form of `conformance-cases.ts`. */
import type OpenAI from 'openai';
import { APIError } from 'openai';
import type { Answer, Endpoint } from './conformance-cases.js';

type Body = Readonly<Record<string, unknown>>;
/** One choice while it is read. */
type Draft = { text: string; reason: string; calls: string[]; tokens: string[] | null; ids: number[] | null };
type Usage = { readonly prompt_tokens: number; readonly completion_tokens: number };

const emptyDraft = (): Draft => ({ text: '', reason: '', calls: [], tokens: null, ids: null });

function answerOf(drafts: readonly Draft[], usage: readonly [number, number]): Answer {
  return {
    kind: 'answer',
    texts: drafts.map(({ text }) => text),
    reasons: drafts.map(({ reason }) => reason),
    calls: drafts.map(({ calls }) => calls),
    tokens: drafts.map(({ tokens }) => tokens),
    ids: drafts.map(({ ids }) => ids),
    usage,
  };
}

const usageOf = (usage: Usage | null | undefined): readonly [number, number] => [
  usage?.prompt_tokens ?? -1,
  usage?.completion_tokens ?? -1,
];

/** Adds what a choice, or a piece of one, brings of a list that may be missing. */
const joined = <T>(sofar: T[] | null, more: readonly T[] | null | undefined): T[] | null =>
  more == null ? sofar : [...(sofar ?? []), ...more];

const withIds = (choice: object): readonly number[] | undefined =>
  (choice as { readonly token_ids?: readonly number[] }).token_ids;

/** Draft `index`, made when it is first asked for. */
function draftAt(drafts: Draft[], index: number): Draft {
  const draft = drafts[index] ?? emptyDraft();
  drafts[index] = draft;
  return draft;
}

type Piece = OpenAI.Completion | OpenAI.ChatCompletion | OpenAI.ChatCompletionChunk;

/** Reads a whole answer or a chunk of one. */
function read(piece: Piece, drafts: Draft[]): void {
  for (const choice of piece.choices) {
    const draft = draftAt(drafts, choice.index);
    draft.reason = choice.finish_reason ?? draft.reason;
    draft.ids = joined(draft.ids, withIds(choice));
    if ('text' in choice) {
      draft.text += choice.text;
      draft.tokens = joined(draft.tokens, choice.logprobs?.tokens);
      continue;
    }
    const said = 'message' in choice ? choice.message : choice.delta;
    draft.text += said.content ?? '';
    for (const call of said.tool_calls ?? []) {
      if ('function' in call) draft.calls.push(call.function?.name ?? '');
    }
    draft.tokens = joined(
      draft.tokens,
      choice.logprobs?.content?.map(({ token }) => token),
    );
  }
}

function readResponse({ status, output, usage }: OpenAI.Responses.Response): Answer {
  const draft = { ...emptyDraft(), reason: status ?? '' };
  for (const item of output) {
    if (item.type === 'function_call') draft.calls.push(item.name);
    if (item.type !== 'message') continue;
    for (const part of item.content) {
      if (part.type !== 'output_text') continue;
      draft.text += part.text;
      if (part.logprobs?.length)
        draft.tokens = joined(
          draft.tokens,
          part.logprobs.map(({ token }) => token),
        );
    }
  }
  return answerOf([draft], [usage?.input_tokens ?? -1, usage?.output_tokens ?? -1]);
}

async function askResponses(client: OpenAI, body: Body, isStream: boolean): Promise<Answer> {
  if (!isStream) return readResponse(await client.responses.create(body as never));
  const stream = await client.responses.create({ ...body, stream: true } as never);
  let text = '';
  let last: Answer | null = null;
  for await (const event of stream as unknown as AsyncIterable<OpenAI.Responses.ResponseStreamEvent>) {
    if (event.type === 'response.output_text.delta') text += event.delta;
    if (event.type === 'response.completed' || event.type === 'response.incomplete') {
      last = readResponse(event.response);
    }
  }
  // The text is that of the pieces: a test compares it with the whole answer.
  return last?.kind === 'answer' ? { ...last, texts: [text] } : { kind: 'error', status: 0, code: 'cut', param: null };
}

async function askOlder(client: OpenAI, endpoint: Endpoint, body: Body, isStream: boolean): Promise<Answer> {
  const resource = endpoint === 'chat' ? client.chat.completions : client.completions;
  const create = resource.create.bind(resource) as unknown as (body: Body) => Promise<unknown>;
  const drafts: Draft[] = [];
  let usage: Usage | null | undefined;
  if (isStream) {
    const chunks = await create({ ...body, stream: true, stream_options: { include_usage: true } });
    for await (const chunk of chunks as AsyncIterable<OpenAI.Completion | OpenAI.ChatCompletionChunk>) {
      read(chunk, drafts);
      usage = chunk.usage ?? usage;
    }
  } else {
    const whole = (await create(body)) as OpenAI.Completion | OpenAI.ChatCompletion;
    read(whole, drafts);
    usage = whole.usage;
  }
  return answerOf(drafts, usageOf(usage));
}

/** Asks with the official client; errors of the API are answers too. */
export async function ask(client: OpenAI, endpoint: Endpoint, body: Body, isStream: boolean): Promise<Answer> {
  try {
    if (endpoint === 'responses') return await askResponses(client, body, isStream);
    return await askOlder(client, endpoint, body, isStream);
  } catch (error) {
    if (!(error instanceof APIError)) throw error;
    return { kind: 'error', status: error.status ?? 0, code: error.code ?? '', param: error.param ?? null };
  }
}
