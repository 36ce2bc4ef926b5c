import type { GenerationRequest } from '../../engine/types.js';
import { SEQUENCES_PER_REQUEST_MAX } from '../../limits.js';
import { compileConstraint, constraintFrom } from '../generation/constraint.js';
import { checkMinTokens, invalid, readSettings } from '../generation/settings.js';
import type { CompletionRequest } from '../schemas/completion-request.js';
import type { ServedModel } from '../served-model.js';
import { encodeInfill, encodePrompts, type Prompt, promptList } from './prompts.js';

/** A request understood: what to generate and how to answer. Sequence s continues prompt ⌊s / bestOf⌋. */
export type CompletionPlan = {
  readonly prompts: readonly Prompt[];
  /** Choices returned for each prompt, out of `bestOf` generated ones. */
  readonly n: number;
  readonly bestOf: number;
  /** One per sequence, in order. */
  readonly requests: readonly GenerationRequest[];
  readonly echo: boolean;
  /** Whether the answer shows log-probabilities; ranking may need them in any case. */
  readonly showLogprobs: boolean;
  readonly showTokenIds: boolean;
  readonly includeUsage: boolean;
};

const maxTokensDefault = 16;

/** Rules that join several fields, which the schema can't say. */
function checkCombinations(body: CompletionRequest, promptCount: number, n: number, bestOf: number): void {
  if (bestOf < n) throw invalid('best_of', `'best_of' is ${bestOf}; it must be at least 'n', which is ${n}.`);
  if (bestOf > n && body.stream === true) {
    throw invalid('best_of', "'best_of' above 'n' can't be streamed: the best are known at the end only.");
  }
  if (body.stream_options != null && body.stream !== true) {
    throw invalid('stream_options', "'stream_options' is allowed only together with 'stream': true.");
  }
  if (body.suffix && body.echo === true) throw invalid('echo', "'echo' can't be combined with 'suffix'.");
  const count = promptCount * bestOf;
  if (count <= SEQUENCES_PER_REQUEST_MAX) return;
  const factor = bestOf > n ? 'best_of' : 'n';
  const message = `${promptCount} prompts with ${factor} = ${bestOf} make ${count} sequences; `;
  const param = bestOf > 1 ? factor : 'prompt';
  throw invalid(param, `${message}at most ${SEQUENCES_PER_REQUEST_MAX} are allowed in a request.`);
}

/**
 * Turns a body that fits the schema into sequences. Sequences of one prompt differ by their index within the prompt,
 * so a prompt with a seed gives the same text alone and beside others.
 * Throws `unsupported_parameter`, `invalid_request`.
 */
export async function planCompletion(body: CompletionRequest, model: ServedModel): Promise<CompletionPlan> {
  const n = body.n ?? 1;
  const bestOf = body.best_of ?? n;
  const list = promptList(body.prompt);
  checkCombinations(body, list.kind === 'texts' ? list.texts.length : list.lists.length, n, bestOf);
  const { sampling, ...settings } = readSettings(body, model);
  const constrained = await compileConstraint(constraintFrom(body), model);
  const prompts = body.suffix ? await encodeInfill(list, body.suffix, model) : await encodePrompts(list, model);
  const echo = body.echo ?? false;
  const logprobs = body.logprobs ?? null;
  const maxTokens = Math.min(body.max_tokens ?? maxTokensDefault, model.engine.contextTokensMax);
  checkMinTokens(settings, maxTokens);
  const common = {
    ...settings,
    ...constrained,
    maxTokens,
    logprobs: bestOf > n ? (logprobs ?? 0) : logprobs,
    scorePrompt: echo && logprobs !== null,
  };
  const requests = prompts.flatMap(({ ids }) =>
    Array.from({ length: bestOf }, (_, choice) => ({ ...common, promptIds: ids, sampling: { ...sampling, choice } })),
  );
  const showTokenIds = body.return_token_ids ?? false;
  const includeUsage = body.stream_options?.include_usage ?? false;
  return { prompts, n, bestOf, requests, echo, showLogprobs: logprobs !== null, showTokenIds, includeUsage };
}
