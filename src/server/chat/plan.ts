import type { GenerationRequest } from '../../engine/types.js';
import { NibbleError } from '../../errors.js';
import type { Constraint } from '../../grammar/types.js';
import { KV_BLOCK_TOKENS, SEQUENCES_PER_REQUEST_MAX } from '../../limits.js';
import { type AskedConstraint, compileConstraint, constraintFrom } from '../generation/constraint.js';
import { encodeTexts } from '../generation/encode.js';
import { checkMinTokens, invalid, readSettings, unsupported } from '../generation/settings.js';
import type { ChatRequest } from '../schemas/chat-request.js';
import type { ServedModel } from '../served-model.js';
import { type ForcedCalls, forcedCalls, strictCalls } from '../tools/forced.js';
import { type ToolFormat, type ToolSupport, toolSupportOf } from '../tools/format.js';
import { templateVariables } from './messages.js';

/** A conversation understood: what to generate and how to answer. */
export type ChatPlan = {
  readonly promptIds: Int32Array;
  /** One per choice. */
  readonly requests: readonly GenerationRequest[];
  /** How calls are recognized in the answer; null where none are expected. */
  readonly tools: ToolPlan | null;
  readonly showTokenIds: boolean;
  readonly includeUsage: boolean;
};

export type ToolPlan = {
  readonly format: ToolFormat;
  readonly names: ReadonlySet<string>;
  readonly isParallel: boolean;
  /** The answer has to be calls; null where the model chooses. */
  readonly forced: ForcedCalls | null;
  /** What calls must be where the model chooses, if a function is strict. */
  readonly strict: Constraint | null;
};

function checkFields(body: ChatRequest): void {
  if (body.functions != null) throw unsupported('functions', "it is the old form of 'tools'.");
  if (body.function_call != null) throw unsupported('function_call', "it is the old form of 'tool_choice'.");
  if (body.audio != null) throw unsupported('audio', 'this server makes text only.');
  if (body.modalities?.some((kind) => kind !== 'text') === true) {
    throw unsupported('modalities', 'this server makes text only.');
  }
  if (body.stream_options != null && body.stream !== true) {
    throw invalid('stream_options', "'stream_options' is allowed only together with 'stream': true.");
  }
  if (body.top_logprobs != null && body.logprobs !== true) {
    throw invalid('top_logprobs', "'top_logprobs' is allowed only together with 'logprobs': true.");
  }
  if ((body.n ?? 1) > SEQUENCES_PER_REQUEST_MAX) {
    throw invalid('n', `'n' is ${body.n}; at most ${SEQUENCES_PER_REQUEST_MAX} are allowed.`);
  }
  if (body.add_generation_prompt === true && body.continue_final_message === true) {
    throw invalid('continue_final_message', "'continue_final_message' excludes 'add_generation_prompt'.");
  }
}

function readTools(body: ChatRequest, support: ToolSupport): ToolPlan | null {
  const names = new Set(body.tools?.map((tool) => tool.function.name));
  const choice = body.tool_choice ?? (names.size === 0 ? 'none' : 'auto');
  if (choice !== 'none' && names.size === 0) {
    throw invalid('tool_choice', "'tool_choice' is allowed only together with 'tools'.");
  }
  if (typeof choice === 'object' && !names.has(choice.function.name)) {
    throw invalid(
      'tool_choice',
      `'tool_choice' names '${choice.function.name.slice(0, 64)}', which is not in 'tools'.`,
    );
  }
  if (choice === 'none') return null;
  const { format } = support;
  const isParallel = body.parallel_tool_calls ?? true;
  const tools = body.tools ?? [];
  if (choice === 'auto') return { format, names, isParallel, forced: null, strict: strictCalls(format, tools) };
  // A named function is called once.
  const named = typeof choice === 'object' ? choice.function.name : null;
  const callable = tools.filter((tool) => named === null || tool.function.name === named);
  const forced = forcedCalls(format, callable, isParallel && named === null);
  return { format, names, isParallel, forced, strict: null };
}

