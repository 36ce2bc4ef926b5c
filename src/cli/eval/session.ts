/** Opens models for an evaluation: one sequence at a time, its steps driven directly. */
import type { Config } from '../../config.js';
import type { OpenedModel, OpenModelOptions } from '../../engine/open-types.js';
import { NibbleError } from '../../errors.js';
import { KV_BLOCK_TOKENS, STEP_ROWS_MAX, STEP_TOKENS_MAX } from '../../limits.js';
import type { NativeModel, PruningSpec, StepResult } from '../../native/contract.js';
import { nativeCall } from '../bench/native-call.js';
import { type StepOutputs, Stepper } from '../bench/stepper.js';
import { openOptions } from '../open-options.js';

/** What an evaluation changes of the settings. */
export type EvalChanges = Partial<
  Pick<OpenModelOptions, 'model' | 'activations' | 'kv' | 'kvRotates' | 'linears' | 'agile'>
>;

/** The options that open the model of `config` with room for one sequence of `tokensMax` tokens. */
export function evalOptions(config: Config, tokensMax: number, changes: EvalChanges): OpenModelOptions {
  const kvTokens = Math.ceil(tokensMax / KV_BLOCK_TOKENS) * KV_BLOCK_TOKENS;
  return { ...openOptions(config), ...changes, contextTokens: tokensMax, kvTokens, maxSequences: 1 };
}

/** Loads a model for sequences of `tokensMax` tokens; `context_length_exceeded` if it wasn't made for so many. */
export async function openForEval(
  config: Config,
  tokensMax: number,
  changes: EvalChanges = {},
  sizes: Partial<Pick<OpenModelOptions, 'kvTokens' | 'maxSequences' | 'observer'>> = {},
): Promise<OpenedModel> {
  const { openModel } = await import('../../engine/open.js');
  const opened = await openModel({ ...evalOptions(config, tokensMax, changes), ...sizes });
  const limitTokens = opened.modelFile.architecture.contextLength;
  if (tokensMax <= limitTokens) return opened;
  await opened.close();
  throw new NibbleError('context_length_exceeded', { promptTokens: tokensMax, limitTokens });
}

/** Rows of one step of `scoreSequence`: row `rowStart + i` of the sequence is row i of the result. */
export type ScoredRows = { readonly rowStart: number; readonly rows: number; readonly result: StepResult };

/**
 * Runs one sequence from scratch and yields the rows [firstRow, tokens.length − 1), each scored on the token after it.
 * At most `rowsMax` rows come at once. Throws `not_finite` if a row fails.
 */
export async function* scoreSequence(
  model: NativeModel,
  tokens: Int32Array,
  firstRow: number,
  outputs: StepOutputs & { readonly rowsMax?: number },
  pruning?: PruningSpec,
): AsyncGenerator<ScoredRows, void, undefined> {
  const chunk = Math.min(STEP_TOKENS_MAX, STEP_ROWS_MAX, outputs.rowsMax ?? STEP_ROWS_MAX);
  const stepper = new Stepper(model);
  const sequence = stepper.open(tokens.length, pruning);
  try {
    // The last token is only a target: nothing is asked of its own row.
    for (let at = 0; at < tokens.length - 1; ) {
      // Before the first wanted row there is nothing to hold: larger steps.
      const end = at < firstRow ? Math.min(at + STEP_TOKENS_MAX, firstRow) : Math.min(at + chunk, tokens.length - 1);
      const rowStart = Math.max(at, firstRow);
      const targets = rowStart < end ? tokens.subarray(rowStart + 1, end + 1) : new Int32Array(0);
      const part = { sequence, tokens: tokens.subarray(at, end), rowStart: rowStart - at, targets };
      const result = await nativeCall(() => stepper.step([part], outputs));
      if (result.failed.subarray(0, targets.length).some((failed) => failed !== 0))
        throw new NibbleError('not_finite', {});
      if (targets.length > 0) yield { rowStart, rows: targets.length, result };
      at = end;
    }
  } finally {
    stepper.closeAll([sequence]);
  }
}