/** What the fields for it or a forced call say that the text must be. */
function readConstraint(body: ChatRequest, tools: ToolPlan | null): AskedConstraint | null {
  const asked = constraintFrom(body);
  const { forced, strict } = tools ?? { forced: null, strict: null };
  if (forced === null) return asked ?? (strict === null ? null : { constraint: strict, param: 'tools' });
  if (asked === null) return { constraint: forced.constraint, param: 'tools' };
  throw invalid(asked.param, `'tool_choice' asks for a call, '${asked.param}' for another text; give one.`);
}

/**
 * The text of a conversation whose last message is to be continued: the template's rendering up to the end of that
 * message's content, without whatever closes it.
 */
function cutAfterLastMessage(text: string, body: ChatRequest, variables: Readonly<Record<string, unknown>>): string {
  const messages = variables.messages as readonly { readonly content: string }[];
  const content = messages.at(-1)?.content.trim() ?? '';
  const at = content === '' ? -1 : text.lastIndexOf(content);
  if (at >= 0) return text.slice(0, at + content.length);
  const last = body.messages.length - 1;
  throw invalid(`messages.${last}.content`, "The last message can't be continued: the template doesn't show it.");
}

/**
 * Renders and encodes a conversation. Templates write special tokens themselves, BOS included.
 * @param opening how the answer begins
 */
export async function encodeChat(
  body: ChatRequest,
  model: ServedModel,
  support: ToolSupport,
  opening = '',
): Promise<Int32Array> {
  if (model.chat === null) throw new NibbleError('chat_template_missing', {});
  const continues = body.continue_final_message === true;
  const offered = body.tool_choice === 'none' ? [] : (body.tools ?? []);
  const variables = templateVariables(body, offered, support, body.add_generation_prompt ?? !continues);
  const rendered = await model.chat.render(variables);
  const text = continues ? cutAfterLastMessage(rendered, body, variables) : rendered;
  const [ids = new Int32Array(0)] = await encodeTexts([text + opening], model, {
    addSpecialTokens: false,
    parseSpecial: true,
  });
  if (ids.length > 0) return ids;
  throw new NibbleError('chat_template_failed', { message: 'the prompt is empty' }, { param: 'messages' });
}

/** As many as fit: the context, and what the whole KV cache can hold. */
function tokensLeft(promptTokens: number, model: ServedModel): number {
  const capacity = model.engine.gauges().kvBlocksTotal * KV_BLOCK_TOKENS;
  return Math.max(1, Math.min(model.engine.contextTokensMax, capacity) - promptTokens);
}

/** Throws `invalid_request`, `unsupported_parameter`, `chat_template_missing` or `…_failed`. */
export async function planChat(body: ChatRequest, model: ServedModel): Promise<ChatPlan> {
  checkFields(body);
  const support = toolSupportOf(model.chat?.source ?? '');
  const tools = readTools(body, support);
  const { sampling, ...settings } = readSettings(body, model);
  const constrained = await compileConstraint(readConstraint(body, tools), model);
  const promptIds = await encodeChat(body, model, support, tools?.forced?.opening);
  const wanted = body.max_completion_tokens ?? body.max_tokens;
  const maxTokens = Math.min(wanted ?? tokensLeft(promptIds.length, model), model.engine.contextTokensMax);
  checkMinTokens(settings, maxTokens);
  const common = {
    ...settings,
    ...constrained,
    // Some formats mark calls with special tokens, which have no text otherwise.
    ...(tools !== null && tools.format !== 'hermes' ? { keepSpecial: true } : {}),
    promptIds,
    maxTokens,
    logprobs: body.logprobs === true ? (body.top_logprobs ?? 0) : null,
    scorePrompt: false,
  };
  const requests = Array.from({ length: body.n ?? 1 }, (_, choice) => ({
    ...common,
    sampling: { ...sampling, choice },
  }));
  const showTokenIds = body.return_token_ids ?? false;
  return { promptIds, requests, tools, showTokenIds, includeUsage: body.stream_options?.include_usage ?? false };
}
